//! What many small collections cost: how long a start takes, and the memory of each.
//!
//! `many-collections DIR [COUNT [POINTS]]` makes COUNT collections of POINTS points each in `DIR`, where there is nothing, and ends. Run
//! again, it opens them, asks each of them once, and prints a table. Vectors have 384 dimensions, payloads two indexed keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use twofold_storage::{Fetch, NewPoint, Operation, Options, Query, Store};
use twofold_tests::measure::rss_megabytes;
use twofold_types::{CollectionConfig, CollectionName, Distance, PayloadSchemaType, VectorParams};

// As in the server's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DIMENSIONS: usize = 384;

fn name(number: usize) -> Result<CollectionName> {
    Ok(format!("collection-{number:05}").parse()?)
}

fn vector(number: u64) -> Vec<f32> {
    let component = |place: u64| {
        let mixed = (number * DIMENSIONS as u64 + place).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        mixed as f32 / 2_f32.powi(23) - 1.0
    };
    (0..DIMENSIONS as u64).map(component).collect()
}

fn fill(store: &Store, number: usize, points: u64) -> Result<()> {
    let config = CollectionConfig {
        vectors: BTreeMap::from([(String::new(), VectorParams::new(DIMENSIONS, Distance::Cosine))]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(&name(number)?, &config)?;
    collection.create_payload_index("tenant", PayloadSchemaType::Keyword)?;
    collection.create_payload_index("day", PayloadSchemaType::Integer)?;
    let point = |id: u64| NewPoint {
        id: id.into(),
        vectors: BTreeMap::from([(String::new(), vector(id).into())]),
        payload: json!({"tenant": format!("tenant {}", id % 7), "day": id / 3, "text": "some words of a text"})
            .as_object()
            .cloned()
            .unwrap_or_default(),
    };
    collection.apply(Operation::Upsert((0..points).map(point).collect()))?;
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (dir, count, points) = match &args[..] {
        [dir] => (Path::new(dir), 2_000, 50),
        [dir, count] => (Path::new(dir), count.parse()?, 50),
        [dir, count, points] => (Path::new(dir), count.parse()?, points.parse()?),
        _ => anyhow::bail!("usage: many-collections DIR [COUNT [POINTS]]"),
    };
    if !dir.join("rocksdb").exists() {
        let store = Store::open(Options::new(dir))?;
        let started = Instant::now();
        (0..count).try_for_each(|number| fill(&store, number, points))?;
        let each = milliseconds(started.elapsed()) / count as f64;
        println!("made in {:.1} s, {each:.2} ms each", started.elapsed().as_secs_f64());
        return Ok(());
    }
    let empty = tempfile::tempdir()?;
    let alone = Store::open(Options::new(empty.path()))?;
    let before = rss_megabytes();
    drop(alone);

    let started = Instant::now();
    let store = Store::open(Options::new(dir))?;
    let opened = started.elapsed();
    let after = rss_megabytes();
    let each = (after as f64 - before as f64) * 1024.0 / count as f64;
    println!("{count} collections of {points} points of {DIMENSIONS} dimensions, and two payload indexes");
    println!(
        "opened in {:.2} s, {:.2} ms each",
        opened.as_secs_f64(),
        milliseconds(opened) / count as f64
    );
    println!("{after} MB resident, {before} MB of it without collections, {each:.0} KB each");

    let mut times = Vec::new();
    for number in 0..count {
        let collection = store.collection(&name(number)?)?;
        let started = Instant::now();
        let query = Query::nearest(vector(number as u64 % points), 10);
        let (found, _) = collection.query(&query, &Fetch::payload_only())?;
        anyhow::ensure!(found.len() == 10.min(points as usize), "{} found", found.len());
        times.push(started.elapsed());
    }
    times.sort_unstable();
    println!(
        "a first search of each: p50 {:.2} ms, p99 {:.2} ms; {} MB resident then",
        milliseconds(times[count / 2]),
        milliseconds(times[count * 99 / 100]),
        rss_megabytes()
    );
    Ok(())
}
