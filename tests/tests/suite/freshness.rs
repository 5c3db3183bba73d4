//! What was acknowledged is found and what was deleted is not, while ANN indexes are built and after restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use twofold_storage::{Collection, Explanation, Fetch, NewPoint, Operation, Options, Plan, Query, Selector, Store};
use twofold_types::{CollectionConfig, Distance, Payload, PointId, ScoredPoint, VectorParams};

use crate::support::name;

const DIMENSIONS: usize = 16;

fn options(dir: &Path) -> Options {
    // Small enough that a few hundred points have an index, which then follows after every few writes.
    Options {
        exact_scan_components: 200 * DIMENSIONS as u64,
        index_threshold: 200,
        index_lag: 10,
        checkpoint_changes: 20,
        ..Options::new(dir)
    }
}

fn config(distance: Distance, on_disk: bool) -> CollectionConfig {
    let params = VectorParams {
        on_disk: Some(on_disk),
        ..VectorParams::new(DIMENSIONS, distance)
    };
    CollectionConfig {
        vectors: BTreeMap::from([(String::new(), params)]),
        ..CollectionConfig::default()
    }
}

fn random_vector(rng: &mut StdRng) -> Vec<f32> {
    (0..DIMENSIONS).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn point(id: u64, vector: &[f32]) -> NewPoint {
    NewPoint {
        id: id.into(),
        vectors: BTreeMap::from([(String::new(), vector.to_vec().into())]),
        payload: Payload::new(),
    }
}

fn put(collection: &Collection, id: u64, vector: &[f32]) {
    collection.apply(Operation::Upsert(vec![point(id, vector)])).unwrap();
}

fn search(collection: &Collection, vector: &[f32], limit: usize) -> (Vec<ScoredPoint>, Explanation) {
    let query = Query::nearest(vector.to_vec(), limit);
    collection.query(&query, &Fetch::payload_only()).unwrap()
}

fn nearest(collection: &Collection, vector: &[f32], limit: usize) -> Vec<PointId> {
    let (found, _) = search(collection, vector, limit);
    found.into_iter().map(|point| point.id).collect()
}

#[test]
fn every_write_is_seen_at_once_while_indexes_are_built() {
    // So many that an index is cheaper than comparing every point.
    const POINTS: u64 = 20_000;
    let kinds = [
        (Distance::Cosine, false),
        (Distance::Euclid, false),
        (Distance::Manhattan, false),
        (Distance::Euclid, true),
    ];
    let mut plans = Vec::new();
    for (distance, on_disk) in kinds {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(options(dir.path())).unwrap();
        let collection = store.create_collection(&name("c"), &config(distance, on_disk)).unwrap();
        let mut rng = StdRng::seed_from_u64(6);
        let points = (0..POINTS).map(|id| point(1_000_000 + id, &random_vector(&mut rng)));
        collection.apply(Operation::Upsert(points.collect())).unwrap();
        collection.update_indexes(&AtomicBool::new(false)).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    collection.update_indexes(&stop).unwrap();
                    thread::yield_now();
                }
            });
            let mut rng = StdRng::seed_from_u64(7);
            for id in 0..600 {
                let vector = random_vector(&mut rng);
                put(&collection, id, &vector);
                assert_eq!(
                    nearest(&collection, &vector, 1),
                    [PointId::Num(id)],
                    "{distance:?}: put in and not found"
                );
                if id % 3 == 0 {
                    let moved = random_vector(&mut rng);
                    put(&collection, id / 2, &moved);
                    assert_eq!(
                        nearest(&collection, &moved, 1),
                        [PointId::Num(id / 2)],
                        "{distance:?}: moved and not found"
                    );
                }
                if id % 5 == 4 {
                    collection
                        .apply(Operation::Delete(Selector::Ids(vec![PointId::Num(id)])))
                        .unwrap();
                    assert!(
                        !nearest(&collection, &vector, 10).contains(&PointId::Num(id)),
                        "{distance:?}: deleted and found"
                    );
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        plans.push(search(&collection, &[1.0; DIMENSIONS], 1).1.plan);
    }
    // What is cheaper is measured, so not every one of them need have asked its index.
    assert!(
        plans.contains(&Plan::Index("ivf")) && plans.contains(&Plan::Index("arroy")),
        "{plans:?}"
    );
}

#[test]
fn an_index_is_taken_up_again_after_a_restart_with_what_came_after_it() {
    taken_up_again(false);
    taken_up_again(true);
}

fn taken_up_again(on_disk: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(8);
    let vectors: Vec<Vec<f32>> = (0..500).map(|_| random_vector(&mut rng)).collect();
    let indexed = {
        let store = Store::open(options(dir.path())).unwrap();
        let collection = store
            .create_collection(&name("c"), &config(Distance::Cosine, on_disk))
            .unwrap();
        let points = (0..).zip(&vectors).take(490).map(|(id, vector)| point(id, vector));
        collection.apply(Operation::Upsert(points.collect())).unwrap();
        collection.update_indexes(&AtomicBool::new(false)).unwrap();
        let indexed = collection.indexed_vectors();
        // Fewer than the lag, so the index does not follow these.
        for id in 490..499 {
            put(&collection, id, &vectors[id as usize]);
        }
        collection.update_indexes(&AtomicBool::new(false)).unwrap();
        indexed
    };
    assert_eq!(indexed, 490);
    let store = Store::open(options(dir.path())).unwrap();
    let collection = store.collection(&name("c")).unwrap();
    assert_eq!(collection.indexed_vectors(), 490, "the index was built again");
    for id in [0, 250, 489, 490, 498] {
        assert_eq!(nearest(&collection, &vectors[id as usize], 1), [PointId::Num(id)]);
    }
}

#[test]
fn an_index_that_is_lost_or_broken_is_built_again_and_answers_stay_right() {
    built_again(false, "index/0/0/vectors-1");
    built_again(true, "index/0/0/0/data.mdb");
}

fn built_again(on_disk: bool, file: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(9);
    let vectors: Vec<Vec<f32>> = (0..400).map(|_| random_vector(&mut rng)).collect();
    {
        let store = Store::open(options(dir.path())).unwrap();
        let collection = store
            .create_collection(&name("c"), &config(Distance::Dot, on_disk))
            .unwrap();
        collection
            .apply(Operation::Upsert(
                (0..).zip(&vectors).map(|(id, vector)| point(id, vector)).collect(),
            ))
            .unwrap();
        collection.update_indexes(&AtomicBool::new(false)).unwrap();
        assert_eq!(collection.indexed_vectors(), 400);
    }
    let file = dir.path().join(file);
    std::fs::write(&file, b"this is neither LMDB nor a checkpoint").unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let collection = store.collection(&name("c")).unwrap();
    assert_eq!(collection.indexed_vectors(), 0);
    assert_eq!(nearest(&collection, &vectors[3], 400).len(), 400);
    assert!(collection.is_indexing());
    collection.update_indexes(&AtomicBool::new(false)).unwrap();
    assert_eq!(collection.indexed_vectors(), 400);
    for id in [0, 200, 399] {
        assert!(nearest(&collection, &vectors[id as usize], 20).len() == 20);
    }
}

#[test]
fn what_was_written_while_an_index_was_built_is_found_after_a_restart() {
    const POINTS: u64 = 40_000;
    let dir = tempfile::tempdir().unwrap();
    // So large a lag that the index does not follow what came while it was built.
    let options = || Options {
        index_lag: 1_000_000,
        ..options(dir.path())
    };
    let mut rng = StdRng::seed_from_u64(11);
    let mut written = Vec::new();
    {
        let store = Store::open(options()).unwrap();
        let collection = store
            .create_collection(&name("c"), &config(Distance::Euclid, false))
            .unwrap();
        let points = (0..POINTS).map(|id| point(id, &random_vector(&mut rng)));
        collection.apply(Operation::Upsert(points.collect())).unwrap();
        thread::scope(|scope| {
            let builder = scope.spawn(|| collection.update_indexes(&AtomicBool::new(false)).unwrap());
            while !builder.is_finished() {
                let vector = random_vector(&mut rng);
                put(&collection, POINTS + written.len() as u64, &vector);
                written.push(vector);
            }
        });
    }
    assert!(!written.is_empty());
    let store = Store::open(options()).unwrap();
    let collection = store.collection(&name("c")).unwrap();
    assert!(collection.indexed_vectors() >= POINTS, "the checkpoint was not read");
    for (id, vector) in (POINTS..).zip(&written) {
        assert_eq!(nearest(&collection, vector, 1), [PointId::Num(id)]);
    }
}
