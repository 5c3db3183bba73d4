//! Tasks: listed, looked at, canceled.

use axum::extract::{Path, State};
use serde::Deserialize;
use twofold_storage::TaskFilter;
use twofold_types::{CollectionName, Task, TaskId, TaskPage, TaskStatus};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Params, bad_path};

/// Tasks of a page when the request does not say.
const DEFAULT_PAGE: usize = 20;

/// Tasks of a page at most.
const MAX_PAGE: usize = 1_000;

#[derive(Debug, Deserialize)]
pub(super) struct ListTasks {
    collection: Option<CollectionName>,
    status: Option<TaskStatus>,
    from: Option<TaskId>,
    limit: Option<usize>,
}

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

pub(super) async fn get(State(api): State<Api>, Path(task): Path<String>) -> Result<Answer<Task>, ApiError> {
    let id = task_id(&task)?;
    api.run(move |engine| engine.task(id)).await
}

pub(super) async fn cancel(State(api): State<Api>, Path(task): Path<String>) -> Result<Answer<Task>, ApiError> {
    let id = task_id(&task)?;
    api.run(move |engine| engine.cancel_task(id)).await
}

fn task_id(text: &str) -> Result<TaskId, ApiError> {
    text.parse()
        .map_err(|error| bad_path(format!("`{text}` is not a task's number: {error}")))
}
