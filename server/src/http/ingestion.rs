//! Ingestion in the hands of an operator: its state, pausing, and dead letters.

use axum::extract::{FromRequest, Request, State};
use twofold_types::{
    CollectionIngestion, DeadLetter, DeadLetterPage, DeadLettersDeleted, DeadLettersRetried, Ingestion,
    RetryDeadLetters,
};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::documents::Page;
use super::error::{ApiError, no_such_endpoint};
use super::extract::{Body, InCollection, Params};

pub(super) async fn all(State(api): State<Api>) -> Result<Answer<Ingestion>, ApiError> {
    api.run(|engine| engine.ingestion()).await
}

pub(super) async fn get(State(api): State<Api>, path: InCollection) -> Result<Answer<CollectionIngestion>, ApiError> {
    api.on(path.collection, |engine, collection| {
        engine.collection_ingestion(collection)
    })
    .await
}

pub(super) async fn pause(State(api): State<Api>, path: InCollection) -> Result<Answer<CollectionIngestion>, ApiError> {
    api.on(path.collection, |engine, collection| {
        engine.set_paused(collection, true)
    })
    .await
}

pub(super) async fn resume(
    State(api): State<Api>,
    path: InCollection,
) -> Result<Answer<CollectionIngestion>, ApiError> {
    api.on(path.collection, |engine, collection| {
        engine.set_paused(collection, false)
    })
    .await
}

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

pub(super) async fn dead_letter(
    State(api): State<Api>,
    path: InCollection<String>,
) -> Result<Answer<DeadLetter>, ApiError> {
    api.on(path.collection, move |_, collection| {
        Ok(collection.dead_letter(&path.rest)?)
    })
    .await
}

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

/// `POST /dead-letters/retry`: an id may be any text, so what is not a document's stands behind `POST`.
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
