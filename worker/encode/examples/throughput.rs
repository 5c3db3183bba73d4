//! Encodes a file of texts, one per line (a JSON string, or a JSON object with a field `text`, or plain text), and prints
//! one JSON line of what it took. `scripts/reference_throughput.py` measures sentence-transformers in the same way.
//!
//!     cargo run --release -p twofold-encode --example throughput -- FILE [--model DIR] [--device auto]
//!         [--precision f32] [--lanes 1] [--threads 1] [--budget TOKENS] [--limit TEXTS]
//!
//! A lane is a thread that encodes inside a rayon pool of `--threads` threads. Lanes share the encoder and take batches
//! from one plan, as a server's do.

mod common;
#[path = "common/cpu_time.rs"]
mod cpu_time;

use std::{
    error::Error,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

use cpu_time::cpu_time;
use twofold_encode::{DeviceSpec, EncodeOptions, ModelFiles, TokenBudget, Tokens, open_encoder, plan};
use twofold_types::{EncoderParams, ModelId, Precision, Role};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

// As in the server's binary: glibc gives the large buffers of a forward pass back to the system and takes them again.
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Args {
    file: PathBuf,
    model: PathBuf,
    device: DeviceSpec,
    precision: Precision,
    lanes: usize,
    threads: usize,
    budget: TokenBudget,
    limit: usize,
}

fn main() -> Result<()> {
    let args = Args::parse()?;
    let texts = read_texts(&args)?;
    let files = ModelFiles::open(&args.model)?;
    let params = EncoderParams {
        precision: args.precision,
        ..EncoderParams::new(ModelId::new("throughput"))
    };
    let options = EncodeOptions {
        budget: args.budget,
        ..EncodeOptions::default()
    };
    let encoder = open_encoder(&files, &params, &args.device.open()?, options)?;

    // The first batches pay for pages and caches that later ones find ready.
    let few = &texts[..texts.len().min(64)];
    encoder.encode(
        &encoder.tokenizer(Role::Document).tokenize(few, Role::Document)?,
        Role::Document,
    )?;

    let (wall, cpu) = (Instant::now(), cpu_time());
    let tokens: Vec<Tokens> = in_lanes(&args, texts.chunks(256).collect(), |texts| {
        Ok(encoder.tokenizer(Role::Document).tokenize(texts, Role::Document)?)
    })?
    .concat();
    let (tokenised, tokenised_cpu) = (wall.elapsed(), cpu_time());
    let lengths: Vec<usize> = tokens.iter().map(Tokens::len).collect();
    let slowest = in_lanes(&args, plan(&lengths, args.budget), |batch| {
        let batch: Vec<Tokens> = batch.iter().map(|&i| tokens[i].clone()).collect();
        let start = Instant::now();
        std::hint::black_box(encoder.encode(&batch, Role::Document)?);
        Ok(start.elapsed())
    })?;
    let wall = wall.elapsed();
    let [cpu, encode_cpu] = [cpu, tokenised_cpu].map(|before| rounded((cpu_time() - before).as_secs_f64()));

    let total: usize = lengths.iter().sum();
    let slowest = slowest.into_iter().max().unwrap_or_default();
    println!(
        "{}",
        serde_json::json!({
            "texts": texts.len(), "tokens": total, "lanes": args.lanes, "threads": args.threads,
            "budget": args.budget.tokens(), "wall_s": rounded(wall.as_secs_f64()), "cpu_s": cpu,
            "encode_cpu_s": encode_cpu,
            "tokenise_s": rounded(tokenised.as_secs_f64()), "slowest_batch_s": rounded(slowest.as_secs_f64()),
            "texts_per_s": rounded(texts.len() as f64 / wall.as_secs_f64()),
            "tokens_per_s": (total as f64 / wall.as_secs_f64()).round(),
        })
    );
    Ok(())
}

/// Runs `work` over `items`, each lane taking the next one as it becomes free. The results keep the items' order.
fn in_lanes<I: Sync + Send, T: Send>(
    args: &Args,
    items: Vec<I>,
    work: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let lane = || -> Result<Vec<(usize, T)>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads).build()?;
        let take = || Some(next.fetch_add(1, Relaxed)).filter(|&i| i < items.len());
        pool.install(|| std::iter::from_fn(take).map(|i| Ok((i, work(&items[i])?))).collect())
    };
    let mut done = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..args.lanes).map(|_| scope.spawn(lane)).collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().expect("a lane does not panic"))
            .collect::<Result<Vec<_>>>()
    })?
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    done.sort_by_key(|(i, _)| *i);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

fn read_texts(args: &Args) -> Result<Vec<String>> {
    let text = |line: &str| match serde_json::from_str(line) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Object(object)) if object["text"].is_string() => {
            object["text"].as_str().unwrap_or("").into()
        }
        _ => line.to_owned(),
    };
    Ok(std::fs::read_to_string(&args.file)?
        .lines()
        .take(args.limit)
        .map(text)
        .collect())
}

fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

impl Args {
    fn parse() -> Result<Self> {
        let mut args = Self {
            file: PathBuf::new(),
            model: common::default_model(),
            device: DeviceSpec::Auto,
            precision: Precision::F32,
            lanes: 1,
            threads: 1,
            budget: TokenBudget::default(),
            limit: usize::MAX,
        };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            if !name.starts_with("--") {
                args.file = name.into();
                continue;
            }
            let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--model" => args.model = value.into(),
                "--device" => args.device = value.parse()?,
                "--precision" => args.precision = serde_json::from_value(value.into())?,
                "--lanes" => args.lanes = value.parse()?,
                "--threads" => args.threads = value.parse()?,
                "--budget" => args.budget = TokenBudget::new(value.parse()?),
                "--limit" => args.limit = value.parse()?,
                _ => return Err(format!("{name} is unknown").into()),
            }
        }
        if args.file.as_os_str().is_empty() {
            return Err(
                "usage: throughput FILE [--model DIR] [--device D] [--precision P] [--lanes N] [--threads N] [--budget T] [--limit N]"
                    .into(),
            );
        }
        Ok(args)
    }
}
