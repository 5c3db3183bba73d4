//! `modules.json`: the stages a text passes through.

use std::path::Path;

use serde::Deserialize;

use super::{
    dense::DenseModule,
    pooling::{self, PoolingModule},
    read_json_if_there,
};
use crate::EncodeError;

/// The stages of a model, as far as its files name them.
#[derive(Debug, Clone, Default)]
pub(super) struct Modules {
    /// Folder of the transformer below the model's directory, often empty.
    pub transformer: String,
    /// `None` without `modules.json`.
    pub pooling: Option<PoolingModule>,
    pub stages: Vec<StageModule>,
    /// Whether there is a `modules.json`.
    pub is_listed: bool,
}

/// A step behind the pooling.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StageModule {
    Dense(DenseModule),
    Normalize,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

const FILE: &str = "modules.json";

const SUPPORTED: &[&str] = &[
    "Transformer, Pooling and then any of Dense and Normalize",
    "Transformer alone in a cross-encoder",
];

/// Reads the list; `sentence_transformers.models.Pooling` and later spellings of the same are told apart by their last
/// part. Anything but the supported sequences is an error: without it the vectors would be others than the publisher's.
pub(super) fn read(dir: &Path) -> Result<Modules, EncodeError> {
    let path = dir.join(FILE);
    let Some(modules) = read_json_if_there::<Vec<Module>>(&path)? else {
        return Ok(Modules::default());
    };
    let kinds: Vec<&str> = modules
        .iter()
        .map(|m| m.kind.rsplit('.').next().unwrap_or_default())
        .collect();
    let found = || {
        if kinds.is_empty() {
            "empty".to_owned()
        } else {
            kinds.join(", ")
        }
    };
    let rest = match &kinds[..] {
        ["Transformer"] => {
            return Ok(Modules {
                transformer: modules[0].path.clone(),
                is_listed: true,
                ..Modules::default()
            });
        }
        ["Transformer", "Pooling", rest @ ..] => rest,
        _ => return Err(unsupported(&path, found())),
    };
    let stages = rest.iter().zip(&modules[2..]).map(|(kind, module)| match *kind {
        "Dense" => DenseModule::read(&dir.join(&module.path)).map(StageModule::Dense),
        "Normalize" => Ok(StageModule::Normalize),
        _ => Err(unsupported(&path, found())),
    });
    Ok(Modules {
        stages: stages.collect::<Result<_, _>>()?,
        pooling: Some(pooling::read(&dir.join(&modules[1].path).join("config.json"))?),
        transformer: modules[0].path.clone(),
        is_listed: true,
    })
}

/// The error of a transformer alone that is no cross-encoder.
pub(super) fn without_pooling(dir: &Path) -> EncodeError {
    unsupported(&dir.join(FILE), "Transformer".to_owned())
}

fn unsupported(path: &Path, found: String) -> EncodeError {
    EncodeError::Unsupported {
        path: path.to_owned(),
        field: "the list of modules",
        found,
        supported: SUPPORTED,
    }
}
