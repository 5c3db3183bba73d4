//! A dense module behind the pooling: its `config.json` and its weights.

use std::path::Path;

use serde::Deserialize;

use super::{read_json, weights};
use crate::{EncodeError, network::Activation, weights::WeightFiles};

/// What its folder describes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DenseModule {
    /// Numbers in and out.
    pub shape: [usize; 2],
    pub bias: bool,
    pub activation: Option<Activation>,
    pub weights: WeightFiles,
}

#[derive(Deserialize)]
struct DenseConfig {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "tanh")]
    activation_function: String,
}

const ACTIVATIONS: &[&str] = &["Identity", "Tanh", "GELU", "ReLU", "SiLU"];

impl DenseModule {
    pub(super) fn read(dir: &Path) -> Result<Self, EncodeError> {
        let path = dir.join("config.json");
        let config: DenseConfig = read_json(&path)?;
        let name = config.activation_function.rsplit('.').next().unwrap_or_default();
        let activation = match name {
            "Identity" => None,
            "Tanh" => Some(Activation::Tanh),
            "GELU" => Some(Activation::Gelu),
            "ReLU" => Some(Activation::Relu),
            "SiLU" => Some(Activation::Silu),
            found => {
                return Err(EncodeError::Unsupported {
                    path,
                    field: "activation_function",
                    found: found.to_owned(),
                    supported: ACTIVATIONS,
                });
            }
        };
        Ok(Self {
            shape: [config.in_features, config.out_features],
            bias: config.bias,
            activation,
            weights: weights::find(dir)?,
        })
    }
}

fn yes() -> bool {
    true
}

/// What sentence-transformers takes where the file says nothing.
fn tanh() -> String {
    "torch.nn.modules.activation.Tanh".to_owned()
}
