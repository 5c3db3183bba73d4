//! The one file that knows RocksDB: column families, batches, snapshots.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompactionStyle, DBCompressionType,
    Direction, FifoCompactOptions, FlushOptions, IteratorMode, Options as DbOptions, ReadOptions, WriteBatch,
    WriteOptions, properties,
};

use crate::error::{Result, StorageError};
use crate::key::{CollectionId, changed_prefix, paused_key, reembedding_key, tail_key};

/// The column families, the same for all collections; keys begin with the collection's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cf {
    /// Counters of the data directory.
    Meta,
    /// Collection id -> name, configuration, index generations.
    Collections,
    /// Collection id, point id -> point offset.
    Ids,
    /// Collection id, point offset -> point id, version, payload.
    Points,
    /// Collection id, vector number, point offset -> components.
    Vectors,
    /// Collection id, field number, value, point offset -> nothing.
    Postings,
    /// Collection id, document id -> number of chunks, fingerprint.
    Documents,
    /// Collection id, document id -> the newest version of it that has not ended.
    Waiting,
    /// Collection id, document id -> a document that was given up.
    DeadLetters,
    /// Task id -> state.
    Tasks,
    /// Task id, ordinal -> document.
    TaskBodies,
    /// Task id, ordinal -> when the document is tried again.
    Retries,
    /// Collection id, sequence number -> point offsets that an ANN index has yet to follow.
    IndexLog,
    /// Collection id, sequence number -> ids of what the write has changed.
    Changes,
    /// Receiver, time, task id -> a message about a finished task.
    Outbox,
    /// A hash -> the embedding of a text: the only family that is a cache.
    Embeddings,
}

impl Cf {
    pub(crate) const ALL: [Self; 16] = [
        Self::Meta,
        Self::Collections,
        Self::Ids,
        Self::Points,
        Self::Vectors,
        Self::Postings,
        Self::Documents,
        Self::Waiting,
        Self::DeadLetters,
        Self::Tasks,
        Self::TaskBodies,
        Self::Retries,
        Self::IndexLog,
        Self::Changes,
        Self::Outbox,
        Self::Embeddings,
    ];

    /// Those whose keys begin with a collection's number, and that go with it.
    pub(crate) const OF_COLLECTIONS: [Self; 9] = [
        Self::Ids,
        Self::Points,
        Self::Vectors,
        Self::Postings,
        Self::Documents,
        Self::Waiting,
        Self::DeadLetters,
        Self::IndexLog,
        Self::Changes,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Collections => "collections",
            Self::Ids => "ids",
            Self::Points => "points",
            Self::Vectors => "vectors",
            Self::Postings => "postings",
            Self::Documents => "documents",
            Self::Waiting => "waiting",
            Self::DeadLetters => "dead_letters",
            Self::Tasks => "tasks",
            Self::TaskBodies => "task_bodies",
            Self::Retries => "retries",
            Self::IndexLog => "index_log",
            Self::Changes => "changes",
            Self::Outbox => "outbox",
            Self::Embeddings => "embeddings",
        }
    }
}

/// Bytes of memory that RocksDB takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RocksMemory {
    /// Of blocks that were read.
    pub block_cache: u64,
    /// Of what is not in files yet.
    pub memtables: u64,
}

/// An open database.
pub(crate) struct Rocks {
    db: DB,
    /// Set by the first write whose outcome is not known.
    poisoned: OnceLock<String>,
}

impl Rocks {
    /// Opens the database below `path`, creating what is missing, with so many bytes of cached embeddings at most. A second process is
    /// refused by RocksDB's lock.
    pub(crate) fn open(path: &Path, block_cache_bytes: usize, embedding_bytes: u64) -> Result<Self> {
        let mut options = DbOptions::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        options.set_max_total_wal_size(256 << 20);
        options.set_db_write_buffer_size(256 << 20);
        options.set_keep_log_file_num(4);
        let cache = Cache::new_lru_cache(block_cache_bytes);
        let families = Cf::ALL.map(|cf| {
            let mut table = BlockBasedOptions::default();
            table.set_block_cache(&cache);
            table.set_bloom_filter(10.0, false);
            let mut options = DbOptions::default();
            options.set_block_based_table_factory(&table);
            // Components of embeddings do not compress; texts do.
            options.set_compression_type(match cf {
                Cf::Vectors | Cf::Embeddings => DBCompressionType::None,
                Cf::TaskBodies | Cf::DeadLetters | Cf::Outbox => DBCompressionType::Zstd,
                _ => DBCompressionType::Lz4,
            });
            if cf == Cf::Embeddings {
                keep_newest(&mut options, embedding_bytes);
            }
            ColumnFamilyDescriptor::new(cf.name(), options)
        });
        Ok(Self {
            db: DB::open_cf_descriptors(&options, path, families)?,
            poisoned: OnceLock::new(),
        })
    }

    fn family(&self, cf: Cf) -> &ColumnFamily {
        self.db
            .cf_handle(cf.name())
            .expect("every column family is opened with the database")
    }

    /// The present state, unmoved by later writes.
    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            rocks: self,
            inner: self.db.snapshot(),
        }
    }

    /// An empty batch.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch {
            rocks: self,
            inner: WriteBatch::default(),
        }
    }

    /// Applies a batch as a whole. It is visible at once and durable after [`sync`](Self::sync).
    pub(crate) fn write(&self, batch: Batch<'_>) -> Result<()> {
        if let Some(reason) = self.poisoned.get() {
            return Err(StorageError::Poisoned(reason.clone()));
        }
        self.db.write(batch.inner).map_err(|error| match error.into() {
            // Nothing of the batch was written, and RocksDB recovers by itself when there is space again.
            StorageError::DiskFull => StorageError::DiskFull,
            error => self.poison(error),
        })
    }

    /// Makes everything that was written durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(|error| self.poison(error.into()))
    }

    /// Puts entries of a cache: without the log, so that a crash may lose them, and never waiting for files to be written. Says
    /// whether they were put.
    pub(crate) fn put_cached<'a>(&self, cf: Cf, entries: impl IntoIterator<Item = (&'a [u8], Vec<u8>)>) -> bool {
        let mut batch = self.batch();
        for (key, value) in entries {
            batch.put(cf, key, &value);
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        options.set_no_slowdown(true);
        self.poisoned.get().is_none() && self.db.write_opt(batch.inner, &options).is_ok()
    }

    /// Values of a cache; one that cannot be read is not there.
    pub(crate) fn get_cached<K: AsRef<[u8]>>(&self, cf: Cf, keys: &[K]) -> Vec<Option<Vec<u8>>> {
        let family = self.family(cf);
        let values = self.db.multi_get_cf(keys.iter().map(|key| (family, key))).into_iter();
        values.map(|value| value.ok().flatten()).collect()
    }

    /// Writes what is in memory into files: of caches, which have no log, and of all else, whose log then need not be read again.
    pub(crate) fn flush(&self) -> Result<()> {
        let families: Vec<_> = Cf::ALL.iter().map(|&cf| self.family(cf)).collect();
        Ok(self.db.flush_cfs_opt(&families, &FlushOptions::default())?)
    }

    /// Bytes of a family on disk and in memory.
    pub(crate) fn bytes(&self, cf: Cf) -> u64 {
        let parts = [properties::LIVE_SST_FILES_SIZE, properties::CUR_SIZE_ALL_MEM_TABLES];
        let bytes = parts.map(|part| self.db.property_int_value_cf(self.family(cf), part));
        bytes.into_iter().filter_map(|bytes| bytes.ok().flatten()).sum()
    }

    /// What the database takes in memory.
    pub(crate) fn memory(&self) -> RocksMemory {
        let of = |cf, part| self.db.property_int_value_cf(self.family(cf), part).ok().flatten();
        let memtables = Cf::ALL
            .into_iter()
            .filter_map(|cf| of(cf, properties::CUR_SIZE_ALL_MEM_TABLES));
        RocksMemory {
            // All families share one.
            block_cache: of(Cf::Meta, properties::BLOCK_CACHE_USAGE).unwrap_or(0),
            memtables: memtables.sum(),
        }
    }

    /// What is on disk is not known any more until it is read again, so no write may build on it.
    fn poison(&self, error: StorageError) -> StorageError {
        tracing::error!(%error, "a write failed: all further writes are refused until the server is started again");
        let _ = self.poisoned.set(error.to_string());
        error
    }
}

/// Makes a family a cache of so many bytes: its files are never merged, and the oldest go as a whole. Of 0 bytes, all go.
fn keep_newest(options: &mut DbOptions, bytes: u64) {
    // What goes at once, and what a crash may lose. Every file is asked, by its Bloom filter, for what is looked up.
    let file_bytes = (bytes / 64).clamp(64 << 10, 64 << 20);
    let mut fifo = FifoCompactOptions::default();
    fifo.set_max_table_files_size(bytes.max(1));
    options.set_compaction_style(DBCompactionStyle::Fifo);
    options.set_fifo_compaction_options(&fifo);
    options.set_num_levels(1);
    options.set_write_buffer_size(file_bytes as usize);
    // Age alone is no reason to go.
    options.set_ttl(0);
}

impl From<rocksdb::Error> for StorageError {
    fn from(error: rocksdb::Error) -> Self {
        // RocksDB folds a full disk into its IO errors; callers answer it differently.
        let message = error.into_string();
        if message.contains("No space left on device") {
            return Self::DiskFull;
        }
        Self::Rocks(message)
    }
}

/// A consistent state to read from.
pub(crate) struct Snapshot<'a> {
    rocks: &'a Rocks,
    inner: rocksdb::Snapshot<'a>,
}

/// A key and its value.
pub(crate) type Entry = (Box<[u8]>, Box<[u8]>);

impl Snapshot<'_> {
    pub(crate) fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.inner.get_cf(self.rocks.family(cf), key)?)
    }

    pub(crate) fn get_many<K: AsRef<[u8]>>(&self, cf: Cf, keys: &[K]) -> Result<Vec<Option<Vec<u8>>>> {
        let family = self.rocks.family(cf);
        self.inner
            .multi_get_cf(keys.iter().map(|key| (family, key)))
            .into_iter()
            .map(|value| Ok(value?))
            .collect()
    }

    /// Entries whose key begins with `prefix`, in order, from `start` (at or after the prefix) on.
    pub(crate) fn scan(&self, cf: Cf, prefix: &[u8], start: &[u8]) -> impl Iterator<Item = Result<Entry>> + use<'_> {
        let mode = IteratorMode::From(start.max(prefix), Direction::Forward);
        self.inner
            .iterator_cf_opt(self.rocks.family(cf), within(prefix), mode)
            .map(|entry| Ok(entry?))
    }

    /// Entries whose key begins with `prefix`, in order, for a reader of all of them: they take no room in the cache from what is read
    /// again and again.
    pub(crate) fn scan_once(&self, cf: Cf, prefix: &[u8]) -> impl Iterator<Item = Result<Entry>> + use<'_> {
        let mut options = within(prefix);
        options.fill_cache(false);
        let mode = IteratorMode::From(prefix, Direction::Forward);
        self.inner
            .iterator_cf_opt(self.rocks.family(cf), options, mode)
            .map(|entry| Ok(entry?))
    }

    /// All entries below `end`, the last first.
    pub(crate) fn scan_back(&self, cf: Cf, end: &[u8]) -> impl Iterator<Item = Result<Entry>> + use<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        self.inner
            .iterator_cf_opt(self.rocks.family(cf), options, IteratorMode::End)
            .map(|entry| Ok(entry?))
    }

    /// The keys that begin with `prefix`, in order, from `start` on, as long as `visit` wants more. Faster than
    /// [`scan`](Self::scan) where there are many, as nothing is copied.
    pub(crate) fn scan_keys(
        &self,
        cf: Cf,
        prefix: &[u8],
        start: &[u8],
        mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut keys = self.inner.raw_iterator_cf_opt(self.rocks.family(cf), within(prefix));
        keys.seek(start.max(prefix));
        while let Some(key) = keys.key() {
            if visit(key).is_break() {
                return Ok(());
            }
            keys.next();
        }
        Ok(keys.status()?)
    }
}

fn within(prefix: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    if let Some(end) = prefix_end(prefix) {
        options.set_iterate_upper_bound(end);
    }
    options
}

/// Writes that happen together or not at all.
pub(crate) struct Batch<'a> {
    rocks: &'a Rocks,
    inner: WriteBatch,
}

impl Batch<'_> {
    pub(crate) fn put(&mut self, cf: Cf, key: &[u8], value: &[u8]) {
        self.inner.put_cf(self.rocks.family(cf), key, value);
    }

    pub(crate) fn delete(&mut self, cf: Cf, key: &[u8]) {
        self.inner.delete_cf(self.rocks.family(cf), key);
    }

    /// Deletes all keys in `from..to`.
    pub(crate) fn delete_range(&mut self, cf: Cf, from: &[u8], to: &[u8]) {
        self.inner.delete_range_cf(self.rocks.family(cf), from, to);
    }

    /// Deletes all keys that begin with `prefix`.
    pub(crate) fn delete_prefix(&mut self, cf: Cf, prefix: &[u8]) {
        if let Some(end) = prefix_end(prefix) {
            self.delete_range(cf, prefix, &end);
        }
    }

    /// Deletes a collection with all it holds.
    pub(crate) fn delete_collection(&mut self, id: CollectionId) {
        self.delete(Cf::Collections, &id.key());
        self.delete(Cf::Meta, &id.counter_key());
        self.delete(Cf::Meta, &paused_key(id));
        self.delete(Cf::Meta, &reembedding_key(id));
        self.delete_prefix(Cf::Meta, &changed_prefix(id));
        self.delete(Cf::Meta, &tail_key(id));
        for cf in Cf::OF_COLLECTIONS {
            self.delete_prefix(cf, &id.key());
        }
    }

    pub(crate) fn size_in_bytes(&self) -> usize {
        self.inner.size_in_bytes()
    }
}

/// The first key after all that begin with `prefix`; none when the prefix is all 0xff.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_ends_with_its_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let rocks = Rocks::open(dir.path(), 1 << 20, 0).unwrap();
        let mut batch = rocks.batch();
        for key in [[1, 0xff], [2, 0], [2, 7], [3, 0]] {
            batch.put(Cf::Meta, &key, b"");
        }
        rocks.write(batch).unwrap();
        let snapshot = rocks.snapshot();
        let keys = |prefix: &[u8], start: &[u8]| -> Vec<Vec<u8>> {
            snapshot
                .scan(Cf::Meta, prefix, start)
                .map(|entry| entry.unwrap().0.to_vec())
                .collect()
        };
        assert_eq!(keys(&[2], &[]), [[2, 0], [2, 7]]);
        assert_eq!(keys(&[2], &[2, 1]), [[2, 7]]);
        assert_eq!(prefix_end(&[1, 0xff]), Some(vec![2]));
        assert_eq!(prefix_end(&[0xff]), None);
    }
}
