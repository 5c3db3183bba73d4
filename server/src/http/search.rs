//! Search by text in one request.

use axum::extract::State;
use twofold_types::api::{SearchPassages, SearchResult};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

pub(super) async fn search(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<SearchPassages>,
) -> Result<Answer<SearchResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        engine.search(collection, request)
    })
    .await
}
