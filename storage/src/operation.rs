//! Operations: every change of a collection's points, in a form that is applied in order and idempotently.

use std::collections::BTreeMap;

use twofold_types::api::UpdateMode;
use twofold_types::{Embedding, Filter, Payload, PointId, TaskId};

use crate::task::Version;

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
    /// Documents of the queue were worked off: what became of them, together with what their tasks have come to.
    Finish {
        /// The documents, in the order in which they were taken up.
        documents: Vec<WorkedOff>,
        /// The time, in milliseconds since 1970.
        now: u64,
    },
    /// What of a task has not ended is canceled.
    CancelTask {
        /// The task; nothing happens where it is finished.
        task: TaskId,
        /// The time, in milliseconds since 1970.
        now: u64,
    },
    /// Documents are taken out with their chunks, their dead letters, and their versions that wait.
    DeleteDocuments(DocumentSelector),
}

impl Operation {
    /// Whether it is refused where the disk is nearly full. What makes room is not, nor what is as good as done.
    pub(crate) fn takes_room(&self) -> bool {
        matches!(
            self,
            Self::Upsert(_)
                | Self::UpsertIf { .. }
                | Self::UpdateVectors { .. }
                | Self::SetPayload { .. }
                | Self::OverwritePayload { .. }
        )
    }

    /// Whether it names points, and not documents.
    pub(crate) fn is_of_points(&self) -> bool {
        !matches!(
            self,
            Self::Finish { .. } | Self::CancelTask { .. } | Self::DeleteDocuments(_)
        )
    }
}

/// Documents by id or by filter.
#[derive(Debug, Clone)]
pub enum DocumentSelector {
    /// Those with these ids, as far as they exist.
    Ids(Vec<String>),
    /// Those of which a chunk matches.
    Filter(Filter),
}

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

/// A document of the queue that was worked off.
#[derive(Debug, Clone)]
pub struct WorkedOff {
    /// Its id.
    pub id: String,
    /// Its place in the queue.
    pub version: Version,
    /// What came of it. It counts only if no later version of the id was accepted, and the id was not deleted.
    pub outcome: Outcome,
}

/// What came of a document that was taken up.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Its chunks.
    Encoded {
        /// What it is known again by.
        fingerprint: Fingerprint,
        /// What of its text is in none of the chunks, in its order.
        gaps: String,
        /// The chunks in order; their ids are those of [`chunk_id`].
        chunks: Vec<NewPoint>,
    },
    /// Its text is that of the stored document, so its chunks stay; their metadata is replaced where it is other.
    Unchanged {
        /// What it is known again by.
        fingerprint: Fingerprint,
        /// The metadata that its chunks get.
        metadata: Option<Payload>,
    },
    /// It was not encoded, as it did not count any more.
    Overtaken,
    /// An attempt failed that is worth another.
    Retry {
        /// How many attempts have failed.
        attempts: u32,
        /// When the next one is, in milliseconds since 1970.
        due: u64,
        /// What went wrong.
        error: String,
    },
    /// It is given up, and becomes a dead letter.
    GivenUp {
        /// How many attempts have failed.
        attempts: u32,
        /// What went wrong.
        reason: String,
    },
}

/// What tells whether a document is stored already as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of the text and of everything that decides about its chunks and their vectors.
    pub text: [u8; 16],
    /// Of the metadata.
    pub metadata: [u8; 16],
}

/// Where a chunk's payload names its document.
pub const DOCUMENT_ID: &str = "document_id";

/// Where a chunk's payload has the metadata of its document.
pub const METADATA: &str = "metadata";

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

/// The id of the point that a document has beside its chunks where the collection has pooled vectors.
pub fn document_point_id(document: &str) -> PointId {
    // Random, and the same for ever.
    const NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x2e0b_94c7_d1f3_4a68_b07a_5c19_e38d_46f2);
    PointId::Uuid(uuid::Uuid::new_v5(&NAMESPACE, document.as_bytes()))
}
