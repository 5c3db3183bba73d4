//! Collections and their payload indexes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    ChunkingParams, CollectionName, EncoderParams, HnswConfig, OptimizersConfig, Payload, PayloadFieldSchema,
    PayloadIndexParams, PayloadSchemaType, PooledVectorParams, SparseVectorParams, StrictModeConfig, VectorParamsDiff,
    VectorsConfig,
};

/// `PUT /collections/{collection}`. Further settings of other engines (`shard_number`, `wal_config`, ...) are accepted and have no
/// meaning here.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct CreateCollection {
    /// The vectors. Those that an encoder fills may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<VectorsConfig>,
    /// Sparse vectors by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
    /// The encoders by the name of the vector they fill. Also read from `metadata.encoders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoders: Option<BTreeMap<String, EncoderParams>>,
    /// Vectors of documents by name, pooled from those of their chunks. Also read from `metadata.pooled_vectors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooled_vectors: Option<BTreeMap<String, PooledVectorParams>>,
    /// For vectors that have none of their own; see [`VectorParams`](crate::VectorParams).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<Value>,
    /// Accepted and answered, without meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<HnswConfig>,
    /// Accepted and answered, without meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizers_config: Option<OptimizersConfig>,
    /// How documents are cut into chunks. Also read from `metadata.chunking`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking: Option<ChunkingParams>,
    /// The caller's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
    /// What the collection refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_mode_config: Option<StrictModeConfig>,
}

/// `PATCH /collections/{collection}`. Further settings of other engines (`params`) are accepted and have no meaning here. All of it is
/// changed, or nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct UpdateCollection {
    /// Merged into the collection's notes; null removes a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
    /// Limits that are set; those that are absent stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_mode_config: Option<StrictModeConfig>,
    /// Parameters of vectors by name, the unnamed one as `""`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<BTreeMap<String, VectorParamsDiff>>,
    /// Parameters of sparse vectors by name; what is absent stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
    /// For all vectors, in place of what they had; `"Disabled"` takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<Value>,
    /// Settings that are set; the others stay. Without meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<HnswConfig>,
    /// Settings that are set; the others stay. Without meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizers_config: Option<OptimizersConfig>,
}

/// `GET /collections`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CollectionsList {
    /// The collections by name.
    pub collections: Vec<CollectionDescription>,
}

/// One entry of [`CollectionsList`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CollectionDescription {
    /// The name.
    pub name: CollectionName,
}

/// `GET /collections/{collection}/exists`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CollectionExists {
    /// Whether it exists.
    pub exists: bool,
}

/// `GET /collections/{collection}`. Numbers about segments, graphs and optimizers are there for clients that require them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CollectionInfo {
    /// `green` when every index is up to date, `yellow` while one is being built.
    pub status: String,
    /// `"ok"`.
    pub optimizer_status: String,
    /// Vectors that an ANN index holds; the others are scanned exactly.
    pub indexed_vectors_count: u64,
    /// Points.
    pub points_count: u64,
    /// Always 1.
    pub segments_count: u64,
    /// Configuration.
    pub config: CollectionConfigInfo,
    /// Payload indexes by key.
    pub payload_schema: BTreeMap<String, PayloadIndexInfo>,
    /// Where vectors are, by name; ours.
    #[serde(default)]
    pub placement: BTreeMap<String, VectorPlacement>,
}

/// Where the vectors under one name are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VectorPlacement {
    /// `memory`, `mapped` (codes and index in memory, full precision read from a file) or `disk`.
    pub current: String,
    /// What their parameters ask for: the same, or more memory than the server's budget had.
    pub asked: String,
    /// Bytes of vectors and of their index in memory.
    pub heap_bytes: u64,
}

/// The configuration in a [`CollectionInfo`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CollectionConfigInfo {
    /// Vectors.
    pub params: CollectionParams,
    /// For clients that require it.
    pub hnsw_config: HnswConfig,
    /// For clients that require it.
    pub optimizer_config: OptimizersConfig,
    /// The caller's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
    /// The encoders by the name of the vector they fill.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub encoders: BTreeMap<String, EncoderParams>,
    /// How vectors of documents are pooled from their chunks, by the name of the vector.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pooled_vectors: BTreeMap<String, PooledVectorParams>,
    /// How documents are cut into chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking: Option<ChunkingParams>,
    /// What the collection refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_mode_config: Option<StrictModeConfig>,
}

/// The parameters in a [`CollectionConfigInfo`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CollectionParams {
    /// The vectors, multivectors among them.
    pub vectors: VectorsConfig,
    /// The sparse vectors by name, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
}

/// One payload index.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PayloadIndexInfo {
    /// The type.
    pub data_type: PayloadSchemaType,
    /// The parameters it was asked for with, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<PayloadIndexParams>,
    /// How many points have an indexed value.
    pub points: u64,
}

/// `PUT /collections/{collection}/index`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatePayloadIndex {
    /// The payload key.
    pub field_name: String,
    /// The type of its values, alone or with parameters.
    pub field_schema: PayloadFieldSchema,
}
