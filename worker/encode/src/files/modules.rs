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
    /// What the modules make of the network's vectors; `None` without `modules.json`.
    pub ending: Option<Ending>,
    pub pooling: Option<PoolingModule>,
    pub stages: Vec<StageModule>,
}

/// What the modules end in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// One vector.
    Pooled,
    /// Weights of words.
    Vocabulary,
    /// A vector a token.
    Tokens,
    /// A score, if the transformer is a classifier.
    Score,
}

/// A step behind the pooling, or behind the network where there is none.
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
    "MLMTransformer, SpladePooling",
    "Transformer and then any of Dense",
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
    let (ending, behind) = match &kinds[..] {
        ["Transformer"] => (Ending::Score, 1),
        ["Transformer", "Pooling", ..] => (Ending::Pooled, 2),
        ["MLMTransformer" | "Transformer", "SpladePooling"] => (Ending::Vocabulary, 2),
        ["Transformer", rest @ ..] if rest.contains(&"Dense") => (Ending::Tokens, 1),
        _ => return Err(unsupported(&path, found())),
    };
    let stages = kinds.iter().zip(&modules).skip(behind);
    let stages = stages.map(|(kind, module)| match (*kind, ending) {
        ("Dense", _) => DenseModule::read(&dir.join(&module.path)).map(StageModule::Dense),
        ("Normalize", Ending::Pooled) => Ok(StageModule::Normalize),
        _ => Err(unsupported(&path, found())),
    });
    let config_of = |module: &Module| dir.join(&module.path).join("config.json");
    let pooling = match ending {
        Ending::Pooled => Some(pooling::read(&config_of(&modules[1]))?),
        Ending::Vocabulary => {
            pooling::check_splade(&config_of(&modules[1]))?;
            None
        }
        Ending::Tokens | Ending::Score => None,
    };
    Ok(Modules {
        stages: stages.collect::<Result<_, _>>()?,
        ending: Some(ending),
        pooling,
        transformer: modules[0].path.clone(),
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
