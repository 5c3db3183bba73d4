//! Ingestion in the hands of an operator: its state, pausing, and dead letters.

use axum::extract::{FromRequest, Request, State};
use twofold_types::api::Envelope;
use twofold_types::{
    CollectionIngestion, DeadLetter, DeadLetterPage, DeadLettersDeleted, DeadLettersRetried, Ingestion,
    RetryDeadLetters,
};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::documents::Page;
use super::error::{ApiError, no_such_endpoint};
use super::extract::{Body, InCollection, Params};

/// The queue, and the threads that work it off.
#[utoipa::path(get, path = "/ingestion", tag = "ingestion", operation_id = "get_ingestion",
    responses((status = 200, body = Envelope<Ingestion>)))]
pub(super) async fn all(State(api): State<Api>) -> Result<Answer<Ingestion>, ApiError> {
    api.run(|engine| engine.ingestion()).await
}

/// What waits for a collection.
#[utoipa::path(get, path = "/collections/{collection}/ingestion", tag = "ingestion", operation_id = "get_collection_ingestion",
    responses((status = 200, body = Envelope<CollectionIngestion>)))]
pub(super) async fn get(State(api): State<Api>, path: InCollection) -> Result<Answer<CollectionIngestion>, ApiError> {
    api.on(path.collection, |engine, collection| {
        engine.collection_ingestion(collection)
    })
    .await
}

/// Lets the documents of a collection wait.
#[utoipa::path(post, path = "/collections/{collection}/ingestion/pause", tag = "ingestion", operation_id = "pause_ingestion",
    responses((status = 200, body = Envelope<CollectionIngestion>)))]
pub(super) async fn pause(State(api): State<Api>, path: InCollection) -> Result<Answer<CollectionIngestion>, ApiError> {
    api.on(path.collection, |engine, collection| {
        engine.set_paused(collection, true)
    })
    .await
}

/// Goes on with them.
#[utoipa::path(post, path = "/collections/{collection}/ingestion/resume", tag = "ingestion", operation_id = "resume_ingestion",
    responses((status = 200, body = Envelope<CollectionIngestion>)))]
pub(super) async fn resume(
    State(api): State<Api>,
    path: InCollection,
) -> Result<Answer<CollectionIngestion>, ApiError> {
    api.on(path.collection, |engine, collection| {
        engine.set_paused(collection, false)
    })
    .await
}

/// Documents that were given up, page by page.
#[utoipa::path(get, path = "/collections/{collection}/dead-letters", tag = "ingestion", operation_id = "list_dead_letters", params(Page),
    responses((status = 200, body = Envelope<DeadLetterPage>)))]
pub(super) async fn dead_letters(
    State(api): State<Api>,
    path: InCollection,
    Params(page): Params<Page>,
) -> Result<Answer<DeadLetterPage>, ApiError> {
    api.on(path.collection, move |_, collection| {
        let (dead_letters, next) = collection.dead_letters(page.from.as_deref(), page.limit()?)?;
        Ok(DeadLetterPage { dead_letters, next })
    })
    .await
}

/// One of them.
#[utoipa::path(get, path = "/collections/{collection}/dead-letters/{id}", tag = "ingestion", operation_id = "get_dead_letter",
    responses((status = 200, body = Envelope<DeadLetter>)))]
pub(super) async fn dead_letter(
    State(api): State<Api>,
    path: InCollection<String>,
) -> Result<Answer<DeadLetter>, ApiError> {
    api.on(path.collection, move |_, collection| {
        Ok(collection.dead_letter(&path.rest)?)
    })
    .await
}

/// Deletes all of them.
#[utoipa::path(delete, path = "/collections/{collection}/dead-letters", tag = "ingestion", operation_id = "delete_dead_letters",
    responses((status = 200, body = Envelope<DeadLettersDeleted>)))]
pub(super) async fn delete_dead_letters(
    State(api): State<Api>,
    path: InCollection,
) -> Result<Answer<DeadLettersDeleted>, ApiError> {
    api.on(path.collection, |_, collection| {
        let deleted = collection.delete_dead_letters(None)?;
        Ok(DeadLettersDeleted { deleted })
    })
    .await
}

/// Deletes one of them.
#[utoipa::path(delete, path = "/collections/{collection}/dead-letters/{id}", tag = "ingestion", operation_id = "delete_dead_letter",
    responses((status = 200, body = Envelope<DeadLettersDeleted>)))]
pub(super) async fn delete_dead_letter(
    State(api): State<Api>,
    path: InCollection<String>,
) -> Result<Answer<DeadLettersDeleted>, ApiError> {
    api.on(path.collection, move |_, collection| {
        let deleted = collection.delete_dead_letters(Some(&path.rest))?;
        Ok(DeadLettersDeleted { deleted })
    })
    .await
}

/// Lets dead letters wait again: `id` is `retry`.
///
/// An id may be any text, so what is not a document's stands behind `POST`.
#[utoipa::path(post, path = "/collections/{collection}/dead-letters/{id}", tag = "ingestion", operation_id = "retry_dead_letters",
    request_body = RetryDeadLetters,
    responses((status = 200, body = Envelope<DeadLettersRetried>)))]
pub(super) async fn act(
    State(api): State<Api>,
    path: InCollection<String>,
    request: Request,
) -> Result<Answer<DeadLettersRetried>, ApiError> {
    if path.rest != "retry" {
        return Err(no_such_endpoint(request.uri()));
    }
    let Body(RetryDeadLetters { ids }) = Body::from_request(request, &api).await?;
    api.on(path.collection, move |engine, collection| {
        engine.retry_dead_letters(collection, ids.as_deref())
    })
    .await
}
