//! Queries.

use axum::extract::State;
use twofold_storage::InvalidInput;
use twofold_types::api::{Envelope, QueryBatch, QueryPoints, QueryResult};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

/// Queries of one batch at most.
const MAX_BATCH: usize = 1_000;

/// The points nearest to a vector or text, and every other kind of query.
#[utoipa::path(post, path = "/collections/{collection}/points/query", tag = "search", operation_id = "query_points",
    request_body = QueryPoints,
    responses((status = 200, body = Envelope<QueryResult>)))]
pub(super) async fn query(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<QueryPoints>,
) -> Result<Answer<QueryResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        engine.query(collection, request)
    })
    .await
}

/// Several queries.
#[utoipa::path(post, path = "/collections/{collection}/points/query/batch", tag = "search", operation_id = "query_batch_points",
    request_body = QueryBatch,
    responses((status = 200, body = Envelope<Vec<QueryResult>>)))]
pub(super) async fn batch(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<QueryBatch>,
) -> Result<Answer<Vec<QueryResult>>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        check_batch(request.searches.len())?;
        collection.check_batch(request.searches.len())?;
        let queries = request.searches.into_iter();
        queries.map(|query| engine.query(collection, query)).collect()
    })
    .await
}

pub(super) fn check_batch(received: usize) -> Result<()> {
    match received <= MAX_BATCH {
        true => Ok(()),
        false => Err(InvalidInput::Limit {
            what: "queries of one batch",
            received,
            limit: MAX_BATCH,
        }
        .into()),
    }
}
