//! Crashes while a collection is re-embedded and written: afterwards it is re-embedded, and every document is as it was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use twofold_client::Client;
use twofold_tests::Server;
use twofold_types::{Reembed, ReembeddingState};

use crate::support::{BINARY, check_store, copy, count, document, documents, finished, from_json, name};

/// Documents that are written all the time.
const IDS: u64 = 12;

/// Documents that are there before, and stay.
const STILL: u64 = 30;

/// Where the process may end, and how often it comes there first.
const POINTS: [(&str, u64); 10] = [
    ("enqueue::after_sync", 4),
    ("reembed::enqueued", 1),
    ("reembed::sent", 1),
    ("reembed::sent", 2),
    ("ingest::taken_up", 3),
    ("ingest::encoded", 3),
    ("apply::before_sync", 4),
    ("apply::after_sync", 5),
    ("reembed::before_switch", 1),
    ("reembed::after_switch", 1),
];

type State = Option<u64>;

struct Writer {
    rng: StdRng,
    version: u64,
    /// The states that a document may be in when everything is worked off.
    possible: BTreeMap<String, BTreeSet<State>>,
}

impl Writer {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            version: 0,
            possible: (0..IDS).map(|id| (id.to_string(), BTreeSet::from([None]))).collect(),
        }
    }

    /// Writes until the server is gone.
    async fn write_until_gone(&mut self, client: &Client) {
        let docs = name("docs");
        loop {
            let id = self.rng.random_range(0..IDS).to_string();
            let (state, sent) = match self.rng.random_range(0..4) {
                0 => (None, client.delete_document(&docs, &id).await.map(drop)),
                _ => {
                    self.version += 1;
                    let sent = documents(vec![document(&id, &text(&id, self.version))]);
                    (Some(self.version), client.add_documents(&docs, &sent).await.map(drop))
                }
            };
            let possible = self.possible.get_mut(&id).unwrap();
            match sent {
                Ok(()) => *possible = BTreeSet::from([state]),
                Err(error) if error.is_not_found() => {}
                Err(error) if error.status().is_some() => panic!("{error}"),
                Err(_) => {
                    possible.insert(state);
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Paragraphs that are a chunk each, and white space that none of them has.
fn text(id: &str, version: u64) -> String {
    let paragraphs =
        (0..=version % 3).map(|n| format!("Paragraph {n} of {id} in version {version} of it, and no other."));
    format!(" {}\n", paragraphs.collect::<Vec<_>>().join("\n \n"))
}

async fn start(dir: &Path, crash_at: Option<&str>) -> Server {
    Server::start_with(Path::new(BINARY), dir, crash_at, &["--ingest-first-pause", "0.01"]).await
}

/// Encoders that count words so and so (`k`).
fn encoders(k: f64) -> serde_json::Value {
    json!({"words": {"model": "Qdrant/bm25", "options": {"k": k}}})
}

/// A data directory with a collection and its first documents.
async fn create(dir: &Path) {
    let server = start(dir, None).await;
    let client = server.client();
    let config = json!({"encoders": encoders(1.2), "chunking": {"max_tokens": 15, "overlap": 0}});
    client
        .create_collection(&name("docs"), &from_json(config))
        .await
        .unwrap();
    let still = (0..STILL).map(|n| document(&format!("still {n}"), &text(&format!("still {n}"), n)));
    let task = client
        .add_documents(&name("docs"), &documents(still.collect()))
        .await
        .unwrap();
    finished(&client, task).await;
}

async fn reembed(client: &Client, k: f64) {
    let change: Reembed = from_json(json!({"encoders": encoders(k)}));
    // The server may be gone before it answers, or be at it already.
    let _ = client.reembed(&name("docs"), &change).await;
}

/// After everything is worked off, every document is whole and one that may be there, and has vectors.
async fn check(dir: &Path, writer: &mut Writer, k: Option<f64>) {
    let server = start(dir, None).await;
    let (client, docs) = (server.client(), name("docs"));
    let begin = Instant::now();
    loop {
        let reembedding = client.get_reembedding(&docs).await;
        let ended = match &reembedding {
            Ok(reembedding) => reembedding.state == ReembeddingState::Done,
            // It was never begun.
            Err(error) => k.is_none() && error.is_not_found(),
        };
        if ended && client.ingestion().await.unwrap().documents == 0 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(120), "{reembedding:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let info = json!(client.get_collection(&docs).await.unwrap());
    if let Some(k) = k {
        assert_eq!(info["config"]["encoders"], encoders(k));
    }
    let listed = client.list_documents(&docs, None, 10_000).await.unwrap().documents;
    let chunks: u64 = listed.iter().map(|document| u64::from(document.chunks)).sum();
    assert_eq!(count(&client, &docs).await, chunks, "a chunk without its document");
    let encoded = from_json(json!({"filter": {"must": [{"has_vector": "words"}]}}));
    assert_eq!(client.count_points(&docs, &encoded).await.unwrap(), chunks);
    let mut found = BTreeMap::new();
    let mut again = Vec::new();
    for entry in listed {
        let stored = client.get_document(&docs, &entry.id).await.unwrap();
        let pieces = stored
            .chunks
            .iter()
            .map(|chunk| chunk.payload.as_ref().unwrap()["text"].as_str().unwrap());
        let whole = format!(" {}\n", pieces.collect::<Vec<_>>().join("\n \n"));
        let version = whole
            .split("in version ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let version: u64 = version.unwrap().parse().unwrap();
        assert_eq!(whole, text(&entry.id, version), "{} is not whole", entry.id);
        again.push(document(&entry.id, &whole));
        found.insert(entry.id, version);
    }
    for n in 0..STILL {
        assert_eq!(found.remove(&format!("still {n}")), Some(n));
    }
    for (id, possible) in &mut writer.possible {
        let version = found.remove(id);
        assert!(
            possible.contains(&version),
            "{id} is {version:?}, and may be {possible:?}"
        );
        *possible = BTreeSet::from([version]);
    }
    assert_eq!(found, BTreeMap::new());
    // What was put together from chunks is what was sent, to the last byte.
    let sent = again.len() as u64;
    let task = client.add_documents(&docs, &documents(again)).await.unwrap();
    assert_eq!(finished(&client, task).await.documents_unchanged, sent);
    drop(server);
    check_store(dir);
}

/// Crashes at a fail point when it is reached for the nth time after a re-embedding was begun.
async fn survives(created: &Path, point: &str, nth: u64) {
    let dir = tempfile::tempdir().unwrap();
    copy(created, dir.path());
    let mut writer = Writer::new(nth);
    let mut server = start(dir.path(), Some(&format!("{point}:{nth}"))).await;
    let client = server.client();
    reembed(&client, 1.5).await;
    let gone = tokio::time::timeout(Duration::from_secs(60), writer.write_until_gone(&client));
    assert!(gone.await.is_ok(), "{point} was never reached");
    server.kill();
    check(dir.path(), &mut writer, Some(1.5)).await;
}

/// Ends the process at random moments while one re-embedding follows the other.
async fn survives_kills(kills: u64, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path()).await;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut writer = Writer::new(seed);
    for round in 0..kills {
        let mut server = start(dir.path(), None).await;
        let client = server.client();
        reembed(&client, 1.3 + round as f64 / 10.0).await;
        let moment = Duration::from_millis(rng.random_range(0..1_500));
        let killed = async {
            tokio::time::sleep(moment).await;
            server.kill();
        };
        tokio::join!(writer.write_until_gone(&client), killed);
        if round % 2 == 1 {
            check(dir.path(), &mut writer, None).await;
        }
    }
    check(dir.path(), &mut writer, None).await;
    assert!(writer.version > kills, "only {} versions were sent", writer.version);
}

#[tokio::test]
async fn a_crash_at_any_fail_point_loses_no_document_and_the_new_vectors_come() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path()).await;
    for (point, nth) in POINTS {
        survives(dir.path(), point, nth).await;
    }
}

#[tokio::test]
async fn six_kills_at_random_moments_lose_no_document() {
    survives_kills(6, 0x0020_f01d).await;
}

/// `make crash`: `TWOFOLD_CRASH_ROUNDS` times as much, with other seeds.
#[tokio::test]
#[ignore = "takes minutes; run by `make crash`"]
async fn many_crashes_while_re_embedding_lose_no_document() {
    let rounds = std::env::var("TWOFOLD_CRASH_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    create(dir.path()).await;
    for round in 0..rounds {
        for (point, nth) in POINTS {
            survives(dir.path(), point, nth).await;
        }
        survives_kills(10, round).await;
        println!("round {} of {rounds}", round + 1);
    }
}
