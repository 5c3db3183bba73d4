//! Cross-encoders (Nogueira and Cho 2019, arXiv:1901.04085): query and document are read together, and what comes out is how
//! relevant the document is. More exact than comparing two embeddings, and nothing of it can be computed before the query
//! is known, so it ranks what a search has found.

use std::sync::Arc;

use candle_core::Result;
use twofold_types::{ModelId, ScoreActivation, rerank::TruncationDirection};

use crate::{Checkpoint, EncodeError, batch, network::Head, pair::Pair, pair::PairTokenizer};

/// A sequence classifier with one label: the relevance of a document to a query.
///
/// Blocking and CPU-bound as [`Encoder`](crate::Encoder) is, and shared between threads in the same way.
pub struct CrossEncoder {
    model: ModelId,
    checkpoint: Arc<Checkpoint>,
    head: Arc<Head>,
    activation: ScoreActivation,
    tokenizer: PairTokenizer,
}

impl CrossEncoder {
    pub(crate) fn new(
        model: ModelId,
        checkpoint: Arc<Checkpoint>,
        head: Arc<Head>,
        activation: ScoreActivation,
    ) -> Self {
        Self {
            tokenizer: PairTokenizer::new(checkpoint.tokenizer.clone(), checkpoint.files.max_tokens()),
            model,
            checkpoint,
            head,
            activation,
        }
    }

    /// Which model this is.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Longest pair in tokens, special tokens included.
    pub fn max_tokens(&self) -> usize {
        self.tokenizer.max_tokens()
    }

    /// What the model's publisher makes of raw scores.
    pub fn activation(&self) -> ScoreActivation {
        self.activation
    }

    /// The query with each of the documents, in their order. What is too long is cut in this direction; where both are long, both
    /// are cut.
    ///
    /// # Errors
    /// [`EncodeError::Tokenize`] with the first document that failed.
    pub fn pairs(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        direction: TruncationDirection,
    ) -> std::result::Result<Vec<Pair>, EncodeError> {
        self.tokenizer.pairs(query, documents, direction)
    }

    /// The raw score of each pair, in their order. It does not depend on the pairs beside it. Any number of pairs of any
    /// lengths is welcome: they are scored in parts of one length under [`EncodeOptions::budget`](crate::EncodeOptions::budget).
    ///
    /// # Errors
    /// [`EncodeError::Forward`]; then no pair has a score.
    pub fn score(&self, pairs: &[Pair]) -> std::result::Result<Vec<f32>, EncodeError> {
        let lengths: Vec<usize> = pairs.iter().map(Pair::len).collect();
        let mut scores = vec![0.0; pairs.len()];
        for part in batch::plan(&lengths, self.checkpoint.options.budget) {
            let texts: Vec<&Pair> = part.iter().map(|&i| &pairs[i]).collect();
            let made = self.forward(&texts).map_err(|source| EncodeError::Forward {
                model: self.model.clone(),
                texts: part.len(),
                longest: lengths[part[0]],
                source: source.into(),
            })?;
            for (i, score) in part.into_iter().zip(made) {
                scores[i] = score;
            }
        }
        Ok(scores)
    }

    /// One forward pass.
    fn forward(&self, pairs: &[&Pair]) -> Result<Vec<f32>> {
        let ids: Vec<&[u32]> = pairs.iter().map(|pair| pair.ids()).collect();
        let segments: Vec<&[u32]> = pairs.iter().map(|pair| pair.segments()).collect();
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.len()).collect();
        let hidden = self.checkpoint.network.forward_segments(&ids, &segments)?;
        self.head.forward(&hidden, &lengths)?.flatten_all()?.to_vec1()
    }
}
