//! Text to tokens, apart from encoding, so that it can run on another thread and serve the chunker.

mod pieces;
mod texts;

use std::sync::Arc;

use twofold_types::{EncoderParams, Role};

pub use self::pieces::Pieces;
pub(crate) use self::pieces::load;
pub use self::texts::Texts;
use crate::{EncodeError, ModelFiles, Prompts, bm25::Words};

/// The tokens of one text: special tokens included, cut to the model's maximum, not padded.
///
/// Only a [`Tokenizer`] makes them, so an encoder need not check what it is given as long as both are of one model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tokens {
    ids: Vec<u32>,
    /// How many at the beginning are the prompt's.
    prompt: usize,
    /// How many were cut off at the end.
    cut: usize,
    /// How many, from the first on, the others attend to.
    seen: usize,
    /// The text, where its encoder takes texts.
    text: Option<Arc<str>>,
}

impl Tokens {
    /// Positions in the model's vocabulary; of BM25 the numbers of terms.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The terms of a text, by their numbers.
    pub(crate) fn of_terms(ids: Vec<u32>) -> Self {
        Self {
            seen: ids.len(),
            ids,
            prompt: 0,
            cut: 0,
            text: None,
        }
    }

    /// How many tokens at the beginning are the prompt's, special tokens before it included.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// How many tokens of the text were cut off at its end because it was longer than the maximum.
    pub fn cut(&self) -> usize {
        self.cut
    }

    /// How many tokens, from the first on, the others attend to: all, but for the masks behind a query of late interaction.
    pub(crate) fn seen(&self) -> usize {
        self.seen
    }

    /// The text behind its prompt, cut as its tokens are; empty unless its tokenizer is that of an encoder that takes texts.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True only under a tokenizer without special tokens, for a text without words.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// What makes tokens of texts, together with the prompts before them and the most tokens that a text may have.
///
/// It works on the calling thread alone; callers with many texts split them.
pub enum Tokenizer {
    /// Word pieces, for a network.
    Pieces(Pieces),
    /// Words, for BM25.
    Words(Words),
    /// Texts, for a model elsewhere.
    Texts(Texts),
}

impl Tokenizer {
    /// Loads the tokenizer of a network, with the prompts and the maximum length that `params` make of it.
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`] and [`EncodeError::Tokenizer`], naming `tokenizer.json`; [`EncodeError::Parameter`].
    pub fn open(files: &ModelFiles, params: &EncoderParams) -> Result<Self, EncodeError> {
        Pieces::new(Arc::new(load(files)?), files, params).map(Self::Pieces)
    }

    /// The tokens of each text behind the role's prompt, in the order of the texts.
    ///
    /// # Errors
    /// [`EncodeError::Tokenize`] with the first text that failed.
    pub fn tokenize(&self, texts: &[impl AsRef<str>], role: Role) -> Result<Vec<Tokens>, EncodeError> {
        let tokens = |(index, text): (usize, &str)| match self {
            Self::Pieces(pieces) => pieces
                .tokenize(text, role)
                .map_err(|source| EncodeError::Tokenize { index, source }),
            Self::Words(words) => Ok(words.tokenize(text)),
            Self::Texts(texts) => texts
                .tokenize(text, role)
                .map_err(|source| EncodeError::Tokenize { index, source }),
        };
        texts.iter().map(AsRef::as_ref).enumerate().map(tokens).collect()
    }

    /// Tokens of a piece of text without prompt and special tokens, however long it is.
    ///
    /// # Errors
    /// [`EncodeError::Tokenize`].
    pub fn count_tokens(&self, text: &str) -> Result<usize, EncodeError> {
        match self {
            Self::Pieces(pieces) => pieces
                .count(text)
                .map_err(|source| EncodeError::Tokenize { index: 0, source }),
            Self::Words(words) => Ok(words.count(text)),
            Self::Texts(texts) => texts
                .count(text)
                .map_err(|source| EncodeError::Tokenize { index: 0, source }),
        }
    }

    /// How many special tokens every text gets; a chunk may have [`max_tokens`](Self::max_tokens) less these and less
    /// its prompt's.
    pub fn special_tokens(&self) -> usize {
        match self {
            Self::Pieces(pieces) => pieces.special_tokens(),
            Self::Words(_) | Self::Texts(_) => 0,
        }
    }

    /// Longest document in tokens, everything included.
    pub fn max_tokens(&self) -> usize {
        match self {
            Self::Pieces(pieces) => pieces.max_tokens(),
            Self::Words(_) => Words::MAX,
            Self::Texts(texts) => texts.max_tokens(),
        }
    }

    /// What is put before texts.
    pub fn prompts(&self) -> &Prompts {
        match self {
            Self::Pieces(pieces) => pieces.prompts(),
            Self::Words(words) => words.prompts(),
            Self::Texts(texts) => texts.prompts(),
        }
    }
}
