//! What a large collection costs: writing, indexing, memory, disk, opening, searches alone and beside writes.
//!
//! `search-scale COUNT DIMENSIONS [PLACEMENT]` makes vectors around random centres (with a few strong directions, as embeddings
//! have), always the same, and prints a line of JSON. `PLACEMENT` is `memory` (the default), `mapped` or `disk`. What opening
//! takes until the indexes have caught up, and memory after it, is measured in a process of its own, which is this program with `reopen DIRECTORY COUNT DIMENSIONS`.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use twofold_storage::{Collection, Fetch, NewPoint, Operation, Options, Query, Store};
use twofold_tests::measure::{disk_megabytes, own_megabytes, process_time, rss_megabytes, thread_time};
use twofold_types::{CollectionConfig, Distance, Filter, PayloadSchemaType, PointId, VectorParams};

// As in the server's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const K: usize = 10;
const BATCH: u64 = 2_000;

/// Vectors around centres, which themselves lie near a plane of a few dimensions.
struct Cloud {
    dimensions: usize,
    centres: Vec<Vec<f32>>,
}

impl Cloud {
    fn new(dimensions: usize, count: u64) -> Self {
        const DIRECTIONS: usize = 24;
        let mut rng = StdRng::seed_from_u64(1);
        let mut normal = |scale: f32| -> Vec<f32> { (0..dimensions).map(|_| scale * gauss(&mut rng)).collect() };
        let directions: Vec<Vec<f32>> = (0..DIRECTIONS).map(|_| normal(1.0)).collect();
        let centres = (0..(count / 500).max(100)).map(|_| normal(0.4)).collect::<Vec<_>>();
        let mut rng = StdRng::seed_from_u64(2);
        let centres = centres.into_iter().map(|mut centre| {
            for direction in &directions {
                let weight = 0.35 * gauss(&mut rng);
                centre.iter_mut().zip(direction).for_each(|(x, d)| *x += weight * d);
            }
            centre
        });
        Self {
            dimensions,
            centres: centres.collect(),
        }
    }

    fn vector(&self, number: u64) -> Vec<f32> {
        let mut rng = StdRng::seed_from_u64(number + 10);
        let centre = &self.centres[rng.random_range(0..self.centres.len())];
        (0..self.dimensions)
            .map(|i| centre[i] + 0.7 * gauss(&mut rng))
            .collect()
    }
}

fn gauss(rng: &mut StdRng) -> f32 {
    (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>() * 0.866
}

fn payload(number: u64) -> Value {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    json!({
        "thousandth": mixed % 1000,
        "language": (["en", "de", "fr", "es"][(mixed / 1000 % 4) as usize]),
        "published": mixed / 7919 % 100_000,
        "price": (mixed % 10_007) as f64 / 7.0,
        "open": mixed.is_multiple_of(3),
    })
}

fn point(cloud: &Cloud, number: u64) -> NewPoint {
    NewPoint {
        id: number.into(),
        vectors: BTreeMap::from([(String::new(), cloud.vector(number).into())]),
        payload: payload(number).as_object().cloned().unwrap_or_default(),
    }
}

fn query(vector: Vec<f32>, filter: Option<&Filter>, exact: bool) -> Query {
    Query {
        filter: filter.cloned(),
        exact,
        ..Query::nearest(vector, K)
    }
}

/// Median and 99th percentile in microseconds.
fn latencies(collection: &Collection, queries: &[Query]) -> Result<Value> {
    let mut times = Vec::new();
    for query in queries {
        let started = Instant::now();
        std::hint::black_box(collection.query(query, &Fetch::id_only())?);
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(json!({"p50_us": times[times.len() / 2].round(), "p99_us": times[times.len() * 99 / 100].round()}))
}

fn recall(collection: &Collection, cloud: &Cloud, count: u64, filter: Option<&Filter>) -> Result<f64> {
    let (mut hits, mut wanted) = (0, 0);
    for query in 0..50 {
        let vector = cloud.vector(count + 1_000_000 + query);
        let ids = |exact| -> Result<HashSet<PointId>> {
            let (found, _) = collection.query(&self::query(vector.clone(), filter, exact), &Fetch::id_only())?;
            Ok(found.into_iter().map(|point| point.id).collect())
        };
        let (truth, found) = (ids(true)?, ids(false)?);
        hits += truth.intersection(&found).count();
        wanted += truth.len();
    }
    Ok(hits as f64 / wanted as f64)
}

/// The parameters that ask for a placement.
fn params(dimensions: u64, placement: &str) -> Result<VectorParams> {
    let (on_disk, always_ram) = match placement {
        "memory" => (false, false),
        "mapped" => (true, true),
        "disk" => (true, false),
        _ => anyhow::bail!("{placement}: a placement is memory, mapped or disk"),
    };
    Ok(VectorParams {
        on_disk: Some(on_disk),
        quantization_config: Some(json!({"scalar": {"type": "int8", "always_ram": always_ram}})),
        ..VectorParams::new(dimensions as usize, Distance::Cosine)
    })
}

/// Opens what another process has left, and says what that takes and what searches take then.
fn reopen(dir: &Path, count: u64, dimensions: u64) -> Result<Value> {
    let cloud = Cloud::new(dimensions as usize, count);
    let started = Instant::now();
    let store = Store::open(Options::new(dir))?;
    let open = started.elapsed();
    let collection = store.collection(&"scale".parse()?)?;
    // What was written since the last checkpoint.
    let started = Instant::now();
    collection.update_indexes(&AtomicBool::new(false))?;
    let caught_up = started.elapsed();
    let (own, all) = (own_megabytes(), rss_megabytes());
    let vectors = (0..1_000).map(|number| cloud.vector(count + 2_000_000 + number));
    let queries: Vec<Query> = vectors.map(|vector| query(vector, None, false)).collect();
    latencies(&collection, &queries[..100])?;
    let cpu = thread_time();
    let mut line = latencies(&collection, &queries)?;
    let cpu = thread_time() - cpu;
    line["cpu_us"] = json!((cpu.as_secs_f64() * 1e6 / queries.len() as f64).round());
    line["recall"] = json!(recall(&collection, &cloud, count, None)?);
    let memory = &collection.vector_memory()[0];
    Ok(json!({
        "placement": memory.placement.as_str(),
        "open_s": open.as_secs_f64(),
        "caught_up_s": caught_up.as_secs_f64(),
        "own_mb": own,
        "rss_mb": all,
        "vectors_mb": memory.heap_bytes >> 20,
        "indexed": collection.indexed_vectors(),
        "all": line,
    }))
}

fn main() -> Result<()> {
    const USAGE: &str = "usage: search-scale COUNT DIMENSIONS [memory|mapped|disk]";
    twofold_server::memory::use_large_pages();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (count, dimensions, placement) = match args[..] {
        ["reopen", dir, count, dimensions] => {
            println!("{}", reopen(Path::new(dir), count.parse()?, dimensions.parse()?)?);
            return Ok(());
        }
        [count, dimensions] => (count, dimensions, "memory"),
        [count, dimensions, placement] => (count, dimensions, placement),
        _ => anyhow::bail!(USAGE),
    };
    let (count, dimensions): (u64, u64) = (count.parse().context(USAGE)?, dimensions.parse().context(USAGE)?);
    let cloud = Cloud::new(dimensions as usize, count);
    let data = tempfile::tempdir()?;
    let store = Store::open(Options::new(data.path()))?;
    let config = CollectionConfig {
        vectors: BTreeMap::from([(String::new(), params(dimensions, placement)?)]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(&"scale".parse()?, &config)?;
    for (key, kind) in [
        ("thousandth", PayloadSchemaType::Integer),
        ("language", PayloadSchemaType::Keyword),
        ("published", PayloadSchemaType::Integer),
        ("price", PayloadSchemaType::Float),
        ("open", PayloadSchemaType::Bool),
    ] {
        collection.create_payload_index(key, kind)?;
    }
    let (never, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (started, cpu) = (Instant::now(), process_time().as_secs_f64());
    let (mut made, mut written) = (Duration::ZERO, Duration::ZERO);
    std::thread::scope(|scope| -> Result<()> {
        let indexer = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                collection.update_indexes(&never)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            std::thread::sleep(Duration::from_secs(3));
            Ok(collection.update_indexes(&never)?)
        });
        for first in (0..count).step_by(BATCH as usize) {
            let begun = Instant::now();
            let points: Vec<NewPoint> = (first..(first + BATCH).min(count))
                .map(|number| point(&cloud, number))
                .collect();
            made += begun.elapsed();
            let begun = Instant::now();
            collection.apply(Operation::Upsert(points))?;
            written += begun.elapsed();
        }
        done.store(true, Ordering::Relaxed);
        indexer.join().expect("the indexer does not panic")
    })?;
    let (total, cpu) = (
        started.elapsed(),
        process_time().as_secs_f64() - cpu - made.as_secs_f64(),
    );
    let (rss, own) = (rss_megabytes(), own_megabytes());
    let vectors = |many: u64| (0..many).map(|query| cloud.vector(count + 2_000_000 + query));
    let filter = |value: Value| serde_json::from_value::<Filter>(value).context("a filter");
    let tenth = filter(json!({"must": [{"key": "thousandth", "range": {"lt": 100}}]}))?;
    let hundredth = filter(json!({"must": [{"key": "thousandth", "range": {"lt": 10}}]}))?;
    let five = filter(json!({"must": [
        {"key": "language", "match": {"value": "en"}},
        {"key": "open", "match": {"value": true}},
        {"key": "published", "range": {"gte": 10_000, "lt": 60_000}},
        {"key": "price", "range": {"lt": 700.0}},
        {"key": "thousandth", "range": {"gte": 100}},
    ]}))?;
    let mut report = serde_json::Map::new();
    report.insert("count".into(), json!(count));
    report.insert("dimensions".into(), json!(dimensions));
    report.insert("load_wall_s".into(), json!((total - made).as_secs_f64()));
    report.insert("load_cpu_s".into(), json!(cpu));
    report.insert("write_wall_s".into(), json!(written.as_secs_f64()));
    report.insert("rss_mb".into(), json!(rss));
    report.insert("own_mb".into(), json!(own));
    report.insert("disk_mb".into(), json!(disk_megabytes(data.path())));
    for (name, filter) in [
        ("all", None),
        ("tenth", Some(&tenth)),
        ("hundredth", Some(&hundredth)),
        ("five", Some(&five)),
    ] {
        let queries: Vec<Query> = vectors(1_000).map(|vector| query(vector, filter, false)).collect();
        latencies(&collection, &queries[..100])?;
        let mut line = latencies(&collection, &queries)?;
        let (_, explained) = collection.query(&queries[0], &Fetch::id_only())?;
        line["recall"] = json!(recall(&collection, &cloud, count, filter)?);
        line["plan"] = json!(format!("{:?}", explained.plan));
        let filtering = queries[..50]
            .iter()
            .map(|query| Ok(collection.query(query, &Fetch::id_only())?.1.filtering));
        let mut filtering = filtering.collect::<Result<Vec<_>>>()?;
        filtering.sort();
        line["filter_us"] = json!(filtering[25].as_micros());
        report.insert(name.into(), line);
    }
    // Searches while another thread writes as fast as it can and the indexes follow.
    let queries: Vec<Query> = vectors(2_000).map(|vector| query(vector, None, false)).collect();
    done.store(false, Ordering::Relaxed);
    let beside = std::thread::scope(|scope| -> Result<Value> {
        let indexer = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                collection.update_indexes(&done)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        });
        let writer = scope.spawn(|| -> Result<u64> {
            let mut number = count;
            while !done.load(Ordering::Relaxed) {
                let points = (number..number + 100).map(|number| NewPoint {
                    id: (number % count).into(),
                    ..point(&cloud, number)
                });
                collection.apply(Operation::Upsert(points.collect()))?;
                number += 100;
            }
            Ok(number - count)
        });
        let started = Instant::now();
        let mut line = latencies(&collection, &queries)?;
        done.store(true, Ordering::Relaxed);
        let points = writer.join().expect("the writer does not panic")?;
        line["writes_per_s"] = json!((points as f64 / started.elapsed().as_secs_f64()).round());
        indexer.join().expect("the indexer does not panic")?;
        Ok(line)
    })?;
    report.insert("beside_writes".into(), beside);
    store.flush();
    drop((collection, store));
    let reopened = Command::new(std::env::current_exe()?)
        .arg("reopen")
        .arg(data.path())
        .args([count.to_string(), dimensions.to_string()])
        .output()?;
    anyhow::ensure!(
        reopened.status.success(),
        "{}",
        String::from_utf8_lossy(&reopened.stderr)
    );
    report.insert("reopened".into(), serde_json::from_slice(&reopened.stdout)?);
    println!("{}", Value::Object(report));
    Ok(())
}
