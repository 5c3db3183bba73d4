//! A second look at the best points of a query.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ModelId;

/// Puts the best points of a query in the order of a reranker: a cross-encoder that reads them (`model`), or another vector of the
/// collection (`using`). What it does not score is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RerankStage {
    /// A cross-encoder of this server or of an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// A vector with an encoder; points are scored as a query of it would. MaxSim, where it is a multivector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<String>,
    /// The payload key of the text that a cross-encoder reads. Default: `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_key: Option<String>,
    /// What is asked. Default: the text of the query, or of its first prefetch that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How many of the best points are scored, of an answer in groups how many groups; others are not answered. Default: 50 points, and
    /// at least as many as are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only points that the reranker gives at least this score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold: Option<f32>,
    /// The time a cross-encoder may take, in milliseconds; when it is used up, points keep the order and the scores that they had.
    /// Default: 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How reranking went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RerankReport {
    /// Whether points are in the reranker's order, with its scores.
    pub applied: bool,
    /// Points that were to be scored.
    pub candidates: usize,
    /// Points that were scored; the others have no text, or not the vector, or the time was used up.
    pub scored: usize,
    /// Why points are in the order that they had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it took, in microseconds.
    pub time: f64,
}
