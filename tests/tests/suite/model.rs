//! Random operations on a collection and on a map: both say the same, also after reopening.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use twofold_storage::{
    Collection, DocumentSelector, Fetch, Fingerprint, NewPoint, Operation, Options, Outcome, Query, Selector, Store,
    Version, WorkedOff, chunk_id,
};
use twofold_types::api::{WithPayload, WithVector};
use twofold_types::{
    CollectionConfig, Distance, Document, Embedding, Filter, Payload, PayloadSchemaType, PointId, Priority, Record,
    VectorParams, VectorsOutput,
};

use crate::support::{from_json, name};

#[derive(Debug, Clone)]
pub enum Op {
    Upsert(Vec<(u64, i8, u8)>),
    DeleteIds(Vec<u64>),
    DeleteByColour(u8),
    SetColour(Vec<u64>, u8),
    ClearPayload(Vec<u64>),
    PutDocument(u8, u8),
    DeleteDocument(u8),
    IndexPayload,
    UnindexPayload,
    Reopen,
}

pub fn op() -> impl Strategy<Value = Op> {
    let ids = prop::collection::vec(0u64..20, 0..5);
    prop_oneof![
        4 => prop::collection::vec((0u64..20, any::<i8>(), 0u8..4), 1..6).prop_map(Op::Upsert),
        2 => ids.clone().prop_map(Op::DeleteIds),
        1 => (0u8..4).prop_map(Op::DeleteByColour),
        2 => (ids.clone(), 0u8..4).prop_map(|(ids, colour)| Op::SetColour(ids, colour)),
        1 => ids.prop_map(Op::ClearPayload),
        2 => (0u8..3, 0u8..5).prop_map(|(document, chunks)| Op::PutDocument(document, chunks)),
        1 => (0u8..3).prop_map(Op::DeleteDocument),
        1 => Just(Op::IndexPayload),
        1 => Just(Op::UnindexPayload),
        1 => Just(Op::Reopen),
    ]
}

/// What [`apply`] works on, as the collection `c`.
pub fn config() -> CollectionConfig {
    CollectionConfig {
        vectors: BTreeMap::from([(String::new(), VectorParams::new(1, Distance::Dot))]),
        ..CollectionConfig::default()
    }
}

/// A point as the model knows it: one component, and perhaps a colour.
pub type Model = BTreeMap<PointId, (f32, Option<u8>)>;

fn colour_filter(colour: u8) -> Filter {
    from_json(json!({"must": [{"key": "colour", "match": {"value": colour}}]}))
}

fn payload(colour: u8) -> Payload {
    from_json(json!({"colour": colour}))
}

fn new_point(id: PointId, component: i8, colour: u8) -> NewPoint {
    NewPoint {
        id,
        vectors: BTreeMap::from([(String::new(), vec![f32::from(component)].into())]),
        payload: payload(colour),
    }
}

fn ids_of(ids: &[u64]) -> Selector {
    Selector::Ids(ids.iter().copied().map(PointId::Num).collect())
}

fn chunks_of(document: u8) -> Vec<PointId> {
    (0..5).map(|ordinal| chunk_id(&document.to_string(), ordinal)).collect()
}

pub fn apply(store: &Store, model: &mut Model, op: &Op) {
    let collection = &store.collection(&name("c")).unwrap();
    let run = |operation| collection.apply(operation).map(|_| ()).unwrap();
    match op {
        Op::Upsert(points) => {
            run(Operation::Upsert(
                points
                    .iter()
                    .map(|&(id, x, colour)| new_point(PointId::Num(id), x, colour))
                    .collect(),
            ));
            model.extend(
                points
                    .iter()
                    .map(|&(id, x, colour)| (PointId::Num(id), (f32::from(x), Some(colour)))),
            );
        }
        Op::DeleteIds(ids) => {
            run(Operation::Delete(ids_of(ids)));
            ids.iter().for_each(|&id| {
                model.remove(&PointId::Num(id));
            });
        }
        Op::DeleteByColour(colour) => {
            run(Operation::Delete(Selector::Filter(colour_filter(*colour))));
            model.retain(|_, (_, own)| *own != Some(*colour));
        }
        Op::SetColour(ids, colour) => {
            run(Operation::SetPayload {
                selector: ids_of(ids),
                payload: payload(*colour),
                key: None,
            });
            ids.iter()
                .filter_map(|&id| model.get_mut(&PointId::Num(id)).map(|point| point.1 = Some(*colour)))
                .for_each(drop);
        }
        Op::ClearPayload(ids) => {
            run(Operation::ClearPayload(ids_of(ids)));
            ids.iter()
                .filter_map(|&id| model.get_mut(&PointId::Num(id)).map(|point| point.1 = None))
                .for_each(drop);
        }
        Op::PutDocument(document, chunks) => {
            let ids = chunks_of(*document);
            let points = ids[..usize::from(*chunks)]
                .iter()
                .map(|&id| new_point(id, *chunks as i8, 3));
            let sent = Document {
                id: Some(document.to_string()),
                text: "text".to_owned(),
                metadata: None,
            };
            let task = store.queue().enqueue(collection, &[sent], Priority::Normal, 0).unwrap();
            let worked_off = WorkedOff {
                id: document.to_string(),
                version: Version { task, ordinal: 0 },
                outcome: Outcome::Encoded {
                    fingerprint: Fingerprint {
                        text: [0; 16],
                        metadata: [0; 16],
                    },
                    gaps: String::new(),
                    chunks: points.collect(),
                },
            };
            run(Operation::Finish {
                documents: vec![worked_off],
                now: 0,
            });
            ids.iter().for_each(|id| {
                model.remove(id);
            });
            model.extend(
                ids[..usize::from(*chunks)]
                    .iter()
                    .map(|&id| (id, (f32::from(*chunks), Some(3)))),
            );
        }
        Op::DeleteDocument(document) => {
            let selector = DocumentSelector::Ids(vec![document.to_string()]);
            run(Operation::DeleteDocuments(selector));
            chunks_of(*document).iter().for_each(|id| {
                model.remove(id);
            });
        }
        Op::IndexPayload => drop(
            collection
                .create_payload_index("colour", PayloadSchemaType::Integer)
                .unwrap(),
        ),
        Op::UnindexPayload => drop(collection.delete_payload_index("colour").unwrap()),
        Op::Reopen => unreachable!("the store is reopened by the caller"),
    }
}

fn as_model(records: Vec<Record>) -> Model {
    let colour = |payload: &Payload| payload.get("colour").map(|colour| colour.as_u64().unwrap() as u8);
    let records = records.into_iter().map(|record| match record.vector {
        Some(VectorsOutput::Single(Embedding::Dense(vector))) => {
            (record.id, (vector[0], colour(&record.payload.unwrap())))
        }
        other => panic!("{:?} has vectors {other:?}", record.id),
    });
    records.collect()
}

fn check(collection: &Collection, model: &Model) {
    let all = Fetch::new(WithPayload::Bool(true), WithVector::Bool(true)).unwrap();
    let (records, next) = collection.scroll(None, 1000, None, &all).unwrap();
    assert!(next.is_none());
    assert!(records.is_sorted_by_key(|record| record.id));
    assert_eq!(as_model(records), *model);
    for colour in 0..4 {
        let expected = model.values().filter(|(_, own)| *own == Some(colour)).count() as u64;
        assert_eq!(
            collection.count(Some(&colour_filter(colour))).unwrap(),
            expected,
            "colour {colour}"
        );
    }
    let query = Query {
        filter: Some(colour_filter(3)),
        ..Query::nearest(vec![1.0], 3)
    };
    let (found, _) = collection.query(&query, &all).unwrap();
    let scores: Vec<f32> = found.iter().map(|point| point.score).collect();
    let mut expected: Vec<f32> = model
        .values()
        .filter(|(_, own)| *own == Some(3))
        .map(|(x, _)| *x)
        .collect();
    expected.sort_by(|a, b| b.total_cmp(a));
    expected.truncate(3);
    assert_eq!(scores, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_collection_behaves_as_a_map_of_points(ops in prop::collection::vec(op(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(Options::new(dir.path())).unwrap();
        store.create_collection(&name("c"), &config()).unwrap();
        let mut model = Model::new();
        for op in &ops {
            if matches!(op, Op::Reopen) {
                drop(store);
                store = Store::open(Options::new(dir.path())).unwrap();
            } else {
                apply(&store, &mut model, op);
            }
            check(&store.collection(&name("c")).unwrap(), &model);
        }
    }
}
