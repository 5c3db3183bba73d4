//! Search by text in one request.

use axum::extract::State;
use twofold_types::api::{Envelope, SearchPassages, SearchResult};

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

/// The passages that answer a text best: every encoder of the collection is asked, and what they find is fused.
#[utoipa::path(post, path = "/collections/{collection}/search", tag = "search", operation_id = "search_passages",
    request_body = SearchPassages,
    responses((status = 200, body = Envelope<SearchResult>)))]
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
