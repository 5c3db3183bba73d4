//! How an answer was found.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the points of an answer were found. Times are in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// How the prefetches went, in their order.
    #[schema(no_recursion)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefetch: Vec<QueryExplanation>,
}
