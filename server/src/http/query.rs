//! Queries.

use axum::extract::State;
use twofold_storage::InvalidInput;
use twofold_types::api::{QueryBatch, QueryPoints, QueryResult};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

/// Queries of one batch at most.
const MAX_BATCH: usize = 1_000;

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

pub(super) async fn batch(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<QueryBatch>,
) -> Result<Answer<Vec<QueryResult>>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        check_batch(request.searches.len())?;
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
