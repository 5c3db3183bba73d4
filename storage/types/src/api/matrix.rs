//! How near points of a sample are to each other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Filter, PointId};

/// `POST /collections/{collection}/points/search/matrix/pairs` and `/offsets`
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct SearchMatrix {
    /// Only points that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// How many points are drawn. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<usize>,
    /// How many of the nearest of the sample are answered for each. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Which vector is compared. Default: the unnamed one, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
}

/// The answer as pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MatrixPairs {
    /// The pairs.
    pub pairs: Vec<MatrixPair>,
}

/// Two points and their score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MatrixPair {
    /// The point that was asked for.
    pub a: PointId,
    /// One of the nearest to it.
    pub b: PointId,
    /// Their score.
    pub score: f32,
}

/// The answer as a sparse matrix in coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MatrixOffsets {
    /// The row of each score: a place in `ids`.
    pub offsets_row: Vec<u64>,
    /// The column of each score: a place in `ids`.
    pub offsets_col: Vec<u64>,
    /// The scores.
    pub scores: Vec<f32>,
    /// The points.
    pub ids: Vec<PointId>,
}
