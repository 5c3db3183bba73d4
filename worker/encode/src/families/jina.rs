//! JinaBERT (Günther et al. 2023, arXiv:2310.19923): BERT with ALiBi on both sides instead of learned positions, and a gated
//! feed-forward part. Its configurations call themselves `bert`.

use serde::Deserialize;

use super::{Config, bert::BertConfig};
use crate::{
    EncodeError,
    network::{Activation, Biases, Description, DistanceBias, Names, Positions},
};

#[derive(Deserialize)]
struct JinaConfig {
    #[serde(default = "original")]
    feed_forward_type: String,
    #[serde(default)]
    auto_map: serde_json::Map<String, serde_json::Value>,
}

/// Whether a `bert` is JinaBERT.
pub(super) fn is_meant(config: &Config) -> bool {
    config.json["position_embedding_type"] == "alibi"
}

pub(super) fn describe(config: &Config) -> Result<Description, EncodeError> {
    let own: JinaConfig = config.read()?;
    // The variant for code has two more norms in every layer.
    let class = own
        .auto_map
        .get("AutoModel")
        .and_then(|class| class.as_str())
        .unwrap_or_default();
    config.require(
        !class.contains("qk-post-norm"),
        "auto_map.AutoModel",
        class,
        &["jinaai/jina-bert-implementation"],
    )?;
    let activation = match own.feed_forward_type.as_str() {
        "geglu" => Activation::Gelu,
        "reglu" => Activation::Relu,
        found => return Err(config.unsupported("feed_forward_type", found, &["geglu", "reglu"])),
    };
    let mut bert: BertConfig = config.read()?;
    // What stands for them is said below.
    bert.position_embedding_type = "absolute".to_owned();
    Ok(Description {
        family: "jina",
        positions: Positions::None,
        distance_bias: Some(DistanceBias::Alibi),
        activation,
        gated: true,
        biases: Biases {
            up: false,
            ..Biases::ALL
        },
        names: Names {
            up: &["mlp.gated_layers"],
            down: "mlp.wo",
            output_norm: "mlp.layernorm",
            ..Names::BERT
        },
        ..bert.describe(config)?
    })
}

fn original() -> String {
    "original".to_owned()
}
