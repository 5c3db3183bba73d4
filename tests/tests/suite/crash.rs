//! A crash loses nothing that was acknowledged, and doubles nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use twofold_client::Client;
use twofold_tests::Server;
use twofold_types::api::{CountPoints, GetPoints, PointsSelector, ScrollPoints, UpsertPoints};
use twofold_types::{CollectionName, PointId, TaskId};

use crate::support::{BINARY, check_store, count, document, documents, encoded_collection, finished, from_json, name};

/// Makes the server keep indexes of a handful of points, let them follow nearly every write and save them often.
const INDEXED: [&str; 8] = [
    "--exact-scan-components",
    "4",
    "--index-threshold",
    "4",
    "--index-lag",
    "2",
    "--checkpoint-changes",
    "3",
];

/// What the server acknowledged before it was gone.
#[derive(Default)]
struct Acknowledged {
    documents: BTreeSet<String>,
    tasks: Vec<TaskId>,
    /// Points that were put in, with the number that was put in last.
    points: BTreeMap<u64, u64>,
    /// Points whose last write was not acknowledged: it may or may not have happened.
    unsure: BTreeSet<u64>,
}

/// Writes documents and points until the server is gone.
async fn write_until_gone(client: &Client, seen: &mut Acknowledged, round: u64) {
    let (texts, plain) = (name("texts"), name("plain"));
    for batch in 0u64.. {
        let ids: Vec<String> = (0..3).map(|n| format!("{round}-{batch}-{n}")).collect();
        let sent = ids
            .iter()
            .map(|id| document(id, &format!("Document {id} is about crash number {round}.")));
        match client.add_documents(&texts, &documents(sent.collect())).await {
            Ok(task) => {
                seen.tasks.push(task);
                seen.documents.extend(ids);
            }
            Err(_) => return,
        }
        // The same few points again and again, and one of them is taken out each time.
        let numbers: Vec<u64> = (0..5).collect();
        let put = numbers
            .iter()
            .map(|id| json!({"id": id, "vector": [batch, id], "payload": {"n": round * 1_000_000 + batch}}));
        let put: UpsertPoints = from_json(json!({"points": put.collect::<Vec<_>>()}));
        seen.unsure.extend(&numbers);
        if client.upsert_points(&plain, &put).await.is_err() {
            return;
        }
        seen.unsure.clear();
        seen.points
            .extend(numbers.iter().map(|&id| (id, round * 1_000_000 + batch)));
        let gone = batch % 5;
        seen.unsure.insert(gone);
        if client
            .delete_points(&plain, &PointsSelector::Points(vec![PointId::Num(gone)]))
            .await
            .is_err()
        {
            return;
        }
        seen.unsure.clear();
        seen.points.remove(&gone);
    }
}

async fn create_collections(client: &Client) {
    client
        .create_collection(&name("texts"), &encoded_collection())
        .await
        .unwrap();
    // Texts have an index in memory, these one on disk.
    let plain = from_json(json!({"vectors": {"size": 2, "distance": "Dot", "on_disk": true}}));
    client.create_collection(&name("plain"), &plain).await.unwrap();
    let index = from_json(json!({"field_name": "n", "field_schema": "integer"}));
    client.create_payload_index(&name("plain"), &index).await.unwrap();
}

/// After everything is worked off: every acknowledged document is there once, every point as it was last.
async fn check(client: &Client, seen: &Acknowledged) {
    for &task in &seen.tasks {
        let task = finished(client, task).await;
        assert_eq!(
            (task.documents_done, task.documents_failed),
            (task.documents, 0),
            "{task:?}"
        );
    }
    // A document is one chunk here; one whose acknowledgement was lost may be there as well.
    let stored = all_document_ids(client, &name("texts")).await;
    let distinct: BTreeSet<&String> = stored.iter().collect();
    assert_eq!(distinct.len(), stored.len(), "a document is stored twice");
    let lost: Vec<_> = seen.documents.iter().filter(|id| !distinct.contains(id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(count(client, &name("texts")).await, stored.len() as u64);

    let get: GetPoints = from_json(json!({"ids": [0, 1, 2, 3, 4]}));
    let points = client.get_points(&name("plain"), &get).await.unwrap();
    let found: BTreeMap<u64, u64> = points
        .iter()
        .map(|point| match point.id {
            PointId::Num(id) => (id, point.payload.as_ref().unwrap()["n"].as_u64().unwrap()),
            PointId::Uuid(id) => panic!("{id} was never put in"),
        })
        .filter(|(id, _)| !seen.unsure.contains(id))
        .collect();
    let expected: BTreeMap<u64, u64> = seen
        .points
        .iter()
        .filter(|(id, _)| !seen.unsure.contains(id))
        .map(|(&id, &n)| (id, n))
        .collect();
    assert_eq!(found, expected);
    // A search finds exactly the points that can be read.
    let query = from_json(json!({"query": [1.0, 1.0], "limit": 100}));
    let nearest: BTreeSet<PointId> = client
        .query(&name("plain"), &query)
        .await
        .unwrap()
        .iter()
        .map(|hit| hit.id)
        .collect();
    assert_eq!(nearest, points.iter().map(|point| point.id).collect());
    // The payload index has exactly the values that stand in the payloads.
    let matching = async |condition: serde_json::Value| {
        let count: CountPoints = from_json(json!({"filter": {"must": [condition]}}));
        client.count_points(&name("plain"), &count).await.unwrap() as usize
    };
    assert_eq!(matching(json!({"key": "n", "range": {}})).await, points.len());
    for point in &points {
        let n = &point.payload.as_ref().unwrap()["n"];
        let same = points.iter().filter(|other| other.payload.as_ref().unwrap()["n"] == *n);
        assert_eq!(matching(json!({"key": "n", "match": {"value": n}})).await, same.count());
    }
}

async fn all_document_ids(client: &Client, collection: &CollectionName) -> Vec<String> {
    let mut ids = Vec::new();
    let mut page = ScrollPoints {
        limit: Some(1000),
        ..ScrollPoints::default()
    };
    loop {
        let result = client.scroll_points(collection, &page).await.unwrap();
        ids.extend(result.points.iter().map(|point| {
            point.payload.as_ref().unwrap()["document_id"]
                .as_str()
                .unwrap()
                .to_owned()
        }));
        match result.next_page_offset {
            Some(next) => page.offset = Some(next),
            None => return ids,
        }
    }
}

/// Crashes at a fail point, then checks.
async fn survives(point: &str) {
    survives_with(point, &[]).await;
}

/// The same with more arguments for the server.
async fn survives_with(point: &str, more: &[&str]) {
    let args = &[INDEXED.as_slice(), more].concat();
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Acknowledged::default();
    let mut server = Server::start_with(Path::new(BINARY), dir.path(), None, args).await;
    create_collections(&server.client()).await;
    server.kill();
    let mut server = Server::start_with(Path::new(BINARY), dir.path(), Some(point), args).await;
    write_until_gone(&server.client(), &mut seen, 1).await;
    for _ in 0..200 {
        if server.has_ended() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(server.has_ended(), "{point} was never reached");
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, args).await;
    check(&server.client(), &seen).await;
    drop(server);
    check_store(dir.path());
}

#[tokio::test]
async fn a_crash_before_a_task_is_written_loses_nothing() {
    survives("enqueue::before_write:4").await;
}

#[tokio::test]
async fn a_crash_after_a_task_is_synced_loses_nothing() {
    survives("enqueue::after_sync:4").await;
}

#[tokio::test]
async fn a_crash_between_encoding_and_commit_loses_nothing() {
    survives("ingest::encoded:2").await;
}

#[tokio::test]
async fn a_crash_before_a_write_loses_nothing() {
    survives("apply::before_write:6").await;
}

#[tokio::test]
async fn a_crash_between_a_write_and_its_sync_loses_nothing() {
    survives("apply::before_sync:6").await;
}

#[tokio::test]
async fn a_crash_after_a_sync_loses_nothing() {
    survives("apply::after_sync:6").await;
}

#[tokio::test]
async fn a_crash_before_an_index_commits_loses_nothing() {
    survives("index::before_commit:3").await;
}

#[tokio::test]
async fn a_crash_after_an_index_commits_loses_nothing() {
    survives("index::after_commit:3").await;
}

#[tokio::test]
async fn a_crash_after_an_index_takes_its_place_loses_nothing() {
    survives("index::after_flip:1").await;
}

#[tokio::test]
async fn a_crash_after_a_checkpoint_loses_nothing() {
    survives("index::after_checkpoint:3").await;
}

/// No vector has room in memory.
const NO_MEMORY: [&str; 2] = ["--memory-budget", "1"];

#[tokio::test]
async fn a_crash_after_it_is_recorded_that_vectors_move_loses_nothing() {
    survives_with("placement::recorded:1", &NO_MEMORY).await;
}

#[tokio::test]
async fn a_crash_while_rows_leave_the_memory_loses_nothing() {
    survives_with("placement::between_blocks:3", &NO_MEMORY).await;
}

#[tokio::test]
async fn a_crash_between_the_steps_of_a_move_to_disk_loses_nothing() {
    survives_with("placement::uncoded:1", &NO_MEMORY).await;
}

#[tokio::test]
async fn a_crash_before_a_column_checkpoint_takes_its_place_loses_nothing() {
    survives("column::before_rename:3").await;
}

#[tokio::test]
async fn a_crash_after_a_column_checkpoint_loses_nothing() {
    survives("column::after_checkpoint:3").await;
}

#[tokio::test]
async fn fifty_kills_at_random_moments_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(0x0020_f01d);
    let mut seen = Acknowledged::default();
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    create_collections(&server.client()).await;
    drop(server);
    for round in 1..=50 {
        let mut server = Server::start_with(Path::new(BINARY), dir.path(), None, &INDEXED).await;
        let client = server.client();
        let moment = Duration::from_millis(rng.random_range(0..700));
        let killed = async {
            tokio::time::sleep(moment).await;
            server.kill();
        };
        tokio::join!(write_until_gone(&client, &mut seen, round), killed);
    }
    assert!(
        seen.documents.len() > 100,
        "only {} documents were acknowledged: the test tests nothing",
        seen.documents.len()
    );
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    check(&server.client(), &seen).await;
    drop(server);
    check_store(dir.path());
}
