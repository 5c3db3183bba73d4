//! Options of storage.

use std::path::PathBuf;
use std::time::Duration;

use crate::budget;
use crate::error::{Result, StorageError};

/// Options of storage. The defaults suit a machine with a few gigabytes of memory.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept. One process at a time may use it.
    pub data_dir: PathBuf,
    /// Bytes of RocksDB's block cache. Default: 256 MiB. Too small makes reads of payloads touch the disk.
    pub block_cache_bytes: usize,
    /// Bytes on disk of embeddings of documents' texts that are kept to be used again; 0: none. Default: 1 GiB, some 700,000 vectors of
    /// 384 dimensions. Too few encode again what was encoded before; they are the first to go, and no answer depends on them.
    pub embedding_cache_bytes: u64,
    /// Above how many vectors a collection gets an index in memory; below it every vector is compared. Default: 4,000. Too high
    /// makes searches slow, too low spends time on indexes that save none.
    pub index_threshold: u64,
    /// How many changed vectors may be compared beside an index in memory before it follows. Default: 512. Too high makes
    /// searches slow while there are writes; too low spends time on following them one by one. (An index on disk follows when
    /// a tenth of its vectors has changed.)
    pub index_lag: u64,
    /// A checkpoint of vectors and their index is written again when a fifth of the vectors (a fiftieth where nobody writes) and this
    /// many more have changed. Default: 10,000. Too high makes a start read much of the log, too low writes the same again and again.
    pub checkpoint_changes: u64,
    /// Above how many vector components (points times dimensions) vectors on disk (`on_disk: true`) get an index. Default:
    /// 10,000,000, some 5 ms. Too high makes searches slow, too low makes them approximate without need.
    pub exact_scan_components: u64,
    /// Bytes that vectors, their indexes in memory, payload indexes and ids of all collections may take. Default: half of the
    /// memory that the machine or the process's control group has; no limit where the system does not tell. What training
    /// takes for a while, RocksDB (its block cache above all), encoders, and the system's cache of mapped vectors come on top:
    /// too high ends in swapping or in the process being killed, too low moves vectors to disk that have room in memory.
    pub memory_budget_bytes: u64,
    /// Documents that may wait to be encoded before more are refused. Default: 10,000,000. Too high lets one client fill the
    /// disk, too low refuses bursts that the disk has room for.
    pub max_queued_documents: u64,
    /// Bytes of them, about. Default: 16 GiB.
    pub max_queued_bytes: u64,
    /// Bytes of the data directory's disk that stay free: below, documents and points are refused and ingestion waits, while
    /// deleting and canceling work. Default: 512 MiB. Too low ends in a disk that is full, on which not even deleting works.
    pub min_free_disk_bytes: u64,
    /// Finished tasks that are kept to be asked for, at most. Default: 100,000, some 20 MB.
    pub finished_tasks: u64,
    /// How long they are kept. Default: 7 days.
    pub finished_task_age: Duration,
    /// Writes of a collection whose changes are kept for those who mirror it, at most; 0: none. Default: 100,000, nearly three hours of
    /// ten writes a second. Too few make a mirror that was away for a while begin again, too many take room.
    pub change_writes: u64,
    /// Bytes of these, at most, before compression; 0: none. Default: 64 MiB, the ids of some 3 million points with UUIDs, so that a
    /// thousand collections that are written to stay below 64 GiB.
    pub change_bytes: u64,
    /// Names of those who are to be told of every task that is finished; each gets a message in the [outbox](crate::Outbox). Default: none.
    pub webhooks: Vec<String>,
}

impl Options {
    /// The defaults, for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            block_cache_bytes: 256 << 20,
            embedding_cache_bytes: 1 << 30,
            index_threshold: 4_000,
            index_lag: 512,
            checkpoint_changes: 10_000,
            exact_scan_components: 10_000_000,
            memory_budget_bytes: budget::default_bytes(),
            max_queued_documents: 10_000_000,
            max_queued_bytes: 16 << 30,
            min_free_disk_bytes: 512 << 20,
            finished_tasks: 100_000,
            finished_task_age: Duration::from_secs(7 * 24 * 3600),
            change_writes: 100_000,
            change_bytes: 64 << 20,
            webhooks: Vec::new(),
        }
    }
}

impl Options {
    /// How full the data directory's disk is, in percent.
    pub(crate) fn disk_percent(&self) -> std::io::Result<f64> {
        let (all, free) = (fs4::total_space(&self.data_dir)?, fs4::free_space(&self.data_dir)?);
        Ok(all.saturating_sub(free) as f64 * 100.0 / all.max(1) as f64)
    }

    /// Refuses what takes room on a disk that has hardly any.
    pub(crate) fn check_disk(&self) -> Result<()> {
        let io = |source| StorageError::Io {
            path: self.data_dir.clone(),
            source,
        };
        let free = fs4::available_space(&self.data_dir).map_err(io)?;
        if free < self.min_free_disk_bytes {
            return Err(StorageError::DiskLow {
                free,
                needed: self.min_free_disk_bytes,
            });
        }
        Ok(())
    }
}
