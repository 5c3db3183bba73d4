//! Documents on their way in, and as they were stored.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{Document, Filter, Record, Task, TaskId};

/// `POST /collections/{collection}/documents`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDocuments {
    /// The documents.
    pub documents: Vec<Document>,
}

/// The answer to [`AddDocuments`], once they are durable.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TaskAccepted {
    /// Ask `GET /tasks/{task_id}` how it goes.
    pub task_id: TaskId,
    /// Where it stands, if that was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
}

/// `POST /collections/{collection}/documents/delete`: which documents.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DocumentsSelector {
    /// Those with these ids.
    Ids(Vec<String>),
    /// Those of which a chunk matches.
    Filter(Filter),
}

impl<'de> Deserialize<'de> for DocumentsSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            ids: Option<Vec<String>>,
            filter: Option<Filter>,
        }
        match Wire::deserialize(deserializer)? {
            Wire {
                ids: Some(ids),
                filter: None,
            } => Ok(Self::Ids(ids)),
            Wire {
                ids: None,
                filter: Some(filter),
            } => Ok(Self::Filter(filter)),
            _ => Err(D::Error::custom("exactly one of `ids` and `filter` is accepted")),
        }
    }
}

/// `GET /collections/{collection}/documents/{id}`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DocumentInfo {
    /// The document's id.
    pub id: String,
    /// The task that stored it.
    pub task_id: TaskId,
    /// Its chunks in order.
    pub chunks: Vec<Record>,
}
