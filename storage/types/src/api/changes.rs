//! The tail of changes of a collection, for those who mirror it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::PointId;

/// `GET /collections/{collection}/changes`: what writes have changed, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangesPage {
    /// Which tail of changes this is: another one where the collection was made anew, restored or re-embedded.
    #[schema(value_type = String)]
    pub epoch: Uuid,
    /// A write each; writes that changed no point and no document are left out.
    pub changes: Vec<Change>,
    /// The `since` to go on from.
    pub next: u64,
    /// The last write of the collection: `next`, where nothing is left.
    pub last: u64,
}

impl ChangesPage {
    /// Where to go on from.
    pub fn position(&self) -> ChangesPosition {
        ChangesPosition {
            epoch: self.epoch,
            since: self.next,
        }
    }
}

/// A place in the tail of changes: everything up to it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesPosition {
    /// Which tail.
    pub epoch: Uuid,
    /// The last write that is known.
    pub since: u64,
}

/// What one write has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The number that the write was answered with.
    pub operation_id: u64,
    /// Its points.
    #[serde(default, skip_serializing_if = "ChangedPoints::is_empty")]
    pub points: ChangedPoints,
    /// Its documents.
    #[serde(default, skip_serializing_if = "ChangedDocuments::is_empty")]
    pub documents: ChangedDocuments,
}

/// Points that a write has changed, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedPoints {
    /// Those that were put in, or of which a vector or the payload was changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upserted: Vec<PointId>,
    /// Those that were taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<PointId>,
}

impl ChangedPoints {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.deleted.is_empty()
    }
}

/// Documents that a write has changed, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedDocuments {
    /// Those that were stored, or whose metadata was replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upserted: Vec<String>,
    /// Those that were taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<String>,
}

impl ChangedDocuments {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.deleted.is_empty()
    }
}
