//! A data directory: its collections and its queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use twofold_types::api::{AliasAction, AliasDescription};
use twofold_types::{CollectionConfig, CollectionName};

use crate::aliases::Aliases;
use crate::budget::{Closed, Relief, opening, relief};
use crate::checkpoint::checkpoint_bytes;
use crate::collection::{Collection, index_dir};
use crate::embedding_cache::EmbeddingCache;
use crate::error::{InvalidInput, Result, StorageError};
use crate::key::{CollectionId, REEMBEDDING};
use crate::nameless::forget_all;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::placement::Placement;
use crate::pooled;
use crate::queue::Queue;
use crate::record::{CollectionRecord, CounterRecord, DiskRecord};
use crate::rocks::{Batch, Cf, Rocks, RocksMemory};
use crate::snapshot::{delete_partial, settle};
use crate::succession::ReembeddingRecord;

/// The most dimensions of a vector.
pub const MAX_DIMENSIONS: usize = 65_536;

/// The directory of the database in the data directory.
pub(crate) const ROCKSDB: &str = "rocksdb";

/// The number of the next collection is kept here, in the form of a [`CounterRecord`].
const NEXT_COLLECTION: &[u8] = b"next_collection";

/// An open data directory. All methods block.
pub struct Store {
    pub(crate) rocks: Arc<Rocks>,
    pub(crate) options: Arc<Options>,
    pub(crate) collections: RwLock<BTreeMap<CollectionName, Arc<Collection>>>,
    /// By the names of the collections that they will succeed. Changed only while `collections` is locked.
    pub(crate) successors: RwLock<BTreeMap<CollectionName, Arc<Collection>>>,
    /// Collections that were succeeded and may still be read.
    pub(crate) retired: Mutex<Vec<Arc<Collection>>>,
    /// The first number that no collection has had.
    next_collection: Mutex<u32>,
    /// Other names of collections. Changed only while `collections` is locked.
    aliases: RwLock<Aliases>,
    pub(crate) queue: Queue,
    outbox: Outbox,
    embedding_cache: Option<Arc<EmbeddingCache>>,
    /// The memory budget was exceeded, and is not kept with some room to spare yet.
    relieving: AtomicBool,
    /// The memory budget is exceeded, and nothing is left to be given up.
    exhausted: AtomicBool,
}

impl Store {
    /// Opens a data directory, creating what is missing.
    pub fn open(options: Options) -> Result<Self> {
        std::fs::create_dir_all(&options.data_dir).map_err(|source| StorageError::Io {
            path: options.data_dir.clone(),
            source,
        })?;
        settle(&options.data_dir)?;
        let rocks = Arc::new(Rocks::open(
            &options.data_dir.join(ROCKSDB),
            options.block_cache_bytes,
            options.embedding_cache_bytes,
        )?);
        let options = Arc::new(options);
        delete_partial(&options.data_dir)?;
        forget_all(&rocks, &options)?;
        let mut succeeded = BTreeMap::new();
        for entry in rocks.snapshot().scan(Cf::Meta, REEMBEDDING, &[]) {
            let (key, value) = entry?;
            let source = CollectionId::from_key(&key[REEMBEDDING.len()..]);
            if let (Some(source), Some(successor)) = (source, ReembeddingRecord::from_bytes(&value)?.successor()) {
                succeeded.insert(successor, source);
            }
        }
        let mut records = Vec::new();
        for entry in rocks.snapshot().scan(Cf::Collections, &[], &[]) {
            let (key, value) = entry?;
            let id = CollectionId::from_key(&key).ok_or(StorageError::Corrupt {
                what: "collection key",
                reason: "it is not 4 bytes long".to_owned(),
            })?;
            records.push((id, CollectionRecord::from_bytes(&value)?));
        }
        place(&rocks, &options, &mut records)?;
        let (mut collections, mut successors) = (BTreeMap::new(), BTreeMap::new());
        for (id, record) in records {
            let collection = Collection::open(id, record, rocks.clone(), options.clone())?;
            collection.writer.lock().reembedding = succeeded.values().any(|source| *source == id);
            let among = match succeeded.contains_key(&id) {
                true => &mut successors,
                false => &mut collections,
            };
            among.insert(collection.name().clone(), Arc::new(collection));
        }
        let queue = Queue::open(rocks.clone(), options.clone())?;
        let outbox = Outbox::open(rocks.clone(), &options)?;
        let next_collection = match rocks.snapshot().get(Cf::Meta, NEXT_COLLECTION)? {
            Some(bytes) => CounterRecord::from_bytes(&bytes)?.next_offset,
            None => 0,
        };
        let aliases = Aliases::read(&rocks.snapshot())?;
        Ok(Self {
            aliases: RwLock::new(aliases),
            embedding_cache: EmbeddingCache::open(&rocks, &options),
            rocks,
            options,
            collections: RwLock::new(collections),
            successors: RwLock::new(successors),
            retired: Mutex::default(),
            next_collection: Mutex::new(next_collection),
            queue,
            outbox,
            relieving: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
        })
    }

    /// The queue of documents.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Messages about finished tasks that wait to be delivered.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Embeddings of texts that were encoded before, unless none are kept.
    pub fn embedding_cache(&self) -> Option<&Arc<EmbeddingCache>> {
        self.embedding_cache.as_ref()
    }

    /// Writes what is in memory into files, before the store is closed: without that the newest embeddings of the cache are lost, and
    /// opening takes seconds longer.
    pub fn flush(&self) {
        if let Err(error) = self.rocks.flush() {
            tracing::warn!(%error, "the newest embeddings are not kept, and opening will take longer");
        }
    }

    /// A collection by its name, or by one of its aliases.
    pub fn collection(&self, name: &CollectionName) -> Result<Arc<Collection>> {
        let collections = self.collections.read();
        let found = collections.get(name).or_else(|| {
            let aliases = self.aliases.read();
            collections.get(aliases.get(name)?)
        });
        found
            .cloned()
            .ok_or_else(|| StorageError::CollectionNotFound(name.clone()))
    }

    /// All aliases, or those of one collection.
    pub fn aliases(&self, collection: Option<&CollectionName>) -> Vec<AliasDescription> {
        self.aliases.read().list(collection)
    }

    /// Changes aliases: all of it happens, or nothing.
    pub fn change_aliases(&self, actions: &[AliasAction]) -> Result<()> {
        let collections = self.collections.write();
        let changed = self
            .aliases
            .read()
            .changed(actions, |name| collections.contains_key(name))?;
        let mut batch = self.rocks.batch();
        changed.write(&mut batch);
        self.rocks.write(batch)?;
        *self.aliases.write() = changed;
        drop(collections);
        self.rocks.sync()
    }

    /// All collections in the order of their names.
    pub fn collections(&self) -> Vec<Arc<Collection>> {
        self.collections.read().values().cloned().collect()
    }

    /// How full the data directory's disk is, in percent. `None` where the system does not say.
    pub fn disk_percent(&self) -> Option<f64> {
        self.options.disk_percent().ok()
    }

    /// What RocksDB takes in memory.
    pub fn rocksdb_memory(&self) -> RocksMemory {
        self.rocks.memory()
    }

    /// Does one thing about too much memory, if the memory budget is exceeded, and says whether it did: there may be more to
    /// do then. Called by the indexer thread alone; writes and searches go on meanwhile. Stops early, with nothing lost, when
    /// `cancel` becomes true.
    pub fn relieve_memory(&self, cancel: &AtomicBool) -> Result<bool> {
        let budget = self.options.memory_budget_bytes;
        let (mut held, mut places, mut others) = (Vec::new(), Vec::new(), 0);
        for collection in self.all_collections() {
            let state = collection.state();
            others += state.bytes_beside_vectors();
            let vectors = state.held();
            places.extend((0..vectors.len()).map(|number| (collection.clone(), number)));
            held.extend(vectors);
        }
        let relief = relief(&held, others, budget, self.relieving.load(Ordering::Relaxed));
        self.relieving.store(relief.is_some(), Ordering::Relaxed);
        let exhausted = relief == Some(Relief::Exhausted);
        if exhausted && !self.exhausted.load(Ordering::Relaxed) {
            tracing::warn!(
                budget,
                "the memory budget is exceeded, and no vectors are left to be moved to disk"
            );
        }
        self.exhausted.store(exhausted, Ordering::Relaxed);
        match relief {
            None | Some(Relief::Exhausted) => Ok(false),
            Some(Relief::Checkpoint(place)) => {
                let (collection, number) = &places[place];
                collection.save(*number).map(|()| true)
            }
            Some(Relief::StepDown(place)) => {
                let (collection, number) = &places[place];
                collection.step_down(*number, cancel).map(|()| true)
            }
        }
    }

    /// Makes a collection.
    pub fn create_collection(&self, name: &CollectionName, config: &CollectionConfig) -> Result<Arc<Collection>> {
        check(config)?;
        let mut collections = self.collections.write();
        if collections.contains_key(name) || self.aliases.read().get(name).is_some() {
            return Err(StorageError::CollectionExists(name.clone()));
        }
        let record = CollectionRecord::new(name, config);
        let id = self.reserve_collection(|id, batch| batch.put(Cf::Collections, &id.key(), &record.to_bytes()))?;
        let collection = Arc::new(Collection::open(id, record, self.rocks.clone(), self.options.clone())?);
        collections.insert(name.clone(), collection.clone());
        Ok(collection)
    }

    /// The collection that a name stands for: that of an alias, else the name itself.
    pub(crate) fn resolved(&self, name: &CollectionName) -> CollectionName {
        self.aliases.read().get(name).unwrap_or(name).clone()
    }

    /// Gives out the number of a collection, in one write with what `with` adds to it.
    pub(crate) fn reserve_collection(&self, with: impl FnOnce(CollectionId, &mut Batch<'_>)) -> Result<CollectionId> {
        let mut next = self.next_collection.lock();
        let id = CollectionId(*next);
        let counter = CounterRecord {
            seq: 0,
            next_offset: *next + 1,
        };
        let mut batch = self.rocks.batch();
        batch.put(Cf::Meta, NEXT_COLLECTION, &counter.to_bytes());
        with(id, &mut batch);
        self.rocks.write(batch)?;
        self.rocks.sync()?;
        *next += 1;
        Ok(id)
    }

    /// Makes what is there under the number `id` the collection that its record names, in place of the one of that name if there is one,
    /// in one write with what `with` adds to it.
    pub(crate) fn adopt(
        &self,
        id: CollectionId,
        record: CollectionRecord,
        with: impl FnOnce(&mut Batch<'_>),
    ) -> Result<()> {
        let mut batch = self.rocks.batch();
        batch.put(Cf::Collections, &id.key(), &record.to_bytes());
        with(&mut batch);
        // Opened before anything depends on it: what cannot be opened is not put in place of what can.
        let collection = Arc::new(Collection::open(id, record, self.rocks.clone(), self.options.clone())?);
        let mut collections = self.collections.write();
        if self.aliases.read().get(collection.name()).is_some() {
            return Err(StorageError::CollectionExists(collection.name().clone()));
        }
        let mut successors = self.successors.write();
        let replaced = collections.get(collection.name()).cloned();
        match &replaced {
            None => {
                self.rocks.write(batch)?;
                self.rocks.sync()?;
            }
            Some(replaced) => {
                batch.delete_collection(replaced.id);
                self.drop_with_successor(replaced, &mut successors, batch)?;
            }
        }
        collections.insert(collection.name().clone(), collection);
        Ok(())
    }

    /// Removes a collection with all it holds. Says whether there was one.
    pub fn delete_collection(&self, name: &CollectionName) -> Result<bool> {
        let mut collections = self.collections.write();
        let Some(collection) = collections.get(name) else {
            return Ok(false);
        };
        let mut aliases = self.aliases.read().clone();
        let mut batch = self.rocks.batch();
        batch.delete_collection(collection.id);
        if aliases.forget(name) {
            aliases.write(&mut batch);
        }
        self.drop_with_successor(collection, &mut self.successors.write(), batch)?;
        *self.aliases.write() = aliases;
        collections.remove(name);
        Ok(true)
    }

    /// Takes a collection out of use in one step with writing `batch`, and its successor with it if it has one.
    fn drop_with_successor(
        &self,
        collection: &Collection,
        successors: &mut BTreeMap<CollectionName, Arc<Collection>>,
        mut batch: Batch<'_>,
    ) -> Result<()> {
        let successor = successors.get(collection.name()).cloned();
        if let Some(successor) = &successor {
            batch.delete_collection(successor.id);
        }
        let write = || {
            self.rocks.write(batch)?;
            self.rocks.sync()
        };
        collection.drop_with(|| match &successor {
            Some(successor) => successor.drop_with(write),
            None => write(),
        })?;
        self.queue.collection_dropped(collection.id);
        if let Some(successor) = successors.remove(collection.name()) {
            self.queue.collection_dropped(successor.id);
        }
        Ok(())
    }
}

/// Decides where vectors are to be, and records it where that is elsewhere than before.
fn place(rocks: &Rocks, options: &Options, records: &mut [(CollectionId, CollectionRecord)]) -> Result<()> {
    let mut closed = Vec::new();
    for (id, record) in &*records {
        let dir = index_dir(options, *id);
        for (number, (vector, params)) in record.vectors.iter().zip(record.config()?.vectors.values()).enumerate() {
            closed.push(Closed {
                asked: Placement::asked(params),
                recorded: vector.placement,
                bytes: checkpoint_bytes(&dir.join(number.to_string())),
            });
        }
    }
    let mut placements = opening(&closed, options.memory_budget_bytes).into_iter();
    let mut batch = rocks.batch();
    for (id, record) in records {
        let before = record.placements();
        for (vector, placement) in record.vectors.iter_mut().zip(&mut placements) {
            vector.placement = placement;
            vector.generation = vector.generation.filter(|_| !placement.has_codes());
        }
        if record.placements() != before {
            batch.put(Cf::Collections, &id.key(), &record.to_bytes());
        }
    }
    rocks.write(batch)?;
    rocks.sync()
}

pub(crate) fn check(config: &CollectionConfig) -> Result<(), InvalidInput> {
    if config.vector_names().next().is_none() {
        return Err(InvalidInput::NoVectors);
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = config.vector_names().find(|name| !names.insert(*name)) {
        return Err(InvalidInput::VectorTwice(twice.clone()));
    }
    for (name, params) in config.vectors.iter().chain(&config.multivectors) {
        if params.size == 0 || params.size > MAX_DIMENSIONS {
            return Err(InvalidInput::Size {
                vector: name.clone(),
                size: params.size,
                max: MAX_DIMENSIONS,
            });
        }
    }
    if let Some(name) = config.encoders.keys().find(|name| config.kind(name).is_none()) {
        return Err(InvalidInput::UnknownVector {
            name: name.clone(),
            known: config.vector_names().cloned().collect(),
        });
    }
    pooled::check(config)
}
