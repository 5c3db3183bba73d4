//! Documents on their way in, and as they were stored.

use serde::{Deserialize, Serialize};

use crate::{Document, Record, TaskId};

/// `POST /collections/{collection}/documents`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddDocuments {
    /// The documents.
    pub documents: Vec<Document>,
}

/// The answer to [`AddDocuments`], once they are durable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskAccepted {
    /// Ask `GET /tasks/{task_id}` how it goes.
    pub task_id: TaskId,
}

/// `GET /collections/{collection}/documents/{id}`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentInfo {
    /// The document's id.
    pub id: String,
    /// The task that stored it.
    pub task_id: TaskId,
    /// Its chunks in order.
    pub chunks: Vec<Record>,
}
