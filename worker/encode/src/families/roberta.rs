//! RoBERTa (Liu et al. 2019, arXiv:1907.11692), and its multilingual and French sisters: BERT whose positions are counted
//! from behind the padding token's id.

use serde::Deserialize;

use super::{Config, bert::BertConfig};
use crate::{
    EncodeError,
    network::{Description, HeadDescription, Positions},
};

#[derive(Deserialize)]
struct Padding {
    #[serde(default = "one")]
    pad_token_id: u32,
}

pub(super) fn describe(config: &Config) -> Result<Description, EncodeError> {
    let Padding { pad_token_id } = config.read()?;
    let bert = config.read::<BertConfig>()?.describe(config)?;
    Ok(after_padding(bert, pad_token_id)).map(|description| Description {
        family: "roberta",
        head: Some(HEAD),
        ..description
    })
}

/// What RoBERTa and MPNet have in place of BERT's pooler.
pub(super) const HEAD: HeadDescription = HeadDescription {
    dense: "classifier.dense",
    score: "classifier.out_proj",
    ..HeadDescription::BERT
};

/// The same network with positions that begin behind the padding token's id.
pub(super) fn after_padding(description: Description, padding: u32) -> Description {
    let rows = description.max_tokens;
    Description {
        max_tokens: rows.saturating_sub(padding as usize + 1),
        positions: Positions::AfterPadding { rows, padding },
        ..description
    }
}

fn one() -> u32 {
    1
}
