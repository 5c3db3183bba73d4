//! The nouns of Twofold, with serde once: they are the wire format of the HTTP API and the domain model in one family.
//!
//! Nothing here does I/O. Where Qdrant's REST API has a noun, this is its shape; what it does not have (encoders,
//! documents, tasks) is Twofold's own.
//!
//! ```
//! use twofold_types::{Filter, PointId};
//!
//! let filter: Filter = serde_json::from_str(r#"{"must": [{"key": "city", "match": {"value": "Oslo"}}]}"#)?;
//! assert_eq!(filter.must.len(), 1);
//! let id: PointId = serde_json::from_str("7")?;
//! assert_eq!(id, PointId::Num(7));
//! # Ok::<(), serde_json::Error>(())
//! ```

/// Settings with what changes of them set.
macro_rules! changed {
    ($settings:expr, $changes:expr, { $($field:ident),+ $(,)? }) => {
        Self { $($field: $changes.$field.or($settings.$field)),+ }
    };
}
pub(crate) use changed;

pub mod api;
mod bm25;
mod collection;
mod datetime;
mod embedding;
mod embedding_space;
pub mod embeddings;
mod encoder;
pub mod evaluation;
mod filter;
mod formula;
mod geo;
mod ingestion;
mod language;
mod model;
mod model_info;
mod number;
mod payload_schema;
mod point;
mod pooled;
mod reembedding;
pub mod rerank;
mod schema;
mod slice;
mod snapshot;
mod strict_mode;
mod task;
mod text_index;
mod tuning;

pub use bm25::Bm25Options;
pub use collection::{
    ChunkingParams, ChunkingStrategy, CollectionConfig, CollectionName, Comparator, Datatype, Distance,
    InvalidCollectionName, Modifier, MultivectorConfig, SparseVectorParams, VectorParams, VectorsConfig,
};
pub use datetime::{Datetime, InvalidDatetime};
pub use embedding::{Embedding, EmbeddingKind, InvalidSparseVector, OtherKind, SparseVector};
pub use embedding_space::EmbeddingSpace;
pub use encoder::{EncoderParams, Pooling, Precision, PromptParams};
pub use filter::{
    Condition, FieldCondition, FieldTest, Filter, Match, MatchValue, MinShould, Nested, PayloadField, Range, RangeTest,
    ValuesCount, uuid_of,
};
pub use formula::{Decay, Expression, GeoDistance, Operation, Power, Quotient};
pub use geo::{GeoBoundingBox, GeoLineString, GeoPoint, GeoPolygon, GeoRadius};
pub use ingestion::{
    Backoff, CollectionIngestion, DeadLetter, DeadLetterPage, DeadLettersDeleted, DeadLettersRetried, DocumentEntry,
    DocumentPage, Ingestion, Priority, RetryDeadLetters, Stage, StreamAccepted, TaskPage,
};
pub use language::Language;
pub use model::{ModelId, Role};
pub use model_info::{
    CrossEncoderDetails, CrossEncoderKind, Details, EmbeddingCacheInfo, ModelDetails, ModelInfo, ModelsList,
    QueryCacheInfo, ScoreActivation,
};
pub use number::Number;
pub use payload_schema::{Memory, PayloadFieldSchema, PayloadIndexParams, PayloadSchemaType};
pub use point::{
    InvalidPointId, OrderValue, Payload, PointId, PointStruct, Record, ScoredPoint, TextInput, VectorInput,
    VectorsInput, VectorsOutput,
};
pub use pooled::{ChunkPooling, PooledVectorParams};
pub use reembedding::{Reembed, Reembedding, ReembeddingState};
pub use slice::Slice;
pub use snapshot::{RecoverSnapshot, SnapshotDescription};
pub use strict_mode::{StrictModeConfig, StrictModeMultivector, StrictModeSparse};
pub use task::{Document, DocumentError, Task, TaskId, TaskStatus};
pub use text_index::{StemmingAlgorithm, Stopwords, StopwordsSet, TextTokenizer};
pub use tuning::{HnswConfig, OptimizersConfig, VectorParamsDiff};
