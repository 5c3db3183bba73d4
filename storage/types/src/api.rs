//! Bodies of requests and answers of the HTTP API, by what they are about.

mod aliases;
mod changes;
mod collections;
mod documents;
mod explain;
mod groups;
mod legacy;
mod matrix;
mod points;
mod query;
mod read;
mod reranking;
mod search;
mod update;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::StreamAccepted;

pub use aliases::{AliasAction, AliasDescription, AliasesList, ChangeAliases, CreateAlias, DeleteAlias, RenameAlias};
pub use changes::{Change, ChangedDocuments, ChangedPoints, ChangesPage, ChangesPosition};
pub use collections::{
    CollectionConfigInfo, CollectionDescription, CollectionExists, CollectionInfo, CollectionParams, CollectionsList,
    CreateCollection, CreatePayloadIndex, PayloadIndexInfo, UpdateCollection, VectorPlacement,
};
pub use documents::{AddDocuments, DocumentInfo, DocumentsSelector, TaskAccepted};
pub use explain::QueryExplanation;
pub use groups::{GroupId, GroupsResult, Lookup, PointGroup, QueryGroups, WithLookup};
pub use legacy::{DiscoverPoints, LegacyBatch, LegacyGroups, RecommendPoints, SearchPoints};
pub use matrix::{MatrixOffsets, MatrixPair, MatrixPairs, SearchMatrix};
pub use points::{
    BatchVectors, DeletePayload, PointsBatch, PointsSelector, SetPayload, UnequalColumns, UpdateResult, UpsertBody,
    UpsertPoints,
};
pub use query::{
    ContextPair, DiscoverInput, Example, FeedbackInput, FeedbackItem, FeedbackStrategy, Fusion, IdfScope,
    LookupLocation, Mmr, NaiveFeedback, Prefetch, QuantizationSearchParams, Query, QueryBatch, QueryPoints,
    QueryResult, RecommendInput, RecommendStrategy, Rrf, Sample, SearchParams,
};
pub use read::{
    CountPoints, CountResult, Direction, FacetHit, FacetPoints, FacetResult, FacetValue, GetPoints, OrderBy,
    PayloadSelector, ScrollPoints, ScrollResult, StartFrom, WithPayload, WithVector,
};
pub use reranking::{RerankReport, RerankStage};
pub use search::{
    ChunkPlace, Highlight, NeighbourChunk, Neighbours, Passage, PassageGroup, PassageStages, SearchExplanation,
    SearchFusion, SearchPassages, SearchResult, StageScore, VectorExplanation,
};
pub use update::{DeleteVectors, PointVectors, UpdateBatch, UpdateMode, UpdateOperation, UpdateVectors};

/// The envelope of a successful answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// The answer itself.
    pub result: T,
    /// `"ok"`.
    pub status: String,
    /// Seconds spent on the server.
    pub time: f64,
}

/// The envelope of an error.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub status: ErrorStatus,
    /// Seconds spent on the server.
    pub time: f64,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorStatus {
    /// The message.
    pub error: String,
    /// What had been accepted of a stream before the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<StreamAccepted>,
}

/// One or a list of the same, as clients send either.
fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    use serde::de::Error;
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => Ok(Vec::new()),
        serde_json::Value::Array(items) => items
            .into_iter()
            .map(|item| serde_json::from_value(item).map_err(D::Error::custom))
            .collect(),
        item => Ok(vec![serde_json::from_value(item).map_err(D::Error::custom)?]),
    }
}
