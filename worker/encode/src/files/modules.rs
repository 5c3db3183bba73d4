//! `modules.json`: the stages a text passes through, of which the crate knows three.

use std::path::Path;

use serde::Deserialize;

use super::{read_json, read_json_if_there};
use crate::{EncodeError, Pooling};

/// The stages of a model, as far as they are not its defaults.
pub(super) struct Modules {
    /// Folder of the transformer below the model's directory, often empty.
    pub transformer: String,
    pub pooling: Pooling,
    pub normalises: bool,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

const SUPPORTED: &[&str] = &["Transformer, Pooling", "Transformer, Pooling, Normalize"];

/// Reads the list; `sentence_transformers.models.Pooling` and later spellings of the same are told apart by their last
/// part. Anything but the supported sequences, a Dense layer for instance, is an error: without it the vectors would be
/// others than the publisher's.
pub(super) fn read(dir: &Path) -> Result<Modules, EncodeError> {
    let path = dir.join("modules.json");
    let Some(modules) = read_json_if_there::<Vec<Module>>(&path)? else {
        return Ok(Modules {
            transformer: String::new(),
            pooling: Pooling::Mean,
            normalises: false,
        });
    };
    let kinds: Vec<&str> = modules
        .iter()
        .map(|m| m.kind.rsplit('.').next().unwrap_or_default())
        .collect();
    let normalises = match kinds[..] {
        ["Transformer", "Pooling"] => false,
        ["Transformer", "Pooling", "Normalize"] => true,
        _ => {
            let found = if kinds.is_empty() {
                "empty".to_owned()
            } else {
                kinds.join(", ")
            };
            return Err(EncodeError::Unsupported {
                path,
                field: "the list of modules",
                found,
                supported: SUPPORTED,
            });
        }
    };
    let pooling_path = dir.join(&modules[1].path).join("config.json");
    let pooling = read_json::<PoolingConfig>(&pooling_path)?.pooling(&pooling_path)?;
    Ok(Modules {
        transformer: modules[0].path.clone(),
        pooling,
        normalises,
    })
}

/// The pooling's `config.json`: one flag per way in files up to sentence-transformers 5, `pooling_mode` since.
#[derive(Deserialize)]
struct PoolingConfig {
    pooling_mode: Option<Names>,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(default = "yes")]
    include_prompt: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

fn yes() -> bool {
    true
}

impl PoolingConfig {
    fn pooling(self, path: &Path) -> Result<Pooling, EncodeError> {
        let unsupported = |field, found, supported| {
            Err(EncodeError::Unsupported {
                path: path.to_owned(),
                field,
                found,
                supported,
            })
        };
        if !self.include_prompt {
            return unsupported("include_prompt", "false".to_owned(), &["true"]);
        }
        let flags = [
            (self.pooling_mode_cls_token, "cls"),
            (self.pooling_mode_max_tokens, "max"),
            (self.pooling_mode_mean_tokens, "mean"),
            (self.pooling_mode_mean_sqrt_len_tokens, "mean_sqrt_len_tokens"),
            (self.pooling_mode_weightedmean_tokens, "weightedmean"),
            (self.pooling_mode_lasttoken, "lasttoken"),
        ];
        let names = match self.pooling_mode {
            Some(Names::One(name)) => vec![name],
            Some(Names::Many(names)) => names,
            None => flags
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
        };
        match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            // No way at all means the mean, as in sentence-transformers.
            ["mean"] | [] => Ok(Pooling::Mean),
            ["cls"] => Ok(Pooling::Cls),
            ["max"] => Ok(Pooling::Max),
            _ => unsupported("pooling_mode", names.join(" + "), &["cls", "mean", "max"]),
        }
    }
}
