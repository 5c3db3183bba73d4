//! Documents per second of the whole ingestion against the bare encoder, alternating in one process.
//!
//! `ingest-throughput FILE MODELS-DIR [ROUNDS]` takes a file with one text a line. Both sides encode the same texts with the
//! same lanes; ingestion also makes them durable, chunks, tokenises, commits and makes them searchable. Then the same texts go into a
//! second collection, whose embeddings are known.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use twofold_encode::{DeviceSpec, Model, TokenBudget, plan};
use twofold_tests::MODEL;
use twofold_tests::measure::process_time;
use twofold_types::{Document, Priority, Role};
use twofold_worker::{Engine, Options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LANES: usize = 2;

/// Tokenises and encodes all texts with as many lanes as ingestion has.
fn bare(model: &Model, texts: &[String]) -> Result<Duration> {
    let started = Instant::now();
    let encoder = model.encoder();
    let tokens = encoder.tokenizer(Role::Document).tokenize(texts, Role::Document)?;
    let lengths: Vec<usize> = tokens.iter().map(twofold_encode::Tokens::len).collect();
    let batches = Mutex::new(plan(&lengths, TokenBudget::new(4096)).into_iter());
    let next = || batches.lock().expect("no lane panics with the lock").next();
    std::thread::scope(|scope| {
        let lane = || -> Result<()> {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .use_current_thread()
                .build()?;
            while let Some(batch) = next() {
                let batch: Vec<_> = batch.iter().map(|&text| tokens[text].clone()).collect();
                pool.install(|| encoder.encode(&batch, Role::Document))?;
            }
            Ok(())
        };
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(lane)).collect();
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().expect("no lane panics"))
    })?;
    Ok(started.elapsed())
}

/// What an ingestion took.
struct Took {
    elapsed: Duration,
    /// Of all threads.
    cpu: Duration,
}

/// Ingests all texts as documents, twice: with nothing known of them, and with all embeddings known.
fn ingestions(models: &Path, texts: &[String]) -> Result<[Took; 2]> {
    let data = tempfile::tempdir()?;
    let options = Options {
        devices: vec![DeviceSpec::Cpu],
        ingest_lanes: Some(LANES),
        ..Options::new(data.path(), models)
    };
    let engine = Engine::start(options)?;
    let first = ingestion(&engine, "first", texts)?;
    let second = ingestion(&engine, "second", texts)?;
    let hits = engine.list_models().embedding_cache.hits;
    ensure!(hits == texts.len() as u64, "{hits} of {} texts were known", texts.len());
    Ok([first, second])
}

/// Ingests all texts into a new collection, until all are searchable.
fn ingestion(engine: &Engine, collection: &str, texts: &[String]) -> Result<Took> {
    let request = serde_json::from_value(json!({"encoders": {"": {"model": MODEL}}}))?;
    let collection = engine.create_collection(&collection.parse()?, request)?;
    let document = |(n, text): (usize, &String)| Document {
        id: Some(n.to_string()),
        text: text.clone(),
        metadata: None,
    };
    let documents = texts.iter().enumerate().map(document).collect();
    let (started, cpu) = (Instant::now(), process_time());
    let task = engine.add_documents(&collection, documents, Priority::Normal)?;
    let finished = loop {
        let task = engine.task(task)?;
        if task.status.is_finished() {
            break task;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let (elapsed, cpu) = (started.elapsed(), process_time() - cpu);
    ensure!(finished.documents_done == texts.len() as u64, "{finished:?}");
    ensure!(
        collection.count(None)? == finished.chunks && finished.chunks == texts.len() as u64,
        "texts are one chunk each"
    );
    Ok(Took { elapsed, cpu })
}

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: ingest-throughput FILE MODELS-DIR [ROUNDS]";
    let file = PathBuf::from(args.next().context(usage)?);
    let models = PathBuf::from(args.next().context(usage)?);
    let rounds = args
        .next()
        .and_then(|rounds| rounds.to_str()?.parse().ok())
        .unwrap_or(3);
    let texts: Vec<String> = std::fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
    let model = Model::open(models.join(MODEL), DeviceSpec::Cpu)?;
    bare(&model, &texts[..texts.len().min(32)])?;
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let bare = bare(&model, &texts)?;
        let [ingestion, known] = ingestions(&models, &texts)?;
        let rate = |elapsed: Duration| texts.len() as f64 / elapsed.as_secs_f64();
        let ratio = rate(ingestion.elapsed) / rate(bare);
        println!(
            "round {round}: bare encoder {:.1} texts/s, ingestion {:.1} documents/s, ratio {ratio:.3}",
            rate(bare),
            rate(ingestion.elapsed)
        );
        println!(
            "  with known embeddings {:.1} documents/s; CPU time {:.2} s instead of {:.2} s, 1 to {:.0}",
            rate(known.elapsed),
            known.cpu.as_secs_f64(),
            ingestion.cpu.as_secs_f64(),
            ingestion.cpu.as_secs_f64() / known.cpu.as_secs_f64().max(0.01)
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "ingestion keeps {:.1} % of the encoder's throughput (median)",
        100.0 * ratios[ratios.len() / 2]
    );
    Ok(())
}
