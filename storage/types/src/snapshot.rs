//! Snapshots of collections.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A snapshot on the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotDescription {
    /// Its name, which is that of a file.
    pub name: String,
    /// When it was made, in UTC and without an offset: `2024-02-29T12:30:00`.
    #[serde(default)]
    pub creation_time: Option<String>,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal.
    #[serde(default)]
    pub checksum: Option<String>,
}

/// `PUT /collections/{collection}/snapshots/recover`. Priorities of other engines are accepted and have no meaning here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoverSnapshot {
    /// Where the snapshot is: `file://` and the path of one on the server, or its name alone.
    pub location: String,
    /// The SHA-256 that it must have, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}
