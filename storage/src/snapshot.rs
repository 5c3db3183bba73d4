//! Snapshots: a collection as of one write, in one file.
//!
//! What RocksDB holds of the collection is copied from a consistent view while writes go on; indexes are not in it, as they follow. A
//! restored collection is written beside what has its name, under a number of its own, and takes the name in one write at the end: what
//! fails before leaves everything as it was.

mod file;

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use twofold_types::{CollectionName, SnapshotDescription};

use self::file::{Entry, Reader, Writer};
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

/// How names of snapshots end.
const ENDING: &str = "snapshot";

/// How the name of a file ends that holds the SHA-256 of a snapshot.
const CHECKSUM_ENDING: &str = "sha256";

/// Bytes of a batch while a collection is restored: enough to write fast, too few to be felt.
const BATCH_BYTES: usize = 4 << 20;

impl Store {
    /// Writes a snapshot of a collection. Writes and searches go on meanwhile; what is acknowledged before is in it. `now` is in
    /// milliseconds since 1970.
    pub fn create_snapshot(&self, name: &CollectionName, now: u64) -> Result<SnapshotDescription> {
        self.options.check_disk()?;
        let collection = self.collection(name)?;
        let dir = self.snapshots_dir(name);
        fs::create_dir_all(&dir).map_err(io(&dir))?;
        let (path, partial) = self.unused_name(&dir, name, now)?;
        let written = write(&collection, &partial).and_then(|checksum| {
            let sidecar = checksum_path(&path);
            fs::write(&sidecar, checksum).map_err(io(&sidecar))?;
            fs::rename(&partial, &path).map_err(io(&path))?;
            sync_dir(&dir)
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        describe(&path)
    }

    /// The snapshots of a collection, whether it exists or not, oldest first.
    pub fn snapshots(&self, name: &CollectionName) -> Result<Vec<SnapshotDescription>> {
        let dir = self.snapshots_dir(name);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io(&dir))?,
        };
        let mut snapshots = Vec::new();
        for entry in entries {
            let path = entry.map_err(io(&dir))?.path();
            if path.extension().is_some_and(|extension| extension == ENDING) {
                snapshots.push(describe(&path)?);
            }
        }
        snapshots.sort_by(|a, b| (&a.creation_time, &a.name).cmp(&(&b.creation_time, &b.name)));
        Ok(snapshots)
    }

    /// Where a snapshot is.
    pub fn snapshot_path(&self, name: &CollectionName, snapshot: &str) -> Result<PathBuf> {
        let missing = || StorageError::SnapshotNotFound(snapshot.to_owned());
        // A name of its own, so that nothing else can be meant by it.
        if snapshot.contains(['/', '\\']) || !snapshot.ends_with(&format!(".{ENDING}")) {
            return Err(missing());
        }
        let path = self.snapshots_dir(name).join(snapshot);
        path.is_file().then_some(path).ok_or_else(missing)
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
        let path = self.snapshot_path(name, snapshot)?;
        fs::remove_file(&path).map_err(io(&path))?;
        let _ = fs::remove_file(checksum_path(&path));
        Ok(())
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
        let mut reader = Reader::new(BufReader::new(file))?;
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

    fn snapshots_dir(&self, name: &CollectionName) -> PathBuf {
        self.options.data_dir.join(SNAPSHOTS).join(self.resolved(name).as_str())
    }

    /// Where a new snapshot in `dir` is to be, and a file to write it to until it is whole, which is made.
    fn unused_name(&self, dir: &Path, name: &CollectionName, now: u64) -> Result<(PathBuf, PathBuf)> {
        let partial_dir = self.partial_dir()?;
        let (name, time) = (self.resolved(name), timestamp(now).strftime("%Y-%m-%d-%H-%M-%S"));
        for number in 0.. {
            let suffix = if number == 0 {
                String::new()
            } else {
                format!("-{number}")
            };
            let file_name = format!("{name}-{time}{suffix}.{ENDING}");
            let (path, partial) = (dir.join(&file_name), partial_dir.join(&file_name));
            match File::create_new(&partial) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => {
                    made.map_err(io(&partial))?;
                    // Looked for while the other name is ours, so that nobody can have just renamed to it.
                    if !path.exists() {
                        return Ok((path, partial));
                    }
                    fs::remove_file(&partial).map_err(io(&partial))?;
                }
            }
        }
        unreachable!("there are more numbers than files")
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
    let mut writer = Writer::new(BufWriter::new(Hashing::new(file)), &record, &counter)?;
    for cf in Cf::OF_COLLECTIONS {
        // What indexes and mirrors have yet to follow is nothing to one that begins anew; what waits and what was given up belong to the
        // queue.
        if matches!(cf, Cf::IndexLog | Cf::Changes | Cf::Waiting | Cf::DeadLetters) {
            continue;
        }
        for entry in snapshot.scan(cf, &id.key(), &[]) {
            let (key, value) = entry?;
            writer.entry(cf, &key[id.key().len()..], &value)?;
        }
        if collection.is_dropped() {
            return Err(StorageError::CollectionNotFound(collection.name().clone()));
        }
    }
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

fn describe(path: &Path) -> Result<SnapshotDescription> {
    let metadata = path.metadata().map_err(io(path))?;
    let modified = metadata.modified().map_err(io(path))?;
    let since_1970 = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(SnapshotDescription {
        name: name.into_owned(),
        creation_time: Some(
            timestamp(since_1970.as_millis() as u64)
                .strftime("%Y-%m-%dT%H:%M:%S")
                .to_string(),
        ),
        size: metadata.len(),
        checksum: fs::read_to_string(checksum_path(path)).ok(),
    })
}

fn timestamp(millis: u64) -> jiff::Timestamp {
    let stamp = i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    stamp.unwrap_or(jiff::Timestamp::MAX)
}

fn checksum_path(snapshot: &Path) -> PathBuf {
    snapshot.with_extension(format!("{ENDING}.{CHECKSUM_ENDING}"))
}

fn sync_dir(dir: &Path) -> Result<()> {
    // Only some systems open directories; where this one does not, its renames are durable by themselves.
    match File::open(dir) {
        Ok(dir_file) => dir_file.sync_all().map_err(io(dir)),
        Err(_) => Ok(()),
    }
}

/// The SHA-256 of a file in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(io(path))? {
            0 => return Ok(hex(hash)),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> StorageError {
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull => StorageError::DiskFull,
        _ => StorageError::Io {
            path: path.to_owned(),
            source,
        },
    }
}

/// A file that is hashed as it is written.
struct Hashing {
    file: File,
    hash: Sha256,
}

impl Hashing {
    fn new(file: File) -> Self {
        Self {
            file,
            hash: Sha256::new(),
        }
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
