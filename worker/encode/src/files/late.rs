//! What is particular to late interaction: markers, the expansion of queries, and tokens of documents that are left out. Either in
//! `artifact.metadata`, beside checkpoints of ColBERT's authors, or in `config_sentence_transformers.json`, as PyLate writes it.

use std::path::Path;

use serde::Deserialize;

use super::read_json_if_there;
use crate::EncodeError;

/// What the files say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LateInteraction {
    /// The token that follows the first one of a query, and that of a document.
    pub markers: [Option<String>; 2],
    /// Longest query in tokens, everything included.
    pub query_tokens: usize,
    /// Longest document in tokens, everything included.
    pub document_tokens: usize,
    /// How queries are filled up to their longest with masks, where they are.
    pub expansion: Option<Expansion>,
    /// Tokens of documents that get no vector.
    pub skipped: Vec<String>,
}

/// Masks behind a query, whose vectors stand for words that it might have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expansion {
    /// The query's own tokens do not attend to them.
    Unseen,
    /// All tokens attend to all.
    Seen,
}

/// Of PyLate.
#[derive(Default, Deserialize)]
struct PyLate {
    query_prefix: Option<String>,
    document_prefix: Option<String>,
    query_length: Option<usize>,
    document_length: Option<usize>,
    attend_to_expansion_tokens: Option<bool>,
    skiplist_words: Option<Vec<String>>,
    do_query_expansion: Option<bool>,
}

/// `artifact.metadata`.
#[derive(Default, Deserialize)]
struct Artifact {
    query_token_id: Option<String>,
    doc_token_id: Option<String>,
    query_maxlen: Option<usize>,
    doc_maxlen: Option<usize>,
    dim: Option<usize>,
    mask_punctuation: Option<bool>,
    attend_to_mask_tokens: Option<bool>,
}

const PUNCTUATION: &str = r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##;

impl LateInteraction {
    /// As PyLate reads it.
    pub(super) fn of_pylate(path: &Path) -> Result<Self, EncodeError> {
        let file: PyLate = read_json_if_there(path)?.unwrap_or_default();
        let marker = |prefix: Option<String>, default: &str| {
            let marker = prefix.unwrap_or_else(|| default.to_owned());
            Some(marker).filter(|marker| !marker.is_empty())
        };
        let expands = file.do_query_expansion.unwrap_or(true);
        Ok(Self {
            markers: [marker(file.query_prefix, "[Q] "), marker(file.document_prefix, "[D] ")],
            query_tokens: file.query_length.unwrap_or(32),
            document_tokens: file.document_length.unwrap_or(180),
            expansion: expands.then(|| Expansion::new(file.attend_to_expansion_tokens)),
            skipped: file.skiplist_words.unwrap_or_else(punctuation),
        })
    }

    /// As ColBERT's authors read it, with the number of dimensions.
    pub(super) fn of_artifact(path: &Path) -> Result<(Self, usize), EncodeError> {
        let file: Artifact = read_json_if_there(path)?.unwrap_or_default();
        let marker = |token: Option<String>, default: &str| Some(token.unwrap_or_else(|| default.to_owned()));
        let late = Self {
            markers: [
                marker(file.query_token_id, "[unused0]"),
                marker(file.doc_token_id, "[unused1]"),
            ],
            query_tokens: file.query_maxlen.unwrap_or(32),
            document_tokens: file.doc_maxlen.unwrap_or(220),
            expansion: Some(Expansion::new(file.attend_to_mask_tokens)),
            skipped: file
                .mask_punctuation
                .unwrap_or(true)
                .then(punctuation)
                .unwrap_or_default(),
        };
        Ok((late, file.dim.unwrap_or(128)))
    }
}

impl Expansion {
    fn new(seen: Option<bool>) -> Self {
        if seen.unwrap_or(false) {
            Self::Seen
        } else {
            Self::Unseen
        }
    }
}

fn punctuation() -> Vec<String> {
    PUNCTUATION.chars().map(String::from).collect()
}
