//! Tasks: listed, looked at, canceled.

use axum::extract::{Path, State};
use serde::Deserialize;
use twofold_storage::TaskFilter;
use twofold_types::api::Envelope;
use twofold_types::{CollectionName, Task, TaskId, TaskPage, TaskStatus};
use twofold_worker::Result;
use utoipa::IntoParams;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Params, bad_path};

/// Tasks of a page when the request does not say.
const DEFAULT_PAGE: usize = 20;

/// Tasks of a page at most.
const MAX_PAGE: usize = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListTasks {
    /// Of this collection only.
    collection: Option<CollectionName>,
    /// In this state only.
    status: Option<TaskStatus>,
    /// The task that the page begins with.
    from: Option<TaskId>,
    /// Tasks of the page. Default: 20, at most 1,000.
    limit: Option<usize>,
}

/// Tasks, the newest first.
#[utoipa::path(get, path = "/tasks", tag = "ingestion", operation_id = "list_tasks", params(ListTasks),
    responses((status = 200, body = Envelope<TaskPage>)))]
pub(super) async fn list(
    State(api): State<Api>,
    Params(list): Params<ListTasks>,
) -> Result<Answer<TaskPage>, ApiError> {
    let limit = list.limit.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
    api.run(move |engine| {
        let filter = TaskFilter {
            collection: list.collection.as_ref(),
            status: list.status,
            from: list.from,
        };
        let (tasks, next) = engine.tasks(&filter, limit)?;
        Ok(TaskPage { tasks, next })
    })
    .await
}

/// Where a task stands.
#[utoipa::path(get, path = "/tasks/{task}", tag = "ingestion", operation_id = "get_task",
    responses((status = 200, body = Envelope<Task>)))]
pub(super) async fn get(State(api): State<Api>, Path(task): Path<String>) -> Result<Answer<Task>, ApiError> {
    let id = task_id(&task)?;
    api.run(move |engine| engine.task(id)).await
}

/// Takes back what is not yet begun of a task.
#[utoipa::path(post, path = "/tasks/{task}/cancel", tag = "ingestion", operation_id = "cancel_task",
    responses((status = 200, body = Envelope<Task>)))]
pub(super) async fn cancel(State(api): State<Api>, Path(task): Path<String>) -> Result<Answer<Task>, ApiError> {
    let id = task_id(&task)?;
    api.run(move |engine| engine.cancel_task(id)).await
}

fn task_id(text: &str) -> Result<TaskId, ApiError> {
    text.parse()
        .map_err(|error| bad_path(format!("`{text}` is not a task's number: {error}")))
}
