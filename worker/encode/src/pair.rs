//! A query and a document as one sequence of tokens, which is what a cross-encoder reads.

use std::sync::Arc;

use tokenizers::{
    Encoding, PostProcessor, TruncationDirection as Direction, TruncationParams, TruncationStrategy, truncate_encodings,
};
use twofold_types::rerank::TruncationDirection;

use crate::EncodeError;

/// The tokens of a query and a document, special tokens included: `[CLS] query [SEP] document [SEP]` in BERT's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    ids: Vec<u32>,
    segments: Vec<u32>,
    cut: usize,
}

impl Pair {
    /// Positions in the model's vocabulary.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Of every token, whether it is of the first or the second segment, as the model's tokenizer numbers them.
    pub fn segments(&self) -> &[u32] {
        &self.segments
    }

    /// How many tokens were cut off because both were longer than the maximum together.
    pub fn cut(&self) -> usize {
        self.cut
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True only for empty texts under a tokenizer without special tokens.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// A tokenizer of pairs with its maximum length.
pub(crate) struct PairTokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    max_tokens: usize,
    /// Tokens that are left for both texts.
    room: usize,
}

impl PairTokenizer {
    pub fn new(inner: Arc<tokenizers::Tokenizer>, max_tokens: usize) -> Self {
        let special = inner.get_post_processor().map_or(0, |p| p.added_tokens(true));
        Self {
            room: max_tokens.saturating_sub(special),
            inner,
            max_tokens,
        }
    }

    /// Longest pair in tokens, special tokens included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Pairs the query with each document. Where both are too long together, the longer one is cut, and both to one length where
    /// that does not do: `longest_first`, as sentence-transformers cuts them.
    ///
    /// # Errors
    /// [`EncodeError::Tokenize`] with the first document that failed.
    pub fn pairs(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        direction: TruncationDirection,
    ) -> Result<Vec<Pair>, EncodeError> {
        let failed = |index: usize| move |source| EncodeError::Tokenize { index, source };
        let query = self.encoding(query, 0).map_err(failed(0))?;
        let paired = documents.iter().enumerate().map(|(index, document)| {
            self.encoding(document.as_ref(), 1)
                .and_then(|document| self.pair(query.clone(), document, direction))
                .map_err(failed(index))
        });
        paired.collect()
    }

    /// A text by itself. Some tokenizers number segments by what comes in, others themselves.
    fn encoding(&self, text: &str, segment: u32) -> tokenizers::Result<Encoding> {
        let mut encoding = self.inner.encode_fast(text, false)?;
        encoding.set_type_ids(vec![segment; encoding.len()]);
        Ok(encoding)
    }

    fn pair(&self, query: Encoding, document: Encoding, direction: TruncationDirection) -> tokenizers::Result<Pair> {
        let cut = (query.len() + document.len()).saturating_sub(self.room);
        let params = TruncationParams {
            direction: match direction {
                TruncationDirection::Left => Direction::Left,
                TruncationDirection::Right => Direction::Right,
            },
            max_length: self.room,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        let (mut query, document) = truncate_encodings(query, Some(document), &params)?;
        let mut document = document.unwrap_or_default();
        // What was cut off is kept in pieces beside the encodings; they would be post-processed as well.
        query.take_overflowing();
        document.take_overflowing();
        let whole = self.inner.post_process(query, Some(document), true)?;
        Ok(Pair {
            ids: whole.get_ids().to_vec(),
            segments: whole.get_type_ids().to_vec(),
            cut,
        })
    }
}
