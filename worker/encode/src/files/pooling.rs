//! The pooling's `config.json`: one flag per way in files up to sentence-transformers 5, `pooling_mode` since.

use std::path::Path;

use serde::Deserialize;
use twofold_types::Pooling;

use super::read_json;
use crate::EncodeError;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolingModule {
    pub pooling: Pooling,
    /// Whether the tokens of the prompt are pooled with the others.
    pub include_prompt: bool,
}

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

const SUPPORTED: &[&str] = &[
    "cls",
    "max",
    "mean",
    "mean_sqrt_len_tokens",
    "weightedmean",
    "lasttoken",
];

/// Reads the file. Several ways at once, whose vectors would stand side by side, are refused.
pub(super) fn read(path: &Path) -> Result<PoolingModule, EncodeError> {
    let config: PoolingConfig = read_json(path)?;
    let flags = [
        config.pooling_mode_cls_token,
        config.pooling_mode_max_tokens,
        config.pooling_mode_mean_tokens,
        config.pooling_mode_mean_sqrt_len_tokens,
        config.pooling_mode_weightedmean_tokens,
        config.pooling_mode_lasttoken,
    ];
    let names = match config.pooling_mode {
        Some(Names::One(name)) => vec![name],
        Some(Names::Many(names)) => names,
        None => SUPPORTED
            .iter()
            .zip(flags)
            .filter(|(_, on)| *on)
            .map(|(name, _)| (*name).to_owned())
            .collect(),
    };
    let pooling = match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // No way at all means the mean, as in sentence-transformers.
        ["mean"] | [] => Pooling::Mean,
        ["cls"] => Pooling::Cls,
        ["max"] => Pooling::Max,
        ["mean_sqrt_len_tokens"] => Pooling::MeanSqrtLen,
        ["weightedmean"] => Pooling::WeightedMean,
        ["lasttoken"] => Pooling::LastToken,
        _ => {
            return Err(EncodeError::Unsupported {
                path: path.to_owned(),
                field: "pooling_mode",
                found: names.join(" + "),
                supported: SUPPORTED,
            });
        }
    };
    Ok(PoolingModule {
        pooling,
        include_prompt: config.include_prompt,
    })
}

/// Refuses a `SpladePooling` that is another than the best score of every word by ln(1 + relu).
pub(super) fn check_splade(path: &Path) -> Result<(), EncodeError> {
    #[derive(Deserialize)]
    struct SpladeConfig {
        #[serde(default)]
        pooling_strategy: Option<String>,
        #[serde(default)]
        activation_function: Option<String>,
    }
    let config: SpladeConfig = read_json(path)?;
    for (field, found, supported) in [
        ("pooling_strategy", config.pooling_strategy, &["max"]),
        ("activation_function", config.activation_function, &["relu"]),
    ] {
        if let Some(found) = found.filter(|found| found != supported[0]) {
            return Err(EncodeError::Unsupported {
                path: path.to_owned(),
                field,
                found,
                supported,
            });
        }
    }
    Ok(())
}
