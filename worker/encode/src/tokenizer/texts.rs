//! Texts for encoders that take texts: models elsewhere, which have tokenizers of their own.

use std::sync::Arc;

use twofold_types::Role;

use super::Tokens;
use crate::Prompts;

/// Counts tokens, and cuts texts where they have too many. It counts no special ones.
pub struct Texts {
    inner: Arc<tokenizers::Tokenizer>,
    prompts: Prompts,
    max_tokens: usize,
}

impl Texts {
    pub(crate) fn new(inner: Arc<tokenizers::Tokenizer>, prompts: Prompts, max_tokens: usize) -> Self {
        Self {
            inner,
            prompts,
            max_tokens,
        }
    }

    /// The text behind the role's prompt, and its tokens.
    pub(super) fn tokenize(&self, text: &str, role: Role) -> tokenizers::Result<Tokens> {
        let mut text = format!("{}{text}", self.prompts.of(role));
        let encoding = self.inner.encode(text.as_str(), false)?;
        let cut = encoding.len().saturating_sub(self.max_tokens);
        let kept = encoding.len() - cut;
        if cut > 0 {
            let end = kept.checked_sub(1).map_or(0, |last| encoding.get_offsets()[last].1);
            // Of a tokenizer by bytes, a token may end within a character.
            text.truncate(text.floor_char_boundary(end));
        }
        Ok(Tokens {
            ids: encoding.get_ids()[..kept].to_vec(),
            prompt: 0,
            cut,
            seen: kept,
            text: Some(text.into()),
        })
    }

    /// Tokens of a piece of text without prompt.
    pub(super) fn count(&self, text: &str) -> tokenizers::Result<usize> {
        Ok(self.inner.encode_fast(text, false)?.len())
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    pub(super) fn prompts(&self) -> &Prompts {
        &self.prompts
    }
}
