//! Points as they are written, and which points an operation touches.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::api::UpdateMode;
use crate::{Filter, Payload, PointId, PointStruct, VectorInput, VectorsInput};

/// `PUT /collections/{collection}/points`: rows or columns.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpsertPoints {
    /// One object a point.
    Points(Vec<PointStruct>),
    /// One array a field.
    Batch(PointsBatch),
}

impl<'de> Deserialize<'de> for UpsertPoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        UpsertBody::deserialize(deserializer).map(|body| body.points)
    }
}

/// The body of `PUT /collections/{collection}/points`: the points, and which of them are written.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UpsertBody {
    /// The points.
    #[serde(flatten)]
    pub points: UpsertPoints,
    /// Of points that exist, only those that match are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_filter: Option<Filter>,
    /// Whether points are put in, replaced, or both. Default: both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_mode: Option<UpdateMode>,
}

impl<'de> Deserialize<'de> for UpsertBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not flattened, as that would keep a copy of all points. Keys for routing may stand beside them.
        #[derive(Deserialize)]
        struct Wire {
            points: Option<Vec<PointStruct>>,
            batch: Option<PointsBatch>,
            update_filter: Option<Filter>,
            update_mode: Option<UpdateMode>,
        }
        let wire = Wire::deserialize(deserializer)?;
        let points = match (wire.points, wire.batch) {
            (Some(points), None) => UpsertPoints::Points(points),
            (None, Some(batch)) => UpsertPoints::Batch(batch),
            _ => return Err(D::Error::custom("exactly one of `points` and `batch` is accepted")),
        };
        Ok(Self {
            points,
            update_filter: wire.update_filter,
            update_mode: wire.update_mode,
        })
    }
}

/// Points by columns of equal length.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PointsBatch {
    /// The ids.
    pub ids: Vec<PointId>,
    /// The vectors: an array of unnamed ones, or an array a name.
    pub vectors: BatchVectors,
    /// The payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Option<Object>>>)]
    pub payloads: Option<Vec<Option<Payload>>>,
}

/// The vectors of a [`PointsBatch`].
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Serialize, ToSchema)]
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
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SetPayload {
    /// What is set.
    #[schema(value_type = Object)]
    pub payload: Payload,
    /// The key below which it is set; the top level when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Which points.
    #[serde(flatten)]
    pub selector: PointsSelector,
}

/// `POST /collections/{collection}/points/payload/delete`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeletePayload {
    /// The keys that are removed.
    pub keys: Vec<String>,
    /// Which points.
    #[serde(flatten)]
    pub selector: PointsSelector,
}

/// The answer to a write.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpdateResult {
    /// The sequence number of the write in its collection.
    pub operation_id: u64,
    /// `completed`: durable and searchable.
    pub status: String,
}
