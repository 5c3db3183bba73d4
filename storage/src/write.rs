//! Writing: one operation becomes one batch for RocksDB and the changes of the state in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use twofold_types::api::UpdateMode;
use twofold_types::{Embedding, Filter, Payload, PointId, SparseVector};
use twofold_vector::Bitmap;

use crate::changes::ChangeLog;
use crate::embedding::{self, checked};
use crate::error::{InvalidInput, Result};
use crate::filter::{CompiledFilter, Subject};
use crate::finish::Documents;
use crate::key::{PointOffset, SeqNo};
use crate::label::Label;
use crate::operation::{NewPoint, Operation, Selector};
use crate::path::PayloadPath;
use crate::record::{CounterRecord, DiskRecord, LogRecord, PointRecord};
use crate::rocks::{Batch, Cf};
use crate::state::{Schema, Slot, State, TailEntry};
use crate::view::View;

/// An operation on its way. It reads the state before it through `view`, and its own changes through the maps.
pub(crate) struct Write<'a> {
    pub(crate) view: &'a View<'a>,
    pub(crate) batch: Batch<'a>,
    pub(crate) seq: SeqNo,
    next_offset: u32,
    pub(crate) points: HashMap<PointOffset, Option<PointRecord>>,
    pub(crate) ids: HashMap<PointId, Option<PointOffset>>,
    pub(crate) vectors: Vectors,
    postings: Vec<PostingChange>,
    /// How many bytes more of payloads there are.
    payload_bytes: i64,
    pub(crate) documents: Documents,
    /// Who is told of tasks that it finishes.
    pub(crate) webhooks: &'a [String],
}

/// Vectors that are put in or taken out, by place and point.
type Vectors = BTreeMap<(Slot, PointOffset), Option<Embedding>>;

/// One value of one point that comes into a payload index or leaves it.
struct PostingChange {
    /// The place of the payload index in the schema.
    column: usize,
    value: Vec<u8>,
    offset: PointOffset,
    added: bool,
}

/// What an operation changes on disk.
pub(crate) struct Prepared<'a> {
    pub(crate) batch: Batch<'a>,
    pub(crate) change: Change,
    /// The documents that are stored, replaced or deleted.
    pub(crate) documents: Vec<String>,
}

/// What an operation changes in memory.
pub(crate) struct Change {
    seq: SeqNo,
    next_offset: u32,
    /// The points that there are now, and those that are no more.
    born: Vec<(PointOffset, Label)>,
    died: Vec<PointOffset>,
    vectors: Vectors,
    postings: Vec<PostingChange>,
    payload_bytes: i64,
    tail: Option<TailEntry>,
}

impl<'a> Write<'a> {
    /// Prepares an operation on top of `view`. Nothing is written yet. With `log`, indexes and checkpoints will follow it, with
    /// `changes` those who mirror the collection, and `webhooks` are told of tasks that it finishes.
    pub(crate) fn prepare(
        view: &'a View<'a>,
        batch: Batch<'a>,
        operation: Operation,
        log: bool,
        changes: Option<&mut ChangeLog>,
        webhooks: &'a [String],
    ) -> Result<Prepared<'a>> {
        let mut write = Self {
            view,
            batch,
            seq: view.state.seq.next(),
            next_offset: view.state.next_offset,
            points: HashMap::new(),
            ids: HashMap::new(),
            vectors: BTreeMap::new(),
            postings: Vec::new(),
            payload_bytes: 0,
            documents: Documents::default(),
            webhooks,
        };
        write.operation(operation)?;
        write.pool_documents()?;
        if let Some(changes) = changes {
            write.log_changes(changes);
        }
        write.finish(log)
    }

    fn operation(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Upsert(points) => points.into_iter().try_for_each(|point| self.upsert(point)),
            Operation::UpsertIf { points, filter, mode } => {
                let condition = filter.map(|filter| Condition::new(self.view, &filter)).transpose()?;
                for point in points {
                    let written = match self.offset(point.id)? {
                        Some(_) if mode == UpdateMode::InsertOnly => false,
                        Some(offset) => self.meets(condition.as_ref(), offset)?,
                        None => mode != UpdateMode::UpdateOnly,
                    };
                    if written {
                        self.upsert(point)?;
                    }
                }
                Ok(())
            }
            Operation::UpdateVectors { vectors, filter } => {
                let condition = filter.map(|filter| Condition::new(self.view, &filter)).transpose()?;
                for (id, vectors) in vectors {
                    let Some(offset) = self.offset(id)? else { continue };
                    if self.meets(condition.as_ref(), offset)? {
                        self.touch(offset)?;
                        self.put_vectors(offset, vectors)?;
                    }
                }
                Ok(())
            }
            Operation::DeleteVectors { selector, names } => {
                let schema = self.view.state.schema.clone();
                let slots = names.iter().map(|name| writable(&schema, name));
                let slots = slots.collect::<Result<Vec<_>, _>>()?;
                for (offset, _) in self.select(&selector)? {
                    self.touch(offset)?;
                    for &slot in &slots {
                        self.put_vector(slot, offset, None);
                    }
                }
                Ok(())
            }
            Operation::Delete(selector) => {
                for (offset, record) in self.select(&selector)? {
                    self.delete(record.id(), offset)?;
                }
                Ok(())
            }
            Operation::SetPayload {
                selector,
                payload,
                key: None,
            } => self.change_payloads(&selector, |old| merge(old, &payload)),
            Operation::SetPayload {
                selector,
                payload,
                key: Some(key),
            } => {
                let path = PayloadPath::parse(&key)?;
                self.change_payloads(&selector, |old| {
                    path.for_each_object(old, &mut |object| merge(object, &payload));
                })
            }
            Operation::OverwritePayload { selector, payload } => {
                self.change_payloads(&selector, |old| old.clone_from(&payload))
            }
            Operation::DeletePayload { selector, keys } => {
                let paths = keys
                    .iter()
                    .map(|key| PayloadPath::parse(key))
                    .collect::<Result<Vec<_>, _>>()?;
                self.change_payloads(&selector, |old| paths.iter().for_each(|path| path.remove(old)))
            }
            Operation::ClearPayload(selector) => self.change_payloads(&selector, Payload::clear),
            Operation::Finish { documents, now } => self.finish_documents(documents, now),
            Operation::CancelTask { task, now } => self.cancel_task(task, now),
            Operation::DeleteDocuments(selector) => self.delete_documents(selector),
        }
    }

    /// Whether a point, as this operation has left it so far, meets the condition under which it is written. Which vectors a
    /// point has is told as it was before the operation.
    fn meets(&self, condition: Option<&Condition>, offset: PointOffset) -> Result<bool> {
        let Some(condition) = condition else {
            return Ok(true);
        };
        match self.points.get(&offset) {
            None => Ok(condition.matching.contains(offset.0)),
            Some(None) => Ok(false),
            Some(Some(record)) => Ok(condition.filter.matches(Subject {
                payload: &record.payload()?,
                point: Some((&self.view.state, offset, record.id())),
            })),
        }
    }

    pub(crate) fn upsert(&mut self, point: NewPoint) -> Result<()> {
        let offset = match self.offset(point.id)? {
            Some(offset) => offset,
            None => {
                let offset = PointOffset(self.next_offset);
                self.next_offset = self.next_offset.checked_add(1).ok_or(InvalidInput::Limit {
                    what: "points that a collection has ever held",
                    received: u32::MAX as usize,
                    limit: u32::MAX as usize - 1,
                })?;
                self.batch
                    .put(Cf::Ids, &self.view.collection.id_key(point.id), &offset.0.to_be_bytes());
                self.ids.insert(point.id, Some(offset));
                offset
            }
        };
        self.put_point(offset, point.id, &point.payload)?;
        let schema = self.view.state.schema.clone();
        for (name, slot) in schema.slots() {
            if !point.vectors.contains_key(name) && !schema.config.pooled_vectors.contains_key(name) {
                self.put_vector(slot, offset, None);
            }
        }
        self.put_vectors(offset, point.vectors)
    }

    fn put_vectors(&mut self, offset: PointOffset, vectors: BTreeMap<String, Embedding>) -> Result<()> {
        let schema = self.view.state.schema.clone();
        for (name, vector) in vectors {
            let slot = writable(&schema, &name)?;
            let vector = checked(&schema, &name, vector)?;
            self.put_vector(slot, offset, Some(vector));
        }
        Ok(())
    }

    pub(crate) fn put_vector(&mut self, slot: Slot, offset: PointOffset, vector: Option<Embedding>) {
        let had = match self.vectors.get(&(slot, offset)) {
            Some(pending) => pending.is_some(),
            None => self.view.state.present(slot).contains(offset.0),
        };
        let key = self.view.collection.vector_key(slot.number(), offset);
        match &vector {
            Some(vector) => self.batch.put(Cf::Vectors, &key, &embedding::to_bytes(vector)),
            None if had => self.batch.delete(Cf::Vectors, &key),
            None => return,
        }
        self.vectors.insert((slot, offset), vector);
    }

    /// Gives a point that there is the version of this write.
    pub(crate) fn touch(&mut self, offset: PointOffset) -> Result<()> {
        match self.record(offset)? {
            Some(record) => self.put_point(offset, record.id(), &record.payload()?),
            None => Ok(()),
        }
    }

    pub(crate) fn put_point(&mut self, offset: PointOffset, id: PointId, payload: &Payload) -> Result<()> {
        let before = match self.record(offset)? {
            Some(record) => {
                self.payload_bytes -= record.payload_bytes() as i64;
                record.payload()?
            }
            None => Payload::new(),
        };
        self.change_postings(offset, &before, payload);
        self.note_document(&before);
        self.note_document(payload);
        let record = PointRecord::new(id, self.seq.0, payload);
        self.payload_bytes += record.payload_bytes() as i64;
        self.batch
            .put(Cf::Points, &self.view.collection.point_key(offset), &record.to_bytes());
        self.points.insert(offset, Some(record));
        Ok(())
    }

    fn change_postings(&mut self, offset: PointOffset, before: &Payload, after: &Payload) {
        for (column, field) in self.view.state.schema.fields.iter().enumerate() {
            let old = field.postings(self.view.collection, before, offset);
            let new = field.postings(self.view.collection, after, offset);
            let change = |key: &[u8], added| PostingChange {
                column,
                value: field.value_of_key(self.view.collection, key).to_vec(),
                offset,
                added,
            };
            for gone in old.iter().filter(|key| new.binary_search(key).is_err()) {
                self.batch.delete(Cf::Postings, gone);
                self.postings.push(change(gone, false));
            }
            for added in new.iter().filter(|key| old.binary_search(key).is_err()) {
                self.batch.put(Cf::Postings, added, &[]);
                self.postings.push(change(added, true));
            }
        }
    }

    fn change_payloads(&mut self, selector: &Selector, mut change: impl FnMut(&mut Payload)) -> Result<()> {
        for (offset, record) in self.select(selector)? {
            let mut payload = record.payload()?;
            change(&mut payload);
            self.put_point(offset, record.id(), &payload)?;
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, id: PointId, offset: PointOffset) -> Result<()> {
        let Some(record) = self.record(offset)? else {
            return Ok(());
        };
        let payload = record.payload()?;
        self.payload_bytes -= record.payload_bytes() as i64;
        self.change_postings(offset, &payload, &Payload::new());
        self.note_document(&payload);
        self.batch.delete(Cf::Points, &self.view.collection.point_key(offset));
        self.batch.delete(Cf::Ids, &self.view.collection.id_key(id));
        self.points.insert(offset, None);
        self.ids.insert(id, None);
        let schema = self.view.state.schema.clone();
        for (_, slot) in schema.slots() {
            self.put_vector(slot, offset, None);
        }
        Ok(())
    }

    /// The points that an operation begins with; it is asked before the operation has changed anything.
    pub(crate) fn select(&self, selector: &Selector) -> Result<Vec<(PointOffset, PointRecord)>> {
        let offsets: Vec<PointOffset> = match selector {
            Selector::Ids(ids) => {
                let found: Bitmap = self
                    .view
                    .offsets(ids)?
                    .into_iter()
                    .flatten()
                    .map(|offset| offset.0)
                    .collect();
                found.iter().map(PointOffset).collect()
            }
            Selector::Filter(filter) => self.view.select(Some(filter))?.iter().map(PointOffset).collect(),
        };
        let records = self.view.points(&offsets)?;
        Ok(offsets
            .into_iter()
            .zip(records)
            .filter_map(|(offset, record)| Some((offset, record?)))
            .collect())
    }

    pub(crate) fn offset(&self, id: PointId) -> Result<Option<PointOffset>> {
        match self.ids.get(&id) {
            Some(pending) => Ok(*pending),
            None => Ok(self.view.offsets(&[id])?.pop().flatten()),
        }
    }

    pub(crate) fn record(&self, offset: PointOffset) -> Result<Option<PointRecord>> {
        match self.points.get(&offset) {
            Some(pending) => Ok(pending.clone()),
            None if offset.0 >= self.view.state.next_offset => Ok(None),
            None => self.view.point(offset),
        }
    }

    fn finish(mut self, log: bool) -> Result<Prepared<'a>> {
        let counter = CounterRecord {
            seq: self.seq.0,
            next_offset: self.next_offset,
        };
        self.batch
            .put(Cf::Meta, &self.view.collection.counter_key(), &counter.to_bytes());
        // Indexes and checkpoints of multivectors and sparse vectors there are none that would have to follow.
        let dense = self.vectors.keys().filter(|(slot, _)| matches!(slot, Slot::Dense(_)));
        let touched: Bitmap = dense.map(|(_, offset)| offset.0).collect();
        let mut payloads: Bitmap = self.postings.iter().map(|change| change.offset.0).collect();
        payloads -= &touched;
        if log && !(touched.is_empty() && payloads.is_empty()) {
            let record = LogRecord {
                vectors: touched.iter().collect(),
                payloads: payloads.iter().collect(),
            };
            let key = self.view.collection.log_key(self.seq);
            self.batch.put(Cf::IndexLog, &key, &record.to_bytes());
        }
        let tail = (log && !touched.is_empty()).then_some(TailEntry {
            seq: self.seq,
            offsets: touched,
        });
        let (mut born, mut died) = (Vec::new(), Vec::new());
        for (&offset, record) in &self.points {
            match record {
                Some(record) => born.push((
                    offset,
                    Label {
                        id: record.id(),
                        version: record.version,
                    },
                )),
                None => died.push(offset),
            }
        }
        let change = Change {
            seq: self.seq,
            next_offset: self.next_offset,
            born,
            died,
            vectors: self.vectors,
            postings: self.postings,
            payload_bytes: self.payload_bytes,
            tail,
        };
        Ok(Prepared {
            batch: self.batch,
            change,
            documents: self.documents.written(),
        })
    }
}

/// Where vectors of this name are, if requests may write them.
fn writable(schema: &Schema, name: &str) -> Result<Slot, InvalidInput> {
    match schema.config.pooled_vectors.contains_key(name) {
        true => Err(InvalidInput::Pooled(name.to_owned())),
        false => schema.slot(name),
    }
}

/// What points must be like to be written.
struct Condition {
    filter: CompiledFilter,
    /// The points that were like it before the operation.
    matching: Bitmap,
}

impl Condition {
    fn new(view: &View<'_>, filter: &Filter) -> Result<Self> {
        let filter = CompiledFilter::new(filter, &view.state.schema)?;
        let matching = filter.select(view)?;
        Ok(Self { filter, matching })
    }
}

impl Change {
    /// Makes the state before the operation the state after it.
    pub(crate) fn apply(self, state: &mut State) -> SeqNo {
        state.seq = self.seq;
        state.next_offset = self.next_offset;
        state.payload_bytes = state.payload_bytes.saturating_add_signed(self.payload_bytes);
        for (offset, label) in self.born {
            state.alive.insert(offset.0);
            state.labels.set(offset, label);
        }
        for offset in self.died {
            state.alive.remove(offset.0);
        }
        state.touched += self.vectors.len() as u64;
        state.written = Instant::now();
        let mut sparse: BTreeMap<usize, Vec<(u32, Option<SparseVector>)>> = BTreeMap::new();
        for ((slot, offset), vector) in self.vectors {
            let offset = offset.0;
            match (slot, vector) {
                (Slot::Dense(number), Some(Embedding::Dense(vector))) => state.arenas[number].set(offset, &vector),
                (Slot::Dense(number), _) => state.arenas[number].remove(offset),
                (Slot::Multi(number), Some(Embedding::Multi(rows))) => {
                    state.multis[number].set(offset, &embedding::flat(&rows));
                }
                (Slot::Multi(number), _) => state.multis[number].remove(offset),
                (Slot::Sparse(number), Some(Embedding::Sparse(vector))) => {
                    sparse.entry(number).or_default().push((offset, Some(vector)));
                }
                (Slot::Sparse(number), _) => sparse.entry(number).or_default().push((offset, None)),
            }
        }
        for (number, changes) in sparse {
            let changes = changes.iter().map(|(offset, vector)| (*offset, vector.as_ref()));
            state.sparse[number].apply(changes);
        }
        for change in self.postings {
            let Some(column) = &mut state.columns[change.column] else {
                continue;
            };
            let column = Arc::make_mut(column);
            match change.added {
                true => column.insert(&change.value, change.offset.0),
                false => column.remove(&change.value, change.offset.0),
            }
        }
        state.tail.extend(self.tail.map(Arc::new));
        self.seq
    }
}

/// Sets keys of a payload; null removes one.
fn merge(object: &mut Payload, changes: &Payload) {
    for (key, value) in changes {
        match value.is_null() {
            true => object.remove(key),
            false => object.insert(key.clone(), value.clone()),
        };
    }
}
