//! Operations: every change of a collection's points, in a form that is applied in order and idempotently.

use std::collections::BTreeMap;

use twofold_types::api::UpdateMode;
use twofold_types::{Embedding, Filter, Payload, PointId, TaskId};

use crate::queue::TaskRecord;

/// A change of a collection's points. Applying it takes neither clock nor chance.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Points are put in, whole, in place of those with the same ids.
    Upsert(Vec<NewPoint>),
    /// The same, under conditions.
    UpsertIf {
        /// The points.
        points: Vec<NewPoint>,
        /// Of points that exist, only those that match are replaced.
        filter: Option<Filter>,
        /// Whether points are put in, replaced, or both.
        mode: UpdateMode,
    },
    /// Vectors of points are replaced; their others and their payloads stay. A point that does not exist is left out.
    UpdateVectors {
        /// The vectors by point and name.
        vectors: Vec<(PointId, BTreeMap<String, Embedding>)>,
        /// Only of points that match.
        filter: Option<Filter>,
    },
    /// Vectors of points are taken out.
    DeleteVectors {
        /// Of which points.
        selector: Selector,
        /// Which vectors.
        names: Vec<String>,
    },
    /// Points are taken out.
    Delete(Selector),
    /// Payload keys are set.
    SetPayload {
        /// Of which points.
        selector: Selector,
        /// To what.
        payload: Payload,
        /// Below which key; the top level when absent.
        key: Option<String>,
    },
    /// Payloads are replaced.
    OverwritePayload {
        /// Of which points.
        selector: Selector,
        /// By what.
        payload: Payload,
    },
    /// Payload keys are removed.
    DeletePayload {
        /// Of which points.
        selector: Selector,
        /// Which keys.
        keys: Vec<String>,
    },
    /// Payloads are emptied.
    ClearPayload(Selector),
    /// Documents are put in, with the chunks they have now and without those they had before.
    PutDocuments {
        /// The documents, in the order in which they were accepted.
        documents: Vec<DocumentWrite>,
        /// The state of the tasks that brought them, durable together with them.
        tasks: Vec<TaskProgress>,
    },
    /// A document is taken out with its chunks.
    DeleteDocument(String),
}

/// A task and the state that it reaches.
pub type TaskProgress = (TaskId, TaskRecord);

/// A point with ready vectors.
#[derive(Debug, Clone)]
pub struct NewPoint {
    /// Its id.
    pub id: PointId,
    /// Its vectors by name.
    pub vectors: BTreeMap<String, Embedding>,
    /// Its payload.
    pub payload: Payload,
}

/// A document whose chunks are encoded.
#[derive(Debug, Clone)]
pub struct DocumentWrite {
    /// Its id.
    pub id: String,
    /// The task that brought it.
    pub task: TaskId,
    /// Its chunks in order; their ids are those of [`chunk_id`].
    pub chunks: Vec<NewPoint>,
}

/// Points by id or by filter.
#[derive(Debug, Clone)]
pub enum Selector {
    /// Those with these ids, as far as they exist.
    Ids(Vec<PointId>),
    /// Those that match.
    Filter(Filter),
}

/// The id of a chunk, always the same for the same document and ordinal, so that a document that is sent again replaces
/// itself.
pub fn chunk_id(document: &str, ordinal: u32) -> PointId {
    // Random, and the same for ever.
    const NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x8c6f_1f52_3a0e_4d7b_9d55_70f1_6e2b_c84a);
    let name = [document.as_bytes(), &ordinal.to_be_bytes()].concat();
    PointId::Uuid(uuid::Uuid::new_v5(&NAMESPACE, &name))
}
