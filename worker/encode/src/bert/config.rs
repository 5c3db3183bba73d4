//! `config.json` of the BERT family.

use std::path::Path;

use serde::Deserialize;

use crate::EncodeError;

/// The sizes of a BERT network, by the names of `config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BertConfig {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Length of a token's vector, and so of an embedding.
    pub hidden_size: usize,
    /// How many layers.
    pub num_hidden_layers: usize,
    /// How many attention heads share `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Longest text the network has positions for.
    pub max_position_embeddings: usize,
    /// How many segments a text may have; only the first is used.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Added to the variance in layer normalisation.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

/// The function between the two halves of the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// x Φ(x), with the error function itself.
    Gelu,
    /// GELU's approximation by tanh.
    GeluTanh,
    Relu,
}

impl BertConfig {
    pub(crate) fn check(&self, path: &Path) -> Result<(), EncodeError> {
        let unsupported = |field, found: &dyn std::fmt::Display, supported| {
            Err(EncodeError::Unsupported {
                path: path.to_owned(),
                field,
                found: found.to_string(),
                supported,
            })
        };
        if self.activation().is_none() {
            return unsupported("hidden_act", &self.hidden_act, ACTIVATIONS);
        }
        if self.position_embedding_type != "absolute" {
            return unsupported("position_embedding_type", &self.position_embedding_type, &["absolute"]);
        }
        if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return unsupported(
                "num_attention_heads",
                &self.num_attention_heads,
                &["a divisor of hidden_size"],
            );
        }
        Ok(())
    }

    pub(super) fn activation(&self) -> Option<Activation> {
        match self.hidden_act.as_str() {
            "gelu" => Some(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
            "relu" => Some(Activation::Relu),
            _ => None,
        }
    }
}

const ACTIVATIONS: &[&str] = &["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"];

fn two() -> usize {
    2
}

fn default_eps() -> f64 {
    1e-12
}

fn absolute() -> String {
    "absolute".to_owned()
}
