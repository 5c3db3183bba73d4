//! BERT (Devlin et al. 2018, arXiv:1810.04805): MiniLM, e5, bge, gte, most other sentence encoders, and DPR's two towers.

use serde::Deserialize;
use twofold_types::Pooling;

use super::Config;
use crate::{
    EncodeError,
    network::{Biases, Description, Formula, HeadDescription, LayerKind, Names, NormKind, NormPlace, Positions, Reach},
};

/// The sizes of a network of BERT's kind, by the names of `config.json`.
#[derive(Debug, Deserialize)]
pub(super) struct BertConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
    #[serde(default = "gelu")]
    pub hidden_act: String,
    /// Another than `absolute` is for the family to refuse.
    #[serde(default = "absolute")]
    pub position_embedding_type: String,
    /// Of DPR: what its vectors are projected to, where they are.
    #[serde(default)]
    projection_dim: usize,
}

pub(super) fn describe(config: &Config) -> Result<Description, EncodeError> {
    let bert: BertConfig = config.read()?;
    config.require(bert.projection_dim == 0, "projection_dim", bert.projection_dim, &["0"])?;
    let pooling = if config.json["model_type"] == "dpr" {
        Pooling::Cls
    } else {
        Pooling::Mean
    };
    Ok(Description {
        pooling,
        ..bert.describe(config)?
    })
}

impl BertConfig {
    /// BERT itself, which its kin vary.
    pub fn describe(self, config: &Config) -> Result<Description, EncodeError> {
        let positions = &self.position_embedding_type;
        config.require(
            positions == "absolute",
            "position_embedding_type",
            positions,
            &["absolute"],
        )?;
        Ok(Description {
            family: "bert",
            vocabulary: self.vocab_size,
            hidden: self.hidden_size,
            wide: self.intermediate_size,
            heads: self.num_attention_heads,
            key_heads: self.num_attention_heads,
            head_width: config.head_width("num_attention_heads", self.num_attention_heads, self.hidden_size)?,
            max_tokens: self.max_position_embeddings,
            segments: self.type_vocab_size,
            pooling: Pooling::Mean,
            positions: Positions::FromZero {
                rows: self.max_position_embeddings,
            },
            distance_bias: None,
            layers: vec![
                LayerKind {
                    reach: Reach::All,
                    rotary: None,
                };
                self.num_hidden_layers
            ],
            norm: NormKind {
                formula: Formula::Layer,
                eps: self.layer_norm_eps,
            },
            norm_place: NormPlace::After,
            activation: config.activation("hidden_act", &self.hidden_act)?,
            gated: false,
            biases: Biases::ALL,
            names: Names::BERT,
            head: Some(HeadDescription::BERT),
        })
    }
}

fn two() -> usize {
    2
}

fn default_eps() -> f64 {
    1e-12
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn absolute() -> String {
    "absolute".to_owned()
}
