//! Documents and the tasks that carry them in.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use twofold_storage::StorageError;
use twofold_types::api::{AddDocuments, DocumentInfo, TaskAccepted, UpdateResult};
use twofold_types::{Task, TaskId};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection, bad_path};
use super::points::completed;

/// Tasks that are listed at most.
const MAX_TASKS: usize = 1_000;

pub(super) async fn add(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<AddDocuments>,
) -> Result<Answer<TaskAccepted>, ApiError> {
    let accepted = api.on(path.collection, move |engine, collection| {
        Ok(TaskAccepted {
            task_id: engine.add_documents(collection, request.documents)?,
        })
    });
    Ok(accepted.await?.with_status(StatusCode::ACCEPTED))
}

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

pub(super) async fn delete(
    State(api): State<Api>,
    path: InCollection<String>,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |engine, collection| {
        let seq = engine.delete_document(collection, &path.rest)?;
        Ok(completed(seq.ok_or(StorageError::DocumentNotFound(path.rest))?))
    })
    .await
}

pub(super) async fn task(State(api): State<Api>, Path(task): Path<String>) -> Result<Answer<Task>, ApiError> {
    let task: TaskId = task
        .parse()
        .map_err(|error| bad_path(format!("`{task}` is not a task's number: {error}")))?;
    api.run(move |engine| Ok(engine.store().queue().task(task)?)).await
}

#[derive(Deserialize)]
pub(super) struct ListTasks {
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct TaskList {
    tasks: Vec<Task>,
}

pub(super) async fn tasks(State(api): State<Api>, Query(list): Query<ListTasks>) -> Result<Answer<TaskList>, ApiError> {
    let limit = list.limit.unwrap_or(20).min(MAX_TASKS);
    api.run(move |engine| {
        Ok(TaskList {
            tasks: engine.store().queue().tasks(limit)?,
        })
    })
    .await
}
