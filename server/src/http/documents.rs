//! Documents: accepted one body or one line at a time, read, listed, deleted.

use std::time::{Duration, Instant};

use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use twofold_storage::{DocumentSelector, StorageError};
use twofold_types::api::{AddDocuments, DocumentInfo, DocumentsSelector, Envelope, TaskAccepted, UpdateResult};
use twofold_types::{DocumentEntry, DocumentPage, Priority, StreamAccepted, Task, TaskId};
use twofold_worker::{Result, check_limit};
use utoipa::{IntoParams, ToSchema};

use super::blocking::{Answer, Api};
use super::error::{ApiError, no_such_endpoint};
use super::extract::{Body, InCollection, Params};
use super::{ndjson, points};

/// How long `wait=true` waits.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// The longest wait that may be asked for.
const MAX_WAIT: Duration = Duration::from_secs(300);

pub(super) const FIRST_POLL: Duration = Duration::from_millis(10);
pub(super) const SLOWEST_POLL: Duration = Duration::from_millis(250);

/// Documents of a list when the request does not say.
const DEFAULT_PAGE: usize = 100;

/// How documents are accepted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AddOptions {
    /// Before or after other tasks of the collection.
    #[serde(default)]
    pub(super) priority: Priority,
    /// How long the answer waits for the documents to be searchable: `true`, `false`, or seconds.
    #[serde(default, deserialize_with = "wait")]
    #[param(value_type = Option<String>)]
    pub(super) wait: Option<Duration>,
}

/// `true`, `false`, or seconds.
pub(super) fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    use serde::de::Error;
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "false" => Ok(None),
        "true" => Ok(Some(DEFAULT_WAIT)),
        seconds => match seconds.parse() {
            Ok(seconds) if Duration::from_secs(seconds) <= MAX_WAIT => Ok(Some(Duration::from_secs(seconds))),
            _ => Err(D::Error::custom(format!(
                "`wait` is true, false, or at most {} seconds",
                MAX_WAIT.as_secs()
            ))),
        },
    }
}

/// What is answered to documents: to a body, or to a stream.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is what the OpenAPI document says")]
pub(super) enum Accepted {
    Body(Box<TaskAccepted>),
    Stream(StreamAccepted),
}

/// Accepts documents: as one body, or as a stream with one document a line.
#[utoipa::path(post, path = "/collections/{collection}/documents", tag = "documents", operation_id = "add_documents", params(AddOptions),
    request_body(content((AddDocuments), (String = "application/x-ndjson"))),
    responses((status = 202, body = Envelope<Accepted>), (status = 200, body = Envelope<Accepted>, description = "all of them are searchable")))]
pub(super) async fn add(
    State(api): State<Api>,
    path: InCollection,
    Params(options): Params<AddOptions>,
    request: Request,
) -> Result<Response, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/x-ndjson") || kind.starts_with("application/jsonl") {
        return ndjson::add(api, path.collection, options, request.into_body()).await;
    }
    let Body(AddDocuments { documents }) = Body::from_request(request, &api).await?;
    let priority = options.priority;
    let accepted = api.clone().on(path.collection, move |engine, collection| {
        Ok(TaskAccepted {
            task_id: engine.add_documents(collection, documents, priority)?,
            task: None,
        })
    });
    let mut accepted = accepted.await?.with_status(StatusCode::ACCEPTED);
    if let Some(wait) = options.wait {
        let task = wait_for(&api, &[accepted.result.task_id], wait).await?.pop();
        if task.as_ref().is_some_and(|task| task.status.is_finished()) {
            accepted = accepted.with_status(StatusCode::OK);
        }
        accepted.result.task = task;
    }
    Ok(accepted.into_response())
}

/// Where tasks stand when all of them are finished, so much time has passed, or the server is told to end.
pub(super) async fn wait_for(api: &Api, ids: &[TaskId], wait: Duration) -> Result<Vec<Task>, ApiError> {
    let until = Instant::now() + wait;
    let mut tasks = Vec::new();
    for &id in ids {
        let mut pause = FIRST_POLL;
        loop {
            let task = api.clone().call(move |engine| engine.task(id)).await?;
            let left = until.saturating_duration_since(Instant::now());
            if task.status.is_finished() || left.is_zero() || api.is_stopping() {
                tasks.push(task);
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(pause.min(left)) => {}
                () = api.stopping() => {}
            }
            pause = (2 * pause).min(SLOWEST_POLL);
        }
    }
    Ok(tasks)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The id that the page begins with.
    pub(super) from: Option<String>,
    /// How many of the page. Default: 100.
    pub(super) limit: Option<usize>,
}

impl Page {
    pub(super) fn limit(&self) -> Result<usize> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        check_limit(limit)?;
        Ok(limit)
    }
}

/// What of documents is listed beside their ids.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListOptions {
    /// Keys, separated by commas.
    #[serde(default)]
    metadata: String,
}

/// The documents of a collection, page by page.
#[utoipa::path(get, path = "/collections/{collection}/documents", tag = "documents", operation_id = "list_documents", params(Page, ListOptions),
    responses((status = 200, body = Envelope<DocumentPage>)))]
pub(super) async fn list(
    State(api): State<Api>,
    path: InCollection,
    Params(page): Params<Page>,
    Params(options): Params<ListOptions>,
) -> Result<Answer<DocumentPage>, ApiError> {
    api.on(path.collection, move |_, collection| {
        let keys = options.metadata.split(',').filter(|key| !key.is_empty());
        let keys: Vec<_> = keys.collect();
        let (documents, next) = collection.documents(page.from.as_deref(), page.limit()?, &keys)?;
        let documents = documents.into_iter().map(|document| DocumentEntry {
            id: document.id,
            task_id: document.task,
            chunks: document.chunks,
            metadata: document.metadata,
        });
        Ok(DocumentPage {
            documents: documents.collect(),
            next,
        })
    })
    .await
}

/// A document with its chunks.
#[utoipa::path(get, path = "/collections/{collection}/documents/{id}", tag = "documents", operation_id = "get_document",
    responses((status = 200, body = Envelope<DocumentInfo>)))]
pub(super) async fn get(State(api): State<Api>, path: InCollection<String>) -> Result<Answer<DocumentInfo>, ApiError> {
    api.on(path.collection, move |_, collection| {
        let found = collection
            .document(&path.rest)?
            .ok_or_else(|| StorageError::DocumentNotFound(path.rest.clone()))?;
        Ok(DocumentInfo {
            id: path.rest,
            task_id: found.task,
            chunks: found.chunks,
        })
    })
    .await
}

/// Deletes a document with its chunks.
#[utoipa::path(delete, path = "/collections/{collection}/documents/{id}", tag = "documents", operation_id = "delete_document",
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn delete(
    State(api): State<Api>,
    path: InCollection<String>,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        let seq = engine.delete_document(collection, &path.rest)?;
        Ok(points::completed(seq.ok_or(StorageError::DocumentNotFound(path.rest))?))
    })
    .await
}

/// Deletes several documents: `id` is `delete`.
///
/// An id may be any text, so what is not a document's stands behind `POST`.
#[utoipa::path(post, path = "/collections/{collection}/documents/{id}", tag = "documents", operation_id = "delete_documents",
    request_body = DocumentsSelector,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn act(
    State(api): State<Api>,
    path: InCollection<String>,
    request: Request,
) -> Result<Answer<UpdateResult>, ApiError> {
    if path.rest != "delete" {
        return Err(no_such_endpoint(request.uri()));
    }
    let Body(selector) = Body::from_request(request, &api).await?;
    api.on(path.collection, move |engine, collection| {
        let selector = match selector {
            DocumentsSelector::Ids(ids) => DocumentSelector::Ids(ids),
            DocumentsSelector::Filter(filter) => DocumentSelector::Filter(filter),
        };
        let seq = engine.delete_documents(collection, selector)?;
        Ok(points::completed(seq))
    })
    .await
}
