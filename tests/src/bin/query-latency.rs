//! How long queries take from text to results, alone and while ingestion keeps the encoder busy, alternating in one process.
//!
//! `query-latency FILE MODELS-DIR [QUERIES] [ROUNDS] [VECTORS COUNT]` takes a file with one text a line. Half of the texts are in the
//! collection; queries are made of the others, each asked once, one after the other. Caches of embeddings are off. With `VECTORS`, a
//! file of embeddings by the same model, there are `COUNT` points more, each near one of these.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, json};
use twofold_encode::DeviceSpec;
use twofold_storage::{Collection, NewPoint, Operation, Options as StorageOptions};
use twofold_tests::MODEL;
use twofold_tests::measure::{Vectors, rss_megabytes};
use twofold_types::{Document, Priority, TaskId};
use twofold_worker::{Engine, Options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Words of a query.
const WORDS: usize = 8;

/// Documents of a load: more than are encoded while it is measured.
const LOAD: usize = 10_000;

fn documents(prefix: &str, texts: impl Iterator<Item = String>) -> Vec<Document> {
    let document = |(n, text)| Document {
        id: Some(format!("{prefix}-{n}")),
        text,
        metadata: None,
    };
    texts.enumerate().map(document).collect()
}

/// Waits until a task has ended.
fn finish(engine: &Engine, task: TaskId) -> Result<()> {
    while !engine.task(task)?.status.is_finished() {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Adds `count` points, each near one of the embeddings of a file, and waits until they are indexed.
fn add_neighbours(collection: &Collection, file: &Path, count: u64) -> Result<()> {
    const BATCH: u64 = 2_000;
    /// Largest difference of a component; one of a unit vector of 384 is 0.05 in the mean.
    const NOISE: f32 = 0.03;
    let embeddings = Vectors::read(file)?;
    let rows: Vec<&[f32]> = embeddings.iter().collect();
    let mut rng = StdRng::seed_from_u64(1);
    for first in (0..count).step_by(BATCH as usize) {
        let points = (first..(first + BATCH).min(count)).map(|id| {
            let near = rows[rng.random_range(0..rows.len())];
            let vector: Vec<f32> = near.iter().map(|x| x + rng.random_range(-NOISE..NOISE)).collect();
            NewPoint {
                id: id.into(),
                vectors: BTreeMap::from([(String::new(), vector.into())]),
                payload: Map::from_iter([("number".to_owned(), json!(id))]),
            }
        });
        collection.apply(Operation::Upsert(points.collect()))?;
    }
    // What is left to do when nobody writes begins after some seconds.
    std::thread::sleep(Duration::from_secs(5));
    while collection.is_indexing() {
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{count} points more: {} MB of memory", rss_megabytes());
    Ok(())
}

/// How long each query takes, in milliseconds, the fastest first.
fn ask(engine: &Engine, collection: &Collection, queries: &[String]) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(queries.len());
    for query in queries {
        let request = json!({"query": {"text": query}, "limit": 10, "with_payload": true});
        let started = Instant::now();
        let found = engine.query(collection, serde_json::from_value(request)?)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(found.points.len() == 10, "{} results", found.points.len());
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn percentile(times: &[f64], percent: usize) -> f64 {
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: query-latency FILE MODELS-DIR [QUERIES] [ROUNDS] [VECTORS COUNT]";
    let file = PathBuf::from(args.next().context(usage)?);
    let models = PathBuf::from(args.next().context(usage)?);
    let mut number = |default| {
        args.next()
            .and_then(|arg| arg.to_str()?.parse().ok())
            .unwrap_or(default)
    };
    let (queries, rounds) = (number(300), number(3));
    let neighbours = match (args.next(), args.next()) {
        (Some(file), Some(count)) => Some((PathBuf::from(file), count.to_str().context(usage)?.parse()?)),
        (None, _) => None,
        _ => anyhow::bail!(usage),
    };
    let texts: Vec<String> = std::fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
    let (stored, others) = texts.split_at(texts.len() / 2);
    ensure!(!others.is_empty(), "{} has too few texts", file.display());
    let words: Vec<&str> = others.iter().flat_map(|text| text.split(' ')).collect();
    ensure!(words.len() >= WORDS, "{} has too few words", file.display());
    let query = |n: usize| -> String {
        let query = (0..WORDS).map(|word| words[(n * 31 + word * 7) % words.len()]);
        query.collect::<Vec<_>>().join(" ")
    };

    let data = tempfile::tempdir()?;
    let options = Options {
        devices: vec![DeviceSpec::Cpu],
        query_cache: 0,
        storage: StorageOptions {
            embedding_cache_bytes: 0,
            ..StorageOptions::new(data.path())
        },
        ..Options::new(data.path(), models)
    };
    let engine = Engine::start(options)?;
    let request = || serde_json::from_value(json!({"encoders": {"": {"model": MODEL}}}));
    let collection = engine.create_collection(&"bench".parse()?, request()?)?;
    let load = engine.create_collection(&"load".parse()?, request()?)?;
    let base = documents("base", stored.iter().cloned());
    finish(&engine, engine.add_documents(&collection, base, Priority::Normal)?)?;
    if let Some((file, count)) = neighbours {
        add_neighbours(&collection, &file, count)?;
    }
    ask(&engine, &collection, &(0..30).map(query).collect::<Vec<_>>())?;

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let asked: Vec<String> = (0..queries).map(|n| query(30 + round * queries + n)).collect();
        let idle = ask(&engine, &collection, &asked)?;
        let texts = (0..LOAD).map(|n| format!("{round} {n} {}", texts[n % texts.len()]));
        let task = engine.add_documents(&load, documents(&format!("load-{round}"), texts), Priority::Normal)?;
        while engine.task(task)?.documents_done == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let busy = ask(&engine, &collection, &asked)?;
        let left = engine.task(task)?;
        ensure!(
            !left.status.is_finished(),
            "ingestion ended before the queries did: ask fewer"
        );
        println!(
            "round {}: alone p50 {:.1} ms, p99 {:.1} ms; beside ingestion p50 {:.1} ms, p99 {:.1} ms ({} documents meanwhile)",
            round + 1,
            percentile(&idle, 50),
            percentile(&idle, 99),
            percentile(&busy, 50),
            percentile(&busy, 99),
            left.documents_done,
        );
        alone.extend(idle);
        beside.extend(busy);
        engine.cancel_task(task)?;
        while engine.store().queue().amount().documents > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    alone.sort_by(f64::total_cmp);
    beside.sort_by(f64::total_cmp);
    println!(
        "{} queries: p99 beside ingestion is {:.2} times that alone, p50 {:.2} times",
        alone.len(),
        percentile(&beside, 99) / percentile(&alone, 99),
        percentile(&beside, 50) / percentile(&alone, 50),
    );
    Ok(())
}
