//! Recall@10 of the default settings against plain loops over all vectors, on public sets, with and without filters.
//!
//! `recall DIR [SET]` reads `DIR/<set>.base.f32` and `DIR/<set>.query.f32` as `scripts/recall.sh` makes them: two little-endian
//! u32 (count, dimensions), then that many rows of f32.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use twofold_storage::{Fetch, NewPoint, Operation, Options, Query, Store};
use twofold_tests::measure::{Vectors, thousandth, thread_time};
use twofold_types::{CollectionConfig, Distance, Filter, PayloadSchemaType, PointId, VectorParams};

const K: usize = 10;
const QUERIES: usize = 500;
const REQUIRED: f64 = 0.95;
/// Points out of a thousand that a filter lets through; the first means no filter.
const SELECTIVITIES: [u64; 7] = [1000, 500, 300, 100, 30, 10, 1];

fn distance(metric: Distance, a: &[f32], b: &[f32]) -> f64 {
    let sum = |f: fn(f32, f32) -> f32| a.iter().zip(b).map(|(&a, &b)| f64::from(f(a, b))).sum::<f64>();
    match metric {
        Distance::Euclid => sum(|a, b| (a - b) * (a - b)),
        _ => -sum(|a, b| a * b) / (sum(|_, b| b * b).sqrt()),
    }
}

/// The ids of the nearest for every selectivity.
fn truth(metric: Distance, base: &Vectors, query: &[f32]) -> Vec<HashSet<PointId>> {
    let mut all: Vec<(f64, u64)> = base
        .iter()
        .zip(0..)
        .map(|(row, id)| (distance(metric, query, row), id))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let nearest = |share: u64| {
        all.iter()
            .filter(move |(_, id)| thousandth(*id) < share)
            .take(K)
            .map(|&(_, id)| PointId::Num(id))
    };
    SELECTIVITIES.iter().map(|&share| nearest(share).collect()).collect()
}

fn measure(dir: &Path, set: &str, metric: Distance) -> Result<bool> {
    let base = Vectors::read(&dir.join(format!("{set}.base.f32")))?;
    let queries = Vectors::read(&dir.join(format!("{set}.query.f32")))?;
    let data = tempfile::tempdir()?;
    let store = Store::open(Options::new(data.path()))?;
    let config = CollectionConfig {
        vectors: BTreeMap::from([(String::new(), VectorParams::new(base.dimensions, metric))]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(&set.parse()?, &config)?;
    collection.create_payload_index("thousandth", PayloadSchemaType::Integer)?;
    let rows: Vec<(u64, &[f32])> = (0..).zip(base.iter()).collect();
    let started = Instant::now();
    for rows in rows.chunks(2_000) {
        let point = |&(id, row): &(u64, &[f32])| NewPoint {
            id: id.into(),
            vectors: BTreeMap::from([(String::new(), row.to_vec().into())]),
            payload: serde_json::Map::from_iter([("thousandth".to_owned(), json!(thousandth(id)))]),
        };
        collection.apply(Operation::Upsert(rows.iter().map(point).collect()))?;
    }
    let written = started.elapsed();
    let started = Instant::now();
    collection.update_indexes(&AtomicBool::new(false))?;
    let count = rows.len();
    println!(
        "{set}: {count} x {}, {metric:?}; written in {:.1} s, indexed in {:.1} s, {} vectors in the index",
        base.dimensions,
        written.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        collection.indexed_vectors()
    );
    let truths: Vec<_> = queries
        .iter()
        .take(QUERIES)
        .map(|query| truth(metric, &base, query))
        .collect();
    let mut good = true;
    for (position, share) in SELECTIVITIES.into_iter().enumerate() {
        let filter: Filter = serde_json::from_value(json!({"must": [{"key": "thousandth", "range": {"lt": share}}]}))?;
        let mut hits = 0;
        let mut wanted = 0;
        let begun = thread_time();
        for (query, truth) in queries.iter().zip(&truths) {
            let query = Query {
                filter: (share < 1000).then(|| filter.clone()),
                ..Query::nearest(query.to_vec(), K)
            };
            let (found, _) = collection.query(&query, &Fetch::id_only())?;
            hits += found.iter().filter(|point| truth[position].contains(&point.id)).count();
            wanted += truth[position].len();
        }
        let millis = (thread_time() - begun).as_secs_f64() * 1e3 / truths.len() as f64;
        let recall = hits as f64 / wanted as f64;
        good &= recall >= REQUIRED;
        println!(
            "  filter {:>5.1} %   recall@{K} {recall:.4}   {millis:.2} ms of CPU a query",
            share as f64 / 10.0
        );
    }
    Ok(good)
}

fn main() -> Result<ExitCode> {
    let dir = std::env::args_os().nth(1).context("usage: recall DIR")?;
    let dir = Path::new(&dir);
    let only = std::env::args().nth(2);
    let mut good = true;
    for (set, metric) in [("glove-50", Distance::Cosine), ("fashion-mnist-784", Distance::Euclid)] {
        if only.as_ref().is_none_or(|only| only == set) {
            good &= measure(dir, set, metric)?;
        }
    }
    if good {
        println!("recall@{K} is at least {REQUIRED} everywhere");
        return Ok(ExitCode::SUCCESS);
    }
    println!("recall@{K} is below {REQUIRED} somewhere");
    Ok(ExitCode::FAILURE)
}
