//! Ingestion as an operator sees it: who goes first, what waits, what was given up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CollectionName, Payload, Task, TaskId};

/// Which of the tasks of a collection go first. Between collections it is the share of the work: a collection gets four times
/// that of another whose next task is of the priority below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before all others.
    High,
    /// What is accepted without a priority.
    #[default]
    Normal,
    /// After all others.
    Low,
}

/// A document that was given up, with the reason. A later version of the same id takes its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// The document's id.
    pub document_id: String,
    /// What the last attempt failed of.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The task that brought it.
    pub task_id: TaskId,
    /// When it was given up, RFC 3339.
    pub failed_at: String,
    /// Its text.
    pub text: String,
    /// Its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
}

/// `GET /collections/{collection}/dead-letters`: in the order of the documents' ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterPage {
    /// The dead letters.
    pub dead_letters: Vec<DeadLetter>,
    /// The id that the next page begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /collections/{collection}/dead-letters/retry`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryDeadLetters {
    /// Of which documents. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
}

/// The answer to [`RetryDeadLetters`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersRetried {
    /// How many documents wait again.
    pub documents: u64,
    /// The tasks that carry them.
    pub task_ids: Vec<TaskId>,
}

/// `DELETE /collections/{collection}/dead-letters`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLettersDeleted {
    /// How many there were.
    pub deleted: u64,
}

/// `GET /collections/{collection}/ingestion`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CollectionIngestion {
    /// The collection.
    pub collection: CollectionName,
    /// Whether its documents wait until it is resumed.
    pub paused: bool,
    /// Why its documents wait otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Tasks that are not finished.
    pub tasks: u64,
    /// Their documents that wait.
    pub documents: u64,
    /// Bytes of these, about.
    pub bytes: u64,
    /// Documents that were given up.
    pub dead_letters: u64,
}

/// A collection whose documents wait, because what encodes them does not work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backoff {
    /// What went wrong.
    pub error: String,
    /// How often in a row.
    pub attempts: u32,
    /// Seconds until the next attempt.
    pub seconds: f64,
}

/// `GET /ingestion`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ingestion {
    /// Tasks that are not finished.
    pub tasks: u64,
    /// Their documents that wait.
    pub documents: u64,
    /// Bytes of these, about.
    pub bytes: u64,
    /// Bytes of documents that were worked off lately, a second; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<f64>,
    /// The threads that work on documents.
    pub stages: Vec<Stage>,
    /// The collections with documents that wait, and those that are paused.
    pub collections: Vec<CollectionIngestion>,
}

/// A thread that works on documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// For how many seconds it has been at one piece of work; absent while it waits for some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_seconds: Option<f64>,
    /// Whether that is longer than it may be (`--stage-timeout`).
    pub hangs: bool,
}

/// `GET /tasks`: the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskPage {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// The task that the next page begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TaskId>,
}

/// `GET /collections/{collection}/documents`: in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentPage {
    /// The documents.
    pub documents: Vec<DocumentEntry>,
    /// The id that the next page begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentEntry {
    /// Its id.
    pub id: String,
    /// The task that stored it.
    pub task_id: TaskId,
    /// How many chunks it has.
    pub chunks: u32,
    /// What of its metadata was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
}

/// The answer to a stream of documents, and what stands beside an error in one: everything up to there is durable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StreamAccepted {
    /// The tasks that carry the documents, in order.
    pub task_ids: Vec<TaskId>,
    /// How many documents they carry.
    pub documents: u64,
    /// How many lines were read, empty ones included; after an error the last of them is the one to blame, or the one to go on
    /// with.
    pub lines: u64,
    /// Where the tasks stand, if that was waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
}
