//! DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT without segments, by names of its own.

use serde::Deserialize;
use twofold_types::Pooling;

use super::Config;
use crate::{
    EncodeError,
    network::{
        Activation, Biases, Description, Formula, HeadDescription, LayerKind, Names, NormKind, NormPlace, Positions,
        Reach,
    },
};

#[derive(Deserialize)]
struct DistilBertConfig {
    vocab_size: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    max_position_embeddings: usize,
    activation: String,
}

/// Nowhere in its configuration.
const EPS: f64 = 1e-12;

pub(super) fn describe(config: &Config) -> Result<Description, EncodeError> {
    let own: DistilBertConfig = config.read()?;
    Ok(Description {
        family: "distilbert",
        vocabulary: own.vocab_size,
        hidden: own.dim,
        wide: own.hidden_dim,
        heads: own.n_heads,
        key_heads: own.n_heads,
        head_width: config.head_width("n_heads", own.n_heads, own.dim)?,
        max_tokens: own.max_position_embeddings,
        segments: 0,
        pooling: Pooling::Mean,
        positions: Positions::FromZero {
            rows: own.max_position_embeddings,
        },
        distance_bias: None,
        layers: vec![
            LayerKind {
                reach: Reach::All,
                rotary: None,
            };
            own.n_layers
        ],
        norm: NormKind {
            formula: Formula::Layer,
            eps: EPS,
        },
        norm_place: NormPlace::After,
        activation: config.activation("activation", &own.activation)?,
        gated: false,
        biases: Biases::ALL,
        names: Names {
            layers: "transformer.layer",
            qkv: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
            attended: "attention.out_lin",
            attention_norm: "sa_layer_norm",
            up: &["ffn.lin1"],
            down: "ffn.lin2",
            output_norm: "output_layer_norm",
            ..Names::BERT
        },
        head: Some(HeadDescription {
            dense: "pre_classifier",
            activation: Activation::Relu,
            ..HeadDescription::BERT
        }),
    })
}
