//! Bodies of requests and answers of the HTTP API.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    ChunkingParams, CollectionName, Document, EncoderParams, Filter, Payload, PayloadFieldSchema, PayloadIndexParams,
    PayloadSchemaType, PointId, PointStruct, Record, ScoredPoint, StreamAccepted, Task, TaskId, VectorInput,
    VectorsConfig, VectorsInput,
};

/// The envelope of a successful answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// The answer itself.
    pub result: T,
    /// `"ok"`.
    pub status: String,
    /// Seconds spent on the server.
    pub time: f64,
}

/// The envelope of an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub status: ErrorStatus,
    /// Seconds spent on the server.
    pub time: f64,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorStatus {
    /// The message.
    pub error: String,
    /// What had been accepted of a stream before the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<StreamAccepted>,
}

/// `PUT /collections/{collection}`. Settings of other engines (`hnsw_config`, `shard_number`, ...) are accepted and have no
/// meaning here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CreateCollection {
    /// The vectors. Those that an encoder fills may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<VectorsConfig>,
    /// Sparse vectors; refused until they can be searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_vectors: Option<BTreeMap<String, Value>>,
    /// The encoders by the name of the vector they fill. Also read from `metadata.encoders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoders: Option<BTreeMap<String, EncoderParams>>,
    /// For vectors that have none of their own; see [`VectorParams`](crate::VectorParams).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<Value>,
    /// How documents are cut into chunks. Also read from `metadata.chunking`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking: Option<ChunkingParams>,
    /// The caller's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
}

/// `PATCH /collections/{collection}`. Settings of other engines are accepted and have no meaning here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct UpdateCollection {
    /// Merged into the collection's notes; null removes a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
}

/// `GET /collections`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectionsList {
    /// The collections by name.
    pub collections: Vec<CollectionDescription>,
}

/// One entry of [`CollectionsList`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectionDescription {
    /// The name.
    pub name: CollectionName,
}

/// `GET /collections/{collection}/exists`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectionExists {
    /// Whether it exists.
    pub exists: bool,
}

/// `GET /collections/{collection}`. Numbers about segments, graphs and optimizers are there for clients that require them.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorPlacement {
    /// `memory`, `mapped` (codes and index in memory, full precision read from a file) or `disk`.
    pub current: String,
    /// What their parameters ask for: the same, or more memory than the server's budget had.
    pub asked: String,
    /// Bytes of vectors and of their index in memory.
    pub heap_bytes: u64,
}

/// The configuration in a [`CollectionInfo`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectionConfigInfo {
    /// Vectors.
    pub params: CollectionParams,
    /// For clients that require it.
    pub hnsw_config: Value,
    /// For clients that require it.
    pub optimizer_config: Value,
    /// The caller's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
    /// The encoders by the name of the vector they fill.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub encoders: BTreeMap<String, EncoderParams>,
    /// How documents are cut into chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking: Option<ChunkingParams>,
}

/// The parameters in a [`CollectionConfigInfo`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CollectionParams {
    /// The vectors.
    pub vectors: VectorsConfig,
}

/// One payload index.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreatePayloadIndex {
    /// The payload key.
    pub field_name: String,
    /// The type of its values, alone or with parameters.
    pub field_schema: PayloadFieldSchema,
}

/// `PUT /collections/{collection}/points`: rows or columns.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpsertPoints {
    /// One object a point.
    Points(Vec<PointStruct>),
    /// One array a field.
    Batch(PointsBatch),
}

impl<'de> Deserialize<'de> for UpsertPoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Keys for routing may stand beside the points, so this is not simply an enum.
        #[derive(Deserialize)]
        struct Wire {
            points: Option<Vec<PointStruct>>,
            batch: Option<PointsBatch>,
        }
        match Wire::deserialize(deserializer)? {
            Wire {
                points: Some(points),
                batch: None,
            } => Ok(Self::Points(points)),
            Wire {
                points: None,
                batch: Some(batch),
            } => Ok(Self::Batch(batch)),
            _ => Err(D::Error::custom("exactly one of `points` and `batch` is accepted")),
        }
    }
}

/// Points by columns of equal length.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PointsBatch {
    /// The ids.
    pub ids: Vec<PointId>,
    /// The vectors: an array of unnamed ones, or an array a name.
    pub vectors: BatchVectors,
    /// The payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payloads: Option<Vec<Option<Payload>>>,
}

/// The vectors of a [`PointsBatch`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`vectors` of a batch is an array of vectors, or an object of such arrays by name"
)]
pub enum BatchVectors {
    /// Of the unnamed vector.
    Single(Vec<VectorInput>),
    /// By name.
    Named(BTreeMap<String, Vec<VectorInput>>),
}

/// Columns of a [`PointsBatch`] that do not fit each other.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{column}` has {received} entries, but there are {expected} ids")]
pub struct UnequalColumns {
    /// Which column.
    pub column: String,
    /// Its length.
    pub received: usize,
    /// The number of ids.
    pub expected: usize,
}

impl UpsertPoints {
    /// The points as rows.
    pub fn into_points(self) -> Result<Vec<PointStruct>, UnequalColumns> {
        let batch = match self {
            Self::Points(points) => return Ok(points),
            Self::Batch(batch) => batch,
        };
        let expected = batch.ids.len();
        let check = |column: &str, received: usize| {
            if received == expected {
                return Ok(());
            }
            Err(UnequalColumns {
                column: column.to_owned(),
                received,
                expected,
            })
        };
        let vectors: Vec<VectorsInput> = match batch.vectors {
            BatchVectors::Single(vectors) => {
                check("vectors", vectors.len())?;
                vectors.into_iter().map(VectorsInput::Single).collect()
            }
            BatchVectors::Named(columns) => {
                let mut rows = vec![BTreeMap::new(); expected];
                for (name, column) in columns {
                    check(&format!("vectors.{name}"), column.len())?;
                    for (row, vector) in rows.iter_mut().zip(column) {
                        row.insert(name.clone(), vector);
                    }
                }
                rows.into_iter().map(VectorsInput::Named).collect()
            }
        };
        let payloads = batch.payloads.unwrap_or_else(|| vec![None; expected]);
        check("payloads", payloads.len())?;
        let rows = batch.ids.into_iter().zip(vectors).zip(payloads);
        Ok(rows
            .map(|((id, vector), payload)| PointStruct { id, vector, payload })
            .collect())
    }
}

/// Which points an operation touches.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PointsSelector {
    /// Those with these ids.
    Points(Vec<PointId>),
    /// Those that match.
    Filter(Filter),
}

impl<'de> Deserialize<'de> for PointsSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            points: Option<Vec<PointId>>,
            filter: Option<Filter>,
        }
        match Wire::deserialize(deserializer)? {
            Wire {
                points: Some(points),
                filter: None,
            } => Ok(Self::Points(points)),
            Wire {
                points: None,
                filter: Some(filter),
            } => Ok(Self::Filter(filter)),
            _ => Err(D::Error::custom("exactly one of `points` and `filter` is accepted")),
        }
    }
}

/// `POST|PUT /collections/{collection}/points/payload`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetPayload {
    /// What is set.
    pub payload: Payload,
    /// The key below which it is set; the top level when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Which points.
    #[serde(flatten)]
    pub selector: PointsSelector,
}

/// `POST /collections/{collection}/points/payload/delete`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletePayload {
    /// The keys that are removed.
    pub keys: Vec<String>,
    /// Which points.
    #[serde(flatten)]
    pub selector: PointsSelector,
}

/// The answer to a write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateResult {
    /// The sequence number of the write in its collection.
    pub operation_id: u64,
    /// `completed`: durable and searchable.
    pub status: String,
}

/// Whether, or which keys of, a payload is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`with_payload` is true, false, an array of keys, or an object with `include` or `exclude`"
)]
pub enum WithPayload {
    /// All or nothing.
    Bool(bool),
    /// These keys.
    Fields(Vec<String>),
    /// These keys, or all but these.
    Selector(PayloadSelector),
}

/// The long form of [`WithPayload`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadSelector {
    /// These keys.
    Include(Vec<String>),
    /// All but these keys.
    Exclude(Vec<String>),
}

/// Whether, or which, vectors are answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`with_vector` is true, false, or an array of vector names")]
pub enum WithVector {
    /// All or none.
    Bool(bool),
    /// Those with these names.
    Names(Vec<String>),
}

/// `POST /collections/{collection}/points`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetPoints {
    /// The ids.
    pub ids: Vec<PointId>,
    /// Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_payload: Option<WithPayload>,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_vector: Option<WithVector>,
}

/// `POST /collections/{collection}/points/scroll`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ScrollPoints {
    /// The id to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<PointId>,
    /// Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_payload: Option<WithPayload>,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_vector: Option<WithVector>,
    /// Refused until it can be honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_by: Option<Value>,
}

/// The answer to [`ScrollPoints`]: points in the order of their ids, integers before UUIDs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScrollResult {
    /// The points.
    pub points: Vec<Record>,
    /// The id that the next page begins with.
    pub next_page_offset: Option<PointId>,
}

/// `POST /collections/{collection}/points/count`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CountPoints {
    /// Only points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Counts are always exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
}

/// The answer to [`CountPoints`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountResult {
    /// How many points.
    pub count: u64,
}

/// What a query looks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Query {
    /// The points nearest to a vector or text.
    Nearest(VectorInput),
    /// The points nearest to a stored point, without that point itself.
    Point(PointId),
}

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let query = match Value::deserialize(deserializer)? {
            Value::Object(mut object) if object.contains_key("nearest") => {
                let nearest = object.remove("nearest").unwrap_or_default();
                object.retain(|_, value| !value.is_null());
                if let Some(key) = object.keys().next() {
                    return Err(D::Error::custom(format!("`{key}` beside `nearest` is not supported")));
                }
                nearest
            }
            query => query,
        };
        match query {
            Value::Number(_) | Value::String(_) => PointId::deserialize(query).map(Self::Point),
            Value::Object(ref object) if !object.contains_key("text") => {
                let keys: Vec<_> = object.keys().map(String::as_str).collect();
                return Err(D::Error::custom(format!(
                    "unsupported query with keys [{}]: a vector, a point id, {{\"text\": ..., \"model\": ...}}, or one of \
                     these as {{\"nearest\": ...}} is accepted",
                    keys.join(", ")
                )));
            }
            query => VectorInput::deserialize(query).map(Self::Nearest),
        }
        .map_err(D::Error::custom)
    }
}

/// Accuracy of a search.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchParams {
    /// Compare every candidate in full precision instead of asking an index.
    #[serde(default)]
    pub exact: bool,
    /// The accuracy knob. 128, the default, aims at a recall of 0.98 at `limit` 10; more reads more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_ef: Option<usize>,
    /// Say how the answer was found.
    #[serde(default)]
    pub explain: bool,
}

/// `POST /collections/{collection}/points/query`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct QueryPoints {
    /// What is looked for; without it the points are listed by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Query>,
    /// Which vector is searched. Default: the unnamed one, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// Only points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<SearchParams>,
    /// Only points at least (Cosine, Dot) or at most (Euclid, Manhattan) this far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f32>,
    /// Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many of the nearest are skipped. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<usize>,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_payload: Option<WithPayload>,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_vector: Option<WithVector>,
    /// Refused until it can be honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<Value>,
    /// Refused until it can be honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup_from: Option<Value>,
}

/// `POST /collections/{collection}/points/query/batch`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueryBatch {
    /// The queries.
    pub searches: Vec<QueryPoints>,
}

/// The answer to [`QueryPoints`], nearest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueryResult {
    /// The points.
    pub points: Vec<ScoredPoint>,
    /// How they were found, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<QueryExplanation>,
}

/// How the points of an answer were found. Times are in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryExplanation {
    /// `exact`, `gather` (every candidate by its byte code), or the index that was asked: `flat`, `ivf` or `arroy`.
    pub plan: String,
    /// Points that match the filter and have the vector.
    pub matching: u64,
    /// Points that have the vector.
    pub present: u64,
    /// What asking the index was expected to take; absent without an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_index: Option<f64>,
    /// What comparing every candidate was expected to take; absent without an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_scan: Option<f64>,
    /// Lists of the index that were read.
    pub lists: usize,
    /// 1-bit codes that were compared.
    pub codes: usize,
    /// Byte codes that were compared.
    pub bytes: usize,
    /// Vectors that were compared in full precision.
    pub rows: usize,
    /// The time to find the points that match.
    pub filter_time: f64,
    /// The time to find the nearest.
    pub search_time: f64,
    /// The time to read what is answered.
    pub fetch_time: f64,
}

/// `POST /collections/{collection}/documents`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddDocuments {
    /// The documents.
    pub documents: Vec<Document>,
}

/// The answer to [`AddDocuments`], once they are durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskAccepted {
    /// Ask `GET /tasks/{task_id}` how it goes.
    pub task_id: TaskId,
    /// Where it stands, if that was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
}

/// `POST /collections/{collection}/documents/delete`: which documents.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DocumentsSelector {
    /// Those with these ids.
    Ids(Vec<String>),
    /// Those of which a chunk matches.
    Filter(Filter),
}

impl<'de> Deserialize<'de> for DocumentsSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            ids: Option<Vec<String>>,
            filter: Option<Filter>,
        }
        match Wire::deserialize(deserializer)? {
            Wire {
                ids: Some(ids),
                filter: None,
            } => Ok(Self::Ids(ids)),
            Wire {
                ids: None,
                filter: Some(filter),
            } => Ok(Self::Filter(filter)),
            _ => Err(D::Error::custom("exactly one of `ids` and `filter` is accepted")),
        }
    }
}

/// `GET /collections/{collection}/documents/{id}`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentInfo {
    /// The document's id.
    pub id: String,
    /// The task that stored it.
    pub task_id: TaskId,
    /// Its chunks in order.
    pub chunks: Vec<Record>,
}
