//! What filters and lists cost on 1,000,000 points: each condition alone, five together, after writes and after a start, pages, counts
//! and facets, and how long a start takes with the payload indexes.
//!
//! `filter-speed DIR [COUNT]` makes the collection in `DIR` where it is missing, without vectors, and prints a table.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use twofold_storage::{Collection, Fetch, NewPoint, Operation, Options, Selector, Store};
use twofold_tests::measure::rss_megabytes;
use twofold_types::api::OrderBy;
use twofold_types::{CollectionConfig, CollectionName, Distance, Filter, PayloadSchemaType, PointId, VectorParams};

// As in the server's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: u64 = 10_000;
const ROUNDS: usize = 101;
const LISTED: usize = 15;

/// The payload indexes, by what they have: 10 values, 10,000, 1,000, as many as there are points, and 2.
const INDEXES: [(&str, PayloadSchemaType); 5] = [
    ("language", PayloadSchemaType::Keyword),
    ("author", PayloadSchemaType::Keyword),
    ("thousandth", PayloadSchemaType::Integer),
    ("price", PayloadSchemaType::Float),
    ("open", PayloadSchemaType::Bool),
];

/// Besides, 10,000 values of 100 points each, for ranges.
const DAY: (&str, PayloadSchemaType) = ("day", PayloadSchemaType::Integer);

fn payload(number: u64) -> Value {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    json!({
        "language": format!("language {}", mixed % 10),
        "author": format!("author {}", mixed / 10 % 10_000),
        "thousandth": mixed / 7 % 1_000,
        "price": mixed as f64 / 1e6,
        "open": (mixed / 3).is_multiple_of(3),
        "day": mixed / 7_919 % 10_000,
    })
}

fn fill(store: &Store, name: &CollectionName, count: u64) -> Result<()> {
    let config = CollectionConfig {
        vectors: BTreeMap::from([(String::new(), VectorParams::new(1, Distance::Dot))]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(name, &config)?;
    for first in (0..count).step_by(BATCH as usize) {
        let points = (first..(first + BATCH).min(count)).map(|number| NewPoint {
            id: number.into(),
            vectors: BTreeMap::new(),
            payload: payload(number).as_object().cloned().unwrap_or_default(),
        });
        collection.apply(Operation::Upsert(points.collect()))?;
    }
    for (key, kind) in INDEXES.into_iter().chain([DAY]) {
        collection.create_payload_index(key, kind)?;
    }
    collection.update_indexes(&AtomicBool::new(false))?;
    Ok(())
}

fn open(dir: &Path) -> Result<(Store, Duration)> {
    let started = Instant::now();
    let store = Store::open(Options::new(dir))?;
    Ok((store, started.elapsed()))
}

/// The least and the median time of a filter in microseconds; before each round, `before` is called. Where other work runs
/// beside, the least is nearer to what the filter costs.
fn times(collection: &Collection, filter: &Filter, mut before: impl FnMut() -> Result<()>) -> Result<(f64, f64)> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        before()?;
        let started = Instant::now();
        collection.count(Some(filter))?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[0], times[ROUNDS / 2]))
}

/// A page, a count or a facet, by what it is called.
type Listing<'a> = (&'a str, Box<dyn Fn() -> Result<usize> + 'a>);

/// Pages, counts and facets, without a filter and with one that leaves much or little.
fn listings(collection: &Collection, count: u64) -> Result<()> {
    let filter = |must: Value| serde_json::from_value::<Filter>(json!({ "must": must })).context("a filter");
    let order_by = |order: Value| serde_json::from_value::<OrderBy>(order).context("an order");
    let tenth = filter(json!({"key": "language", "match": {"value": "language 3"}}))?;
    let few = filter(json!({"key": "author", "match": {"any": ["author 3", "author 999", "author 7777"]}}))?;
    let (tenth, few) = (&tenth, &few);
    let (upwards, downwards) = (
        order_by(json!("price"))?,
        order_by(json!({"key": "price", "direction": "desc"}))?,
    );
    let from = order_by(json!({"key": "day", "start_from": 5_000}))?;
    let fetch = &Fetch::payload_only();
    let page = |start: Option<u64>, filter| {
        move || Ok(collection.scroll(start.map(PointId::Num), 100, filter, fetch)?.0.len())
    };
    let ordered = |order, filter| move || Ok(collection.scroll_by(order, 100, filter, fetch)?.len());
    let facet = |key, filter| move || Ok(collection.facet(key, filter, 10)?.len());
    let counted = |filter| move || Ok(collection.count(filter)? as usize);
    let middle = Some(count / 2);
    let listings: [Listing<'_>; 18] = [
        ("page of 100", Box::new(page(None, None))),
        ("page of 100 from the middle", Box::new(page(middle, None))),
        ("page of 100, filter of 10 %", Box::new(page(None, Some(tenth)))),
        ("page of 100, filter of 300 points", Box::new(page(None, Some(few)))),
        (
            "page of 100 from the middle, filter of 300 points",
            Box::new(page(middle, Some(few))),
        ),
        ("page of 100 by price", Box::new(ordered(&upwards, None))),
        (
            "page of 100 by price, the highest first",
            Box::new(ordered(&downwards, None)),
        ),
        (
            "page of 100 by price, filter of 10 %",
            Box::new(ordered(&upwards, Some(tenth))),
        ),
        (
            "page of 100 by price, filter of 300 points",
            Box::new(ordered(&upwards, Some(few))),
        ),
        ("page of 100 by day from 5,000", Box::new(ordered(&from, None))),
        ("count", Box::new(counted(None))),
        ("count, filter of 10 %", Box::new(counted(Some(tenth)))),
        ("facet of 10 values", Box::new(facet("language", None))),
        ("facet of 10,000 values", Box::new(facet("author", None))),
        ("facet of a boolean", Box::new(facet("open", None))),
        (
            "facet of 1,000 integers, filter of 10 %",
            Box::new(facet("thousandth", Some(tenth))),
        ),
        (
            "facet of 10,000 values, filter of 10 %",
            Box::new(facet("author", Some(tenth))),
        ),
        (
            "facet of 10,000 values, filter of 300 points",
            Box::new(facet("author", Some(few))),
        ),
    ];
    println!("{:>9} {:>9} {:>9}", "first ms", "least ms", "p50 ms");
    for (name, list) in listings {
        let mut times = Vec::new();
        for _ in 0..LISTED {
            let started = Instant::now();
            let listed = list()?;
            anyhow::ensure!(listed > 0, "{name}: nothing");
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!("{first:>9.2} {:>9.2} {:>9.2}  {name}", times[0], times[LISTED / 2]);
    }
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (dir, count) = match &args[..] {
        [dir] => (Path::new(dir), 1_000_000),
        [dir, count] => (Path::new(dir), count.parse()?),
        _ => anyhow::bail!("usage: filter-speed DIR [COUNT]"),
    };
    let name: CollectionName = "filters".parse()?;
    let (store, _) = open(dir)?;
    if store.collection(&name).is_err() {
        let started = Instant::now();
        fill(&store, &name, count)?;
        println!("written and indexed in {:.1} s", started.elapsed().as_secs_f64());
    }
    drop(store);
    let (store, opened) = open(dir)?;
    let collection = store.collection(&name)?;
    let started = Instant::now();
    collection.update_indexes(&AtomicBool::new(false))?;
    let caught_up = started.elapsed();
    println!(
        "opened in {:.2} s, unions made in {:.2} s more, {} MB resident",
        opened.as_secs_f64(),
        caught_up.as_secs_f64(),
        rss_megabytes()
    );
    let conditions = [
        json!({"key": "language", "match": {"value": "language 3"}}),
        json!({"key": "author", "match": {"any": ["author 3", "author 999", "author 7777"]}}),
        json!({"key": "thousandth", "range": {"gte": 100}}),
        json!({"key": "price", "range": {"gte": 1.5e6, "lt": 15.1e6}}),
        json!({"key": "open", "match": {"value": true}}),
        json!({"key": "day", "range": {"gt": 1_000, "lte": 6_000}}),
        json!({"key": "day", "range": {"gte": 37, "lt": 9_961}}),
    ];
    let five = [0, 2, 3, 4, 5].map(|place| conditions[place].clone());
    let worst = json!([
        {"key": "day", "range": {"gte": 37, "lt": 9_961}},
        {"key": "day", "range": {"gt": 1_011, "lte": 9_722}},
        {"key": "price", "range": {"gte": 0.9e6, "lt": 17.1e6}},
        {"key": "thousandth", "range": {"gte": 51}},
        {"key": "thousandth", "range": {"lt": 951}},
    ]);
    let named = conditions
        .iter()
        .map(|condition| (condition.to_string(), json!([condition])));
    let named = named.chain([
        ("five conditions".to_owned(), json!(five)),
        ("five ranges, the worst case".to_owned(), worst),
    ]);
    println!(
        "microseconds: the first time, least and median of those that follow, and the same after a write each time"
    );
    let mut number = 0;
    let mut other_ranges = || {
        number += 1;
        serde_json::from_value(json!({"must": [
            {"key": "language", "match": {"value": format!("language {}", number % 10)}},
            {"key": "thousandth", "range": {"gte": 100 + number}},
            {"key": "price", "range": {"gte": 1.5e6 + f64::from(number) * 1e4, "lt": 15.1e6 - f64::from(number) * 1e4}},
            {"key": "open", "match": {"value": true}},
            {"key": "day", "range": {"gt": 1_000 + 7 * number, "lte": 6_000 - 5 * number}},
        ]}))
    };
    let mut new = Vec::new();
    for _ in 0..ROUNDS {
        let filter: Filter = other_ranges().context("a filter")?;
        let started = Instant::now();
        collection.count(Some(&filter))?;
        new.push(started.elapsed().as_secs_f64() * 1e6);
    }
    let first = new[0];
    new.sort_by(f64::total_cmp);
    println!(
        "{first:>8.0} {:>7.0} {:>7.0} {:>7} {:>7} {:>8}  five conditions, each time others",
        new[0],
        new[ROUNDS / 2],
        "-",
        "-",
        "-"
    );
    let mut written = 0u64;
    for (name, must) in named {
        let filter: Filter = serde_json::from_value(json!({"must": must})).context("a filter")?;
        let started = Instant::now();
        let matching = collection.count(Some(&filter))?;
        let first = started.elapsed().as_secs_f64() * 1e6;
        let (least, still) = times(&collection, &filter, || Ok(()))?;
        let (least_after, after) = times(&collection, &filter, || {
            // One point gets the values of another.
            written += 7_919;
            collection.apply(Operation::OverwritePayload {
                selector: Selector::Ids(vec![PointId::Num(written % count)]),
                payload: payload(written + 1).as_object().cloned().unwrap_or_default(),
            })?;
            Ok(())
        })?;
        println!("{first:>8.0} {least:>7.0} {still:>7.0} {least_after:>7.0} {after:>7.0} {matching:>8}  {name}");
    }
    listings(&collection, count)
}
