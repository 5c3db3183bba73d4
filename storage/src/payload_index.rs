//! The payload indexes of a collection: making and dropping them, and the checkpoints of their columns.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use twofold_types::{Payload, PayloadFieldSchema, PayloadIndexParams, PayloadSchemaType};
use twofold_vector::Bitmap;

use crate::ann;
use crate::collection::Collection;
use crate::column::Column;
use crate::error::{InvalidInput, Result, StorageError};
use crate::key::{CollectionId, PointOffset, SeqNo};
use crate::need::SAVED_SHARE;
use crate::posting::Field;
use crate::record::{FieldRecord, LogRecord};
use crate::rocks::{Cf, Snapshot};
use crate::state::{Schema, State};

/// Bytes of postings that are written at once while a payload index is filled.
const BACKFILL_BATCH: usize = 16 << 20;

/// A payload index as it is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct PayloadIndex {
    /// The type of the values.
    pub data_type: PayloadSchemaType,
    /// What it was asked for with, where that was more than its type.
    pub params: Option<PayloadIndexParams>,
    /// How many points have an indexed value.
    pub points: u64,
}

/// The checkpoints of a collection's columns. The indexer alone writes them.
pub(crate) struct ColumnCheckpoints {
    dir: PathBuf,
    /// By the number of the payload index.
    saved: Mutex<BTreeMap<u16, Saved>>,
}

/// What the newest checkpoint of a column holds.
#[derive(Debug, Clone, Copy)]
struct Saved {
    /// The write that it follows.
    seq: SeqNo,
    /// What [`Column::changes`] was.
    changes: u64,
}

/// A column on its way into memory.
pub(crate) struct Loading {
    column: Column,
    /// Points that have changed since the checkpoint. They are not in the column yet.
    stale: Bitmap,
}

impl Loading {
    /// Puts the point in, as it is now, where it has changed since the checkpoint.
    pub(crate) fn refresh(&mut self, field: &Field, id: CollectionId, offset: PointOffset, payload: &Payload) {
        if self.is_stale(offset) {
            for posting in field.postings(id, payload, offset) {
                self.column.insert(field.value_of_key(id, &posting), offset.0);
            }
        }
    }

    pub(crate) fn is_stale(&self, offset: PointOffset) -> bool {
        self.stale.contains(offset.0)
    }

    pub(crate) fn into_column(self) -> Arc<Column> {
        Arc::new(self.column)
    }
}

impl ColumnCheckpoints {
    /// Reads the columns of the payload indexes that are in memory: from their checkpoints, or from the postings where there
    /// is none that can be used. Files that nobody needs are deleted. `log` is what was written since.
    pub(crate) fn open(
        dir: PathBuf,
        snapshot: &Snapshot<'_>,
        id: CollectionId,
        fields: &[Field],
        log: &[(SeqNo, LogRecord)],
        last: SeqNo,
    ) -> Result<(Self, Vec<Option<Loading>>)> {
        let mut files: BTreeMap<u16, Vec<(SeqNo, PathBuf)>> = BTreeMap::new();
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let numbers = name.split_once('-');
            let numbers = numbers.and_then(|(field, seq)| Some((field.parse().ok()?, SeqNo(seq.parse().ok()?))));
            match numbers {
                // One that is ahead has followed writes that were lost with an unsynced log.
                Some((field, seq)) if seq <= last && fields.iter().any(|known| known.number == field) => {
                    files.entry(field).or_default().push((seq, entry.path()));
                }
                _ => ann::remove(&entry.path()),
            }
        }
        let mut saved = BTreeMap::new();
        let mut columns = Vec::new();
        for field in fields {
            let mut files = files.remove(&field.number).unwrap_or_default();
            files.sort_unstable();
            if field.is_on_disk() {
                files.iter().for_each(|(_, path)| ann::remove(path));
                columns.push(None);
                continue;
            }
            let mut loading = None;
            while let Some((seq, path)) = files.pop() {
                let stale = changed_since(log, seq);
                match Column::read_checkpoint(&path, seq, &stale) {
                    Ok(column) if loading.is_none() => {
                        saved.insert(field.number, Saved { seq, changes: 0 });
                        loading = Some(Loading { column, stale });
                        continue;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "a checkpoint cannot be used: a column is read from its postings");
                    }
                }
                ann::remove(&path);
            }
            columns.push(Some(match loading {
                Some(loading) => loading,
                None => read_postings(snapshot, id, field)?,
            }));
        }
        let saved = Mutex::new(saved);
        Ok((Self { dir, saved }, columns))
    }

    /// The writes that the checkpoints follow.
    pub(crate) fn saved(&self, schema: &Schema) -> Vec<SeqNo> {
        let saved = self.saved.lock();
        let fields = schema.fields.iter().filter_map(|field| saved.get(&field.number));
        fields.map(|saved| saved.seq).collect()
    }

    fn path(&self, field: u16, seq: SeqNo) -> PathBuf {
        self.dir.join(format!("{field}-{}", seq.0))
    }

    /// Whether so much has changed since the checkpoint, or was never in one, that another pays.
    fn is_outdated(&self, field: u16, column: &Column, least: u64) -> bool {
        let unsaved = match self.saved.lock().get(&field) {
            Some(saved) => column.changes() - saved.changes,
            None => column.postings(),
        };
        unsaved > column.postings() / SAVED_SHARE + least
    }

    fn save(&self, field: u16, column: &Column, seq: SeqNo) -> Result<()> {
        let path = self.path(field, seq);
        let failed = |source: std::io::Error| StorageError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&self.dir).map_err(failed)?;
        column.write_checkpoint(&path, seq).map_err(failed)?;
        fail::fail_point!("column::after_checkpoint");
        let changes = column.changes();
        let old = self.saved.lock().insert(field, Saved { seq, changes });
        if let Some(old) = old.filter(|old| old.seq != seq) {
            ann::remove(&self.path(field, old.seq));
        }
        Ok(())
    }

    fn forget(&self, field: u16) {
        if let Some(saved) = self.saved.lock().remove(&field) {
            ann::remove(&self.path(field, saved.seq));
        }
    }
}

fn changed_since(log: &[(SeqNo, LogRecord)], seq: SeqNo) -> Bitmap {
    let newer = log.iter().filter(|(written, _)| *written > seq);
    newer
        .flat_map(|(_, record)| record.vectors.iter().chain(&record.payloads).copied())
        .collect()
}

fn read_postings(snapshot: &Snapshot<'_>, id: CollectionId, field: &Field) -> Result<Loading> {
    let mut postings = Vec::new();
    snapshot.scan_keys(Cf::Postings, &id.field_prefix(field.number), &[], |key| {
        if let Some(offset) = PointOffset::from_key(key) {
            postings.push((field.value_of_key(id, key).to_vec(), offset.0));
        }
        ControlFlow::Continue(())
    })?;
    Ok(Loading {
        column: Column::from_sorted(postings.into_iter()),
        stale: Bitmap::new(),
    })
}

impl Collection {
    /// Makes a payload index and fills it. Writes wait; reads do not.
    pub fn create_payload_index(&self, key: &str, schema: impl Into<PayloadFieldSchema>) -> Result<SeqNo> {
        let schema = schema.into();
        let mut writer = self.lock_writer()?;
        let view = self.view();
        let mut record = writer.record.clone();
        let field = FieldRecord::new(record.next_field, key, schema.data_type().into(), schema.params());
        let index = Field::new(&field)?;
        let same = |known: &Field| known.key == key && known.kind == index.kind && known.params == index.params;
        if view.state.schema.fields.iter().any(same) {
            return Ok(view.state.seq);
        }
        let others = view.state.schema.fields.iter().filter(|field| field.key != key);
        view.state.strict().check_indexes(others.count() + 1)?;
        record.next_field = record.next_field.checked_add(1).ok_or(InvalidInput::Limit {
            what: "payload indexes that a collection has ever had",
            received: usize::from(u16::MAX) + 1,
            limit: usize::from(u16::MAX),
        })?;
        let replaced = record.take_fields(key);
        record.fields.push(field);
        let mut batch = self.rocks.batch();
        batch.delete_prefix(Cf::Postings, &self.id.field_prefix(index.number));
        let mut column = (!index.is_on_disk()).then(Column::default);
        view.for_each_point(&view.state.alive, |offset, point| {
            for posting in index.postings(self.id, &point.payload()?, offset) {
                if let Some(column) = &mut column {
                    column.insert(index.value_of_key(self.id, &posting), offset.0);
                }
                batch.put(Cf::Postings, &posting, &[]);
            }
            if batch.size_in_bytes() > BACKFILL_BATCH {
                self.rocks.write(std::mem::replace(&mut batch, self.rocks.batch()))?;
            }
            Ok(())
        })?;
        self.rocks.write(batch)?;
        self.alter_with(&mut writer, record, column)?;
        self.delete_postings(&replaced)?;
        Ok(view.state.seq)
    }

    /// Removes the payload indexes of a key. A key without one is no error.
    pub fn delete_payload_index(&self, key: &str) -> Result<SeqNo> {
        let mut writer = self.lock_writer()?;
        let mut record = writer.record.clone();
        let gone = record.take_fields(key);
        self.alter(&mut writer, record)?;
        self.delete_postings(&gone)?;
        Ok(self.state().seq)
    }

    fn delete_postings(&self, fields: &[u16]) -> Result<()> {
        let mut batch = self.rocks.batch();
        for &field in fields {
            batch.delete_prefix(Cf::Postings, &self.id.field_prefix(field));
            self.columns.forget(field);
        }
        self.rocks.write(batch)
    }

    /// The payload indexes by their keys. Those on disk are read for it.
    pub fn payload_indexes(&self) -> Result<BTreeMap<String, PayloadIndex>> {
        let view = self.view();
        let fields = view.state.schema.fields.iter().zip(&view.state.columns);
        fields
            .map(|(field, column)| {
                let index = PayloadIndex {
                    data_type: field.kind.into(),
                    params: field.params.clone(),
                    points: view.indexed(field, column.as_deref())?,
                };
                Ok((field.key.clone(), index))
            })
            .collect()
    }

    /// Bytes that payload indexes take in memory.
    pub fn payload_index_bytes(&self) -> usize {
        let state = self.state();
        let columns = state.columns.iter().flatten();
        columns.map(|column| column.heap_bytes()).sum()
    }

    /// Makes what ranges are found by, so that no search has to.
    pub(crate) fn make_unions(&self, cancel: &dyn Fn() -> bool) {
        let state = self.state();
        for (field, column) in state.schema.fields.iter().zip(&state.columns) {
            if cancel() {
                return;
            }
            if let Some(column) = column
                && field.kind.has_ranges()
            {
                column.make_unions();
            }
        }
    }

    /// Writes the checkpoints of the columns that have changed much. Called by the indexer alone.
    pub(crate) fn save_columns(&self, cancel: &dyn Fn() -> bool) -> Result<()> {
        let least = self.options.checkpoint_changes;
        let outdated = |state: &State| -> Option<(u16, Arc<Column>)> {
            let columns = state.schema.fields.iter().zip(&state.columns);
            let mut columns = columns.filter_map(|(field, column)| Some((field.number, column.clone()?)));
            columns.find(|(field, column)| self.columns.is_outdated(*field, column, least))
        };
        while !cancel() && outdated(&self.state()).is_some() {
            // From here on the log says what changes after the state that is saved.
            let state = self.begin_build()?;
            let saved = match outdated(&state) {
                Some((field, column)) => self.columns.save(field, &column, state.seq),
                None => Ok(()),
            };
            self.end_build();
            saved?;
            self.trim_log()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use serde_json::json;
    use twofold_types::{CollectionConfig, Distance, Filter, PointId, VectorParams};

    use super::*;
    use crate::{NewPoint, Operation, Options, Selector, Store};

    fn open(dir: &Path) -> (Store, Arc<Collection>) {
        let options = Options {
            checkpoint_changes: 3,
            index_threshold: 4,
            index_lag: 1,
            ..Options::new(dir)
        };
        let store = Store::open(options).unwrap();
        let config = CollectionConfig {
            vectors: BTreeMap::from([(String::new(), VectorParams::new(2, Distance::Dot))]),
            ..CollectionConfig::default()
        };
        let name = "c".parse().unwrap();
        let collection = match store.collection(&name) {
            Ok(collection) => collection,
            Err(_) => store.create_collection(&name, &config).unwrap(),
        };
        (store, collection)
    }

    fn point(id: u64, n: u64) -> NewPoint {
        NewPoint {
            id: id.into(),
            vectors: BTreeMap::from([(String::new(), vec![id as f32, 1.0].into())]),
            payload: json!({"n": n}).as_object().unwrap().clone(),
        }
    }

    fn set(collection: &Collection, id: u64, n: u64) {
        let payload = json!({"n": n}).as_object().unwrap().clone();
        let selector = Selector::Ids(vec![PointId::Num(id)]);
        collection
            .apply(Operation::OverwritePayload { selector, payload })
            .unwrap();
    }

    fn count(collection: &Collection, n: u64) -> u64 {
        let filter: Filter = serde_json::from_value(json!({"must": [{"key": "n", "match": {"value": n}}]})).unwrap();
        collection.count(Some(&filter)).unwrap()
    }

    fn index(collection: &Collection) {
        collection.update_indexes(&AtomicBool::new(false)).unwrap();
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir.join("index/0/columns")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn filled(dir: &Path) -> (Store, Arc<Collection>) {
        let (store, collection) = open(dir);
        collection
            .create_payload_index("n", PayloadSchemaType::Integer)
            .unwrap();
        let points = (0..40).map(|id| point(id, id % 4));
        collection.apply(Operation::Upsert(points.collect())).unwrap();
        index(&collection);
        (store, collection)
    }

    #[test]
    fn a_column_comes_from_its_checkpoint_and_follows_what_was_written_since() {
        let dir = tempfile::tempdir().unwrap();
        let (store, collection) = filled(dir.path());
        let saved = files(dir.path());
        assert_eq!(saved.len(), 1);
        // Too little for another checkpoint, while the index over the vectors follows and lets go of the log.
        set(&collection, 0, 100);
        collection
            .apply(Operation::Upsert(vec![point(1, 101), point(40, 3)]))
            .unwrap();
        collection
            .apply(Operation::Delete(Selector::Ids(vec![PointId::Num(2)])))
            .unwrap();
        index(&collection);
        assert_eq!(files(dir.path()), saved);
        // What is not in the checkpoint and not in the log is not found any more.
        let mut batch = collection.rocks.batch();
        batch.delete_prefix(Cf::Postings, &collection.id.key());
        collection.rocks.write(batch).unwrap();
        drop((store, collection));
        let (_store, collection) = open(dir.path());
        let counts = [0, 1, 2, 3, 100, 101].map(|n| count(&collection, n));
        assert_eq!(counts, [9, 9, 9, 11, 1, 1]);
        assert_eq!(collection.payload_indexes().unwrap()["n"].points, 40);
        // Writes go on from there, and the next checkpoint takes the place of the last.
        (3..23).for_each(|id| set(&collection, id, 7));
        index(&collection);
        assert_eq!(count(&collection, 7), 20);
        assert_eq!(files(dir.path()).len(), 1);
        assert_ne!(files(dir.path()), saved);
    }

    #[test]
    fn a_damaged_checkpoint_is_read_from_postings_instead() {
        let dir = tempfile::tempdir().unwrap();
        let (store, collection) = filled(dir.path());
        set(&collection, 0, 3);
        drop((store, collection));
        let path = files(dir.path()).remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        // These follow writes that the collection never saw, or a payload index that it does not have.
        std::fs::write(path.with_file_name("0-999999"), b"").unwrap();
        std::fs::write(path.with_file_name("7-1"), b"").unwrap();
        std::fs::write(path.with_file_name("0-1.new"), b"").unwrap();
        let (store, collection) = open(dir.path());
        assert_eq!([0, 1, 2, 3].map(|n| count(&collection, n)), [9, 10, 10, 11]);
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
        index(&collection);
        assert_eq!(files(dir.path()).len(), 1);
        collection.delete_payload_index("n").unwrap();
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
        assert_eq!(count(&collection, 0), 9);
        drop(store);
    }

    #[test]
    fn an_index_on_disk_answers_without_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (store, collection) = filled(dir.path());
        assert!(collection.payload_index_bytes() > 0);
        let params = PayloadIndexParams {
            on_disk: Some(true),
            ..PayloadSchemaType::Integer.into()
        };
        collection.create_payload_index("n", params.clone()).unwrap();
        let check = |collection: &Collection| {
            assert_eq!(collection.payload_index_bytes(), 0);
            assert_eq!([0, 1, 2, 3].map(|n| count(collection, n)), [10; 4]);
            let indexes = collection.payload_indexes().unwrap();
            assert_eq!((indexes["n"].points, &indexes["n"].params), (40, &Some(params.clone())));
        };
        check(&collection);
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
        drop((store, collection));
        let (_store, collection) = open(dir.path());
        check(&collection);
    }
}
