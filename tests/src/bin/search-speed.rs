//! Recall and speed of searches through a collection, for `scripts/bench_search.py`.
//!
//! `search-speed DIR SET DISTANCE` reads `DIR/SET.base.f32` and `DIR/SET.query.f32` (two little-endian u32, count and
//! dimensions, then rows of f32) and `DIR/SET.truth.u32` (for each filter and query the ids of the ten nearest), and prints JSON for
//! every line of its input.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use twofold_storage::{Collection, Fetch, NewPoint, Operation, Options, Query, Store};
use twofold_tests::measure::{
    Vectors, disk_megabytes, process_time, read_words, rss_megabytes, thousandth, thread_time,
};
use twofold_types::{CollectionConfig, Distance, Filter, PayloadSchemaType, PointId, VectorParams};

// As in the server's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const K: usize = 10;
/// Points out of a thousand that a filter lets through; the first means no filter.
const SHARES: [u64; 4] = [1000, 300, 100, 10];
const EFFORTS: [usize; 16] = [4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 256, 384, 512];
/// CPU time that a measurement takes at least.
const LEAST: Duration = Duration::from_millis(250);

fn query(vector: &[f32], filter: Option<&Filter>, ef: usize) -> Query {
    Query {
        filter: filter.cloned(),
        ef: Some(ef),
        ..Query::nearest(vector.to_vec(), K)
    }
}

/// So many thousandths of the points, from one on.
fn filter(from: u64, share: u64) -> Result<Filter> {
    let range = json!({"gte": from, "lt": from + share});
    Ok(serde_json::from_value(
        json!({"must": [{"key": "thousandth", "range": range}]}),
    )?)
}

/// Searches per second of CPU time.
fn speed(collection: &Collection, queries: &[Query]) -> Result<f64> {
    let (begun, mut passes) = (thread_time(), 0);
    while thread_time() - begun < LEAST {
        for query in queries {
            std::hint::black_box(collection.query(query, &Fetch::id_only())?);
        }
        passes += 1;
    }
    Ok((passes * queries.len()) as f64 / (thread_time() - begun).as_secs_f64())
}

/// So many threads search for a second: searches a second of time, and those of a second of CPU time.
fn throughput(collection: &Collection, queries: &[Query], threads: usize) -> Result<[f64; 2]> {
    const SPAN: Duration = Duration::from_secs(1);
    let started = Instant::now();
    let work = || -> Result<(usize, Duration)> {
        let (begun, mut count) = (thread_time(), 0);
        // However the threads get on, both are at it to the end.
        for query in queries.iter().cycle() {
            if started.elapsed() >= SPAN {
                break;
            }
            std::hint::black_box(collection.query(query, &Fetch::id_only())?);
            count += 1;
        }
        Ok((count, thread_time() - begun))
    };
    let done = std::thread::scope(|scope| -> Result<Vec<_>> {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let handles = handles.into_iter();
        handles.map(|handle| handle.join().expect("no search panics")).collect()
    })?;
    let elapsed = started.elapsed();
    let (counts, times): (Vec<usize>, Vec<Duration>) = done.into_iter().unzip();
    let count = counts.into_iter().sum::<usize>() as f64;
    Ok([elapsed, times.into_iter().sum()].map(|span: Duration| count / span.as_secs_f64()))
}

/// Two threads search at once, in turns with one: how many times the searches of one they answer in the same time, and in the same
/// CPU time; the medians.
fn scaling(collection: &Collection, vectors: &[&[f32]]) -> Result<[f64; 2]> {
    let queries: Vec<Query> = vectors.iter().map(|vector| query(vector, None, 128)).collect();
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        let (one, two) = (
            throughput(collection, &queries, 1)?,
            throughput(collection, &queries, 2)?,
        );
        (0..2).for_each(|i| ratios[i].push(two[i] / one[i]));
    }
    Ok(ratios.map(|mut ratios| {
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    }))
}

/// Recall and searches a CPU-second behind every filter, with every effort.
fn points(collection: &Collection, vectors: &[&[f32]], truth: &[u32]) -> Result<Vec<Value>> {
    let mut measured = Vec::new();
    for (number, share) in SHARES.into_iter().enumerate() {
        let filter = (share < 1000).then(|| filter(0, share)).transpose()?;
        for ef in EFFORTS {
            let queries = vectors.iter().map(|vector| query(vector, filter.as_ref(), ef));
            let queries: Vec<Query> = queries.collect();
            let mut hits = 0;
            for (position, query) in queries.iter().enumerate() {
                let truth = &truth[(number * queries.len() + position) * K..][..K];
                let (found, _) = collection.query(query, &Fetch::id_only())?;
                let known = |point: &PointId| matches!(point, PointId::Num(id) if truth.contains(&(*id as u32)));
                hits += found.iter().filter(|point| known(&point.id)).count();
            }
            let (_, explained) = collection.query(&queries[0], &Fetch::id_only())?;
            let mut point = json!({
                "share": share,
                "knob": ef,
                "recall": hits as f64 / (queries.len() * K) as f64,
                "qps": speed(collection, &queries)?,
                "plan": format!("{:?}", explained.plan),
            });
            if share < 1000 {
                // As many points, and each time others.
                let queries = vectors.iter().zip(0..).map(|(vector, number)| {
                    let from = number * (1000 - share) / vectors.len() as u64;
                    Ok(query(vector, Some(&self::filter(from, share)?), ef))
                });
                let queries = queries.collect::<Result<Vec<_>>>()?;
                point["qps_of_new_filters"] = speed(collection, &queries)?.into();
            }
            measured.push(point);
        }
    }
    Ok(measured)
}

fn main() -> Result<()> {
    twofold_server::memory::use_large_pages();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, set, distance] = args.as_slice() else {
        anyhow::bail!("usage: search-speed DIR SET DISTANCE")
    };
    let file = |kind: &str| Path::new(dir).join(format!("{set}.{kind}"));
    let distance: Distance = serde_json::from_value(json!(distance))?;
    let (base, queries) = (Vectors::read(&file("base.f32"))?, Vectors::read(&file("query.f32"))?);
    let (dimensions, truth) = (base.dimensions, read_words(&file("truth.u32"))?);
    let queries: Vec<&[f32]> = queries.iter().take(truth.len() / K / SHARES.len()).collect();
    let data = tempfile::tempdir()?;
    let before = rss_megabytes();
    let store = Store::open(Options::new(data.path()))?;
    let config = CollectionConfig {
        vectors: BTreeMap::from([(String::new(), VectorParams::new(dimensions, distance))]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(&"bench".parse()?, &config)?;
    collection.create_payload_index("thousandth", PayloadSchemaType::Integer)?;
    let rows: Vec<(u64, &[f32])> = (0..).zip(base.iter()).collect();
    let never = AtomicBool::new(false);
    let (started, cpu) = (Instant::now(), process_time());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        // As the indexer of a server does: it follows while points come in.
        let indexer = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                collection.update_indexes(&never)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            // Once it is at rest, it trains for what there is now.
            std::thread::sleep(Duration::from_secs(3));
            collection.update_indexes(&never)
        });
        for rows in rows.chunks(1_000) {
            let point = |&(id, row): &(u64, &[f32])| NewPoint {
                id: id.into(),
                vectors: BTreeMap::from([(String::new(), row.to_vec().into())]),
                // Scattered by a hash, as in the script that knows the truth.
                payload: serde_json::Map::from_iter([("thousandth".to_owned(), json!(thousandth(id)))]),
            };
            collection.apply(Operation::Upsert(rows.iter().map(point).collect()))?;
        }
        done.store(true, Ordering::Relaxed);
        Ok(indexer.join().expect("the indexer does not panic")?)
    })?;
    let (built_wall, built_cpu) = (started.elapsed(), process_time() - cpu);
    let rss = rss_megabytes() - before;
    // In turns with the peers, who wait meanwhile.
    for line in std::io::stdin().lines() {
        line?;
        let round = json!({
            "build_cpu_s": built_cpu.as_secs_f64(),
            "build_wall_s": built_wall.as_secs_f64(),
            "rss_mb": rss,
            "disk_mb": disk_megabytes(data.path()),
            "points": points(&collection, &queries, &truth)?,
            "two_threads": scaling(&collection, &queries)?,
        });
        println!("{round}");
    }
    Ok(())
}
