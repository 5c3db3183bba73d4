//! Storage snapshots: everything as of one write, in one file, made while writes go on.
//!
//! All collections, aliases, tasks and what waits in the queue come from one view of RocksDB. Indexes are not in it, as they follow;
//! neither are the tails of changes, as mirrors have to begin again on what was put back, nor kept embeddings, which are a cache.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twofold_types::{CollectionName, SnapshotDescription};

use super::file::{Kind, Writer};
use super::finish;
use super::folder::{Folder, Hashing, io};
use crate::aliases::Aliases;
use crate::error::Result;
use crate::key::TAIL;
use crate::nameless::NAMELESS;
use crate::record::{CollectionRecord, DiskRecord, json};
use crate::rocks::{Cf, Rocks, Snapshot};
use crate::store::Store;

/// The directory of storage snapshots in the data directory.
const STORAGE_SNAPSHOTS: &str = "storage-snapshots";

/// What names of storage snapshots begin with.
const PREFIX: &str = "full-snapshot";

/// What a file says of itself before what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The release that wrote it.
    pub(super) twofold: String,
    /// How many collections have each name: two where one is being re-embedded.
    pub(super) collections: BTreeMap<String, u32>,
    /// The collections that aliases stand for.
    pub(super) aliases: BTreeMap<CollectionName, CollectionName>,
}

impl Manifest {
    pub(super) fn of(snapshot: &Snapshot<'_>) -> Result<Self> {
        let mut collections = BTreeMap::new();
        for entry in snapshot.scan(Cf::Collections, &[], &[]) {
            *collections
                .entry(CollectionRecord::from_bytes(&entry?.1)?.name)
                .or_default() += 1;
        }
        let aliases = Aliases::read(snapshot)?.list(None).into_iter();
        Ok(Self {
            twofold: env!("CARGO_PKG_VERSION").to_owned(),
            collections,
            aliases: aliases.map(|alias| (alias.alias_name, alias.collection_name)).collect(),
        })
    }
}

impl Store {
    /// Writes a snapshot of everything. Writes and searches go on meanwhile; what is acknowledged before is in it. `now` is in
    /// milliseconds since 1970.
    pub fn create_storage_snapshot(&self, now: u64) -> Result<SnapshotDescription> {
        self.options.check_disk()?;
        self.storage_folder()
            .add(&self.partial_dir()?, PREFIX, now, |path| write(&self.rocks, path))
    }

    /// The snapshots of everything, oldest first.
    pub fn storage_snapshots(&self) -> Result<Vec<SnapshotDescription>> {
        self.storage_folder().list()
    }

    /// Where a snapshot of everything is.
    pub fn storage_snapshot_path(&self, snapshot: &str) -> Result<PathBuf> {
        self.storage_folder().path(snapshot)
    }

    /// Deletes a snapshot of everything.
    pub fn delete_storage_snapshot(&self, snapshot: &str) -> Result<()> {
        self.storage_folder().delete(snapshot)
    }

    fn storage_folder(&self) -> Folder {
        Folder(self.options.data_dir.join(STORAGE_SNAPSHOTS))
    }
}

/// Writes what RocksDB holds to a file, and says its SHA-256.
fn write(rocks: &Rocks, path: &Path) -> Result<String> {
    let snapshot = rocks.snapshot();
    // Half of what is being restored, and what is left of what was succeeded, would be deleted at the next start.
    let mut nameless = HashSet::new();
    for entry in snapshot.scan(Cf::Meta, NAMELESS, &[]) {
        nameless.insert(entry?.0[NAMELESS.len()..].to_vec());
    }
    let file = File::create(path).map_err(io(path))?;
    let manifest = json(&Manifest::of(&snapshot)?);
    let mut writer = Writer::new(BufWriter::new(Hashing::new(file)), Kind::Full, &manifest, &[])?;
    for cf in Cf::ALL.into_iter().filter(|cf| Kind::Full.holds(*cf)) {
        let of_collections = Cf::OF_COLLECTIONS.contains(&cf);
        for entry in snapshot.scan_once(cf, &[]) {
            let (key, value) = entry?;
            let skipped = match cf {
                Cf::Meta => key.starts_with(TAIL),
                _ => of_collections && key.get(..4).is_some_and(|id| nameless.contains(id)),
            };
            if !skipped {
                writer.entry(cf, &key, &value)?;
            }
        }
    }
    finish(writer, path)
}
