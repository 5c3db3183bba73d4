//! Crashes while documents are put in, replaced, deleted and canceled by several clients at once: afterwards every document is
//! one that may be there, whole, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use twofold_client::Client;
use twofold_tests::{MODEL, Server};
use twofold_types::api::{DocumentsSelector, ScrollPoints};
use twofold_types::{Priority, TaskId};

use crate::support::{BINARY, check_store, document, documents, from_json, name};

/// Clients that write at the same time, each its own documents.
const WRITERS: u64 = 3;

/// Documents of a writer.
const IDS: u64 = 4;

/// Where the process may end.
const POINTS: [&str; 7] = [
    "enqueue::before_write",
    "enqueue::after_sync",
    "ingest::taken_up",
    "ingest::encoded",
    "apply::before_write",
    "apply::before_sync",
    "apply::after_sync",
];

/// Some batches fail, and are tried again soon.
const FAILING: (&str, &str) = ("TWOFOLD_FAIL_AT", "lanes::forward=10%return(0)");

const ARGS: [&str; 6] = [
    "--ingest-first-pause",
    "0.01",
    "--ingest-longest-pause",
    "0.05",
    "--ingest-attempts",
    "1000",
];

/// The number of a version, or that there is no document.
type State = Option<u64>;

/// What one writer knows of its documents.
struct Writer {
    number: u64,
    rng: StdRng,
    version: u64,
    /// The states that a document may be in when everything is worked off.
    possible: BTreeMap<String, BTreeSet<State>>,
    /// Those that it may have been in before.
    before: BTreeMap<String, BTreeSet<State>>,
    tasks: Vec<(TaskId, String, u64)>,
}

impl Writer {
    fn new(number: u64, seed: u64) -> Self {
        let ids = (0..IDS).map(|id| (format!("{number}-{id}"), BTreeSet::from([None])));
        Self {
            number,
            rng: StdRng::seed_from_u64(seed ^ number),
            version: 0,
            possible: ids.collect(),
            before: BTreeMap::new(),
            tasks: Vec::new(),
        }
    }

    /// Something was sent that leads to `state`, and acknowledged or not.
    fn sent(&mut self, id: &str, state: State, acknowledged: bool) {
        let possible = self.possible.get_mut(id).unwrap();
        if acknowledged {
            self.before.entry(id.to_owned()).or_default().append(possible);
        }
        possible.insert(state);
    }

    /// Writes until the server is gone.
    async fn write_until_gone(&mut self, client: &Client) {
        let texts = name("texts");
        loop {
            let id = format!("{}-{}", self.number, self.rng.random_range(0..IDS));
            match self.rng.random_range(0..10) {
                0 => {
                    let selector = DocumentsSelector::Ids(vec![id.clone()]);
                    let deleted = client.delete_documents(&texts, &selector).await;
                    self.sent(&id, None, deleted.is_ok());
                    if deleted.is_err() {
                        return;
                    }
                }
                1 if !self.tasks.is_empty() => {
                    let (task, id, version) = self.tasks.last().unwrap().clone();
                    let canceled = client.cancel_task(task).await;
                    // What was stored stays, and else what was stored before; older versions that waited were superseded.
                    if self.possible[&id].contains(&Some(version)) {
                        let before = self.before.get(&id).cloned().unwrap_or_default();
                        self.possible.get_mut(&id).unwrap().extend(before);
                    }
                    if canceled.is_err() {
                        return;
                    }
                }
                _ => {
                    self.version += 1;
                    let version = self.version;
                    let sent = documents(vec![document(&id, &text(&id, version))]);
                    let priority = [Priority::High, Priority::Normal, Priority::Low][self.rng.random_range(0..3)];
                    let task = client.add_documents_with(&texts, &sent, priority).await;
                    self.sent(&id, Some(version), task.is_ok());
                    match task {
                        Ok(task) => self.tasks.push((task, id, version)),
                        Err(_) => return,
                    }
                }
            }
        }
    }
}

/// As many paragraphs as the version says; each is a chunk.
fn text(id: &str, version: u64) -> String {
    let paragraphs =
        (0..=version % 3).map(|n| format!("Paragraph {n} of {id} in version {version} of it, and no other."));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

async fn start(dir: &Path, crash_at: Option<&str>) -> Server {
    let crash_at = crash_at.map(|point| ("TWOFOLD_CRASH_AT", point));
    let env: Vec<_> = [FAILING].into_iter().chain(crash_at).collect();
    Server::start_in(Path::new(BINARY), dir, &env, &ARGS).await
}

async fn create(dir: &Path) {
    let server = start(dir, None).await;
    let config = json!({"encoders": {"": {"model": MODEL}}, "chunking": {"max_tokens": 30, "overlap": 0}});
    server
        .client()
        .create_collection(&name("texts"), &from_json(config))
        .await
        .unwrap();
}

/// Lets all writers write until the server is gone.
async fn write_until_gone(client: &Client, writers: Vec<Writer>) -> Vec<Writer> {
    let running = writers.into_iter().map(|mut writer| {
        let client = client.clone();
        tokio::spawn(async move {
            writer.write_until_gone(&client).await;
            writer
        })
    });
    let mut back = Vec::new();
    for writer in running.collect::<Vec<_>>() {
        back.push(writer.await.unwrap());
    }
    back
}

/// After everything is worked off, what is there is what may be.
async fn check(dir: &Path, writers: &mut [Writer]) {
    let server = start(dir, None).await;
    let client = server.client();
    let begin = Instant::now();
    while client.ingestion().await.unwrap().documents > 0 {
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "{:?}",
            client.ingestion().await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let texts = name("texts");
    let mut chunks: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    let page = ScrollPoints {
        limit: Some(10_000),
        ..ScrollPoints::default()
    };
    for point in client.scroll_points(&texts, &page).await.unwrap().points {
        let payload = point.payload.unwrap();
        let id = payload["document_id"].as_str().unwrap().to_owned();
        let doubled = chunks.entry(id).or_default().insert(
            payload["chunk"].as_u64().unwrap(),
            payload["text"].as_str().unwrap().to_owned(),
        );
        assert_eq!(doubled, None, "a chunk is there twice");
    }
    let listed = client.list_documents(&texts, None, 10_000).await.unwrap().documents;
    let listed: BTreeMap<String, u32> = listed.into_iter().map(|entry| (entry.id, entry.chunks)).collect();
    assert_eq!(
        listed.keys().collect::<Vec<_>>(),
        chunks.keys().collect::<Vec<_>>(),
        "a chunk without its document"
    );
    assert_eq!(
        client.list_dead_letters(&texts, None, 10).await.unwrap().dead_letters,
        []
    );
    for writer in writers {
        for (id, possible) in &mut writer.possible {
            let found = chunks.get(id).map(|chunks| {
                let text: Vec<&str> = chunks.values().map(String::as_str).collect();
                let text = text.join("\n\n");
                let version = text.split("in version ").nth(1).and_then(|rest| rest.split(' ').next());
                let version: u64 = version.unwrap().parse().unwrap();
                assert_eq!(text, self::text(id, version), "{id} is not whole");
                version
            });
            assert!(possible.contains(&found), "{id} is {found:?}, and may be {possible:?}");
            // From here on this is what there was.
            *possible = BTreeSet::from([found]);
            writer.before.remove(id);
        }
        for (task, ..) in writer.tasks.drain(..) {
            let task = client.get_task(task).await.unwrap();
            let ended = task.documents_done
                + task.documents_superseded
                + task.documents_deleted
                + task.documents_failed
                + task.documents_canceled;
            assert!(task.status.is_finished() && ended == task.documents, "{task:?}");
        }
    }
    drop(server);
    check_store(dir);
}

/// Crashes at a fail point when it is reached for the nth time.
async fn survives(point: &str, nth: u64) {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path()).await;
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(number, nth)).collect();
    let mut server = start(dir.path(), Some(&format!("{point}:{nth}"))).await;
    writers = write_until_gone(&server.client(), writers).await;
    let begin = Instant::now();
    while !server.has_ended() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{point} was never reached");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    check(dir.path(), &mut writers).await;
}

/// Ends the process at random moments, checking after each.
async fn survives_kills(kills: u64, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path()).await;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();
    for _ in 0..kills {
        let mut server = start(dir.path(), None).await;
        let client = server.client();
        let moment = Duration::from_millis(rng.random_range(0..1_500));
        let killed = async {
            tokio::time::sleep(moment).await;
            server.kill();
        };
        (writers, ()) = tokio::join!(write_until_gone(&client, writers), killed);
        check(dir.path(), &mut writers).await;
    }
    let versions: u64 = writers.iter().map(|writer| writer.version).sum();
    assert!(
        versions > kills,
        "only {versions} versions were sent: the test tests nothing"
    );
}

#[tokio::test]
async fn a_crash_at_any_fail_point_leaves_documents_whole() {
    for point in POINTS {
        survives(point, 7).await;
    }
}

#[tokio::test]
async fn five_kills_at_random_moments_leave_documents_whole() {
    survives_kills(5, 0x0020_f01d).await;
}

/// `make crash`: `TWOFOLD_CRASH_ROUNDS` times as much, with other seeds.
#[tokio::test]
#[ignore = "takes minutes; run by `make crash`"]
async fn many_crashes_leave_documents_whole() {
    let rounds = std::env::var("TWOFOLD_CRASH_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        for point in POINTS {
            survives(point, 1 + 5 * round).await;
        }
        survives_kills(10, round).await;
        println!(
            "round {} of {rounds}: {} crashes",
            round + 1,
            (round + 1) * (POINTS.len() as u64 + 10)
        );
    }
}
