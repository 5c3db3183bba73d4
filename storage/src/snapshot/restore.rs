//! A storage snapshot becomes the data directory, before that is opened.
//!
//! A database is made of the file beside the one that is there, and opened once to see that it can be. Then they change places by
//! renaming. Until the last rename the old one counts, and whoever opens the directory after a crash puts it back.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::file::{Entry, Kind, Reader};
use super::folder::{io, sync_dir};
use super::full::Manifest;
use super::{BATCH_BYTES, PARTIAL, delete_partial};
use crate::error::{InvalidInput, Result, StorageError};
use crate::options::Options;
use crate::record::{CollectionRecord, DiskRecord, from_json};
use crate::rocks::{Cf, Rocks};
use crate::store::{ROCKSDB, Store};

/// Indexes and columns of all collections, in the data directory.
const INDEX: &str = "index";

/// Where what a restore replaces is kept until it is replaced, in the data directory.
const REPLACED: &str = "replaced";

/// What the restored database is made in, in the directory of files that are being written.
const RESTORED: &str = "restored";

impl Store {
    /// Makes a data directory what the storage snapshot at `file` holds. Nobody may have it open. One that holds collections already is
    /// refused, unless `replace` says that they are to go. Snapshots that are in it stay.
    ///
    /// # Errors
    /// [`InvalidInput::Snapshot`] where the file is none, is damaged or was cut short, [`InvalidInput::HoldsCollections`]. After any
    /// error everything is as it was.
    pub fn restore_storage(options: &Options, file: &Path, replace: bool) -> Result<()> {
        let dir = &options.data_dir;
        fs::create_dir_all(dir).map_err(io(dir))?;
        settle(dir)?;
        options.check_disk()?;
        let present = dir.join(ROCKSDB);
        // Open until the new one takes its place, so that no server can use it meanwhile.
        let held = match present.exists() {
            true => Some(open(&present, options)?),
            false => None,
        };
        if let Some(rocks) = &held {
            let collections = rocks.snapshot().scan(Cf::Collections, &[], &[]).count();
            if collections > 0 && !replace {
                return Err(InvalidInput::HoldsCollections { collections }.into());
            }
        }
        delete_partial(dir)?;
        let restored = dir.join(PARTIAL).join(RESTORED);
        fs::create_dir_all(&restored).map_err(io(&restored))?;
        let made = make(&restored, options, file).and_then(|()| {
            drop(held);
            fail::fail_point!("restore::before_exchange");
            take_away(dir)?;
            fail::fail_point!("restore::taken_away");
            put_in_place(dir, &restored)?;
            fail::fail_point!("restore::in_place");
            Ok(())
        });
        let settled = settle(dir);
        delete_partial(dir)?;
        made.map_err(|error| match error {
            // Such as one that a later release wrote: the file is to blame, not what is stored here.
            error @ StorageError::Corrupt { .. } => InvalidInput::Snapshot(error.to_string()).into(),
            error => error,
        })?;
        settled
    }
}

fn open(path: &Path, options: &Options) -> Result<Rocks> {
    Rocks::open(path, options.block_cache_bytes, options.embedding_cache_bytes)
}

/// Makes a data directory of a file, durable and known to open.
fn make(restored: &Path, options: &Options, file: &Path) -> Result<()> {
    let file = File::open(file).map_err(io(file))?;
    let mut reader = Reader::new(BufReader::new(file), Kind::Full)?;
    let manifest: Manifest = from_json("manifest of the snapshot", reader.record())?;
    let rocks = open(&restored.join(ROCKSDB), options)?;
    let mut batch = rocks.batch();
    while let Some(Entry { cf, key, value }) = reader.next_entry()? {
        match cf {
            // Their indexes are to be built.
            Cf::Collections => {
                let record = CollectionRecord::from_bytes(value)?;
                batch.put(cf, key, &record.without_indexes()?.to_bytes());
            }
            _ => batch.put(cf, key, value),
        }
        if batch.size_in_bytes() > BATCH_BYTES {
            rocks.write(std::mem::replace(&mut batch, rocks.batch()))?;
        }
    }
    rocks.write(batch)?;
    let found = Manifest::of(&rocks.snapshot())?;
    if (&found.collections, &found.aliases) != (&manifest.collections, &manifest.aliases) {
        return Err(InvalidInput::Snapshot("it does not hold what its manifest names".to_owned()).into());
    }
    rocks.sync()?;
    drop(rocks);
    let options = Options {
        data_dir: restored.to_owned(),
        ..options.clone()
    };
    Store::open(options).map(drop)
}

/// Moves what is there out of the way: the database first, so that without one it is known what to do.
fn take_away(dir: &Path) -> Result<()> {
    let replaced = dir.join(REPLACED);
    fs::create_dir_all(&replaced).map_err(io(&replaced))?;
    sync_dir(dir)?;
    for part in [ROCKSDB, INDEX] {
        rename(dir.join(part), replaced.join(part))?;
    }
    sync_dir(&replaced)?;
    sync_dir(dir)
}

/// Moves what was restored to where it belongs.
fn put_in_place(dir: &Path, restored: &Path) -> Result<()> {
    rename(restored.join(ROCKSDB), dir.join(ROCKSDB))?;
    sync_dir(dir)
}

/// Ends what a crash has interrupted: where there is a database again, what it replaced goes; else that is put back.
pub(crate) fn settle(dir: &Path) -> Result<()> {
    let replaced = dir.join(REPLACED);
    if !replaced.exists() {
        return Ok(());
    }
    if !dir.join(ROCKSDB).exists() {
        // The database last: it says that all is back.
        for part in [INDEX, ROCKSDB] {
            rename(replaced.join(part), dir.join(part))?;
        }
        sync_dir(dir)?;
    }
    fs::remove_dir_all(&replaced).map_err(io(&replaced))?;
    sync_dir(dir)
}

/// Renames what is there.
fn rename(from: PathBuf, to: PathBuf) -> Result<()> {
    match fs::rename(&from, &to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(&from)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
