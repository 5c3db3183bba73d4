//! How much searches in multivectors find of what comparing every point finds, and how much less time they take.
//!
//! `late-interaction NAVE-DIRECTORY DIR QUERIES [MODEL-DIRECTORY]` makes collections of the verses of the King James Version in `DIR` where
//! they are missing, in 32 and in 16 bits. Their vectors come from a ColBERT model, or without one from the words: a direction for each
//! word, moved towards those beside it and by some noise. Each query is asked in both ways in turn, on one thread.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::json;
use twofold_encode::{DeviceSpec, Model};
use twofold_storage::{Collection, Explanation, Fetch, NewPoint, Operation, Options, Plan, Query, Store};
use twofold_tests::measure::rss_megabytes;
use twofold_types::{
    CollectionConfig, CollectionName, Comparator, Datatype, Distance, Embedding, EmbeddingSpace, Filter,
    MultivectorConfig, Payload, PayloadSchemaType, PointId, Role, ScoredPoint, VectorParams,
};

// As in the server's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Verses that are encoded and written at once.
const BATCH: usize = 512;

/// How many results.
const K: usize = 10;

/// Rounds over all queries; of the times of a query, the least counts.
const ROUNDS: usize = 3;

/// `hnsw_ef` of searches; 128 is the default.
const EFFORTS: [usize; 3] = [128, 512, 1024];

/// Components of vectors that come from words, and what they share with the words on either side and have by chance.
const DIMENSIONS: usize = 128;
const BESIDE: f32 = 0.4;
const CHANCE: f32 = 0.4;

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "_id")]
    id: String,
    text: String,
}

fn texts(path: &Path) -> Result<Vec<Text>> {
    let lines = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// What makes vectors of texts.
enum Source {
    Words,
    Model(Model),
}

impl Source {
    fn encode(&self, texts: &[&str], role: Role) -> Result<Vec<Embedding>> {
        match self {
            Self::Words => Ok(texts.iter().map(|text| of_words(text)).collect()),
            Self::Model(model) => Ok(model.encode(texts, role)?),
        }
    }

    fn dimensions(&self) -> Result<usize> {
        match self {
            Self::Words => Ok(DIMENSIONS),
            Self::Model(model) => match model.encoder().space() {
                EmbeddingSpace::Multi { dimensions, .. } => Ok(dimensions),
                _ => bail!("the model makes no vector for each token: this is for ColBERT models"),
            },
        }
    }
}

/// Numbers from -1 to 1, always the same for the same seed.
fn direction(seed: &impl Hash) -> Vec<f32> {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let mut rng = StdRng::seed_from_u64(hasher.finish());
    (0..DIMENSIONS).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn of_words(text: &str) -> Embedding {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let directions: Vec<Vec<f32>> = words.map(|word| direction(&word.to_lowercase())).collect();
    let vector = |place: usize| {
        let beside = [place.checked_sub(1), Some(place + 1)];
        let beside: Vec<_> = beside
            .into_iter()
            .flatten()
            .filter_map(|place| directions.get(place))
            .collect();
        let chance = direction(&(text, place));
        let component = |i: usize| {
            let beside: f32 = beside.iter().map(|direction| direction[i]).sum();
            directions[place][i] + BESIDE * beside + CHANCE * chance[i]
        };
        (0..DIMENSIONS).map(component).collect()
    };
    Embedding::Multi((0..directions.len()).map(vector).collect())
}

/// The verses in a collection whose components have that type; its payload tells the book.
fn fill(store: &Store, name: &CollectionName, datatype: Datatype, verses: &[Text], source: &Source) -> Result<()> {
    let params = VectorParams {
        datatype: Some(datatype),
        multivector_config: Some(MultivectorConfig {
            comparator: Comparator::MaxSim,
        }),
        ..VectorParams::new(source.dimensions()?, Distance::Cosine)
    };
    let config = CollectionConfig {
        multivectors: BTreeMap::from([(String::new(), params)]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(name, &config)?;
    collection.create_payload_index("book", PayloadSchemaType::Keyword)?;
    for (batch, verses) in verses.chunks(BATCH).enumerate() {
        let texts: Vec<&str> = verses.iter().map(|verse| verse.text.as_str()).collect();
        let embeddings = source.encode(&texts, Role::Document)?;
        let points = verses
            .iter()
            .zip(embeddings)
            .enumerate()
            .map(|(place, (verse, embedding))| NewPoint {
                id: ((batch * BATCH + place) as u64).into(),
                vectors: BTreeMap::from([(String::new(), embedding)]),
                payload: Payload::from_iter([("book".to_owned(), verse.id.split('.').next().into())]),
            });
        collection.apply(Operation::Upsert(points.collect()))?;
    }
    Ok(())
}

/// What both ways took, summed over the queries, and how many of the nearest the quick one found.
#[derive(Default)]
struct Measured {
    exact: Duration,
    quick: Duration,
    found: usize,
    wanted: usize,
    compared: usize,
}

fn timed(collection: &Collection, query: &Query) -> Result<(Vec<ScoredPoint>, Explanation, Duration)> {
    let fetch = Fetch::id_only();
    let mut least = Duration::MAX;
    for _ in 1..ROUNDS {
        let started = Instant::now();
        collection.query(query, &fetch)?;
        least = least.min(started.elapsed());
    }
    let started = Instant::now();
    let (points, explanation) = collection.query(query, &fetch)?;
    Ok((points, explanation, least.min(started.elapsed())))
}

fn measure(collection: &Collection, queries: &[Embedding], filter: Option<&Filter>, ef: usize) -> Result<Measured> {
    let mut measured = Measured::default();
    for query in queries {
        let query = Query {
            filter: filter.cloned(),
            ..Query::nearest(query.clone(), K)
        };
        let exactly = Query {
            exact: true,
            ..query.clone()
        };
        let (nearest, _, exact) = timed(collection, &exactly)?;
        let query = Query { ef: Some(ef), ..query };
        let (found, explanation, quick) = timed(collection, &query)?;
        ensure!(explanation.plan != Plan::MaxSim, "every point was compared");
        ensure!(
            found.len() == nearest.len(),
            "{} results of {}",
            found.len(),
            nearest.len()
        );
        measured.exact += exact;
        measured.quick += quick;
        measured.wanted += nearest.len();
        let nearest: Vec<&PointId> = nearest.iter().map(|point| &point.id).collect();
        measured.found += found.iter().filter(|point| nearest.contains(&&point.id)).count();
        measured.compared += explanation.effort.rows;
    }
    Ok(measured)
}

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: late-interaction NAVE-DIRECTORY DIR QUERIES [MODEL-DIRECTORY]";
    let nave = PathBuf::from(args.next().context(usage)?);
    let dir = PathBuf::from(args.next().context(usage)?);
    let count: usize = args.next().context(usage)?.to_str().context(usage)?.parse()?;
    ensure!(count > 0, "at least one query is asked");
    let source = match args.next() {
        Some(model) => Source::Model(Model::open(PathBuf::from(model), DeviceSpec::Cpu)?),
        None => Source::Words,
    };

    let queries = texts(&nave.join("queries_subtopic.jsonl"))?;
    let stride = (queries.len() / count).max(1);
    let asked: Vec<&str> = queries
        .iter()
        .step_by(stride)
        .take(count)
        .map(|query| query.text.as_str())
        .collect();
    let asked = source.encode(&asked, Role::Query)?;
    let store = Store::open(Options::new(dir))?;
    let new_testament =
        json!({"must": {"key": "book", "match": {"any": ["Matt", "Mark", "Luke", "John", "Acts", "Rom"]}}});
    let filter: Filter = serde_json::from_value(new_testament)?;

    println!("components  filter  hnsw_ef  memory MB  exact ms  two stages ms  times  recall@{K}  vectors compared");
    for (name, datatype) in [("float32", Datatype::Float32), ("float16", Datatype::Float16)] {
        let name: CollectionName = name.parse()?;
        if store.collection(&name).is_err() {
            fill(
                &store,
                &name,
                datatype,
                &texts(&nave.join("corpus_kjv.jsonl"))?,
                &source,
            )?;
        }
        let collection = store.collection(&name)?;
        let started = Instant::now();
        collection.update_indexes(&AtomicBool::new(false))?;
        let training = started.elapsed();
        let settings = [None, Some(&filter)].map(|filter| EFFORTS.map(|ef| (filter, ef)));
        for (filter, ef) in settings.into_iter().flatten() {
            let measured = measure(&collection, &asked, filter, ef)?;
            let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / asked.len() as f64;
            println!(
                "{name:<11} {:<7} {ef:>7} {:>10} {:>9.2} {:>14.2} {:>6.1} {:>10.3} {:>17}",
                if filter.is_some() { "books" } else { "none" },
                collection.bytes_beside_vectors() >> 20,
                milliseconds(measured.exact),
                milliseconds(measured.quick),
                measured.exact.as_secs_f64() / measured.quick.as_secs_f64(),
                measured.found as f64 / measured.wanted as f64,
                measured.compared / asked.len(),
            );
        }
        println!(
            "{name}: centroids trained and vectors coded in {:.1} s",
            training.as_secs_f64()
        );
    }
    println!("{} MB resident", rss_megabytes());
    Ok(())
}
