//! ModernBERT (Warner et al. 2024, arXiv:2412.13663): norms before each part, rotary positions, gated feed-forward parts, and
//! attention to near tokens only in all layers but every third.

use serde::Deserialize;
use serde_json::Value;
use twofold_types::Pooling;

use super::Config;
use crate::{
    EncodeError,
    network::{Biases, Description, Formula, HeadDescription, LayerKind, Names, NormKind, NormPlace, Positions, Reach},
};

#[derive(Deserialize)]
struct ModernBertConfig {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    #[serde(default = "gelu")]
    hidden_activation: String,
    #[serde(default = "default_eps")]
    norm_eps: f64,
    #[serde(default)]
    norm_bias: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default = "default_window")]
    local_attention: usize,
    #[serde(default = "three")]
    global_attn_every_n_layers: usize,
    #[serde(default = "default_global_base")]
    global_rope_theta: f64,
    local_rope_theta: Option<f64>,
    /// Of files since transformers 5, which say by layer what the fields above imply.
    layer_types: Option<Vec<String>>,
    rope_parameters: Option<Value>,
    #[serde(default = "cls")]
    classifier_pooling: String,
    #[serde(default = "gelu")]
    classifier_activation: String,
    #[serde(default)]
    classifier_bias: bool,
}

const FULL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

pub(super) fn describe(config: &Config) -> Result<Description, EncodeError> {
    let own: ModernBertConfig = config.read()?;
    let every = own.global_attn_every_n_layers.max(1);
    let implied = |index: usize| if index.is_multiple_of(every) { FULL } else { LOCAL };
    let base_of = |kind: &str, implied: f64| {
        let parameters = own.rope_parameters.as_ref().map(|by_kind| &by_kind[kind]);
        let kind = parameters.and_then(|p| p["rope_type"].as_str()).unwrap_or("default");
        config.require(kind == "default", "rope_parameters.rope_type", kind, &["default"])?;
        Ok(parameters.and_then(|p| p["rope_theta"].as_f64()).unwrap_or(implied))
    };
    let global = LayerKind {
        reach: Reach::All,
        rotary: Some(base_of(FULL, own.global_rope_theta)?),
    };
    let local = LayerKind {
        reach: Reach::Around(own.local_attention / 2),
        rotary: Some(base_of(LOCAL, own.local_rope_theta.unwrap_or(own.global_rope_theta))?),
    };
    let layers = (0..own.num_hidden_layers).map(|index| {
        let stated = own.layer_types.as_ref().and_then(|types| types.get(index));
        match stated.map_or(implied(index), String::as_str) {
            FULL => Ok(global),
            LOCAL => Ok(local),
            found => Err(config.unsupported("layer_types", found, &[FULL, LOCAL])),
        }
    });
    let norm = NormKind {
        formula: if own.norm_bias {
            Formula::Layer
        } else {
            Formula::LayerWithoutBias
        },
        eps: own.norm_eps,
    };
    Ok(Description {
        family: "modernbert",
        vocabulary: own.vocab_size,
        hidden: own.hidden_size,
        wide: own.intermediate_size,
        heads: own.num_attention_heads,
        key_heads: own.num_attention_heads,
        head_width: config.head_width("num_attention_heads", own.num_attention_heads, own.hidden_size)?,
        max_tokens: own.max_position_embeddings,
        segments: 0,
        pooling: Pooling::Mean,
        positions: Positions::None,
        distance_bias: None,
        layers: layers.collect::<Result<_, _>>()?,
        norm,
        norm_place: NormPlace::Before,
        activation: config.activation("hidden_activation", &own.hidden_activation)?,
        gated: true,
        biases: Biases {
            qkv: own.attention_bias,
            attended: own.attention_bias,
            up: own.mlp_bias,
            down: own.mlp_bias,
        },
        names: Names {
            words: "embeddings.tok_embeddings",
            embedding_norm: Some("embeddings.norm"),
            layers: "layers",
            qkv: &["attn.Wqkv"],
            attended: "attn.Wo",
            attention_norm: "attn_norm",
            first_attention_norm: false,
            up: &["mlp.Wi"],
            down: "mlp.Wo",
            output_norm: "mlp_norm",
            final_norm: Some("final_norm"),
            ..Names::BERT
        },
        head: Some(HeadDescription {
            pooling: match own.classifier_pooling.as_str() {
                "cls" => Pooling::Cls,
                "mean" => Pooling::Mean,
                found => return Err(config.unsupported("classifier_pooling", found, &["cls", "mean"])),
            },
            dense: "head.dense",
            bias: own.classifier_bias,
            activation: config.activation("classifier_activation", &own.classifier_activation)?,
            norm: Some(("head.norm", norm)),
            score: "classifier",
        }),
    })
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn cls() -> String {
    "cls".to_owned()
}

fn default_eps() -> f64 {
    1e-5
}

fn default_window() -> usize {
    128
}

fn three() -> usize {
    3
}

fn default_global_base() -> f64 {
    160_000.0
}
