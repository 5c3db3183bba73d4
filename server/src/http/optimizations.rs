//! What clients ask of optimisers: here indexes follow writes, and a collection is one segment.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use twofold_storage::Collection;
use twofold_types::api::Envelope;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{InCollection, Params};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OptimizationsParams {
    /// What is told beside the numbers, after commas: `queued`, `completed`, `idle_segments`.
    #[serde(default)]
    with: String,
}

/// What indexes have yet to do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Optimizations {
    summary: OptimizationsSummary,
    /// None: an index that is behind is `queued`, whether the indexer has come to it or not.
    running: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<Vec<PendingOptimization>>,
    /// None: they are not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_segments: Option<Vec<Segment>>,
}

/// What indexes have yet to do, in numbers.
#[derive(Debug, Serialize, ToSchema)]
struct OptimizationsSummary {
    /// 1 where an index is behind or missing.
    queued_optimizations: u64,
    /// The same.
    queued_segments: u64,
    /// The points of the collection, where an index is behind or missing.
    queued_points: u64,
    /// 1 where every index is up to date.
    idle_segments: u64,
}

/// An index that is behind or missing.
#[derive(Debug, Serialize, ToSchema)]
struct PendingOptimization {
    /// Always `indexing`.
    optimizer: &'static str,
    segments: Vec<Segment>,
}

/// The points of a collection.
#[derive(Debug, Serialize, ToSchema)]
struct Segment {
    /// The same for the same collection.
    uuid: String,
    points_count: u64,
}

/// What the indexes of a collection have yet to do.
#[utoipa::path(get, path = "/collections/{collection}/optimizations", tag = "collections", operation_id = "get_optimizations",
    params(OptimizationsParams), responses((status = 200, body = Envelope<Optimizations>)))]
pub(super) async fn get(
    State(api): State<Api>,
    path: InCollection,
    Params(params): Params<OptimizationsParams>,
) -> Result<Answer<Optimizations>, ApiError> {
    let parts: Vec<&str> = params.with.split(',').filter(|part| !part.is_empty()).collect();
    let known = ["queued", "completed", "idle_segments"];
    if let Some(unknown) = parts.iter().find(|part| !known.contains(part)) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            format!(
                "Wrong input: `with` knows no `{unknown}`: `{}` are accepted",
                known.join("`, `")
            ),
        ));
    }
    let [queued, completed, idle] = known.map(|part| parts.contains(&part));
    api.on(path.collection, move |_, collection| {
        let behind = collection.is_indexing();
        let number = |counts: bool| u64::from(counts);
        Ok(Optimizations {
            summary: OptimizationsSummary {
                queued_optimizations: number(behind),
                queued_segments: number(behind),
                queued_points: number(behind) * collection.points(),
                idle_segments: number(!behind),
            },
            running: Vec::new(),
            queued: queued.then(|| {
                let segments = segments(collection, behind);
                let pending = (!segments.is_empty()).then_some(PendingOptimization {
                    optimizer: "indexing",
                    segments,
                });
                pending.into_iter().collect()
            }),
            completed: completed.then(Vec::new),
            idle_segments: idle.then(|| segments(collection, !behind)),
        })
    })
    .await
}

/// The only segment, where it counts.
fn segments(collection: &Collection, counts: bool) -> Vec<Segment> {
    let segment = counts.then(|| Segment {
        uuid: Uuid::from_u128(collection.id().0.into()).to_string(),
        points_count: collection.points(),
    });
    segment.into_iter().collect()
}
