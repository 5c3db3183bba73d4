//! Cross-encoders (Nogueira and Cho 2019, arXiv:1901.04085): query and document are read together, and what comes out is how
//! relevant the document is. More exact than comparing two embeddings, and nothing of it can be computed before the query
//! is known, so it ranks what a search has found.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use twofold_types::{ModelId, ScoreActivation, rerank::TruncationDirection};

use crate::{Checkpoint, EncodeError, TokenBudget, network::Head, pair::Pair, pair::PairTokenizer};

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
        let begin = |pairs: &[&Pair]| self.forward(pairs);
        let finish = |_: &[&Pair], scores: Tensor| scores.flatten_all()?.to_vec1();
        self.checkpoint.in_parts(&self.model, pairs, Pair::len, begin, finish)
    }

    /// How many tokens a forward pass has at most.
    pub fn budget(&self) -> TokenBudget {
        self.checkpoint.budget()
    }

    /// One forward pass: `[pairs, 1]`.
    fn forward(&self, pairs: &[&Pair]) -> Result<Tensor> {
        let ids: Vec<&[u32]> = pairs.iter().map(|pair| pair.ids()).collect();
        let segments: Vec<&[u32]> = pairs.iter().map(|pair| pair.segments()).collect();
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.len()).collect();
        let hidden = self.checkpoint.network.forward_segments(&ids, &segments)?;
        self.head.forward(&hidden, &lengths)
    }
}
