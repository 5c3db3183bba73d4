//! Snapshots: a collection as of one write, in one file. (`full.rs` has those of all collections.)
//!
//! What RocksDB holds of the collection is copied from a consistent view while writes go on; indexes are not in it, as they follow. A
//! restored collection is written beside what has its name, under a number of its own, and takes the name in one write at the end: what
//! fails before leaves everything as it was.

mod file;
mod folder;
mod full;
mod restore;

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use twofold_types::{CollectionName, SnapshotDescription};

use self::file::{Entry, Kind, Reader, Writer};
use self::folder::{Folder, Hashing, hex, io, sha256};
pub(crate) use self::restore::settle;
use crate::collection::Collection;
use crate::error::{InvalidInput, Result, StorageError};
use crate::key::CollectionId;
use crate::nameless::{forget, nameless_key};
use crate::record::{CollectionRecord, DiskRecord};
use crate::rocks::Cf;
use crate::store::Store;

/// The directory of snapshots in the data directory; each collection has one of its own in it.
const SNAPSHOTS: &str = "snapshots";

/// The directory of files that are being written, in the data directory. What a crash leaves of them is deleted at the next start.
const PARTIAL: &str = "partial";

/// Bytes of a batch while a collection is restored: enough to write fast, too few to be felt.
const BATCH_BYTES: usize = 4 << 20;

impl Store {
    /// Writes a snapshot of a collection. Writes and searches go on meanwhile; what is acknowledged before is in it. `now` is in
    /// milliseconds since 1970.
    pub fn create_snapshot(&self, name: &CollectionName, now: u64) -> Result<SnapshotDescription> {
        self.options.check_disk()?;
        let collection = self.collection(name)?;
        let prefix = self.resolved(name);
        self.folder(name)
            .add(&self.partial_dir()?, prefix.as_str(), now, |path| {
                write(&collection, path)
            })
    }

    /// The snapshots of a collection, whether it exists or not, oldest first.
    pub fn snapshots(&self, name: &CollectionName) -> Result<Vec<SnapshotDescription>> {
        self.folder(name).list()
    }

    /// Where a snapshot is.
    pub fn snapshot_path(&self, name: &CollectionName, snapshot: &str) -> Result<PathBuf> {
        self.folder(name).path(snapshot)
    }

    /// Where the snapshot is that `location` names: a snapshot of the collection by its name, or `file://` and the path of one among the
    /// snapshots of this server.
    pub fn locate_snapshot(&self, name: &CollectionName, location: &str) -> Result<PathBuf> {
        let Some(path) = location.strip_prefix("file://") else {
            if location.contains("://") {
                let reason = "it has to be on this server: upload it to `snapshots/upload`, or name one by `file://`";
                return Err(InvalidInput::Snapshot(reason.to_owned()).into());
            }
            return self.snapshot_path(name, location);
        };
        let missing = |_| StorageError::SnapshotNotFound(location.to_owned());
        let path = Path::new(path).canonicalize().map_err(missing)?;
        let dir = self.options.data_dir.join(SNAPSHOTS).canonicalize().map_err(missing)?;
        if !path.starts_with(&dir) {
            let reason = format!(
                "`file://` takes snapshots below {}; upload others to `snapshots/upload`",
                dir.display()
            );
            return Err(InvalidInput::Snapshot(reason).into());
        }
        Ok(path)
    }

    /// The directory of files that are being written, on the disk of the data directory.
    pub fn partial_dir(&self) -> Result<PathBuf> {
        let dir = self.options.data_dir.join(PARTIAL);
        fs::create_dir_all(&dir).map_err(io(&dir))?;
        Ok(dir)
    }

    /// Deletes a snapshot.
    pub fn delete_snapshot(&self, name: &CollectionName, snapshot: &str) -> Result<()> {
        self.folder(name).delete(snapshot)
    }

    /// Makes `name` what the snapshot at `path` holds, in place of the collection of that name if there is one. `checksum` is the
    /// SHA-256 that the file must have, in hexadecimal. Documents that wait for the collection that is replaced are canceled.
    ///
    /// # Errors
    /// [`InvalidInput::Snapshot`] where the file is none, is damaged or was cut short; then nothing has changed.
    pub fn restore_snapshot(&self, name: &CollectionName, path: &Path, checksum: Option<&str>) -> Result<()> {
        self.options.check_disk()?;
        if let Some(expected) = checksum {
            let found = sha256(path)?;
            if !found.eq_ignore_ascii_case(expected) {
                return Err(InvalidInput::Snapshot(format!("its SHA-256 is {found}, not {expected}")).into());
            }
        }
        let id = self.reserve_collection(|id, batch| batch.put(Cf::Meta, &nameless_key(id), &[]))?;
        let name = self.resolved(name);
        let restored = self.copy_in(id, path).and_then(|record| {
            self.adopt(id, record.restored_as(&name)?, |batch| {
                batch.delete(Cf::Meta, &nameless_key(id))
            })
        });
        if restored.is_err() {
            forget(&self.rocks, id)?;
        }
        restored.map_err(|error| match error {
            // Such as one that a later release wrote: the file is to blame, not what is stored here.
            error @ StorageError::Corrupt { .. } => InvalidInput::Snapshot(error.to_string()).into(),
            error => error,
        })
    }

    /// Copies what a snapshot holds to the keys of `id` and says the collection's record.
    fn copy_in(&self, id: CollectionId, path: &Path) -> Result<CollectionRecord> {
        let file = File::open(path).map_err(io(path))?;
        let mut reader = Reader::new(BufReader::new(file), Kind::Collection)?;
        let record = CollectionRecord::from_bytes(reader.record())?;
        let mut batch = self.rocks.batch();
        batch.put(Cf::Meta, &id.counter_key(), reader.counter());
        while let Some(Entry { cf, key, value }) = reader.next_entry()? {
            batch.put(cf, &[&id.key(), key].concat(), value);
            if batch.size_in_bytes() > BATCH_BYTES {
                self.rocks.write(std::mem::replace(&mut batch, self.rocks.batch()))?;
            }
        }
        self.rocks.write(batch)?;
        Ok(record)
    }

    fn folder(&self, name: &CollectionName) -> Folder {
        Folder(self.options.data_dir.join(SNAPSHOTS).join(self.resolved(name).as_str()))
    }
}

/// Writes what RocksDB holds of a collection to a file, and says its SHA-256.
fn write(collection: &Collection, path: &Path) -> Result<String> {
    let view = collection.view();
    let (snapshot, id) = (&view.snapshot, collection.id);
    let corrupt = || StorageError::Corrupt {
        what: "collection record",
        reason: "it is missing".to_owned(),
    };
    let record = snapshot.get(Cf::Collections, &id.key())?.ok_or_else(corrupt)?;
    let counter = snapshot.get(Cf::Meta, &id.counter_key())?.unwrap_or_default();
    let file = File::create(path).map_err(io(path))?;
    let mut writer = Writer::new(BufWriter::new(Hashing::new(file)), Kind::Collection, &record, &counter)?;
    for cf in Cf::OF_COLLECTIONS.into_iter().filter(|cf| Kind::Collection.holds(*cf)) {
        for entry in snapshot.scan_once(cf, &id.key()) {
            let (key, value) = entry?;
            writer.entry(cf, &key[id.key().len()..], &value)?;
        }
        if collection.is_dropped() {
            return Err(StorageError::CollectionNotFound(collection.name().clone()));
        }
    }
    finish(writer, path)
}

/// Ends a file, makes it durable, and says its SHA-256.
fn finish(writer: Writer<BufWriter<Hashing>>, path: &Path) -> Result<String> {
    let hashing = writer
        .finish()?
        .into_inner()
        .map_err(|error| io(path)(error.into_error()))?;
    hashing.file.sync_all().map_err(io(path))?;
    Ok(hex(hashing.hash))
}

/// Deletes what a crash left of snapshots that were being written or received.
pub(crate) fn delete_partial(data_dir: &Path) -> Result<()> {
    let partial = data_dir.join(PARTIAL);
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(&partial)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
