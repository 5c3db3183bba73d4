//! Re-embedding: the documents of a collection by other encoders or in other chunks, made beside what answers.

use axum::extract::State;
use axum::http::StatusCode;
use twofold_types::api::Envelope;
use twofold_types::{Reembed, Reembedding};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};

/// Begins to re-embed a collection.
#[utoipa::path(post, path = "/collections/{collection}/reembed", tag = "collections", operation_id = "reembed",
    request_body = Reembed,
    responses((status = 202, body = Envelope<Reembedding>)))]
pub(super) async fn begin(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<Reembed>,
) -> Result<Answer<Reembedding>, ApiError> {
    let begun = api.on(path.collection, |engine, collection| {
        engine.reembed(collection, request)
    });
    Ok(begun.await?.with_status(StatusCode::ACCEPTED))
}

/// How the re-embedding of a collection goes, or went.
#[utoipa::path(get, path = "/collections/{collection}/reembed", tag = "collections", operation_id = "get_reembedding",
    responses((status = 200, body = Envelope<Reembedding>)))]
pub(super) async fn get(State(api): State<Api>, path: InCollection) -> Result<Answer<Reembedding>, ApiError> {
    api.on(path.collection, |engine, collection| engine.reembedding(collection))
        .await
}

/// Gives the re-embedding of a collection up.
#[utoipa::path(delete, path = "/collections/{collection}/reembed", tag = "collections", operation_id = "cancel_reembedding",
    responses((status = 200, body = Envelope<Reembedding>)))]
pub(super) async fn cancel(State(api): State<Api>, path: InCollection) -> Result<Answer<Reembedding>, ApiError> {
    api.on(path.collection, |engine, collection| {
        engine.cancel_reembedding(collection)
    })
    .await
}

/// Tries again the documents that could not be encoded anew.
#[utoipa::path(post, path = "/collections/{collection}/reembed/retry", tag = "collections", operation_id = "retry_reembedding",
    responses((status = 200, body = Envelope<Reembedding>)))]
pub(super) async fn retry(State(api): State<Api>, path: InCollection) -> Result<Answer<Reembedding>, ApiError> {
    api.on(path.collection, |engine, collection| {
        engine.retry_reembedding(collection)
    })
    .await
}
