//! The tail of changes: a mirror that follows it has what the collection has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;
use twofold_client::types::api::{ChangesPosition, GetPoints};
use twofold_storage::{Collection, Fetch, Options, Store};
use twofold_tests::Server;
use twofold_types::api::{WithPayload, WithVector};
use twofold_types::{PointId, Record};

use crate::model::{Model, Op, apply, config, op};
use crate::support::{BINARY, call, name, send_json, with_fixtures};

/// A copy of a collection that knows nothing of it but its changes, and what there is under an id.
#[derive(Default)]
struct Mirror {
    position: Option<ChangesPosition>,
    points: BTreeMap<PointId, Record>,
    documents: BTreeSet<String>,
}

impl Mirror {
    /// Takes in `pages` pages of changes, two writes each.
    fn follow(&mut self, collection: &Collection, pages: usize) {
        for _ in 0..pages {
            let since = self.position.map_or(0, |position| position.since);
            let epoch = self.position.map(|position| position.epoch);
            let page = collection.changes(Some(since), epoch, 2).unwrap();
            for change in &page.changes {
                for id in &change.points.deleted {
                    self.points.remove(id);
                }
                for id in &change.points.upserted {
                    self.points.remove(id);
                }
                let there = collection.get(&change.points.upserted, &everything()).unwrap();
                self.points.extend(there.into_iter().map(|record| (record.id, record)));
                self.documents.extend(change.documents.upserted.iter().cloned());
                for id in &change.documents.deleted {
                    self.documents.remove(id);
                }
            }
            self.position = Some(page.position());
            if page.next == page.last {
                return;
            }
        }
    }
}

fn everything() -> Fetch {
    Fetch::new(WithPayload::Bool(true), WithVector::Bool(true)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_mirror_has_what_the_collection_has(ops in prop::collection::vec((op(), 0usize..3), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(Options::new(dir.path())).unwrap();
        store.create_collection(&name("c"), &config()).unwrap();
        let (mut model, mut mirror) = (Model::new(), Mirror::default());
        for (op, pages) in &ops {
            if matches!(op, Op::Reopen) {
                drop(store);
                store = Store::open(Options::new(dir.path())).unwrap();
            } else {
                apply(&store, &mut model, op);
            }
            // Often behind, as a mirror is.
            mirror.follow(&store.collection(&name("c")).unwrap(), *pages);
        }
        let collection = store.collection(&name("c")).unwrap();
        mirror.follow(&collection, usize::MAX);
        let (records, _) = collection.scroll(None, 1_000, None, &everything()).unwrap();
        let mirrored: Vec<_> = mirror.points.into_values().collect();
        prop_assert_eq!(mirrored, records);
        let (documents, _) = collection.documents(None, 1_000, &[]).unwrap();
        let documents: BTreeSet<String> = documents.into_iter().map(|document| document.id).collect();
        prop_assert_eq!(mirror.documents, documents);
    }
}

async fn put(server: &Server, ids: std::ops::Range<u64>) -> u64 {
    let points: Vec<_> = ids
        .map(|id| json!({"id": id, "vector": [id], "payload": {"odd": id % 2 == 1}}))
        .collect();
    let written = call(server, "PUT", "/collections/a/points", json!({ "points": points })).await;
    written["operation_id"].as_u64().unwrap()
}

async fn create(server: &Server) {
    let config = json!({"vectors": {"size": 1, "distance": "Dot"}});
    call(server, "PUT", "/collections/a", config).await;
}

#[tokio::test]
async fn a_client_follows_a_collection_as_it_changes() {
    let (server, _dir) = with_fixtures(&[], &[]).await;
    let client = server.client();
    create(&server).await;
    put(&server, 0..3).await;
    let begin = client.changes(&name("a"), None, 1, Duration::ZERO).await.unwrap();
    assert!(begin.changes.is_empty() && begin.next == begin.last);

    // Nothing comes.
    let started = Instant::now();
    let after = Some(begin.position());
    let page = client.changes(&name("a"), after, 10, Duration::from_secs(1)).await;
    assert!(page.unwrap().changes.is_empty() && started.elapsed() >= Duration::from_secs(1));

    // Something comes while it is waited for.
    let started = Instant::now();
    let (page, written) = tokio::join!(
        async {
            client
                .changes(&name("a"), after, 10, Duration::from_secs(60))
                .await
                .unwrap()
        },
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let filter = json!({"filter": {"must": [{"key": "odd", "match": {"value": false}}]}});
            let written = call(&server, "POST", "/collections/a/points/delete", filter).await;
            written["operation_id"].as_u64().unwrap()
        }
    );
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!((page.next, page.changes.len()), (written, 1));
    assert_eq!(page.changes[0].operation_id, written);
    assert_eq!(page.changes[0].points.deleted, [0.into(), 2.into()]);

    // A wait is over before the request's own timeout is.
    let started = Instant::now();
    let path = format!("/collections/a/changes?since={}&wait=100&timeout=2", page.next);
    let page = call(&server, "GET", &path, json!(null)).await;
    assert_eq!(page["changes"], json!([]));
    assert!(started.elapsed() < Duration::from_secs(20));

    let wrong = send_json(server.url(), "GET", "/collections/a/changes?since=1&limit=0", "").await;
    assert_eq!(wrong.0, 400, "{}", wrong.1);
    let wrong = send_json(server.url(), "GET", "/collections/a/changes?since=1&wait=301", "").await;
    assert_eq!(wrong.0, 400, "{}", wrong.1);
    assert_eq!(
        send_json(server.url(), "GET", "/collections/b/changes", "").await.0,
        404
    );
}

#[tokio::test]
async fn a_mirror_that_was_away_for_too_long_is_told_to_begin_again() {
    let (server, _dir) = with_fixtures(&[], &["--change-writes", "3"]).await;
    let client = server.client();
    create(&server).await;
    let first = client.changes(&name("a"), None, 1, Duration::ZERO).await.unwrap();
    for id in 0..8 {
        put(&server, id..id + 1).await;
    }
    let after = Some(first.position());
    let error = client.changes(&name("a"), after, 10, Duration::ZERO).await.unwrap_err();
    assert!(
        error.is_gone() && error.to_string().contains("smallest `since` is 5"),
        "{error}"
    );

    // It begins again.
    let begin = client.changes(&name("a"), None, 1, Duration::ZERO).await.unwrap();
    put(&server, 20..21).await;
    let after = Some(begin.position());
    let page = client.changes(&name("a"), after, 10, Duration::ZERO).await.unwrap();
    let read = GetPoints {
        ids: page.changes[0].points.upserted.clone(),
        with_payload: None,
        with_vector: None,
    };
    assert_eq!(client.get_points(&name("a"), &read).await.unwrap()[0].id, 20.into());

    // Another collection of the same name.
    client.delete_collection(&name("a")).await.unwrap();
    create(&server).await;
    let error = client.changes(&name("a"), after, 10, Duration::ZERO).await.unwrap_err();
    assert!(error.is_gone() && error.to_string().contains("made anew"), "{error}");
}

#[tokio::test]
async fn who_waits_for_changes_does_not_hold_up_the_end_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let models = dir.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let args = ["--models-dir", models.to_str().unwrap()];
    let mut server = Server::start_with(Path::new(BINARY), &dir.path().join("data"), None, &args).await;
    create(&server).await;
    let client = server.client();
    let waiting = tokio::spawn(async move {
        let begin = client.changes(&name("a"), None, 1, Duration::ZERO).await.unwrap();
        let wait = Duration::from_secs(120);
        client.changes(&name("a"), Some(begin.position()), 1, wait).await
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = Instant::now();
    assert!(
        tokio::task::spawn_blocking(move || server.terminate())
            .await
            .unwrap()
            .success()
    );
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(waiting.await.unwrap().unwrap().changes.is_empty());
}
