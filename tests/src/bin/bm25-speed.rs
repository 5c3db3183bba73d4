//! How long searches by BM25 take, from text to results on one thread.
//!
//! `bm25-speed FILE [QUERIES]` takes a file with one text a line. Queries are the first words of texts, evenly spread over the file, and
//! whole texts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use twofold_encode::{BM25, Bm25Encoder, Encoder, Model};
use twofold_storage::{Fetch, NewPoint, Operation, Options, Query, Store};
use twofold_types::{CollectionConfig, EncoderParams, ModelId, Modifier, Payload, Role, SparseVectorParams};

// As in the server's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 4096;

/// How many results.
const K: usize = 10;

/// How often each query is asked.
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let file = PathBuf::from(args.next().context("usage: bm25-speed FILE [QUERIES]")?);
    let count: usize = args.next().and_then(|arg| arg.to_str()?.parse().ok()).unwrap_or(1000);
    let text = std::fs::read_to_string(&file)?;
    let texts: Vec<&str> = text.lines().collect();
    ensure!(
        (1..=texts.len()).contains(&count),
        "{} has {} texts",
        file.display(),
        texts.len()
    );

    let encoder: Arc<dyn Encoder> = Arc::new(Bm25Encoder::new(&EncoderParams::new(ModelId::new(BM25)))?);
    let model = Model::from(encoder);
    let data = tempfile::tempdir()?;
    let store = Store::open(Options::new(data.path()))?;
    let params = SparseVectorParams {
        modifier: Some(Modifier::Idf),
        ..SparseVectorParams::default()
    };
    let config = CollectionConfig {
        sparse_vectors: BTreeMap::from([(String::new(), params)]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(&"glosses".parse()?, &config)?;
    for (batch, texts) in texts.chunks(BATCH).enumerate() {
        let embeddings = model.encode(texts, Role::Document)?.into_iter().enumerate();
        let points = embeddings.map(|(place, embedding)| NewPoint {
            id: ((batch * BATCH + place) as u64).into(),
            vectors: BTreeMap::from([(String::new(), embedding)]),
            payload: Payload::default(),
        });
        collection.apply(Operation::Upsert(points.collect()))?;
    }
    collection.update_indexes(&AtomicBool::new(false))?;

    println!(
        "{} texts, {count} queries, k = {K}, wall time of one thread, the least of {ROUNDS}",
        texts.len()
    );
    println!("query          words  p50 us  p95 us  p99 us  worst us");
    for words in [3, 6, usize::MAX] {
        let (mut times, mut asked) = (Vec::new(), 0);
        for text in texts.iter().step_by(texts.len() / count).take(count) {
            let query: Vec<&str> = text.split(' ').take(words).collect();
            asked += query.len();
            let text = [query.join(" ")];
            let mut least = Duration::MAX;
            for _ in 0..ROUNDS {
                let started = Instant::now();
                let target = model.encode(&text, Role::Query)?.swap_remove(0);
                collection.query(&Query::nearest(target, K), &Fetch::id_only())?;
                least = least.min(started.elapsed());
            }
            times.push(least.as_micros());
        }
        times.sort_unstable();
        let percentile = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        let name = if words == usize::MAX {
            "whole text".to_owned()
        } else {
            format!("first {words} words")
        };
        println!(
            "{name:<13} {:>6.1} {:>7} {:>7} {:>7} {:>9}",
            asked as f64 / times.len() as f64,
            percentile(50),
            percentile(95),
            percentile(99),
            percentile(100),
        );
    }
    Ok(())
}
