//! Text to tokens, apart from encoding, so that it can run on another thread and serve the chunker.

use std::sync::Arc;

use tokenizers::normalizers::{Lowercase, Sequence};
use twofold_types::{EncoderParams, Role};

use crate::{EncodeError, ModelFiles, Prompts, files, settings::Settings};

/// The tokens of one text: special tokens included, cut to the model's maximum, not padded.
///
/// Only a [`Tokenizer`] makes them, so an encoder need not check what it is given as long as both are of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<u32>,
    /// How many at the beginning are the prompt's.
    prompt: usize,
    /// How many were cut off at the end.
    cut: usize,
    /// The text, where its encoder takes texts.
    text: Option<Arc<str>>,
}

impl Tokens {
    /// Positions in the model's vocabulary.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// How many tokens at the beginning are the prompt's, special tokens before it included.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// How many tokens of the text were cut off at its end because it was longer than the maximum.
    pub fn cut(&self) -> usize {
        self.cut
    }

    /// The text behind its prompt, cut as its tokens are; empty unless its tokenizer is that of an encoder that takes texts.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True only for an empty text under a tokenizer without special tokens.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// A model's tokenizer together with its prompts and its maximum length.
///
/// It works on the calling thread alone; callers with many texts split them.
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    prompts: Prompts,
    /// Tokens of the prompts of queries and of documents, with the special tokens before them.
    prompt_tokens: [usize; 2],
    max_tokens: usize,
    special_tokens: usize,
    /// Whether texts are kept beside their tokens.
    keeps_texts: bool,
}

impl Tokenizer {
    /// Loads the tokenizer of a model, with the prompts and the maximum length that `params` make of it.
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`] and [`EncodeError::Tokenizer`], naming `tokenizer.json`; [`EncodeError::Parameter`].
    pub fn open(files: &ModelFiles, params: &EncoderParams) -> Result<Self, EncodeError> {
        Self::new(Arc::new(load(files)?), files, params)
    }

    /// The same with a tokenizer that is [loaded](load).
    pub(crate) fn new(
        inner: Arc<tokenizers::Tokenizer>,
        files: &ModelFiles,
        params: &EncoderParams,
    ) -> Result<Self, EncodeError> {
        let Settings {
            prompts, max_tokens, ..
        } = Settings::resolve(files, params)?;
        let unusable = |source| EncodeError::Tokenizer {
            path: files.tokenizer_path(),
            source,
        };
        let special_tokens = inner
            .get_post_processor()
            .map_or(0, |p| tokenizers::PostProcessor::added_tokens(p, false));
        let prompt_tokens = [Role::Query, Role::Document].map(|role| prompt_tokens(&inner, prompts.of(role)));
        let [query, document] = prompt_tokens;
        Ok(Self {
            prompt_tokens: [query.map_err(unusable)?, document.map_err(unusable)?],
            inner,
            prompts,
            max_tokens,
            special_tokens,
            keeps_texts: false,
        })
    }

    /// A tokenizer for an encoder that takes texts: it counts tokens, and cuts texts where they have too many. It counts no special
    /// ones.
    pub(crate) fn of_texts(inner: Arc<tokenizers::Tokenizer>, prompts: Prompts, max_tokens: usize) -> Self {
        Self {
            inner,
            prompts,
            prompt_tokens: [0; 2],
            max_tokens,
            special_tokens: 0,
            keeps_texts: true,
        }
    }

    /// The tokens of each text behind the role's prompt, in the order of the texts.
    ///
    /// # Errors
    /// [`EncodeError::Tokenize`] with the first text that failed.
    pub fn tokenize(&self, texts: &[impl AsRef<str>], role: Role) -> Result<Vec<Tokens>, EncodeError> {
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                self.tokenize_one(text.as_ref(), role)
                    .map_err(|source| EncodeError::Tokenize { index, source })
            })
            .collect()
    }

    fn tokenize_one(&self, text: &str, role: Role) -> tokenizers::Result<Tokens> {
        let prompted = format!("{}{text}", self.prompts.of(role));
        if self.keeps_texts {
            return self.cut_text(prompted);
        }
        let mut encoding = self.inner.encode_fast(prompted, false)?;
        let room = self.max_tokens.saturating_sub(self.special_tokens);
        let cut = encoding.len().saturating_sub(room);
        encoding.truncate(room, 0, tokenizers::TruncationDirection::Right);
        // What was cut off is kept in pieces beside the encoding; it would be post-processed as well.
        encoding.take_overflowing();
        let encoding = self.inner.post_process(encoding, None, true)?;
        let [query, document] = self.prompt_tokens;
        Ok(Tokens {
            ids: encoding.get_ids().to_vec(),
            cut,
            prompt: match role {
                Role::Query => query,
                Role::Document => document,
            },
            text: None,
        })
    }

    fn cut_text(&self, mut text: String) -> tokenizers::Result<Tokens> {
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
            text: Some(text.into()),
        })
    }

    /// Tokens of a piece of text without prompt and special tokens, however long it is.
    ///
    /// # Errors
    /// [`EncodeError::Tokenize`].
    pub fn count_tokens(&self, text: &str) -> Result<usize, EncodeError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|source| EncodeError::Tokenize { index: 0, source })?;
        Ok(encoding.len())
    }

    /// How many special tokens every text gets; a chunk may have [`max_tokens`](Self::max_tokens) less these and less
    /// its prompt's.
    pub fn special_tokens(&self) -> usize {
        self.special_tokens
    }

    /// Longest text in tokens, everything included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// What is put before texts.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// The library's tokenizer for a text splitter: it neither cuts nor pads, and knows nothing of prompts.
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }
}

/// The library's tokenizer of a model, which neither cuts nor pads. Published files carry the settings of the day they were
/// exported (MiniLM: cut at 128, pad to 128). What counts is the model's own maximum; and a chunker has to see texts whole.
pub(crate) fn load(files: &ModelFiles) -> Result<tokenizers::Tokenizer, EncodeError> {
    let path = files.tokenizer_path();
    let unusable = |source| EncodeError::Tokenizer {
        path: path.clone(),
        source,
    };
    let mut inner = tokenizers::Tokenizer::from_bytes(files::read(&path)?).map_err(unusable)?;
    inner.with_truncation(None).map_err(unusable)?.with_padding(None);
    if files.lower_case() {
        let steps = [Lowercase.into()]
            .into_iter()
            .chain(inner.get_normalizer().cloned())
            .collect();
        inner.with_normalizer(Some(Sequence::new(steps))).map_err(unusable)?;
    }
    Ok(inner)
}

/// As sentence-transformers counts them: the tokens of the prompt alone, without a special token at its end.
fn prompt_tokens(tokenizer: &tokenizers::Tokenizer, prompt: &str) -> tokenizers::Result<usize> {
    if prompt.is_empty() {
        return Ok(0);
    }
    let encoding = tokenizer.encode(prompt, true)?;
    let ends_special = encoding.get_special_tokens_mask().last() == Some(&1);
    Ok(encoding.len() - usize::from(ends_special))
}
