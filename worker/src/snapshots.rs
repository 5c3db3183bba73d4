//! Snapshots: storage makes and restores them, and the threads hear of what was restored.

use std::path::{Path, PathBuf};

use twofold_types::{CollectionName, SnapshotDescription};

use crate::clock::now_millis;
use crate::engine::Engine;
use crate::error::Result;

/// A snapshot of everything that an engine is to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSnapshot {
    /// Where it is.
    pub file: PathBuf,
    /// Whether collections that are there already are to go; else they are a reason not to start.
    pub replace: bool,
}

impl Engine {
    /// Writes a snapshot of everything; see [`create_storage_snapshot`](twofold_storage::Store::create_storage_snapshot).
    pub fn create_storage_snapshot(&self) -> Result<SnapshotDescription> {
        Ok(self.store.create_storage_snapshot(now_millis())?)
    }

    /// Writes a snapshot of a collection; see [`create_snapshot`](twofold_storage::Store::create_snapshot).
    pub fn create_snapshot(&self, name: &CollectionName) -> Result<SnapshotDescription> {
        Ok(self.store.create_snapshot(name, now_millis())?)
    }

    /// Restores a snapshot as a collection; see [`restore_snapshot`](twofold_storage::Store::restore_snapshot). Its indexes are built
    /// afterwards; until then its searches compare every vector.
    pub fn restore_snapshot(&self, name: &CollectionName, path: &Path, checksum: Option<&str>) -> Result<()> {
        self.store.restore_snapshot(name, path, checksum)?;
        // The one cancels documents of the collection that was replaced, the other begins to build.
        self.scheduler.ring();
        self.indexer.ring();
        Ok(())
    }
}
