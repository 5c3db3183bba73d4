//! Points as they are read, listed and counted.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::schema::KeyOrOrder;
use crate::{Datetime, Filter, Number, PointId, Record};

/// Whether, or which keys of, a payload is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadSelector {
    /// These keys.
    Include(Vec<String>),
    /// All but these keys.
    Exclude(Vec<String>),
}

/// Whether, or which, vectors are answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "`with_vector` is true, false, or an array of vector names")]
pub enum WithVector {
    /// All or none.
    Bool(bool),
    /// Those with these names.
    Names(Vec<String>),
}

/// `POST /collections/{collection}/points`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
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
    /// In the order of the values at a payload key instead of that of ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KeyOrOrder>)]
    pub order_by: Option<OrderBy>,
}

/// The answer to [`ScrollPoints`]: points in the order of their ids, integers before UUIDs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScrollResult {
    /// The points.
    pub points: Vec<Record>,
    /// The id that the next page begins with.
    pub next_page_offset: Option<PointId>,
}

/// `POST /collections/{collection}/points/count`
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct CountPoints {
    /// Only points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Counts are always exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
}

/// The answer to [`CountPoints`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CountResult {
    /// How many points.
    pub count: u64,
}

/// In which order points are listed: `"key"`, or an object.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OrderBy {
    /// The payload key whose numbers or dates give the order. A point without any is not listed, one with several is listed
    /// with each of them.
    pub key: String,
    /// Default: ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The value to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_from: Option<StartFrom>,
}

impl<'de> Deserialize<'de> for OrderBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            key: String,
            direction: Option<Direction>,
            start_from: Option<StartFrom>,
        }
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "`order_by` is a payload key, or an object with `key`, `direction` and `start_from`"
        )]
        enum Wire {
            Key(String),
            Long(Long),
        }
        Ok(match Wire::deserialize(deserializer)? {
            Wire::Key(key) => Self {
                key,
                direction: None,
                start_from: None,
            },
            Wire::Long(Long {
                key,
                direction,
                start_from,
            }) => Self {
                key,
                direction,
                start_from,
            },
        })
    }
}

/// The direction of an [`OrderBy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The smallest value first.
    Asc,
    /// The largest value first.
    Desc,
}

/// The value that an [`OrderBy`] begins with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "`start_from` is a number or a date")]
pub enum StartFrom {
    /// A number.
    Number(Number),
    /// A moment.
    Datetime(Datetime),
}

/// `POST /collections/{collection}/facet`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FacetPoints {
    /// The payload key.
    pub key: String,
    /// How many values are answered. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only of points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Counts are always exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
}

/// The answer to [`FacetPoints`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FacetResult {
    /// The most frequent values, equals in their order.
    pub hits: Vec<FacetHit>,
}

/// One value of a [`FacetResult`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FacetHit {
    /// The value.
    pub value: FacetValue,
    /// How many points have it.
    pub count: u64,
}

/// A value that points can be counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum FacetValue {
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A string; a UUID in its usual spelling.
    Keyword(String),
}
