//! Random operations on documents and on their points: after each of them pooled vectors are what the stored vectors of the chunks
//! say, also after reopening.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use twofold_storage::{
    Collection, DOCUMENT_ID, DocumentSelector, Fetch, Fingerprint, METADATA, NewPoint, Operation, Options, Outcome,
    Selector, Store, Version, WorkedOff, chunk_id, document_point_id,
};
use twofold_types::api::{WithPayload, WithVector};
use twofold_types::{
    CollectionConfig, Distance, Document, Embedding, Payload, PointId, Priority, Record, VectorParams, VectorsOutput,
};

use crate::pooled_vectors::{Method, reference};
use crate::support::{from_json, name};

const DOCUMENTS: u8 = 3;
const CHUNKS: u32 = 4;
const SCORING: [f32; 3] = [1.0, -2.0, 0.5];

type Components = [i8; 3];

#[derive(Debug, Clone)]
enum Op {
    /// A document with these chunks.
    Put(u8, Vec<Components>),
    /// The same text with other metadata.
    ChangeMetadata(u8, u8),
    DeleteDocument(u8),
    DeletePoint(Which),
    SetVector(Which, Components),
    DropVector(Which),
    /// A point in place of the one that is there, which names the document or does not.
    Replace(Which, Components, bool),
    ClearPayload(Which),
    NameDocument(Which),
    Reopen,
}

/// A chunk of a document, or its own point.
#[derive(Debug, Clone, Copy)]
struct Which {
    document: u8,
    chunk: Option<u32>,
}

impl Which {
    fn id(self) -> PointId {
        let document = self.document.to_string();
        match self.chunk {
            Some(ordinal) => chunk_id(&document, ordinal),
            None => document_point_id(&document),
        }
    }

    fn selector(self) -> Selector {
        Selector::Ids(vec![self.id()])
    }

    fn payload(self) -> Payload {
        from_json(json!({DOCUMENT_ID: self.document.to_string()}))
    }
}

fn op() -> impl Strategy<Value = Op> {
    let which = || (0..DOCUMENTS, prop::option::weighted(0.8, 0..CHUNKS));
    let which = move || which().prop_map(|(document, chunk)| Which { document, chunk });
    let components = any::<Components>;
    prop_oneof![
        5 => (0..DOCUMENTS, prop::collection::vec(components(), 1..=CHUNKS as usize)).prop_map(|(id, chunks)| Op::Put(id, chunks)),
        2 => (0..DOCUMENTS, 0u8..3).prop_map(|(id, metadata)| Op::ChangeMetadata(id, metadata)),
        1 => (0..DOCUMENTS).prop_map(Op::DeleteDocument),
        2 => which().prop_map(Op::DeletePoint),
        2 => (which(), components()).prop_map(|(which, vector)| Op::SetVector(which, vector)),
        1 => which().prop_map(Op::DropVector),
        2 => (which(), components(), any::<bool>()).prop_map(|(which, vector, named)| Op::Replace(which, vector, named)),
        1 => which().prop_map(Op::ClearPayload),
        1 => which().prop_map(Op::NameDocument),
        1 => Just(Op::Reopen),
    ]
}

fn config() -> CollectionConfig {
    let vectors = [
        ("", Distance::Cosine),
        ("mean", Distance::Dot),
        ("max", Distance::Cosine),
        ("attention", Distance::Euclid),
        ("centre", Distance::Cosine),
    ];
    CollectionConfig {
        vectors: vectors
            .map(|(name, distance)| (name.to_owned(), VectorParams::new(3, distance)))
            .into(),
        encoders: from_json(json!({"": {"model": "m"}})),
        pooled_vectors: from_json(json!({
            "mean": {"method": "mean"},
            "max": {"method": "max"},
            "attention": {"method": "attention", "scoring_vector": SCORING, "scale": 3.0},
            "centre": {"of": "", "method": "attention"},
        })),
        ..CollectionConfig::default()
    }
}

fn vectors(components: Components) -> BTreeMap<String, Embedding> {
    let vector: Vec<f32> = components.map(f32::from).into();
    BTreeMap::from([(String::new(), vector.into())])
}

fn finish(store: &Store, collection: &Collection, id: u8, outcome: Outcome) {
    let document = Document {
        id: Some(id.to_string()),
        text: "text".to_owned(),
        metadata: None,
    };
    let task = store.queue().enqueue(collection, &[document], Priority::Normal, 0);
    let worked_off = WorkedOff {
        id: id.to_string(),
        version: Version {
            task: task.unwrap(),
            ordinal: 0,
        },
        outcome,
    };
    let finish = Operation::Finish {
        documents: vec![worked_off],
        now: 0,
    };
    collection.apply(finish).unwrap();
}

fn fingerprint(metadata: u8) -> Fingerprint {
    Fingerprint {
        text: [7; 16],
        metadata: [metadata; 16],
    }
}

fn apply(store: &Store, op: &Op) {
    let collection = &store.collection(&name("c")).unwrap();
    let run = |operation| collection.apply(operation).map(|_| ()).unwrap();
    match op {
        Op::Put(id, chunks) => {
            let chunks = (0..).zip(chunks).map(|(ordinal, components)| {
                let which = Which {
                    document: *id,
                    chunk: Some(ordinal),
                };
                let mut payload = which.payload();
                payload.insert(METADATA.to_owned(), json!({"m": 0}));
                NewPoint {
                    id: which.id(),
                    vectors: vectors(*components),
                    payload,
                }
            });
            let outcome = Outcome::Encoded {
                fingerprint: fingerprint(0),
                gaps: String::new(),
                chunks: chunks.collect(),
            };
            finish(store, collection, *id, outcome);
        }
        Op::ChangeMetadata(id, metadata) => {
            let outcome = Outcome::Unchanged {
                fingerprint: fingerprint(*metadata),
                metadata: Some(from_json(json!({"m": metadata}))),
            };
            finish(store, collection, *id, outcome);
        }
        Op::DeleteDocument(id) => run(Operation::DeleteDocuments(DocumentSelector::Ids(vec![id.to_string()]))),
        Op::DeletePoint(which) => run(Operation::Delete(which.selector())),
        Op::SetVector(which, components) => run(Operation::UpdateVectors {
            vectors: vec![(which.id(), vectors(*components))],
            filter: None,
        }),
        Op::DropVector(which) => run(Operation::DeleteVectors {
            selector: which.selector(),
            names: vec![String::new()],
        }),
        Op::Replace(which, components, named) => run(Operation::Upsert(vec![NewPoint {
            id: which.id(),
            vectors: vectors(*components),
            payload: if *named { which.payload() } else { Payload::new() },
        }])),
        Op::ClearPayload(which) => run(Operation::ClearPayload(which.selector())),
        Op::NameDocument(which) => run(Operation::SetPayload {
            selector: which.selector(),
            payload: which.payload(),
            key: None,
        }),
        Op::Reopen => unreachable!("the store is reopened by the caller"),
    }
}

fn vector(record: &Record, name: &str) -> Option<Vec<f32>> {
    match record.vector.as_ref()? {
        VectorsOutput::Single(vector) if name.is_empty() => vector.clone().into_dense().ok(),
        VectorsOutput::Single(_) => None,
        VectorsOutput::Named(named) => named.get(name)?.clone().into_dense().ok(),
    }
}

fn normalised(vector: Vec<f64>) -> Vec<f64> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

fn check(collection: &Collection) {
    let all = Fetch::new(WithPayload::Bool(true), WithVector::Bool(true)).unwrap();
    let (records, next) = collection.scroll(None, 1_000, None, &all).unwrap();
    assert_eq!(next, None);
    let records: BTreeMap<PointId, Record> = records.into_iter().map(|record| (record.id, record)).collect();
    let (stored, _) = collection.documents(None, 100, &[]).unwrap();
    let stored: BTreeMap<String, u32> = stored.into_iter().map(|entry| (entry.id, entry.chunks)).collect();
    for document in 0..DOCUMENTS {
        let id = document.to_string();
        let own = |point: PointId| {
            let record = records.get(&point)?;
            let named = record.payload.as_ref()?.get(DOCUMENT_ID).and_then(Value::as_str);
            (named == Some(&id)).then_some(record)
        };
        let count = stored.get(&id).copied().unwrap_or(0);
        let chunks = (0..count).filter_map(|ordinal| vector(own(chunk_id(&id, ordinal))?, ""));
        let chunks: Vec<Vec<f32>> = chunks.collect();
        let Some(point) = records.get(&document_point_id(&id)) else {
            continue;
        };
        let is_named = own(point.id).is_some();
        for (vector_name, method, is_normalised) in [
            ("mean", Method::Mean, false),
            ("max", Method::Max, true),
            ("attention", Method::Attention(Some(&SCORING), 3.0), false),
            ("centre", Method::Attention(None, 20.0), true),
        ] {
            let pooled = vector(point, vector_name);
            if chunks.is_empty() || !is_named {
                assert_eq!(pooled, None, "{vector_name} of {document}");
                continue;
            }
            let mut expected = reference(method, &chunks);
            let pooled = pooled.unwrap_or_else(|| panic!("{document} has no {vector_name}"));
            if is_normalised {
                let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
                let centre = reference(Method::Mean, &chunks);
                if length < 1e-3 || centre.iter().all(|x| x.abs() < 1e-3) {
                    continue; // Its direction hangs on rounding.
                }
                expected = normalised(expected);
            }
            let differs = |(pooled, expected): (&f32, &f64)| (f64::from(*pooled) - expected).abs() > 1e-5;
            assert!(
                !pooled.iter().zip(&expected).any(differs),
                "{vector_name} of {document}: {pooled:?} {expected:?} {chunks:?}"
            );
        }
    }
}

/// That ingestion leaves a document with its point, whatever was done to that before.
fn check_point_of(collection: &Collection, op: &Op) {
    let (Op::Put(id, _) | Op::ChangeMetadata(id, _)) = op else {
        return;
    };
    let id = id.to_string();
    let (entries, _) = collection.documents(None, 100, &[]).unwrap();
    let Some(entry) = entries.iter().find(|entry| entry.id == id) else {
        return;
    };
    // Where a chunk is missing, its text has to be encoded again.
    if collection.document(&id).unwrap().unwrap().chunks.len() == entry.chunks as usize {
        let points = collection
            .get(&[document_point_id(&id)], &Fetch::payload_only())
            .unwrap();
        assert_eq!(points.len(), 1, "{op:?}");
        if let Op::Put(_, chunks) = op {
            let expected = json!({DOCUMENT_ID: id, "chunks": chunks.len(), METADATA: {"m": 0}});
            assert_eq!(json!(points[0].payload), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn pooled_vectors_are_those_of_the_stored_chunks(ops in prop::collection::vec(op(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let options = || Options { min_free_disk_bytes: 0, ..Options::new(dir.path()) };
        let mut store = Store::open(options()).unwrap();
        store.create_collection(&name("c"), &config()).unwrap();
        for op in &ops {
            if matches!(op, Op::Reopen) {
                drop(store);
                store = Store::open(options()).unwrap();
            } else {
                apply(&store, op);
            }
            let collection = store.collection(&name("c")).unwrap();
            check(&collection);
            check_point_of(&collection, op);
        }
    }
}
