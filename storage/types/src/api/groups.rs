//! Queries whose answers are grouped by a payload key.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{QueryPoints, RerankReport, WithPayload, WithVector};
use crate::{CollectionName, Record, ScoredPoint};

/// `POST /collections/{collection}/points/query/groups`. `limit` counts groups.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueryGroups {
    /// The query.
    #[serde(flatten)]
    pub query: QueryPoints,
    /// The payload key whose strings and integers name the groups. A point belongs to the groups of all its values.
    pub group_by: String,
    /// The most points of a group. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_size: Option<usize>,
    /// Where the groups' names are ids of points that are answered with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_lookup: Option<WithLookup>,
}

/// A collection, or what of its points is answered with groups.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "`with_lookup` is the name of a collection, or an object with `collection`"
)]
pub enum WithLookup {
    /// Payloads of this collection.
    Collection(CollectionName),
    /// More or less of it.
    Lookup(Lookup),
}

/// The long form of [`WithLookup`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Lookup {
    /// The collection.
    pub collection: CollectionName,
    /// Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_payload: Option<WithPayload>,
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "with_vector")]
    pub with_vectors: Option<WithVector>,
}

/// The answer to [`QueryGroups`]: the group of the best point first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroupsResult {
    /// The groups.
    pub groups: Vec<PointGroup>,
    /// How reranking went, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<RerankReport>,
}

/// One group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PointGroup {
    /// Its best points, best first.
    pub hits: Vec<ScoredPoint>,
    /// The value that they share.
    pub id: GroupId,
    /// The point of that id in the collection of `with_lookup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Record>,
}

/// What names a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum GroupId {
    /// An unsigned integer.
    Unsigned(u64),
    /// A negative integer.
    Integer(i64),
    /// A string.
    Keyword(String),
}
