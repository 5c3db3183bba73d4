//! MPNet (Song et al. 2020, arXiv:2004.09297): BERT with a learned bias for the distance between tokens beside its learned
//! positions, which begin at 2, and without segments.

use serde::Deserialize;

use super::{
    Config,
    bert::BertConfig,
    roberta::{self, after_padding},
};
use crate::{
    EncodeError,
    network::{Description, DistanceBias, Names},
};

#[derive(Deserialize)]
struct Buckets {
    #[serde(default = "thirty_two")]
    relative_attention_num_buckets: usize,
}

/// MPNet reads no `pad_token_id`.
const PADDING: u32 = 1;

pub(super) fn describe(config: &Config) -> Result<Description, EncodeError> {
    let buckets = config.read::<Buckets>()?.relative_attention_num_buckets;
    config.require(
        buckets >= 4 && buckets.is_multiple_of(4),
        "relative_attention_num_buckets",
        buckets,
        &["multiples of 4"],
    )?;
    let bert = config.read::<BertConfig>()?.describe(config)?;
    Ok(Description {
        family: "mpnet",
        segments: 0,
        distance_bias: Some(DistanceBias::Buckets(buckets)),
        names: Names {
            qkv: &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
            attended: "attention.attn.o",
            attention_norm: "attention.LayerNorm",
            ..Names::BERT
        },
        head: Some(roberta::HEAD),
        ..after_padding(bert, PADDING)
    })
}

fn thirty_two() -> usize {
    32
}
