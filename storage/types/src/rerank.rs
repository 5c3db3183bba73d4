//! A query and texts in, the most relevant texts first: requests and answers in the shape of text-embeddings-inference, and in
//! that of Cohere's and Jina's APIs.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ModelId;
use crate::embeddings::Usage;

/// Where a text is cut that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = RankTruncationDirection)]
pub enum TruncationDirection {
    /// At its beginning.
    #[serde(alias = "left")]
    Left,
    /// At its end.
    #[default]
    #[serde(alias = "right")]
    Right,
}

/// A request in text-embeddings-inference's shape (`POST /rerank`); `model` is ours. The answer is an array of [`Rank`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RankTexts {
    /// What is asked.
    pub query: String,
    /// The texts that may answer it.
    pub texts: Vec<String>,
    /// The model. Default: the only cross-encoder that the server has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// Whether scores are those of the network, without the activation that its publisher puts behind it.
    #[serde(default)]
    pub raw_scores: bool,
    /// Whether texts are answered with their scores.
    #[serde(default)]
    pub return_text: bool,
    /// Whether texts that are too long are cut; `false` refuses them. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// Where they are cut.
    #[serde(default)]
    pub truncation_direction: TruncationDirection,
}

/// A text's place in the order of relevance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rank {
    /// Its place in the request.
    pub index: usize,
    /// How relevant it is: more is better.
    pub score: f32,
    /// The text, where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A request in Cohere's and Jina's shape (`POST /v1/rerank`, `POST /v2/rerank`). Other keys have no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rerank {
    /// The cross-encoder.
    pub model: ModelId,
    /// What is asked.
    pub query: String,
    /// The documents that may answer it.
    pub documents: Vec<RerankDocument>,
    /// How many of the best are answered. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<NonZeroUsize>,
    /// Whether documents are answered with their scores.
    #[serde(default)]
    pub return_documents: bool,
}

/// A document to rank: a text, or an object with one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a document is a string, or an object with a `text`")]
pub enum RerankDocument {
    /// The text itself.
    Text(String),
    /// The text below a key.
    Object {
        /// The text.
        text: String,
    },
}

impl RerankDocument {
    /// The text.
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { text } => text,
        }
    }
}

impl From<String> for RerankDocument {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// The answer to [`Rerank`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reranked {
    /// The model that scored.
    pub model: ModelId,
    /// The best documents, the most relevant first.
    pub results: Vec<RerankResult>,
    /// What it cost.
    pub usage: Usage,
}

/// A document of [`Reranked`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RerankResult {
    /// Its place in the request.
    pub index: usize,
    /// How relevant it is: more is better.
    pub relevance_score: f32,
    /// The document, where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<RerankedText>,
}

/// A text below its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RerankedText {
    /// The text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_texts_or_objects_with_one() {
        let json =
            r#"{"model": "m", "query": "q", "documents": ["a", {"text": "b", "title": "t"}], "max_tokens_per_doc": 9}"#;
        let request: Rerank = serde_json::from_str(json).unwrap();
        let texts: Vec<String> = request.documents.into_iter().map(RerankDocument::into_text).collect();
        assert_eq!(texts, ["a", "b"]);
        assert_eq!((request.top_n, request.return_documents), (None, false));
        let error = serde_json::from_str::<Rerank>(r#"{"model": "m", "query": "q", "documents": [7]}"#).unwrap_err();
        assert!(error.to_string().contains("an object with a `text`"), "{error}");
    }

    #[test]
    fn texts_are_cut_at_their_end_unless_asked_otherwise() {
        let direction =
            |json: &str| serde_json::from_str::<RankTexts>(json).map(|request| request.truncation_direction);
        let plain = direction(r#"{"query": "q", "texts": ["a"]}"#);
        assert_eq!(plain.unwrap(), TruncationDirection::Right);
        let left = direction(r#"{"query": "q", "texts": ["a"], "truncation_direction": "Left"}"#);
        assert_eq!(left.unwrap(), TruncationDirection::Left);
    }
}
