//! NomicBERT (Nussbaum et al. 2024, arXiv:2402.01613): BERT with rotary positions and a gated feed-forward part.

use serde::Deserialize;
use serde_json::Value;
use twofold_types::Pooling;

use super::Config;
use crate::{
    EncodeError,
    network::{Activation, Biases, Description, Formula, LayerKind, Names, NormKind, NormPlace, Positions, Reach},
};

#[derive(Deserialize)]
struct NomicConfig {
    vocab_size: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: usize,
    n_positions: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    layer_norm_epsilon: f64,
    activation_function: String,
    #[serde(default)]
    qkv_proj_bias: bool,
    #[serde(default)]
    mlp_fc1_bias: bool,
    #[serde(default)]
    mlp_fc2_bias: bool,
    #[serde(default)]
    prenorm: bool,
    #[serde(default = "whole")]
    rotary_emb_fraction: f64,
    rotary_emb_base: f64,
    #[serde(default)]
    rotary_emb_interleaved: bool,
    rotary_scaling_factor: Option<f64>,
    #[serde(default)]
    use_rms_norm: bool,
    #[serde(default)]
    num_experts: usize,
}

/// What transformers calls the fields that the published configurations named after GPT-2's.
const LATER_NAMES: &[(&str, &str)] = &[
    ("hidden_size", "n_embd"),
    ("num_hidden_layers", "n_layer"),
    ("num_attention_heads", "n_head"),
    ("intermediate_size", "n_inner"),
    ("max_position_embeddings", "n_positions"),
    ("layer_norm_eps", "layer_norm_epsilon"),
];

/// The configuration by its published names.
fn published(config: &Config) -> Value {
    let mut json = config.json.clone();
    let theta = json["rope_parameters"]["rope_theta"].clone();
    if let Some(fields) = json.as_object_mut().filter(|fields| !fields.contains_key("n_embd")) {
        for (later, published) in LATER_NAMES {
            if let Some(value) = fields.remove(*later) {
                fields.insert((*published).to_owned(), value);
            }
        }
        // The class of transformers has a gate always, and names the function in front of it.
        let gated = match fields.get("hidden_act").and_then(Value::as_str) {
            Some("silu") => "swiglu",
            Some("gelu") => "geglu",
            Some(other) => other,
            None => "swiglu",
        };
        let gated = Value::from(gated);
        fields.insert("activation_function".to_owned(), gated);
        fields.insert("rotary_emb_base".to_owned(), theta);
    }
    json
}

pub(super) fn describe(config: &Config) -> Result<Description, EncodeError> {
    let config = &Config {
        path: config.path,
        json: published(config),
    };
    let own: NomicConfig = config.read()?;
    config.require(!own.prenorm, "prenorm", own.prenorm, &["false"])?;
    config.require(!own.use_rms_norm, "use_rms_norm", own.use_rms_norm, &["false"])?;
    config.require(own.num_experts == 0, "num_experts", own.num_experts, &["0"])?;
    let (fraction, interleaved) = (own.rotary_emb_fraction, own.rotary_emb_interleaved);
    config.require(fraction == 1.0, "rotary_emb_fraction", fraction, &["1"])?;
    config.require(!interleaved, "rotary_emb_interleaved", interleaved, &["false"])?;
    // The factor stretches positions beyond those of training. Within them it changes nothing, and texts are cut there.
    let positions = match own.rotary_scaling_factor {
        Some(factor) if factor != 1.0 => TRAINED_POSITIONS.min(own.n_positions),
        _ => own.n_positions,
    };
    let activation = match own.activation_function.as_str() {
        "swiglu" => Activation::Silu,
        "geglu" => Activation::Gelu,
        found => return Err(config.unsupported("activation_function", found, &["swiglu", "geglu"])),
    };
    Ok(Description {
        family: "nomic_bert",
        vocabulary: own.vocab_size,
        hidden: own.n_embd,
        wide: own.n_inner,
        heads: own.n_head,
        key_heads: own.n_head,
        head_width: config.head_width("n_head", own.n_head, own.n_embd)?,
        max_tokens: positions,
        segments: own.type_vocab_size,
        pooling: Pooling::Mean,
        positions: Positions::None,
        distance_bias: None,
        layers: vec![
            LayerKind {
                reach: Reach::All,
                rotary: Some(own.rotary_emb_base),
            };
            own.n_layer
        ],
        norm: NormKind {
            formula: Formula::Layer,
            eps: own.layer_norm_epsilon,
        },
        norm_place: NormPlace::After,
        activation,
        gated: true,
        biases: Biases {
            qkv: own.qkv_proj_bias,
            attended: own.qkv_proj_bias,
            up: own.mlp_fc1_bias,
            down: own.mlp_fc2_bias,
        },
        names: Names {
            embedding_norm: Some("emb_ln"),
            layers: "encoder.layers",
            qkv: &["attn.Wqkv"],
            attended: "attn.out_proj",
            attention_norm: "norm1",
            up: &["mlp.fc12", "mlp.fc11"],
            down: "mlp.fc2",
            output_norm: "norm2",
            ..Names::BERT
        },
        head: None,
    })
}

/// `max_trained_positions` of the published models.
const TRAINED_POSITIONS: usize = 2048;

fn whole() -> f64 {
    1.0
}

fn two() -> usize {
    2
}
