//! Requests for the relevance of texts to a query.

use twofold_storage::InvalidInput;
use twofold_types::ModelId;
use twofold_types::rerank::TruncationDirection;

use crate::embeddings::{MAX_TEXTS, TooLong};
use crate::engine::Engine;
use crate::error::{Result, WorkerError};

/// How texts are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankOptions {
    /// Whether scores are those of the network, without the activation that its publisher puts behind it.
    pub raw: bool,
    /// What becomes of texts that are too long with the query.
    pub too_long: TooLong,
    /// Where they are cut.
    pub direction: TruncationDirection,
}

/// The relevance of texts to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// Places in the request with their scores, the most relevant first.
    pub ranks: Vec<(usize, f32)>,
    /// Tokens of all pairs, special tokens included.
    pub tokens: u64,
}

impl Engine {
    /// Scores every text with the query, in the lane of queries and in turns with them.
    pub fn rank(&self, model: &ModelId, query: &str, texts: &[String], options: RankOptions) -> Result<Ranked> {
        if texts.is_empty() {
            return Err(WorkerError::NoTexts);
        }
        if texts.len() > MAX_TEXTS {
            return Err(InvalidInput::Limit {
                what: "texts of one request",
                received: texts.len(),
                limit: MAX_TEXTS,
            }
            .into());
        }
        let cross_encoder = self.models.cross_encoder(model)?;
        let pairs = cross_encoder.pairs(query, texts, options.direction);
        let pairs = pairs.map_err(|error| WorkerError::Encoding(error.to_string()))?;
        if options.too_long == TooLong::Refuse
            && let Some(index) = pairs.iter().position(|pair| pair.cut() > 0)
        {
            return Err(WorkerError::TooLong {
                index,
                received: pairs[index].len() + pairs[index].cut(),
                most: pairs[index].len(),
            });
        }
        let scores = self.lanes.score(&cross_encoder, &pairs)?;
        let score = |raw| {
            if options.raw {
                raw
            } else {
                cross_encoder.activation().of(raw)
            }
        };
        let mut ranks: Vec<(usize, f32)> = scores.into_iter().map(score).enumerate().collect();
        // Stable: of two that are as relevant, the first comes first.
        ranks.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Ok(Ranked {
            ranks,
            tokens: pairs.iter().map(|pair| pair.len() as u64).sum(),
        })
    }
}
