//! The models of a server, as they are listed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::schema::perhaps;
use crate::{EmbeddingSpace, ModelId, Pooling, Precision, PromptParams};

/// The models on a machine (ours: `GET /models`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelsList {
    /// Those in the models directory, by name.
    pub models: Vec<ModelInfo>,
    /// Bytes that the weights of loaded models take.
    pub loaded_bytes: u64,
    /// Bytes that they may take before the least recently used is unloaded.
    pub budget_bytes: u64,
    /// The cache of query vectors.
    pub query_cache: QueryCacheInfo,
    /// The cache of embeddings of documents.
    pub embedding_cache: EmbeddingCacheInfo,
}

/// A model in the models directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelInfo {
    /// Its name: its directory, with its publisher's.
    pub id: ModelId,
    /// Whether its weights are in memory.
    pub loaded: bool,
    /// What they compute in, where they are: `f32`, `int8`, or both, each with weights of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precisions: Vec<Precision>,
    /// What its files say, where they can be read.
    #[serde(flatten)]
    #[schema(schema_with = details)]
    pub details: Option<Details>,
    /// Why it cannot be opened, or why it could not be loaded the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn details() -> RefOr<Schema> {
    perhaps("Details")
}

/// What a model does, by its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Details {
    /// One that makes embeddings.
    Encoder(ModelDetails),
    /// One that scores pairs of texts.
    CrossEncoder(CrossEncoderDetails),
}

/// What a cross-encoder does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CrossEncoderDetails {
    /// `cross-encoder`.
    pub kind: CrossEncoderKind,
    /// The family of its network: `bert`, `roberta` and so on.
    pub family: String,
    /// Longest query and document in tokens together; what is longer is cut.
    pub max_tokens: usize,
    /// What is made of the network's scores.
    pub activation: ScoreActivation,
    /// Its licence as an SPDX identifier, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Bytes of its weights when they are loaded in f32.
    pub weight_bytes: u64,
}

/// Tells a cross-encoder from models that make embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum CrossEncoderKind {
    /// The only one.
    #[serde(rename = "cross-encoder")]
    CrossEncoder,
}

/// What is made of a cross-encoder's raw score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScoreActivation {
    /// 1 / (1 + e^-x): between 0 and 1.
    Sigmoid,
    /// Itself: any number.
    Identity,
}

impl ScoreActivation {
    /// The score that is made of a raw one.
    pub fn of(self, raw: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + (-raw).exp()),
            Self::Identity => raw,
        }
    }
}

/// What a model that makes embeddings does by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelDetails {
    /// The family of its network: `bert`, `mpnet` and so on.
    pub family: String,
    /// What kind of embedding it makes, of how many dimensions, and how they are compared.
    #[serde(flatten)]
    pub space: EmbeddingSpace,
    /// Longest text in tokens; what is longer is cut. None of BM25, which takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// How the vectors of a text's tokens become one, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether vectors have unit length.
    pub normalize: bool,
    /// What is put before texts.
    pub prompts: PromptParams,
    /// The model that encodes queries, where this one encodes documents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_model: Option<ModelId>,
    /// Its licence as an SPDX identifier, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Bytes of its weights when they are loaded in f32.
    pub weight_bytes: u64,
}

/// How the cache of query vectors does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueryCacheInfo {
    /// Vectors that it holds.
    pub entries: usize,
    /// Vectors that it holds at most; 0: it is off.
    pub capacity: usize,
    /// Queries since the start that were found in it.
    pub hits: u64,
    /// Queries since the start that had to be encoded.
    pub misses: u64,
}

/// How the cache of embeddings of documents does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingCacheInfo {
    /// Bytes that it takes, those that are still in memory included.
    pub bytes: u64,
    /// Bytes that it may take on disk; 0: it is off.
    pub capacity_bytes: u64,
    /// Texts of documents since the start that were found in it.
    pub hits: u64,
    /// Texts of documents since the start that had to be encoded.
    pub misses: u64,
}
