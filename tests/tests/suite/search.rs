//! Searches through storage: what the planner chooses, and that its ways agree.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use twofold_storage::{Collection, Explanation, Fetch, NewPoint, Operation, Options, Plan, Query, Store};
use twofold_types::{CollectionConfig, Distance, PayloadSchemaType, ScoredPoint, VectorParams};

use crate::support::{from_json, name, server};

const DIMENSIONS: usize = 32;
const POINTS: u64 = 30_000;

/// Points around a thousand centres; `group` is the centre's number, `scattered` has nothing to do with it.
fn fill(collection: &Collection, rng: &mut StdRng) -> Vec<Vec<f32>> {
    let mut vector = |scale: f32, around: Option<&Vec<f32>>| -> Vec<f32> {
        let mut component = |i: usize| around.map_or(0.0, |centre| centre[i]) + rng.random_range(-scale..scale);
        (0..DIMENSIONS).map(&mut component).collect()
    };
    let centres: Vec<Vec<f32>> = (0..1_000).map(|_| vector(1.0, None)).collect();
    let points = (0..POINTS).map(|id| NewPoint {
        id: id.into(),
        vectors: BTreeMap::from([(String::new(), vector(0.5, Some(&centres[(id % 1_000) as usize])).into())]),
        payload: from_json(json!({"group": id % 1_000, "scattered": id * 7_919 / 1_000 % 1_000})),
    });
    collection.apply(Operation::Upsert(points.collect())).unwrap();
    collection.update_indexes(&AtomicBool::new(false)).unwrap();
    centres
}

fn search(
    collection: &Collection,
    vector: &[f32],
    filter: &Value,
    limit: usize,
    exact: bool,
) -> (Vec<ScoredPoint>, Explanation) {
    let query = Query {
        filter: (!filter.is_null()).then(|| from_json(filter.clone())),
        exact,
        ..Query::nearest(vector.to_vec(), limit)
    };
    collection.query(&query, &Fetch::id_only()).unwrap()
}

#[test]
fn recall_holds_for_filters_of_every_kind_and_size() {
    for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(dir.path())).unwrap();
        let config = CollectionConfig {
            vectors: BTreeMap::from([(String::new(), VectorParams::new(DIMENSIONS, distance))]),
            ..CollectionConfig::default()
        };
        let collection = store.create_collection(&name("c"), &config).unwrap();
        for key in ["group", "scattered"] {
            collection
                .create_payload_index(key, PayloadSchemaType::Integer)
                .unwrap();
        }
        let centres = fill(&collection, &mut StdRng::seed_from_u64(3));
        let below = |key: &str, share: u64| json!({"must": [{"key": key, "range": {"lt": share}}]});
        let mut filters = vec![Value::Null];
        filters.extend([500, 300, 100, 30, 10, 1].map(|share| below("scattered", share)));
        // These go with the vectors: queries around the first centres find all their neighbours in them, others none.
        filters.extend([500, 100, 10].map(|share| below("group", share)));
        let mut plans = Vec::new();
        for filter in &filters {
            for limit in [10, 300] {
                let (mut hits, mut wanted) = (0, 0);
                for query in centres.iter().step_by(50) {
                    let (truth, _) = search(&collection, query, filter, limit, true);
                    let (found, explained) = search(&collection, query, filter, limit, false);
                    assert_eq!(found.len(), truth.len(), "{distance:?} {filter}");
                    assert!(found.is_sorted_by(|a, b| match distance {
                        Distance::Euclid => a.score <= b.score,
                        _ => a.score >= b.score,
                    }));
                    hits += found
                        .iter()
                        .filter(|point| truth.iter().any(|best| best.id == point.id))
                        .count();
                    wanted += truth.len();
                    plans.push(explained.plan);
                }
                let recall = hits as f64 / wanted as f64;
                assert!(recall >= 0.95, "{distance:?}, filter {filter}, limit {limit}: {recall}");
            }
        }
        assert!(
            plans.contains(&Plan::Index("ivf")) && plans.contains(&Plan::Gather),
            "{distance:?}"
        );
    }
}

#[test]
fn a_search_of_what_is_indexed_leaves_out_what_no_index_has_taken_in() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        index_threshold: 4,
        ..Options::new(dir.path())
    };
    let store = Store::open(options).unwrap();
    let config = CollectionConfig {
        vectors: BTreeMap::from([(String::new(), VectorParams::new(2, Distance::Dot))]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(&name("c"), &config).unwrap();
    let put = |ids: std::ops::Range<u64>| {
        let points = ids.map(|id| NewPoint {
            id: id.into(),
            vectors: BTreeMap::from([(String::new(), vec![id as f32, 1.0].into())]),
            payload: from_json(json!({})),
        });
        collection.apply(Operation::Upsert(points.collect())).unwrap();
    };
    let best = |indexed_only: bool| {
        let query = Query {
            indexed_only,
            ..Query::nearest(vec![1.0, 0.0], 1)
        };
        collection.query(&query, &Fetch::id_only()).unwrap().0[0].id
    };
    put(0..40);
    assert_eq!(best(true), 39.into());
    collection.update_indexes(&AtomicBool::new(false)).unwrap();
    put(40..41);
    assert_eq!((best(true), best(false)), (39.into(), 40.into()));
    put(39..40);
    assert_eq!(best(true), 38.into());
}

#[tokio::test]
async fn an_answer_explains_itself_where_that_is_asked_for() {
    let (_server, client, _dir) = server().await;
    let plain = from_json(json!({"vectors": {"size": 2, "distance": "Dot"}}));
    client.create_collection(&name("c"), &plain).await.unwrap();
    let points = json!({"points": [{"id": 1, "vector": [1, 0], "payload": {"a": 1}}, {"id": 2, "vector": [0, 1]}]});
    client.upsert_points(&name("c"), &from_json(points)).await.unwrap();
    let query = json!({
        "query": [1.0, 1.0],
        "filter": {"must": [{"key": "a", "match": {"value": 1}}]},
        "params": {"explain": true, "exact": true},
    });
    let answer = client.explain(&name("c"), &from_json(query)).await.unwrap();
    assert_eq!(answer.points.len(), 1);
    let explained = answer.explain.unwrap();
    assert_eq!(
        (explained.plan.as_str(), explained.matching, explained.present),
        ("exact", 1, 2)
    );
    assert_eq!(explained.rows, 1);
    let silent = from_json(json!({"query": [1.0, 1.0]}));
    assert_eq!(client.explain(&name("c"), &silent).await.unwrap().explain, None);
}
