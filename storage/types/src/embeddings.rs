//! Texts in, vectors out: requests and answers in the shapes of OpenAI's embeddings API and of text-embeddings-inference.

use std::fmt;
use std::num::NonZeroUsize;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::{Bm25Options, ModelId, Role};

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextsInput {
    /// Texts, in their order.
    Texts(Vec<String>),
    /// Token ids, which no tokenizer here has made: read so that they can be refused by name.
    Tokens,
}

impl<T: Into<String>> FromIterator<T> for TextsInput {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        Self::Texts(texts.into_iter().map(Into::into).collect())
    }
}

impl Serialize for TextsInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Texts(texts) => texts.serialize(serializer),
            Self::Tokens => Err(serde::ser::Error::custom("token ids are accepted nowhere: send texts")),
        }
    }
}

impl<'de> Deserialize<'de> for TextsInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = TextsInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<TextsInput, E> {
        Ok(TextsInput::Texts(vec![text.to_owned()]))
    }

    fn visit_string<E>(self, text: String) -> Result<TextsInput, E> {
        Ok(TextsInput::Texts(vec![text]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TextsInput, A::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string or an array of strings")]
        #[expect(dead_code, reason = "of token ids, the shape is what counts")]
        enum Element {
            Text(String),
            Token(u32),
            Tokens(Vec<u32>),
        }
        let mut texts = Vec::new();
        while let Some(element) = seq.next_element()? {
            match element {
                Element::Text(text) => texts.push(text),
                Element::Token(_) | Element::Tokens(_) => {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(TextsInput::Tokens);
                }
            }
        }
        Ok(TextsInput::Texts(texts))
    }
}

/// A request for embeddings in OpenAI's shape (`POST /v1/embeddings`); `input_type` is ours. Other keys have no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreateEmbeddings {
    /// The texts.
    pub input: TextsInput,
    /// The model.
    pub model: ModelId,
    /// How vectors are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<EncodingFormat>,
    /// How many of the first dimensions are kept; see [`EncoderParams::dimensions`](crate::EncoderParams::dimensions).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub dimensions: Option<NonZeroUsize>,
    /// Which side of the bi-encoder the texts are on. Default: documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_type: Option<InputType>,
}

impl CreateEmbeddings {
    /// A request for embeddings of documents, as the model makes them.
    pub fn new(model: ModelId, input: TextsInput) -> Self {
        Self {
            input,
            model,
            encoding_format: None,
            dimensions: None,
            input_type: None,
        }
    }
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    /// An array of numbers.
    #[default]
    Float,
    /// The bytes of little-endian 32-bit floats, in base 64.
    Base64,
}

/// A [`Role`] in the words that embedding services have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// Texts that are searched for.
    #[serde(alias = "search_query")]
    Query,
    /// Texts that are stored and found.
    #[serde(alias = "search_document")]
    Document,
}

impl From<InputType> for Role {
    fn from(input_type: InputType) -> Self {
        match input_type {
            InputType::Query => Self::Query,
            InputType::Document => Self::Document,
        }
    }
}

/// A list, as OpenAI writes one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// `list`.
    pub object: String,
    /// What it holds.
    pub data: Vec<T>,
}

impl<T> List<T> {
    /// A list of `data`.
    pub fn new(data: Vec<T>) -> Self {
        Self {
            object: "list".to_owned(),
            data,
        }
    }
}

/// The answer to [`CreateEmbeddings`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Embeddings {
    /// One embedding per text, in the order of the texts.
    #[serde(flatten)]
    pub list: List<EmbeddingObject>,
    /// The model that made them.
    pub model: ModelId,
    /// What they cost.
    pub usage: Usage,
}

/// An embedding of [`Embeddings`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingObject {
    /// `embedding`.
    pub object: String,
    /// The place of its text in the request.
    pub index: usize,
    /// The vector.
    pub embedding: EmbeddingValue,
}

/// A vector in the format that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EmbeddingValue {
    /// [`EncodingFormat::Float`].
    Float(Vec<f32>),
    /// [`EncodingFormat::Base64`].
    Base64(String),
}

/// Tokens of the texts as they were encoded: with prompts and special tokens, without what was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// All of them are the prompt's.
    pub prompt_tokens: u64,
    /// The same.
    pub total_tokens: u64,
}

/// A model of OpenAI's list (`GET /v1/models`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelObject {
    /// Its name.
    pub id: ModelId,
    /// `model`.
    pub object: String,
    /// When its directory was made, in seconds since 1970.
    pub created: u64,
    /// Its publisher.
    pub owned_by: String,
}

/// An error in OpenAI's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenAiError {
    /// What went wrong.
    pub error: OpenAiErrorBody,
}

/// The inside of [`OpenAiError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenAiErrorBody {
    /// For people.
    pub message: String,
    /// `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The key of the request that is to blame, where it is one.
    pub param: Option<String>,
    /// For programs: `model_not_found`, `rate_limit_exceeded`.
    pub code: Option<String>,
}

/// A request for embeddings in text-embeddings-inference's shape (`POST /embed`); `model` is ours. The answer is an array of
/// vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Embed {
    /// The texts.
    pub inputs: TextsInput,
    /// The model. Default: the server's default model, or the only one that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// Whether vectors have unit length. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// Whether texts that are too long are cut; `false` refuses them. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
    /// Where texts are cut: at their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncation_direction: Option<TruncationDirection>,
    /// `query`, or `document` or `passage`. Default: documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_name: Option<PromptName>,
    /// How many of the first dimensions are kept; see [`EncoderParams::dimensions`](crate::EncoderParams::dimensions).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub dimensions: Option<NonZeroUsize>,
}

impl Embed {
    /// A request for vectors of documents by the server's default model.
    pub fn new(inputs: TextsInput) -> Self {
        Self {
            inputs,
            model: None,
            normalize: None,
            truncate: None,
            truncation_direction: None,
            prompt_name: None,
            dimensions: None,
        }
    }
}

/// A request for sparse embeddings (`POST /embed_sparse`) or for a vector a token (`POST /embed_all`) in the shape of
/// text-embeddings-inference; `model` and `options` are ours. The answer is an array with, for each text, an array of
/// [`SparseValue`]s, or of vectors.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct EmbedTerms {
    /// The texts.
    pub inputs: TextsInput,
    /// As in [`Embed`].
    #[serde(default)]
    pub model: Option<ModelId>,
    /// As in [`EncoderParams`](crate::EncoderParams).
    #[serde(default)]
    pub options: Option<Bm25Options>,
    /// As in [`Embed`].
    #[serde(default)]
    pub truncate: Option<bool>,
    /// As in [`Embed`].
    #[serde(default)]
    pub truncation_direction: Option<TruncationDirection>,
    /// As in [`Embed`].
    #[serde(default)]
    pub prompt_name: Option<PromptName>,
}

/// A term of a sparse embedding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SparseValue {
    /// The term.
    pub index: u32,
    /// Its weight.
    pub value: f32,
}

/// Where texts are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TruncationDirection {
    /// At their end: the only one there is here.
    #[serde(alias = "Right")]
    Right,
}

/// The name of a model's prompt, as far as it tells a [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PromptName {
    /// The prompt of queries.
    Query,
    /// The prompt of documents.
    #[serde(alias = "passage")]
    Document,
}

impl From<PromptName> for Role {
    fn from(name: PromptName) -> Self {
        match name {
            PromptName::Query => Self::Query,
            PromptName::Document => Self::Document,
        }
    }
}

/// An error in text-embeddings-inference's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EmbedError {
    /// For people.
    pub error: String,
    /// For programs: `validation`, `empty`, `overloaded`, `unhealthy` or `backend`.
    pub error_type: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(json: &str) -> Result<TextsInput, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_are_read_and_tokens_are_told_from_them() {
        let texts = |texts: &[&str]| TextsInput::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(input(r#""a""#), Ok(texts(&["a"])));
        assert_eq!(input(r#"["a", "ä\n"]"#), Ok(texts(&["a", "ä\n"])));
        assert_eq!(input("[]"), Ok(texts(&[])));
        for tokens in ["[1, 2]", "[[1, 2], [3]]", r#"["a", 1, {}]"#] {
            assert_eq!(input(tokens), Ok(TextsInput::Tokens), "{tokens}");
        }
        for wrong in ["7", "null", r#"[{"text": "a"}]"#, "[null]", "[-1]", "{}"] {
            let error = input(wrong).unwrap_err();
            assert!(error.contains("a string or an array of strings"), "{wrong}: {error}");
        }
    }

    #[test]
    fn requests_say_only_what_is_asked() {
        let texts: TextsInput = ["a", "b"].into_iter().collect();
        let request = CreateEmbeddings::new(ModelId::new("m"), texts.clone());
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(json, r#"{"input":["a","b"],"model":"m"}"#);
        let request = Embed {
            prompt_name: Some(PromptName::Query),
            ..Embed::new(texts)
        };
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(json, r#"{"inputs":["a","b"],"prompt_name":"query"}"#);
        assert_eq!(serde_json::from_str::<Embed>(&json).unwrap(), request);
        assert!(serde_json::to_string(&Embed::new(TextsInput::Tokens)).is_err());
    }

    #[test]
    fn a_request_names_its_side_in_either_word() {
        for (name, role) in [
            ("query", Role::Query),
            ("search_query", Role::Query),
            ("document", Role::Document),
            ("search_document", Role::Document),
        ] {
            let json = format!(r#"{{"input": "a", "model": "m", "input_type": "{name}", "user": "me"}}"#);
            let request: CreateEmbeddings = serde_json::from_str(&json).unwrap();
            assert_eq!(request.input_type.map(Role::from), Some(role));
        }
    }
}
