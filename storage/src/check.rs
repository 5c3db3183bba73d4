//! Whether what a data directory holds agrees: records with each other, and what is in memory with the records.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Display;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

use serde_json::Value;
use twofold_types::{Document, TaskId};
use twofold_vector::Bitmap;

use crate::collection::Collection;
use crate::column::Column;
use crate::dead_letter::DeadLetterRecord;
use crate::error::Result;
use crate::key::{CollectionId, PointOffset, document_of_key, task_key};
use crate::operation::{DOCUMENT_ID, chunk_id, document_point_id};
use crate::posting::{Field, Lookup};
use crate::queue::task_of_key;
use crate::queued::TASK_BODY;
use crate::record::{DiskRecord, DocumentRecord, PointRecord, from_json};
use crate::rocks::{Cf, Snapshot};
use crate::state::Slot;
use crate::store::Store;
use crate::task::{RetryRecord, TaskRecord, WaitingRecord};
use crate::view::{View, offset_of};

/// So much of what does not agree is told.
const TOLD: usize = 1_000;

/// What does not agree, in words.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn note(&mut self, finding: impl Display) {
        if self.0.len() < TOLD {
            self.0.push(finding.to_string());
        }
    }

    fn expect(&mut self, agrees: bool, finding: impl FnOnce() -> String) {
        if !agrees {
            self.note(finding());
        }
    }
}

/// Keys in any order: equal for equal sets, and next to never for others.
#[derive(Default, PartialEq)]
struct Digest {
    keys: u64,
    sum: u64,
}

impl Digest {
    fn add(&mut self, key: &[u8]) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.keys += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

impl Store {
    /// Reads everything and says what does not agree with the rest, in words; nothing where all is well. Every point has its id and
    /// every id its point, every vector and every posting its point, every chunk its document; payload indexes hold what
    /// payloads do; every document that waits is counted once, by its task and by its id; and memory holds what the disk does. Nothing may
    /// be written meanwhile.
    pub fn check(&self) -> Result<Vec<String>> {
        let mut findings = Findings::default();
        let mut waiting: HashMap<CollectionId, u64> = HashMap::new();
        check_tasks(&self.rocks.snapshot(), &mut waiting, &mut findings)?;
        let successors: Vec<_> = self.successors.read().values().cloned().collect();
        for collection in self.collections().into_iter().chain(successors) {
            let name = collection.name().to_string();
            let mut own = Findings::default();
            check_collection(&collection, waiting.get(&collection.id).copied().unwrap_or(0), &mut own)?;
            own.0
                .iter()
                .for_each(|finding| findings.note(format!("`{name}`: {finding}")));
        }
        Ok(findings.0)
    }
}

/// Counts the documents that wait, by collection.
fn check_tasks(
    snapshot: &Snapshot<'_>,
    waiting: &mut HashMap<CollectionId, u64>,
    findings: &mut Findings,
) -> Result<()> {
    for entry in snapshot.scan_once(Cf::Tasks, &[]) {
        let (key, value) = entry?;
        let id = task_of_key(&key)?;
        let task = TaskRecord::from_bytes(&value)?;
        let mut ordinals = Vec::new();
        for entry in snapshot.scan_once(Cf::Retries, &key) {
            let (key, value) = entry?;
            RetryRecord::from_bytes(&value)?;
            ordinals.extend(key.last_chunk().copied().map(u64::from_be_bytes));
        }
        let retried = ordinals.len() as u64;
        let (taken, documents) = (task.taken, task.documents);
        findings.expect(ordinals.iter().all(|&ordinal| ordinal < taken), || {
            format!("task {id} has taken up {taken} documents, and tries later ones again")
        });
        ordinals.extend(taken..documents);
        let waits = if task.is_finished() { 0 } else { task.waiting() };
        *waiting.entry(task.collection()).or_default() += waits;
        let expected = if task.is_finished() {
            retried
        } else {
            ordinals.len() as u64
        };
        findings.expect(waits == expected, || {
            format!("task {id} counts {waits} documents that wait, and {expected} do")
        });
        let mut bodies = Vec::new();
        for entry in snapshot.scan_once(Cf::TaskBodies, &key) {
            let (key, value) = entry?;
            bodies.extend(key.last_chunk().copied().map(u64::from_be_bytes));
            if let Err(error) = from_json::<Document>(TASK_BODY, &value) {
                findings.note(format!("a document of task {id}: {error}"));
            }
        }
        let has_all = task.is_finished() || ordinals.iter().all(|ordinal| bodies.binary_search(ordinal).is_ok());
        findings.expect(has_all, || format!("task {id} lacks documents that wait"));
        findings.expect(!task.is_finished() || bodies.is_empty(), || {
            format!("task {id} is finished and still has documents")
        });
    }
    for cf in [Cf::TaskBodies, Cf::Retries] {
        let mut last = None;
        snapshot.scan_keys(cf, &[], &[], |key| {
            last = key.first_chunk().copied().map(u64::from_be_bytes).map(TaskId);
            ControlFlow::Break(())
        })?;
        // The oldest task is forgotten only after its documents.
        if let Some(id) = last {
            let known = snapshot.get(Cf::Tasks, &task_key(id))?.is_some();
            findings.expect(known, || {
                format!("there are documents of task {id}, which is not known")
            });
        }
    }
    Ok(())
}

fn check_collection(collection: &Collection, waiting: u64, findings: &mut Findings) -> Result<()> {
    let view = collection.view();
    check_ids(&view, findings)?;
    check_vectors(&view, findings)?;
    let documents = check_documents(&view, waiting, findings)?;
    check_points(&view, &documents, findings)?;
    for index in view.state.indexes.iter().flatten().zip(&view.state.arenas) {
        let (index, arena) = index;
        if let Some(ivf) = index.in_memory()
            && view.state.touched_since(index.applied()?).is_empty()
            && let Err(error) = ivf.check(arena)
        {
            findings.note(format!("an index: {error}"));
        }
    }
    Ok(())
}

fn check_ids(view: &View<'_>, findings: &mut Findings) -> Result<()> {
    let (mut ids, collection) = (Bitmap::new(), view.collection);
    for entry in view.snapshot.scan_once(Cf::Ids, &collection.key()) {
        let (key, value) = entry?;
        let offset = offset_of(&value)?;
        let id = view.state.labels.get(offset).id;
        let is_own = view.state.alive.contains(offset.0) && collection.id_key(id) == *key;
        findings.expect(is_own && ids.insert(offset.0), || {
            format!("an id stands for {offset:?}, which is another's")
        });
    }
    let (of_ids, alive) = (ids.len(), view.state.alive.len());
    findings.expect(ids == view.state.alive, || {
        format!("{of_ids} ids stand for points, and there are {alive}")
    });
    Ok(())
}

/// Vectors have their points, and those in memory are those on disk.
fn check_vectors(view: &View<'_>, findings: &mut Findings) -> Result<()> {
    let schema = view.state.schema.clone();
    for (name, slot) in schema.slots() {
        let mut stored = Bitmap::new();
        let prefix = view.collection.vector_prefix(slot.number());
        for entry in view.snapshot.scan_once(Cf::Vectors, &prefix) {
            let (key, value) = entry?;
            let offset = offset_of(&key)?;
            stored.insert(offset.0);
            let is_alive = view.state.alive.contains(offset.0);
            findings.expect(is_alive, || {
                format!("vector `{name}` at {offset:?} belongs to no point")
            });
            let is_same = match (slot, view.vector(slot, offset)?) {
                (Slot::Sparse(_), Some(_)) => true,
                (_, Some(held)) => crate::embedding::to_bytes(&held) == *value,
                (_, None) => false,
            };
            findings.expect(is_same, || {
                format!("vector `{name}` at {offset:?} is another one in memory")
            });
        }
        let (on_disk, present) = (stored.len(), view.state.present(slot).len());
        findings.expect(stored == *view.state.present(slot), || {
            format!("there are {on_disk} vectors `{name}` on disk and {present} in memory")
        });
    }
    Ok(())
}

/// Says how many chunks each document has.
fn check_documents(view: &View<'_>, waiting: u64, findings: &mut Findings) -> Result<HashMap<String, u32>> {
    let prefix = view.collection.key();
    let mut documents = HashMap::new();
    for entry in view.snapshot.scan_once(Cf::Documents, &prefix) {
        let (key, value) = entry?;
        documents.insert(document_of_key(&key), DocumentRecord::from_bytes(&value)?.chunks);
    }
    let mut versions = 0;
    for entry in view.snapshot.scan_once(Cf::Waiting, &prefix) {
        let (key, value) = entry?;
        let row = WaitingRecord::from_bytes(&value)?;
        versions += row.versions();
        let task = view.snapshot.get(Cf::Tasks, &task_key(row.newest().task))?;
        findings.expect(task.is_some(), || {
            format!(
                "document `{}` waits for a task that is not known",
                document_of_key(&key)
            )
        });
    }
    findings.expect(versions == waiting, || {
        format!("{versions} versions of documents wait by their ids, and {waiting} by their tasks")
    });
    for entry in view.snapshot.scan_once(Cf::DeadLetters, &prefix) {
        DeadLetterRecord::from_bytes(&entry?.1)?;
    }
    Ok(documents)
}

/// Points have the labels that memory holds, chunks their documents, and payload indexes what stands in payloads.
fn check_points(view: &View<'_>, documents: &HashMap<String, u32>, findings: &mut Findings) -> Result<()> {
    let schema = view.state.schema.clone();
    let mut expected: Vec<Digest> = schema.fields.iter().map(|_| Digest::default()).collect();
    let mut stored = Bitmap::new();
    for entry in view.snapshot.scan_once(Cf::Points, &view.collection.key()) {
        let (key, value) = entry?;
        let (offset, record) = (offset_of(&key)?, PointRecord::from_bytes(&value)?);
        stored.insert(offset.0);
        let label = view.state.labels.get(offset);
        findings.expect((label.id, label.version) == (record.id(), record.version), || {
            format!("point {} is another one in memory", record.id())
        });
        let payload = record.payload()?;
        for (field, digest) in schema.fields.iter().zip(&mut expected) {
            field
                .postings(view.collection, &payload, offset)
                .iter()
                .for_each(|key| digest.add(key));
        }
        if let (Some(Value::String(document)), Some(chunk)) = (payload.get(DOCUMENT_ID), payload.get("chunk"))
            && let Some(chunk) = chunk.as_u64().and_then(|chunk| u32::try_from(chunk).ok())
            && chunk_id(document, chunk) == record.id()
        {
            let has_document = documents.get(document).is_some_and(|&chunks| chunk < chunks);
            findings.expect(has_document, || {
                format!("chunk {chunk} of document `{document}` is an orphan")
            });
        } else if let Some(Value::String(document)) = payload.get(DOCUMENT_ID)
            && document_point_id(document) == record.id()
        {
            let has_document = documents.contains_key(document);
            findings.expect(has_document, || {
                format!("the point of document `{document}` is an orphan")
            });
        }
    }
    let (on_disk, alive) = (stored.len(), view.state.alive.len());
    findings.expect(stored == view.state.alive, || {
        format!("there are {on_disk} points on disk and {alive} in memory")
    });
    for ((field, column), expected) in schema.fields.iter().zip(&view.state.columns).zip(expected) {
        check_field(view, field, column.as_deref(), &expected, findings)?;
    }
    Ok(())
}

/// A payload index holds what payloads do, in its postings and in memory.
fn check_field(
    view: &View<'_>,
    field: &Field,
    column: Option<&Column>,
    expected: &Digest,
    findings: &mut Findings,
) -> Result<()> {
    let mut digest = Digest::default();
    let mut values: Vec<(Vec<u8>, Bitmap)> = Vec::new();
    view.snapshot
        .scan_keys(Cf::Postings, &view.collection.field_prefix(field.number), &[], |key| {
            digest.add(key);
            let value = field.value_of_key(view.collection, key);
            if values.last().is_none_or(|(last, _)| last != value) {
                values.push((value.to_vec(), Bitmap::new()));
            }
            if let (Some((_, points)), Some(PointOffset(offset))) = (values.last_mut(), PointOffset::from_key(key)) {
                points.insert(offset);
            }
            ControlFlow::Continue(())
        })?;
    let key = &field.key;
    findings.expect(digest == *expected, || {
        format!(
            "the payload index of `{key}` has {} postings, and {} are due",
            digest.keys, expected.keys
        )
    });
    if let Some(column) = column {
        let same = |(value, points): &(Vec<u8>, Bitmap)| column.find(&Lookup::Any(vec![value.clone()])) == *points;
        let agrees = column.postings() == digest.keys && values.iter().all(same);
        findings.expect(agrees, || {
            format!("the payload index of `{key}` is another one in memory")
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use twofold_types::{
        CollectionConfig, Distance, Embedding, EncoderParams, ModelId, PayloadSchemaType, Priority, SparseVector,
        SparseVectorParams, VectorParams,
    };

    use super::*;
    use crate::operation::{Fingerprint, NewPoint, Operation, Outcome, WorkedOff};
    use crate::options::Options;

    const NOW: u64 = 1_700_000_000_000;

    fn document(id: &str) -> Document {
        Document {
            id: Some(id.to_owned()),
            text: format!("The text of {id}."),
            metadata: None,
        }
    }

    /// A document that is stored, one that waits twice, a point of its own, and a payload index.
    fn filled(store: &Store) {
        let config = CollectionConfig {
            vectors: BTreeMap::from([(String::new(), VectorParams::new(2, Distance::Cosine))]),
            sparse_vectors: BTreeMap::from([("words".to_owned(), SparseVectorParams::default())]),
            encoders: BTreeMap::from([(String::new(), EncoderParams::new(ModelId::new("m")))]),
            ..CollectionConfig::default()
        };
        let collection = store.create_collection(&"a".parse().unwrap(), &config).unwrap();
        collection
            .create_payload_index("colour", PayloadSchemaType::Keyword)
            .unwrap();
        let payload = |value: Value| value.as_object().unwrap().clone();
        let point = NewPoint {
            id: 7u64.into(),
            vectors: BTreeMap::from([
                (String::new(), vec![0.3, 0.4].into()),
                (
                    "words".to_owned(),
                    Embedding::Sparse(SparseVector::new(vec![4], vec![1.0]).unwrap()),
                ),
            ]),
            payload: payload(json!({"colour": ["red", "blue"]})),
        };
        collection.apply(Operation::Upsert(vec![point])).unwrap();
        let task = store
            .queue()
            .enqueue(&collection, &[document("stored")], Priority::Normal, NOW)
            .unwrap();
        let chunk = NewPoint {
            id: chunk_id("stored", 0),
            vectors: BTreeMap::from([(String::new(), vec![1.0, 0.0].into())]),
            payload: payload(
                json!({"document_id": "stored", "chunk": 0, "start": 0, "end": 19, "text": "The text of stored."}),
            ),
        };
        let outcome = Outcome::Encoded {
            fingerprint: Fingerprint {
                text: [0; 16],
                metadata: [0; 16],
            },
            gaps: String::new(),
            chunks: vec![chunk],
        };
        let version = crate::task::Version { task, ordinal: 0 };
        let documents = vec![WorkedOff {
            id: "stored".to_owned(),
            version,
            outcome,
        }];
        collection.apply(Operation::Finish { documents, now: NOW }).unwrap();
        for documents in [vec![document("waits"), document("other")], vec![document("waits")]] {
            store
                .queue()
                .enqueue(&collection, &documents, Priority::Normal, NOW)
                .unwrap();
        }
    }

    #[test]
    fn every_record_that_is_lost_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(dir.path())).unwrap();
        filled(&store);
        assert_eq!(store.check().unwrap(), [""; 0]);
        let families = [
            (Cf::Ids, 2),
            (Cf::Points, 2),
            (Cf::Vectors, 3),
            (Cf::Postings, 2),
            (Cf::Documents, 1),
            (Cf::Waiting, 2),
            (Cf::TaskBodies, 3),
        ];
        let change = |cf, key: &[u8], value: Option<&[u8]>| {
            let mut batch = store.rocks.batch();
            match value {
                Some(value) => batch.put(cf, key, value),
                None => batch.delete(cf, key),
            }
            store.rocks.write(batch).unwrap();
        };
        for (cf, count) in families {
            let entries = store
                .rocks
                .snapshot()
                .scan(cf, &[], &[])
                .collect::<Result<Vec<_>>>()
                .unwrap();
            assert_eq!(entries.len(), count, "{cf:?}");
            for (key, value) in entries {
                change(cf, &key, None);
                assert_ne!(store.check().unwrap(), [""; 0], "{cf:?} without {key:?}");
                change(cf, &key, Some(&value));
            }
        }
        assert_eq!(store.check().unwrap(), [""; 0]);
        // What is too much is found as well.
        let collection = store.collections().pop().unwrap();
        for (cf, key) in [
            (
                Cf::Postings,
                [&collection.id.field_prefix(0), b"kgreen".as_slice(), &[0, 0, 0, 0]].concat(),
            ),
            (Cf::Vectors, collection.id.vector_key(0, PointOffset(9)).to_vec()),
        ] {
            change(cf, &key, Some(&[0; 8]));
            assert_ne!(store.check().unwrap(), [""; 0], "{cf:?} with {key:?}");
            change(cf, &key, None);
        }
    }
}
