//! Tasks: documents on their way into a collection.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CollectionName, Payload, Priority};

/// The number of a task, given out in the order in which tasks were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TaskId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A text with an identity, cut into chunks when it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The caller's id; a document of that id is replaced as a whole. Derived from the text when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The text.
    pub text: String,
    /// Stored with every chunk under `metadata`, where filters find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Payload>,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Durable and waiting.
    Enqueued,
    /// Some of its documents are being encoded.
    Processing,
    /// Every document has ended, and not all of them as dead letters.
    Succeeded,
    /// Every document has become a dead letter.
    Failed,
    /// It was canceled, or its collection deleted, before every document had ended. What was stored stays.
    Canceled,
}

impl TaskStatus {
    /// Whether the task will not change any more.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

/// A document that could not be stored, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DocumentError {
    /// The document.
    pub document_id: String,
    /// What went wrong.
    pub error: String,
}

/// A task as it is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its number.
    pub task_id: TaskId,
    /// The collection that the documents go to.
    pub collection: CollectionName,
    /// Where it stands.
    pub status: TaskStatus,
    /// How it stands with others that wait.
    #[serde(default)]
    pub priority: Priority,
    /// How many documents it carries. Every one of them waits or is counted in exactly one of the numbers that follow.
    pub documents: u64,
    /// How many have become searchable.
    pub documents_done: u64,
    /// How many had been superseded, by a version of the same id that was accepted later, before their turn came.
    #[serde(default)]
    pub documents_superseded: u64,
    /// How many had been deleted before their turn came.
    #[serde(default)]
    pub documents_deleted: u64,
    /// How many have become dead letters.
    pub documents_failed: u64,
    /// How many were canceled.
    #[serde(default)]
    pub documents_canceled: u64,
    /// How many of the searchable ones did not have to be encoded, as their text was stored already.
    #[serde(default)]
    pub documents_unchanged: u64,
    /// How many chunks they have become so far.
    pub chunks: u64,
    /// Why documents could not be stored; at most 100 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<DocumentError>,
    /// The most attempts that a document has had which failed.
    #[serde(default)]
    pub attempts: u32,
    /// What the last failed attempt failed of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the next document is tried again, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry: Option<String>,
    /// Seconds until it is finished, as it looks now; absent where nothing was worked off lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// When it was accepted, RFC 3339.
    pub enqueued_at: String,
    /// When work on it began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it was finished, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}
