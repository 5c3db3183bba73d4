//! Searches in many multivectors through storage: two stages, in step with every write.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use twofold_storage::{Collection, Explanation, Fetch, NewPoint, Operation, Options, Plan, Query, Selector, Store};
use twofold_types::{
    CollectionConfig, Comparator, Datatype, Distance, Embedding, MultivectorConfig, PointId, VectorParams,
};

use crate::support::{from_json, name};

const DIMENSIONS: usize = 16;
const POINTS: u64 = 2_600;
const VECTORS: usize = 13;

/// As many vectors as a text has tokens, each near one of 400 directions.
fn text(rng: &mut StdRng, directions: &[Vec<f32>]) -> Embedding {
    let rows = (0..VECTORS).map(|_| {
        let direction = &directions[rng.random_range(0..directions.len())];
        direction.iter().map(|x| x + rng.random_range(-0.3..0.3)).collect()
    });
    Embedding::Multi(rows.collect())
}

fn upsert(collection: &Collection, points: impl Iterator<Item = (u64, Embedding)>) {
    let points = points.map(|(id, text)| NewPoint {
        id: id.into(),
        vectors: BTreeMap::from([(String::new(), text)]),
        payload: from_json(json!({"half": id % 2})),
    });
    collection.apply(Operation::Upsert(points.collect())).unwrap();
}

fn nearest(collection: &Collection, text: &Embedding, exact: bool, half: Option<u64>) -> (Vec<PointId>, Explanation) {
    let query = Query {
        exact,
        // Of so few points the usual effort would compare all that half of them leave.
        ef: Some(40),
        filter: half.map(|half| from_json(json!({"must": {"key": "half", "match": {"value": half}}}))),
        ..Query::nearest(text.clone(), 10)
    };
    let (points, explanation) = collection.query(&query, &Fetch::payload_only()).unwrap();
    (points.iter().map(|point| point.id).collect(), explanation)
}

#[test]
fn two_stages_find_what_max_sim_finds_and_see_every_write() {
    let dir = tempfile::tempdir().unwrap();
    let params = VectorParams {
        datatype: Some(Datatype::Float16),
        multivector_config: Some(MultivectorConfig {
            comparator: Comparator::MaxSim,
        }),
        ..VectorParams::new(DIMENSIONS, Distance::Cosine)
    };
    let config = CollectionConfig {
        multivectors: BTreeMap::from([(String::new(), params)]),
        ..CollectionConfig::default()
    };
    let store = Store::open(Options::new(dir.path())).unwrap();
    let collection = store.create_collection(&name("c"), &config).unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let direction = |rng: &mut StdRng| (0..DIMENSIONS).map(|_| rng.random_range(-1.0..1.0)).collect();
    let directions: Vec<Vec<f32>> = (0..400).map(|_| direction(&mut rng)).collect();
    upsert(&collection, (0..POINTS).map(|id| (id, text(&mut rng, &directions))));
    let queries: Vec<Embedding> = (0..20).map(|_| text(&mut rng, &directions)).collect();
    let (_, explanation) = nearest(&collection, &queries[0], false, None);
    assert_eq!(explanation.plan, Plan::MaxSim);
    assert!(collection.is_indexing());
    collection.update_indexes(&AtomicBool::new(false)).unwrap();
    assert!(!collection.is_indexing());

    for half in [None, Some(1)] {
        let mut found = 0;
        for query in &queries {
            let (quick, explanation) = nearest(&collection, query, false, half);
            assert_eq!(explanation.plan, Plan::Index("token_centroids"));
            assert!(explanation.effort.rows < POINTS as usize * VECTORS / 3);
            let (exact, explanation) = nearest(&collection, query, true, half);
            assert_eq!(explanation.plan, Plan::MaxSim);
            assert_eq!(quick.len(), 10);
            found += quick.iter().filter(|id| exact.contains(id)).count();
            assert!(half.is_none() || quick.iter().all(|id| matches!(id, PointId::Num(id) if id % 2 == 1)));
        }
        assert!(found >= 190, "{half:?}: {found} of 200");
    }

    let first = |collection: &Collection, query: &Embedding| nearest(collection, query, false, None).0[0];
    upsert(
        &collection,
        [(7, queries[0].clone()), (POINTS, queries[1].clone())].into_iter(),
    );
    assert_eq!(first(&collection, &queries[0]), PointId::Num(7));
    assert_eq!(first(&collection, &queries[1]), PointId::Num(POINTS));
    let deleted = Selector::Ids(vec![PointId::Num(POINTS)]);
    collection.apply(Operation::Delete(deleted)).unwrap();
    assert_ne!(first(&collection, &queries[1]), PointId::Num(POINTS));
    let (before, _) = nearest(&collection, &queries[2], true, None);
    drop((collection, store));

    let store = Store::open(Options::new(dir.path())).unwrap();
    let collection = store.collection(&name("c")).unwrap();
    collection.update_indexes(&AtomicBool::new(false)).unwrap();
    let (after, explanation) = nearest(&collection, &queries[2], false, None);
    assert_eq!(explanation.plan, Plan::Index("token_centroids"));
    assert_eq!(after[0], before[0]);
    assert_eq!(first(&collection, &queries[0]), PointId::Num(7));
}
