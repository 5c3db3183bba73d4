//! Tasks: documents on their way into a collection.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{CollectionName, Payload};

/// The number of a task, given out in the order in which tasks were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The caller's id; a document of that id is replaced as a whole. Derived from the text when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The text.
    pub text: String,
    /// Stored with every chunk under `metadata`, where filters find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// Durable and waiting.
    Enqueued,
    /// Some of its documents are being encoded.
    Processing,
    /// Every document is searchable, or has an entry in `errors`.
    Succeeded,
    /// No document could be stored.
    Failed,
}

impl TaskStatus {
    /// Whether the task will not change any more.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A document that could not be stored, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocumentError {
    /// The document.
    pub document_id: String,
    /// What went wrong.
    pub error: String,
}

/// A task as it is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its number.
    pub task_id: TaskId,
    /// The collection that the documents go to.
    pub collection: CollectionName,
    /// Where it stands.
    pub status: TaskStatus,
    /// How many documents it carries.
    pub documents: u64,
    /// How many of them are searchable.
    pub documents_done: u64,
    /// How many of them could not be stored.
    pub documents_failed: u64,
    /// How many chunks they have become so far.
    pub chunks: u64,
    /// Why documents could not be stored; at most 100 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<DocumentError>,
    /// When it was accepted, RFC 3339.
    pub enqueued_at: String,
    /// When work on it began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it was finished, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}
