//! Qwen3 (Yang et al. 2025, arXiv:2505.09388) as an encoder: a decoder whose last token has seen all others. Causal
//! attention with fewer heads of keys than of queries, which are normalised by head; rotary positions; norms by root mean
//! square.

use serde::Deserialize;
use serde_json::Value;
use twofold_types::Pooling;

use super::Config;
use crate::{
    EncodeError,
    network::{Biases, Description, Formula, LayerKind, Names, NormKind, NormPlace, Positions, Reach},
};

#[derive(Deserialize)]
struct Qwen3Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    max_position_embeddings: usize,
    hidden_act: String,
    rms_norm_eps: f64,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
}

const DEFAULT_BASE: f64 = 1_000_000.0;

pub(super) fn describe(config: &Config) -> Result<Description, EncodeError> {
    let own: Qwen3Config = config.read()?;
    let (heads, key_heads) = (own.num_attention_heads, own.num_key_value_heads);
    config.require(
        key_heads > 0 && heads.is_multiple_of(key_heads),
        "num_key_value_heads",
        key_heads,
        &["a divisor of num_attention_heads"],
    )?;
    config.require(!own.use_sliding_window, "use_sliding_window", true, &["false"])?;
    let rope = own.rope_parameters.or(own.rope_scaling).unwrap_or_default();
    let kind = rope["rope_type"].as_str().unwrap_or("default");
    config.require(kind == "default", "rope_parameters.rope_type", kind, &["default"])?;
    let base = rope["rope_theta"].as_f64().or(own.rope_theta).unwrap_or(DEFAULT_BASE);
    Ok(Description {
        family: "qwen3",
        vocabulary: own.vocab_size,
        hidden: own.hidden_size,
        wide: own.intermediate_size,
        heads,
        key_heads,
        head_width: own.head_dim,
        max_tokens: own.max_position_embeddings,
        segments: 0,
        pooling: Pooling::LastToken,
        positions: Positions::None,
        distance_bias: None,
        layers: vec![
            LayerKind {
                reach: Reach::Before,
                rotary: Some(base),
            };
            own.num_hidden_layers
        ],
        norm: NormKind {
            formula: Formula::RootMeanSquare,
            eps: own.rms_norm_eps,
        },
        norm_place: NormPlace::Before,
        activation: config.activation("hidden_act", &own.hidden_act)?,
        gated: true,
        biases: Biases {
            qkv: own.attention_bias,
            attended: own.attention_bias,
            ..Biases::NONE
        },
        names: Names {
            words: "embed_tokens",
            embedding_norm: None,
            layers: "layers",
            qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            head_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
            attended: "self_attn.o_proj",
            attention_norm: "input_layernorm",
            up: &["mlp.gate_proj", "mlp.up_proj"],
            down: "mlp.down_proj",
            output_norm: "post_attention_layernorm",
            final_norm: Some("norm"),
            ..Names::BERT
        },
        head: None,
    })
}
