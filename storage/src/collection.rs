//! A collection: its points in RocksDB, their vectors in memory, and the ANN indexes that follow.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use twofold_types::api::OrderBy;
use twofold_types::{CollectionConfig, CollectionName, Datatype, Filter, PointId, Record};

use twofold_vector::{Arena, Bitmap, MultiArena, SparseIndex};

use crate::changes::ChangeLog;
use crate::embedding;
use crate::error::Result;
use crate::indexing::{IndexSlot, Restored, empty_arena};
use crate::key::{CollectionId, PointOffset, SeqNo, seq_of_log_key};
use crate::label::{Label, Labels};
use crate::operation::Operation;
use crate::options::Options;
use crate::payload_index::{ColumnCheckpoints, Loading};
use crate::placement::Placement;
use crate::posting::Field;
use crate::record::{CollectionRecord, CounterRecord, DiskRecord, LogRecord, PointRecord};
use crate::rocks::{Cf, Rocks, Snapshot};
use crate::state::{Schema, Slot, State, TailEntry};
use crate::succession::note_changed;
use crate::view::{Fetch, View};
use crate::write::Write;

/// The directory of the columns' checkpoints, among those of the vectors.
const COLUMNS: &str = "columns";

/// An open collection. All methods block.
pub struct Collection {
    pub(crate) id: CollectionId,
    name: CollectionName,
    pub(crate) rocks: Arc<Rocks>,
    pub(crate) options: Arc<Options>,
    /// Held while an operation is prepared and written: operations are applied one after the other.
    pub(crate) writer: Mutex<Writer>,
    /// A write to RocksDB and the publication of its state happen under one lock, so that [`Collection::view`] sees both
    /// or neither.
    pub(crate) published: RwLock<Arc<State>>,
    /// By the number of the vector.
    pub(crate) indexes: Vec<IndexSlot>,
    pub(crate) columns: ColumnCheckpoints,
    /// The collection is gone: operations fail and index builds are given up.
    pub(crate) dropped: AtomicBool,
    /// Its successor has taken its place: operations fail, reads that have begun go on.
    pub(crate) succeeded: AtomicBool,
}

/// What only the writer of a collection touches.
pub(crate) struct Writer {
    pub(crate) record: CollectionRecord,
    /// Whether there is an index or a checkpoint, or one is being made, that needs to be told what changes.
    pub(crate) log: bool,
    /// What those who mirror the collection are told; none where nothing is kept for them.
    pub(crate) changes: Option<ChangeLog>,
    /// An index is being built on the state of this write: of what comes after it nothing is forgotten.
    pub(crate) hold: Option<SeqNo>,
    /// The collection is being re-embedded: which documents change is noted, and points change through documents only.
    pub(crate) reembedding: bool,
}

/// Where the vectors under one name are, and what of them is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorMemory {
    /// The name.
    pub name: String,
    /// Where they are.
    pub placement: Placement,
    /// Where their parameters ask for them to be: there, or above that if the memory budget was exceeded.
    pub asked: Placement,
    /// Bytes of vectors and of their index that are in memory. What is mapped does not count.
    pub heap_bytes: u64,
}

impl Collection {
    pub(crate) fn open(
        id: CollectionId,
        record: CollectionRecord,
        rocks: Arc<Rocks>,
        options: Arc<Options>,
    ) -> Result<Self> {
        let snapshot = rocks.snapshot();
        let counter = match snapshot.get(Cf::Meta, &id.counter_key())? {
            Some(bytes) => CounterRecord::from_bytes(&bytes)?,
            None => CounterRecord::default(),
        };
        let schema = Schema {
            config: record.config()?,
            placements: record.placements(),
            fields: open_fields(&record)?,
        };
        let name = record
            .name
            .parse()
            .map_err(
                |error: twofold_types::InvalidCollectionName| crate::StorageError::Corrupt {
                    what: "collection record",
                    reason: error.to_string(),
                },
            )?;
        let seq = SeqNo(counter.seq);
        let log = read_log(&snapshot, id)?;
        let dir = index_dir(&options, id).join(COLUMNS);
        let (checkpoints, mut columns) = ColumnCheckpoints::open(dir, &snapshot, id, &schema.fields, &log, seq)?;
        let (mut alive, mut labels, mut payload_bytes) = (Bitmap::new(), Labels::default(), 0);
        for entry in snapshot.scan(Cf::Points, &id.key(), &[]) {
            let (key, value) = entry?;
            if let Some(offset) = PointOffset::from_key(&key) {
                let record = PointRecord::from_bytes(&value)?;
                alive.insert(offset.0);
                payload_bytes += record.payload_bytes();
                labels.set(
                    offset,
                    Label {
                        id: record.id(),
                        version: record.version,
                    },
                );
                if columns.iter().flatten().any(|column| column.is_stale(offset)) {
                    let payload = record.payload()?;
                    for (field, column) in schema.fields.iter().zip(&mut columns) {
                        if let Some(column) = column {
                            column.refresh(field, id, offset, &payload);
                        }
                    }
                }
            }
        }
        let tail = log.into_iter().map(|(seq, record)| {
            let offsets = record.vectors.into_iter().collect();
            Arc::new(TailEntry { seq, offsets })
        });
        let mut state = State {
            seq,
            next_offset: counter.next_offset,
            alive,
            labels,
            payload_bytes,
            schema: Arc::new(schema),
            arenas: Vec::new(),
            multis: Vec::new(),
            sparse: Vec::new(),
            indexes: Vec::new(),
            columns: columns
                .into_iter()
                .map(|column| column.map(Loading::into_column))
                .collect(),
            rates: Arc::default(),
            touched: 0,
            written: Instant::now(),
            tail: tail.collect(),
        };
        let mut indexes = Vec::new();
        for ((number, vector), params) in (0u16..).zip(&record.vectors).zip(state.schema.config.vectors.values()) {
            let dir = index_dir(&options, id).join(number.to_string());
            let Restored {
                slot,
                checkpoint,
                index,
            } = IndexSlot::open(dir, vector, params, seq);
            let arena = match checkpoint {
                Some(checkpoint) => {
                    let changed = state.touched_since(SeqNo(checkpoint.seq));
                    refresh_arena(&snapshot, id, number, checkpoint.arena, &changed)?
                }
                None => load_arena(&snapshot, id, number, empty_arena(params, vector.placement))?,
            };
            indexes.push(slot);
            state.arenas.push(arena);
            state.indexes.push(index);
        }
        let schema = state.schema.clone();
        for (number, params) in schema.config.multivectors.values().enumerate() {
            let halves = params.datatype == Some(Datatype::Float16);
            let multis = MultiArena::new(params.size, params.distance, halves);
            state.multis.push(load_multis(&snapshot, id, number, multis)?);
        }
        for number in 0..schema.config.sparse_vectors.len() {
            state.sparse.push(load_sparse(&snapshot, id, number)?);
        }
        drop(snapshot);
        let writer = Writer {
            record,
            log: state.indexes.iter().any(Option::is_some)
                || indexes.iter().any(|slot| slot.saved().is_some())
                || !checkpoints.saved(&state.schema).is_empty(),
            changes: ChangeLog::open(&rocks, id, seq, &options)?,
            hold: None,
            reembedding: false,
        };
        state.trim_tail(None);
        let collection = Self {
            id,
            name,
            rocks,
            options,
            writer: Mutex::new(writer),
            published: RwLock::new(Arc::new(state)),
            indexes,
            columns: checkpoints,
            dropped: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
        };
        collection.trim_log()?;
        Ok(collection)
    }

    /// Its number.
    pub fn id(&self) -> CollectionId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &CollectionName {
        &self.name
    }

    /// Its configuration.
    pub fn config(&self) -> CollectionConfig {
        self.state().schema.config.clone()
    }

    /// The vector that is meant when none is named.
    pub fn default_vector(&self) -> Result<String> {
        Ok(self.state().schema.default_vector()?.to_owned())
    }

    /// Where its vectors are, in the order of their names.
    pub fn vector_memory(&self) -> Vec<VectorMemory> {
        let state = self.state();
        let vectors = state.schema.config.vectors.iter().zip(state.held());
        let memory = vectors.map(|((name, params), held)| VectorMemory {
            name: name.clone(),
            placement: held.placement,
            asked: Placement::asked(params),
            heap_bytes: held.rows + held.codes,
        });
        memory.collect()
    }

    /// How many points there are, whatever it refuses.
    pub fn points(&self) -> u64 {
        self.state().alive.len()
    }

    /// How many vectors there are under each name.
    pub fn vector_counts(&self) -> Vec<(String, u64)> {
        let state = self.state();
        let slots = state.schema.slots();
        let counts = slots.map(|(name, slot)| (name.clone(), state.present(slot).len()));
        counts.collect()
    }

    /// Bytes in memory of what is not vectors with an index: ids, payload indexes, sparse vectors and multivectors.
    pub fn bytes_beside_vectors(&self) -> u64 {
        self.state().bytes_beside_vectors()
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.published.read().clone()
    }

    /// One consistent state in memory and on disk.
    pub(crate) fn view(&self) -> View<'_> {
        let published = self.published.read();
        View {
            collection: self.id,
            state: published.clone(),
            snapshot: self.rocks.snapshot(),
        }
    }

    /// Applies an operation: it is seen by every read that begins after this returns, and durable.
    pub fn apply(&self, operation: Operation) -> Result<SeqNo> {
        self.state().strict().check_operation(&operation)?;
        if operation.takes_room() {
            self.options.check_disk()?;
        }
        let seq = {
            let mut writer = self.lock_writer()?;
            if writer.reembedding && operation.is_of_points() {
                return Err(crate::StorageError::PointsHeld(self.name.clone()));
            }
            let view = self.view();
            let (mut batch, mut changes) = (self.rocks.batch(), writer.changes.clone());
            if let Some(changes) = &mut changes {
                changes.trim(&view, &mut batch)?;
            }
            let webhooks = &self.options.webhooks;
            let mut prepared = Write::prepare(&view, batch, operation, writer.log, changes.as_mut(), webhooks)?;
            if writer.reembedding {
                note_changed(&mut prepared.batch, self.id, &prepared.documents, view.state.seq.next());
            }
            let mut state = State::clone(&view.state);
            let seq = prepared.change.apply(&mut state);
            if state.indexes.iter().all(Option::is_none) {
                state.trim_tail(writer.hold);
            }
            fail::fail_point!("apply::before_write");
            self.publish(prepared.batch, state)?;
            writer.changes = changes;
            fail::fail_point!("apply::before_sync");
            seq
        };
        // Outside of the lock: writers that wait for the same disk share one sync.
        self.rocks.sync()?;
        fail::fail_point!("apply::after_sync");
        Ok(seq)
    }

    pub(crate) fn lock_writer(&self) -> Result<parking_lot::MutexGuard<'_, Writer>> {
        let writer = self.writer.lock();
        if self.dropped.load(Ordering::Relaxed) {
            return Err(crate::StorageError::CollectionNotFound(self.name.clone()));
        }
        if self.succeeded.load(Ordering::Relaxed) {
            return Err(crate::StorageError::Succeeded(self.name.clone()));
        }
        Ok(writer)
    }

    /// Writes a batch and publishes the state that belongs to it.
    pub(crate) fn publish(&self, batch: crate::rocks::Batch<'_>, state: State) -> Result<()> {
        let mut published = self.published.write();
        self.rocks.write(batch)?;
        *published = Arc::new(state);
        Ok(())
    }

    /// Publishes a state that has nothing to write. The caller holds the writer.
    pub(crate) fn publish_in_memory(&self, state: State) {
        *self.published.write() = Arc::new(state);
    }

    /// Refuses a batch of more queries than one may hold.
    pub fn check_batch(&self, queries: usize) -> Result<()> {
        self.state().strict().check_batch(queries)
    }

    /// The points with these ids, as far as they exist, in the order of the ids.
    pub fn get(&self, ids: &[PointId], fetch: &Fetch) -> Result<Vec<Record>> {
        let reading = self.reading();
        reading.view.state.strict().check_read()?;
        reading.get(ids, fetch)
    }

    /// Points that match, in the order of their ids, from `start` on, and the id that the next page begins with.
    pub fn scroll(
        &self,
        start: Option<PointId>,
        limit: usize,
        filter: Option<&Filter>,
        fetch: &Fetch,
    ) -> Result<(Vec<Record>, Option<PointId>)> {
        let view = self.view();
        view.check_listing(limit, filter)?;
        let selected = filter.map(|filter| view.select(Some(filter))).transpose()?;
        let page = view.first_by_id(selected.as_ref(), start, limit.saturating_add(1))?;
        let points = view.points(&page)?;
        let mut records = page
            .iter()
            .zip(points)
            .filter_map(|(&offset, point)| Some((offset, point?)));
        let listed = records
            .by_ref()
            .take(limit)
            .map(|(offset, point)| view.record(offset, &point, fetch))
            .collect::<Result<_>>()?;
        let next = records.next().map(|(_, point)| point.id());
        Ok((listed, next))
    }

    /// Points that match, in the order of the values at a payload key.
    pub fn scroll_by(
        &self,
        order_by: &OrderBy,
        limit: usize,
        filter: Option<&Filter>,
        fetch: &Fetch,
    ) -> Result<Vec<Record>> {
        let view = self.view();
        view.check_listing(limit, filter)?;
        let hits = view.by_value(order_by, &view.select(filter)?, limit)?;
        let points = view.scored_points(&hits, fetch)?.into_iter();
        let records = points.map(|point| Record {
            id: point.id,
            payload: point.payload,
            vector: point.vector,
            order_value: point.order_value,
        });
        Ok(records.collect())
    }

    /// Which of these points do not exist.
    pub fn missing(&self, ids: &[PointId]) -> Result<Vec<PointId>> {
        let offsets = self.view().offsets(ids)?;
        let missing = ids.iter().zip(offsets).filter(|(_, offset)| offset.is_none());
        Ok(missing.map(|(id, _)| *id).collect())
    }

    /// How many points match.
    pub fn count(&self, filter: Option<&Filter>) -> Result<u64> {
        let view = self.view();
        view.check_listing(0, filter)?;
        Ok(view.select(filter)?.len())
    }
}

pub(crate) fn index_dir(options: &Options, id: CollectionId) -> PathBuf {
    options.data_dir.join("index").join(id.0.to_string())
}

pub(crate) fn open_fields(record: &CollectionRecord) -> Result<Vec<Field>> {
    record.fields.iter().map(Field::new).collect()
}

/// What was written since the oldest index and the oldest checkpoint, oldest first.
fn read_log(snapshot: &Snapshot<'_>, id: CollectionId) -> Result<Vec<(SeqNo, LogRecord)>> {
    let entries = snapshot.scan(Cf::IndexLog, &id.key(), &[]);
    let records = entries.map(|entry| {
        let (key, value) = entry?;
        Ok((seq_of_log_key(&key).unwrap_or_default(), LogRecord::from_bytes(&value)?))
    });
    records.collect()
}

/// Reads every vector from its record.
fn load_arena(snapshot: &Snapshot<'_>, id: CollectionId, number: u16, mut arena: Arena) -> Result<Arena> {
    let mut vector = vec![0.0; arena.dimensions()];
    for entry in snapshot.scan_once(Cf::Vectors, &id.vector_prefix(number)) {
        let (key, value) = entry?;
        embedding::read_dense(&value, &mut vector)?;
        if let Some(offset) = PointOffset::from_key(&key) {
            arena.set(offset.0, &vector);
        }
    }
    Ok(arena)
}

/// Reads every multivector from its record.
fn load_multis(snapshot: &Snapshot<'_>, id: CollectionId, number: usize, mut multis: MultiArena) -> Result<MultiArena> {
    for entry in snapshot.scan_once(Cf::Vectors, &id.vector_prefix(Slot::Multi(number).number())) {
        let (key, value) = entry?;
        if let Some(offset) = PointOffset::from_key(&key) {
            multis.set(offset.0, &embedding::read_rows(&value, multis.dimensions())?);
        }
    }
    Ok(multis)
}

/// Reads every sparse vector from its record.
fn load_sparse(snapshot: &Snapshot<'_>, id: CollectionId, number: usize) -> Result<SparseIndex> {
    /// Entries that are put into the index at once: so many that little is left to be merged.
    const BATCH: usize = 1 << 22;
    let mut index = SparseIndex::default();
    let (mut batch, mut entries) = (Vec::new(), 0);
    for entry in snapshot.scan_once(Cf::Vectors, &id.vector_prefix(Slot::Sparse(number).number())) {
        let (key, value) = entry?;
        if let Some(offset) = PointOffset::from_key(&key) {
            let vector = embedding::read_sparse(&value)?;
            entries += vector.indices().len();
            batch.push((offset.0, Some(vector)));
        }
        if entries > BATCH {
            index.apply(batch.iter().map(|(offset, vector)| (*offset, vector.as_ref())));
            (batch, entries) = (Vec::new(), 0);
        }
    }
    index.apply(batch.iter().map(|(offset, vector)| (*offset, vector.as_ref())));
    Ok(index)
}

/// Reads the vectors that have changed from their records.
fn refresh_arena(
    snapshot: &Snapshot<'_>,
    id: CollectionId,
    number: u16,
    mut arena: Arena,
    changed: &Bitmap,
) -> Result<Arena> {
    let mut vector = vec![0.0; arena.dimensions()];
    for offset in changed.iter() {
        match snapshot.get(Cf::Vectors, &id.vector_key(number, PointOffset(offset)))? {
            Some(value) => {
                embedding::read_dense(&value, &mut vector)?;
                arena.set(offset, &vector);
            }
            None => arena.remove(offset),
        }
    }
    Ok(arena)
}
