//! Requests for the relevance of texts to a query.

use std::sync::Arc;
use std::time::Instant;

use twofold_encode::{CrossEncoder, EncodeError, RemoteReranker};
use twofold_storage::InvalidInput;
use twofold_types::ModelId;
use twofold_types::rerank::TruncationDirection;

use crate::embeddings::{MAX_TEXTS, TooLong};
use crate::engine::Engine;
use crate::error::{Result, WorkerError};
use crate::models::Reranker;

/// How texts are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankOptions {
    /// Whether scores are those of the network, without the activation that its publisher puts behind it.
    pub raw: bool,
    /// What becomes of texts that are too long with the query.
    pub too_long: TooLong,
    /// Where they are cut.
    pub direction: TruncationDirection,
    /// After that nobody waits for scores.
    pub deadline: Option<Instant>,
}

/// As a reader would have it: the publisher's activation, and the beginning of texts that are too long.
impl Default for RankOptions {
    fn default() -> Self {
        Self {
            raw: false,
            too_long: TooLong::Cut,
            direction: TruncationDirection::Right,
            deadline: None,
        }
    }
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
    /// Scores every text with the query: in the lane of queries and in turns with them, or at an endpoint, for which the thread of
    /// the request waits.
    ///
    /// # Errors
    /// [`WorkerError::OutOfTime`] where the deadline comes first.
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
        let (scores, tokens) = match self.models.reranker(model)? {
            Reranker::Local(cross_encoder) => self.scores(&cross_encoder, query, texts, options)?,
            Reranker::Remote(reranker) => remote_scores(&reranker, model, query, texts, options)?,
        };
        let mut ranks: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
        // Stable: of two that are as relevant, the first comes first.
        ranks.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Ok(Ranked { ranks, tokens })
    }

    fn scores(
        &self,
        cross_encoder: &Arc<CrossEncoder>,
        query: &str,
        texts: &[String],
        options: RankOptions,
    ) -> Result<(Vec<f32>, u64)> {
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
        let mut scores = self.lanes.score(cross_encoder, &pairs, options.deadline)?;
        if !options.raw {
            let activation = cross_encoder.activation();
            scores.iter_mut().for_each(|score| *score = activation.of(*score));
        }
        Ok((scores, pairs.iter().map(|pair| pair.len() as u64).sum()))
    }
}

/// How texts are cut is the service's to say.
fn remote_scores(
    reranker: &RemoteReranker,
    model: &ModelId,
    query: &str,
    texts: &[String],
    options: RankOptions,
) -> Result<(Vec<f32>, u64)> {
    let scored = match options {
        RankOptions {
            too_long: TooLong::Refuse,
            ..
        } => Err(EncodeError::RemoteParameter("truncate")),
        RankOptions {
            direction: TruncationDirection::Left,
            ..
        } => Err(EncodeError::RemoteParameter("truncation_direction")),
        RankOptions { raw, deadline, .. } => reranker.score(query, texts, raw, deadline),
    };
    let scored = scored.map_err(|source| WorkerError::Model {
        model: model.clone(),
        source,
    })?;
    Ok((scored.scores, scored.tokens as u64))
}
