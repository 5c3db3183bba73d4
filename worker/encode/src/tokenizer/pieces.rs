//! Word pieces: the tokens of networks.

use std::sync::Arc;

use tokenizers::normalizers::{Lowercase, Sequence};
use twofold_types::{EncoderParams, Role};

use super::Tokens;
use crate::{
    EncodeError, ModelFiles, Prompts,
    files::{self, Expansion, Head, LateInteraction},
    settings::Settings,
};

/// A model's tokenizer together with its prompts and its maximum length.
///
/// It works on the calling thread alone; callers with many texts split them.
pub struct Pieces {
    inner: Arc<tokenizers::Tokenizer>,
    prompts: Prompts,
    /// Tokens of the prompts of queries and of documents, with the special tokens before them.
    prompt_tokens: [usize; 2],
    max_tokens: usize,
    special_tokens: usize,
    late: Option<Late>,
}

/// What late interaction adds to texts.
struct Late {
    /// What follows the first token of a query, and of a document.
    markers: [Option<u32>; 2],
    query_tokens: usize,
    /// What queries are filled up with, and whether the other tokens attend to it.
    mask: Option<(u32, Expansion)>,
}

impl Late {
    fn new(tokenizer: &tokenizers::Tokenizer, files: &ModelFiles, late: &LateInteraction) -> Result<Self, EncodeError> {
        let id = |field: &'static str, spellings: &[&str]| {
            let id = spellings.iter().find_map(|token| tokenizer.token_to_id(token));
            id.ok_or_else(|| EncodeError::Unsupported {
                path: files.tokenizer_path(),
                field,
                found: spellings.first().copied().unwrap_or_default().to_owned(),
                supported: &["a token of the vocabulary"],
            })
        };
        let marker = |field, marker: &Option<String>| {
            let marker = marker.as_deref();
            marker.map(|marker| id(field, &[marker, marker.trim_end()])).transpose()
        };
        let [query, document] = &late.markers;
        let mask = |expansion| -> Result<_, EncodeError> { Ok((id("the mask", &["[MASK]", "<mask>"])?, expansion)) };
        Ok(Self {
            markers: [
                marker("the query's marker", query)?,
                marker("the document's marker", document)?,
            ],
            query_tokens: late.query_tokens.min(files.description().max_tokens),
            mask: late.expansion.map(mask).transpose()?,
        })
    }

    fn marker(&self, role: Role) -> Option<u32> {
        let [query, document] = self.markers;
        match role {
            Role::Query => query,
            Role::Document => document,
        }
    }
}

impl Pieces {
    /// A [loaded](load) tokenizer with the prompts and the maximum length that `params` make of a model's.
    ///
    /// # Errors
    /// [`EncodeError::Tokenizer`], naming `tokenizer.json`; [`EncodeError::Parameter`].
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
        let late = match files.head() {
            Head::Tokens(late) => Some(Late::new(&inner, files, late)?),
            Head::Pooled | Head::Vocabulary(_) | Head::Pairs(_) => None,
        };
        Ok(Self {
            prompt_tokens: [query.map_err(unusable)?, document.map_err(unusable)?],
            late,
            inner,
            prompts,
            max_tokens,
            special_tokens,
        })
    }

    /// The tokens of a text behind the role's prompt.
    pub(super) fn tokenize(&self, text: &str, role: Role) -> tokenizers::Result<Tokens> {
        let prompted = format!("{}{text}", self.prompts.of(role));
        let mut encoding = self.inner.encode_fast(prompted, false)?;
        let marker = self.late.as_ref().and_then(|late| late.marker(role));
        let most = match (&self.late, role) {
            (Some(late), Role::Query) => late.query_tokens,
            _ => self.max_tokens,
        };
        let room = most.saturating_sub(self.special_tokens + usize::from(marker.is_some()));
        let cut = encoding.len().saturating_sub(room);
        encoding.truncate(room, 0, tokenizers::TruncationDirection::Right);
        // What was cut off is kept in pieces beside the encoding; it would be post-processed as well.
        encoding.take_overflowing();
        let encoding = self.inner.post_process(encoding, None, true)?;
        let mut ids = encoding.get_ids().to_vec();
        if let Some(marker) = marker {
            ids.insert(1.min(ids.len()), marker);
        }
        let mut seen = ids.len();
        if let (Some(late), Role::Query) = (&self.late, role)
            && let Some((mask, expansion)) = late.mask
        {
            ids.resize(late.query_tokens.max(ids.len()), mask);
            if expansion == Expansion::Seen {
                seen = ids.len();
            }
        }
        let [query, document] = self.prompt_tokens;
        Ok(Tokens {
            ids,
            cut,
            seen,
            text: None,
            prompt: match role {
                Role::Query => query,
                Role::Document => document,
            },
        })
    }

    /// Tokens of a piece of text without prompt and special tokens.
    pub(super) fn count(&self, text: &str) -> tokenizers::Result<usize> {
        Ok(self.inner.encode_fast(text, false)?.len())
    }

    /// Those of a document, its marker among them.
    pub(super) fn special_tokens(&self) -> usize {
        let marker = self.late.as_ref().and_then(|late| late.marker(Role::Document));
        self.special_tokens + usize::from(marker.is_some())
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    pub(super) fn prompts(&self) -> &Prompts {
        &self.prompts
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
