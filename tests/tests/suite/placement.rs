//! Where vectors are: as asked for, and lower when the memory budget is exceeded, while everything else stays as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use twofold_storage::{
    Collection, Explanation, Fetch, NewPoint, Operation, Options, Placement, Plan, Query, Selector, Store,
};
use twofold_types::{CollectionConfig, Distance, Payload, PointId, ScoredPoint, VectorParams};

use crate::support::name;

const DIMENSIONS: usize = 32;

/// So many that an index has several lists.
const POINTS: u64 = 17_000;

fn options(dir: &Path, budget: u64) -> Options {
    Options {
        exact_scan_components: 5_000 * DIMENSIONS as u64,
        checkpoint_changes: 1_000,
        memory_budget_bytes: budget,
        ..Options::new(dir)
    }
}

fn create(store: &Store, on_disk: bool, quantisation: Value) -> std::sync::Arc<Collection> {
    let params = VectorParams {
        on_disk: Some(on_disk),
        quantization_config: Some(quantisation),
        ..VectorParams::new(DIMENSIONS, Distance::Cosine)
    };
    let config = CollectionConfig {
        vectors: BTreeMap::from([(String::new(), params)]),
        ..CollectionConfig::default()
    };
    store.create_collection(&name("c"), &config).unwrap()
}

/// A vector around one of a hundred centres, always the same for a number.
fn vector(number: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(number);
    let mut centre = StdRng::seed_from_u64(1_000_000 + number % 100);
    (0..DIMENSIONS)
        .map(|_| centre.random_range(-1.0..1.0) + rng.random_range(-0.7..0.7))
        .collect()
}

fn put(collection: &Collection, numbers: std::ops::Range<u64>) {
    let point = |number: u64| NewPoint {
        id: number.into(),
        vectors: BTreeMap::from([(String::new(), vector(number).into())]),
        payload: Payload::new(),
    };
    collection
        .apply(Operation::Upsert(numbers.map(point).collect()))
        .unwrap();
}

fn search(collection: &Collection, vector: Vec<f32>, limit: usize, exact: bool) -> (Vec<ScoredPoint>, Explanation) {
    let query = Query {
        exact,
        ..Query::nearest(vector, limit)
    };
    collection.query(&query, &Fetch::payload_only()).unwrap()
}

fn queries() -> impl Iterator<Item = Vec<f32>> {
    (0..40).map(|query| vector(5_000_000 + query))
}

fn answers(collection: &Collection) -> Vec<Vec<ScoredPoint>> {
    queries().map(|query| search(collection, query, 10, false).0).collect()
}

/// How many of the nearest are found, among those below `known`: what is written meanwhile does not count.
fn recall_of(collection: &Collection, known: u64) -> f64 {
    let (mut hits, mut wanted) = (0, 0);
    for query in queries() {
        let (found, _) = search(collection, query.clone(), 10, false);
        let (mut truth, _) = search(collection, query, 10, true);
        truth.retain(|point| point.id < PointId::Num(known));
        hits += truth
            .iter()
            .filter(|best| found.iter().any(|point| point.id == best.id))
            .count();
        wanted += truth.len();
    }
    hits as f64 / wanted as f64
}

fn recall(collection: &Collection) -> f64 {
    recall_of(collection, u64::MAX)
}

fn placement(collection: &Collection) -> Placement {
    collection.vector_memory()[0].placement
}

fn plan(collection: &Collection) -> Plan {
    search(collection, vector(7), 10, false).1.plan
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

fn relieve(store: &Store) {
    while store.relieve_memory(&never()).unwrap() {}
}

#[test]
fn mapped_vectors_answer_as_those_in_memory_do() {
    let (dir, mapped_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(options(dir.path(), u64::MAX)).unwrap();
    let mapped_store = Store::open(options(mapped_dir.path(), u64::MAX)).unwrap();
    let int8 = json!({"scalar": {"type": "int8", "always_ram": true}});
    let (memory, mapped) = (create(&store, false, int8.clone()), create(&mapped_store, true, int8));
    for collection in [&memory, &mapped] {
        put(collection, 0..POINTS);
        collection.update_indexes(&never()).unwrap();
        assert!(recall(collection) >= 0.95);
        assert_eq!(plan(collection), Plan::Index("ivf"));
    }
    assert_eq!(
        (placement(&memory), placement(&mapped)),
        (Placement::Memory, Placement::Mapped)
    );
    assert_eq!(answers(&memory), answers(&mapped));
    let rows = POINTS * DIMENSIONS as u64 * 4;
    let (held, held_mapped) = (
        memory.vector_memory()[0].heap_bytes,
        mapped.vector_memory()[0].heap_bytes,
    );
    assert!(held_mapped + rows <= held, "{held_mapped} of {held}");
}

#[test]
fn a_collection_that_outgrows_the_budget_moves_down_and_is_searched_and_written_all_along() {
    /// Points of a write, and how many writes the indexer may be behind.
    const BATCH: u64 = 100;
    const AHEAD: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    // Rows and codes of the first points fit, later their codes alone, at last not even these.
    let budget = 10_000 * DIMENSIONS as u64 * 4;
    let store = Store::open(options(dir.path(), budget)).unwrap();
    let collection = create(&store, false, Value::Null);
    let (stop, written, followed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut seen = Vec::new();
    thread::scope(|scope| {
        // The indexer of a server does the same.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let known = written.load(Ordering::Relaxed);
                collection.update_indexes(&stop).unwrap();
                store.relieve_memory(&stop).unwrap();
                followed.store(known, Ordering::Relaxed);
                thread::yield_now();
            }
        });
        let searching = scope.spawn(|| {
            let mut worst = 1.0f64;
            while !stop.load(Ordering::Relaxed) {
                let known = written.load(Ordering::Relaxed);
                if known > 1_000 {
                    worst = worst.min(recall_of(&collection, known));
                }
                thread::sleep(Duration::from_millis(10));
            }
            worst
        });
        let mut first = 0;
        while first < 40_000 && seen.last() != Some(&Placement::Disk) {
            put(&collection, first..first + BATCH);
            written.store(first + BATCH, Ordering::Relaxed);
            let newest = first + BATCH - 1;
            let (found, _) = search(&collection, vector(newest), 1, false);
            assert_eq!(found[0].id, PointId::Num(newest), "put in and not found");
            let gone = PointId::Num(first);
            collection.apply(Operation::Delete(Selector::Ids(vec![gone]))).unwrap();
            let (found, _) = search(&collection, vector(first), 5, false);
            assert!(found.iter().all(|point| point.id != gone), "deleted and found");
            let now = placement(&collection);
            if seen.last() != Some(&now) {
                seen.push(now);
            }
            first += BATCH;
            // While vectors move, writes go on, but not for ever.
            let waiting = Instant::now();
            while first > followed.load(Ordering::Relaxed) + AHEAD * BATCH && waiting.elapsed() < Duration::from_secs(1)
            {
                thread::sleep(Duration::from_millis(1));
            }
        }
        stop.store(true, Ordering::Relaxed);
        let worst = searching.join().unwrap();
        assert!(worst >= 0.95, "recall fell to {worst}");
    });
    assert_eq!(seen, [Placement::Memory, Placement::Mapped, Placement::Disk]);
    let points = collection.count(None).unwrap();
    collection.update_indexes(&never()).unwrap();
    relieve(&store);
    let memory = &collection.vector_memory()[0];
    assert_eq!(memory.asked, Placement::Memory);
    assert!(memory.heap_bytes < budget, "{memory:?}");
    assert!(recall(&collection) >= 0.95);
    let answered = answers(&collection);
    drop((collection, store));

    let store = Store::open(options(dir.path(), budget)).unwrap();
    let collection = store.collection(&name("c")).unwrap();
    assert_eq!(placement(&collection), Placement::Disk);
    assert_eq!(collection.count(None).unwrap(), points);
    assert_eq!(answers(&collection), answered);
    assert!(
        collection.vector_memory()[0].heap_bytes < budget / 2,
        "vectors were loaded"
    );
    drop((collection, store));

    // With plenty of memory a start brings it back to where it was asked to be.
    let store = Store::open(options(dir.path(), 100 * budget)).unwrap();
    let collection = store.collection(&name("c")).unwrap();
    assert_eq!(placement(&collection), Placement::Memory);
    assert_eq!(collection.count(None).unwrap(), points);
    collection.update_indexes(&never()).unwrap();
    assert_ne!(plan(&collection), Plan::Exact);
    assert!(recall(&collection) >= 0.95);
}

#[test]
fn each_placement_is_kept_over_a_restart_with_the_same_answers() {
    let dir = tempfile::tempdir().unwrap();
    let large = Store::open(options(dir.path(), u64::MAX)).unwrap();
    let collection = create(&large, false, Value::Null);
    put(&collection, 0..POINTS);
    collection.update_indexes(&never()).unwrap();
    let rows = POINTS * DIMENSIONS as u64 * 4;
    drop((collection, large));
    // Codes and lists of so short vectors take a little more than rows do.
    for (budget, expected) in [(2 * rows, Placement::Mapped), (rows / 8, Placement::Disk)] {
        let answered = {
            let store = Store::open(options(dir.path(), budget)).unwrap();
            relieve(&store);
            let collection = store.collection(&name("c")).unwrap();
            assert_eq!(placement(&collection), expected);
            collection.update_indexes(&never()).unwrap();
            // Some that no checkpoint has.
            put(&collection, POINTS..POINTS + 20);
            answers(&collection)
        };
        let store = Store::open(options(dir.path(), budget)).unwrap();
        let collection = store.collection(&name("c")).unwrap();
        assert_eq!(placement(&collection), expected);
        assert_eq!(answers(&collection), answered);
        let (found, _) = search(&collection, vector(POINTS + 19), 1, false);
        assert_eq!(found[0].id, PointId::Num(POINTS + 19));
        let held = collection.vector_memory()[0].heap_bytes;
        assert!(held < budget, "{expected:?}: {held}");
    }
}

#[test]
fn a_move_that_is_cancelled_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path(), 1)).unwrap();
    let collection = create(&store, true, json!({"binary": {"always_ram": true}}));
    put(&collection, 0..POINTS);
    collection.update_indexes(&never()).unwrap();
    let answered = answers(&collection);
    store.relieve_memory(&AtomicBool::new(true)).unwrap();
    assert_eq!(placement(&collection), Placement::Mapped);
    assert_eq!(answers(&collection), answered);
    relieve(&store);
    assert_eq!(placement(&collection), Placement::Disk);
    assert!(recall(&collection) >= 0.95);
}
