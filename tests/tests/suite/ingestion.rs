//! Ingestion that an operator can trust: what fails is tried again or kept, what is too much is refused, and nobody waits for
//! another's failures.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twofold_client::Client;
use twofold_tests::Server;
use twofold_types::api::{AddDocuments, DocumentsSelector};
use twofold_types::{CollectionName, Priority, TaskId, TaskStatus};

use crate::support::{
    BINARY, count, document, documents, encoded_collection, finished, from_json, name, send, send_json, server,
};

/// Texts of more than 30 tokens are what the fail point refuses.
fn long(id: &str) -> twofold_types::Document {
    document(id, &"one two three four five six seven ".repeat(8))
}

const QUICK: [&str; 4] = ["--ingest-first-pause", "0.05", "--ingest-attempts", "3"];

async fn failing(fail_at: &str, dir: &Path) -> (Server, Client) {
    let server = Server::start_failing(Path::new(BINARY), dir, fail_at, &QUICK).await;
    let client = server.client();
    (server, client)
}

async fn create(client: &Client, collection: &CollectionName) {
    client
        .create_collection(collection, &encoded_collection())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_document_that_keeps_failing_becomes_a_dead_letter_and_its_neighbours_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    let (mut server, client) = failing("lanes::forward=return(30)", dir.path()).await;
    create(&client, &docs).await;
    let sent = vec![document("a", "Short."), long("bad"), document("c", "Short too.")];
    let task = client.add_documents(&docs, &documents(sent)).await.unwrap();
    let task = finished(&client, task).await;
    assert_eq!(
        (task.documents_done, task.documents_failed, task.attempts),
        (2, 1, 3),
        "{task:?}"
    );
    assert_eq!(task.status, TaskStatus::Succeeded);
    assert!(task.errors[0].error.contains("fault injection"), "{task:?}");

    let page = client.list_dead_letters(&docs, None, 10).await.unwrap();
    assert_eq!((page.dead_letters.len(), page.next), (1, None));
    let letter = client.get_dead_letter(&docs, "bad").await.unwrap();
    assert_eq!((letter.attempts, letter.task_id), (3, task.task_id));
    assert_eq!(letter.text, long("bad").text);
    assert_eq!(client.collection_ingestion(&docs).await.unwrap().dead_letters, 1);

    // The operator repairs what was wrong, over a restart, and tries again.
    server.kill();
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    let missing = client.retry_dead_letters(&docs, Some(vec!["a".to_owned()])).await;
    assert!(missing.unwrap_err().is_not_found());
    let retried = client.retry_dead_letters(&docs, None).await.unwrap();
    assert_eq!((retried.documents, retried.task_ids.len()), (1, 1));
    assert_eq!(finished(&client, retried.task_ids[0]).await.documents_done, 1);
    assert_eq!(
        client.list_dead_letters(&docs, None, 10).await.unwrap().dead_letters,
        []
    );
    assert_eq!(client.get_document(&docs, "bad").await.unwrap().chunks.len(), 1);
}

#[tokio::test]
async fn an_outage_passes_and_every_document_is_searchable() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    // The first two batches fail for every text, each on its own in the end: 1 + 2 + 2 evaluations.
    let (_server, client) = failing("lanes::forward=5*return(0)->off", dir.path()).await;
    create(&client, &docs).await;
    let sent = vec![
        document("a", "First."),
        document("b", "Second."),
        document("c", "Third."),
    ];
    let task = client.add_documents(&docs, &documents(sent)).await.unwrap();
    let task = finished(&client, task).await;
    assert_eq!((task.documents_done, task.documents_failed), (3, 0), "{task:?}");
    assert!(task.attempts > 0 && task.last_error.is_some(), "{task:?}");
    assert_eq!(count(&client, &docs).await, 3);
}

/// Overwrites the record of a document that waits.
fn damage(dir: &Path, task: TaskId, ordinal: u64) {
    let path = dir.join("rocksdb");
    let options = rocksdb::Options::default();
    let families = rocksdb::DB::list_cf(&options, &path).unwrap();
    let db = rocksdb::DB::open_cf(&options, &path, families).unwrap();
    let key = [task.0.to_be_bytes(), ordinal.to_be_bytes()].concat();
    let bodies = db.cf_handle("task_bodies").unwrap();
    assert!(db.get_cf(bodies, &key).unwrap().is_some());
    db.put_cf(bodies, &key, b"{\"id\": \"half a rec").unwrap();
}

#[tokio::test]
async fn a_record_that_cannot_be_read_becomes_a_dead_letter_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (docs, others) = (name("docs"), name("others"));
    let mut server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    for collection in [&docs, &others] {
        create(&client, collection).await;
        client.pause_ingestion(collection).await.unwrap();
    }
    let send = |ids: [&str; 3]| documents(ids.map(|id| document(id, "Some text.")).to_vec());
    let first = client.add_documents(&docs, &send(["a", "b", "c"])).await.unwrap();
    let second = client.add_documents(&docs, &send(["d", "e", "b"])).await.unwrap();
    let canceled = client.add_documents(&docs, &send(["f", "g", "h"])).await.unwrap();
    let other = client.add_documents(&others, &send(["a", "b", "c"])).await.unwrap();
    server.kill();
    // The first was superseded, the second counts, the third is canceled.
    for task in [first, second, canceled] {
        damage(dir.path(), task, 1);
    }
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    client.cancel_task(canceled).await.unwrap();
    client.resume_ingestion(&docs).await.unwrap();
    client.resume_ingestion(&others).await.unwrap();
    let first = finished(&client, first).await;
    assert_eq!((first.documents_done, first.documents_superseded), (2, 1), "{first:?}");
    let second = finished(&client, second).await;
    assert_eq!((second.documents_done, second.documents_failed), (2, 1), "{second:?}");
    assert_eq!(finished(&client, other).await.documents_done, 3);
    assert_eq!(finished(&client, canceled).await.documents_canceled, 3);
    assert_eq!(count(&client, &docs).await, 4);

    let letter = client.get_dead_letter(&docs, "e").await.unwrap();
    assert!(letter.reason.contains("cannot be read"), "{letter:?}");
    assert_eq!((letter.text.as_str(), letter.attempts), ("{\"id\": \"half a rec", 1));
    assert_eq!(client.retry_dead_letters(&docs, None).await.unwrap().documents, 0);
    let refused = client.retry_dead_letters(&docs, Some(vec!["e".to_owned()])).await;
    let refused = refused.unwrap_err();
    assert!(
        refused.status() == Some(400) && refused.to_string().contains("cannot be read"),
        "{refused}"
    );
    // The document sent again takes its place.
    let again = client
        .add_documents(&docs, &documents(vec![document("e", "Some text.")]))
        .await
        .unwrap();
    assert_eq!(finished(&client, again).await.documents_done, 1);
    assert_eq!(
        client.list_dead_letters(&docs, None, 10).await.unwrap().dead_letters,
        []
    );
}

#[tokio::test]
async fn a_collection_that_fails_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (bad, good) = (name("bad"), name("good"));
    let args = ["--ingest-first-pause", "60"];
    let server = Server::start_failing(Path::new(BINARY), dir.path(), "lanes::forward=return(30)", &args).await;
    let client = server.client();
    create(&client, &bad).await;
    create(&client, &good).await;
    let failing = client
        .add_documents(&bad, &documents(vec![long("x"), long("y")]))
        .await
        .unwrap();
    let more = client
        .add_documents(&bad, &documents(vec![document("z", "Short.")]))
        .await
        .unwrap();
    let task = client
        .add_documents(&good, &documents(vec![document("a", "Short.")]))
        .await
        .unwrap();
    assert_eq!(finished(&client, task).await.documents_done, 1);
    let state = async || client.collection_ingestion(&bad).await.unwrap();
    while state().await.backoff.is_none() && client.get_task(more).await.unwrap().documents_done == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waiting = client.get_task(failing).await.unwrap();
    assert_eq!(waiting.status, TaskStatus::Processing);
    assert!(waiting.next_retry.is_some() && waiting.attempts == 1, "{waiting:?}");
    // It can still be canceled, and is forgotten.
    let canceled = client.cancel_task(failing).await.unwrap();
    assert_eq!(
        (canceled.status, canceled.documents_canceled),
        (TaskStatus::Canceled, 2)
    );
}

#[tokio::test]
async fn what_is_paused_waits_over_a_restart_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    let mut server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    create(&client, &docs).await;
    assert!(client.pause_ingestion(&docs).await.unwrap().paused);
    let add = |id: &str| documents(vec![document(id, "A text.")]);
    let normal = client.add_documents(&docs, &add("normal")).await.unwrap();
    let low = client
        .add_documents_with(&docs, &add("low"), Priority::Low)
        .await
        .unwrap();
    let high = client
        .add_documents_with(&docs, &add("high"), Priority::High)
        .await
        .unwrap();
    server.kill();
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let state = client.collection_ingestion(&docs).await.unwrap();
    assert_eq!((state.paused, state.tasks, state.documents), (true, 3, 3));
    assert_eq!(client.ingestion().await.unwrap().documents, 3);
    for task in [normal, low, high] {
        assert_eq!(client.get_task(task).await.unwrap().status, TaskStatus::Enqueued);
    }
    let canceled = client.cancel_task(low).await.unwrap();
    assert_eq!((canceled.documents_canceled, canceled.priority), (1, Priority::Low));
    client.resume_ingestion(&docs).await.unwrap();
    let (normal, high) = (finished(&client, normal).await, finished(&client, high).await);
    assert_eq!((normal.documents_done, high.documents_done), (1, 1));
    let finished_at =
        |task: &twofold_types::Task| -> twofold_types::Datetime { task.finished_at.as_ref().unwrap().parse().unwrap() };
    assert!(finished_at(&high) <= finished_at(&normal), "{high:?} {normal:?}");
    assert_eq!(count(&client, &docs).await, 2);
}

#[tokio::test]
async fn a_full_queue_refuses_documents_and_still_cancels_and_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    let args = ["--max-queued-documents", "3"];
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &args).await;
    let client = server.client();
    create(&client, &docs).await;
    client.pause_ingestion(&docs).await.unwrap();
    let three = documents((0..3).map(|n| document(&n.to_string(), "A text.")).collect());
    let task = client.add_documents(&docs, &three).await.unwrap();
    let one = json!({"documents": [{"text": "One more."}]}).to_string();
    let refused = send(
        server.url(),
        "POST",
        "/collections/docs/documents",
        "application/json",
        &one,
    )
    .await;
    assert_eq!(refused.status, 429);
    assert!(
        refused.head.to_lowercase().contains("retry-after: "),
        "{}",
        refused.head
    );
    client.delete_document(&docs, "1").await.unwrap();
    assert_eq!(client.cancel_task(task).await.unwrap().documents_canceled, 3);
    client.add_documents(&docs, &three).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_refuses_what_takes_room_and_lets_delete() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    let mut server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    create(&client, &docs).await;
    let task = client
        .add_documents(&docs, &documents(vec![document("a", "A text.")]))
        .await
        .unwrap();
    finished(&client, task).await;
    server.kill();
    let needed = (1_u64 << 60).to_string();
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &["--min-free-disk", &needed]).await;
    let client = server.client();
    let error = client
        .add_documents(&docs, &documents(vec![document("b", "B text.")]))
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(507));
    assert!(error.to_string().contains("--min-free-disk"), "{error}");
    let point = from_json(json!({"points": [{"id": 1, "vector": vec![0.0; 384]}]}));
    assert_eq!(
        client.upsert_points(&docs, &point).await.unwrap_err().status(),
        Some(507)
    );
    client.delete_document(&docs, "a").await.unwrap();
    assert_eq!(count(&client, &docs).await, 0);
}

#[tokio::test]
async fn text_that_is_stored_already_is_not_encoded_again() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    create(&client, &docs).await;
    let version = |text: &str, lang: &str| -> AddDocuments {
        from_json(json!({"documents": [{"id": "a", "text": text, "metadata": {"lang": lang}}]}))
    };
    let put = async |document: &AddDocuments| {
        let task = client.add_documents(&docs, document).await.unwrap();
        let task = finished(&client, task).await;
        assert_eq!(task.documents_done, 1);
        (task.documents_unchanged, task.chunks)
    };
    let langs = async |lang: &str| {
        let filter = from_json(json!({"filter": {"must": [{"key": "metadata.lang", "match": {"value": lang}}]}}));
        client.count_points(&docs, &filter).await.unwrap()
    };
    assert_eq!(put(&version("A text.", "en")).await, (0, 1));
    assert_eq!(put(&version("A text.", "en")).await, (1, 1));
    assert_eq!(put(&version("A text.", "de")).await, (1, 1));
    assert_eq!((langs("en").await, langs("de").await), (0, 1));
    assert_eq!(put(&version("Another text.", "de")).await, (0, 1));
    // A chunk that was taken out by itself comes back.
    let filter = from_json(json!({"filter": {}}));
    client.delete_points(&docs, &filter).await.unwrap();
    assert_eq!(put(&version("Another text.", "de")).await, (0, 1));
    assert_eq!(count(&client, &docs).await, 1);
}

#[tokio::test]
async fn documents_are_listed_by_pages_and_deleted_by_ids_or_filter() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    create(&client, &docs).await;
    let sent: AddDocuments = from_json(json!({"documents": (0..5).map(|n| json!({
        "id": format!("doc/{n}"), "text": format!("Text {n}."), "metadata": {"even": n % 2 == 0},
    })).collect::<Vec<_>>()}));
    finished(&client, client.add_documents(&docs, &sent).await.unwrap()).await;
    let mut listed = Vec::new();
    let mut from = None;
    loop {
        let page = client.list_documents(&docs, from.as_deref(), 2).await.unwrap();
        listed.extend(page.documents.into_iter().map(|document| document.id));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(listed, ["doc/0", "doc/1", "doc/2", "doc/3", "doc/4"]);
    let page = client
        .list_documents_with(&docs, Some("doc/3"), 1, &["even", "odd"])
        .await
        .unwrap();
    assert_eq!(page.documents[0].metadata, Some(from_json(json!({"even": false}))));
    assert_eq!(page.next.as_deref(), Some("doc/4"));
    let even: DocumentsSelector =
        from_json(json!({"filter": {"must": [{"key": "metadata.even", "match": {"value": true}}]}}));
    client.delete_documents(&docs, &even).await.unwrap();
    client
        .delete_documents(&docs, &DocumentsSelector::Ids(vec!["doc/1".to_owned()]))
        .await
        .unwrap();
    let left = client.list_documents(&docs, None, 10).await.unwrap().documents;
    assert_eq!(
        left.iter().map(|document| document.id.as_str()).collect::<Vec<_>>(),
        ["doc/3"]
    );
    assert_eq!(count(&client, &docs).await, 1);
}

#[tokio::test]
async fn tasks_are_listed_by_collection_and_state_and_the_oldest_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--finished-tasks", "2"];
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &args).await;
    let client = server.client();
    let (a, b) = (name("a"), name("b"));
    create(&client, &a).await;
    create(&client, &b).await;
    client.pause_ingestion(&b).await.unwrap();
    let waiting = client
        .add_documents(&b, &documents(vec![document("x", "Waits.")]))
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for n in 0..6 {
        let task = client
            .add_documents(&a, &documents(vec![document("x", &format!("Text {n}."))]))
            .await
            .unwrap();
        finished(&client, task).await;
        tasks.push(task.0);
    }
    let list = async |query: &str| -> Vec<u64> {
        let (status, body) = send_json(server.url(), "GET", &format!("/tasks{query}"), "").await;
        assert_eq!(status, 200, "{body}");
        let tasks = body["result"]["tasks"].as_array().unwrap().clone();
        tasks.iter().map(|task| task["task_id"].as_u64().unwrap()).collect()
    };
    assert_eq!(list("?collection=b").await, [waiting.0]);
    assert_eq!(list("?status=enqueued").await, [waiting.0]);
    let begin = Instant::now();
    while list("?status=succeeded").await.len() > 2 {
        assert!(begin.elapsed() < Duration::from_secs(40), "finished tasks are kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(list("?status=succeeded&limit=1").await, [tasks[5]]);
    assert_eq!(list(&format!("?status=succeeded&from={}", tasks[4])).await, [tasks[4]]);
    assert!(
        client.get_task(waiting).await.is_ok(),
        "what is not finished is not forgotten"
    );
    let (status, body) = send_json(server.url(), "GET", "/tasks?status=done", "").await;
    assert_eq!(status, 400, "{body}");
}

#[tokio::test]
async fn a_stream_of_lines_becomes_tasks_and_a_bad_line_is_named() {
    let (server, client, _dir) = server().await;
    let docs = name("docs");
    create(&client, &docs).await;
    let ndjson = async |body: &str, query: &str| {
        let path = format!("/collections/docs/documents{query}");
        let answer = send(server.url(), "POST", &path, "application/x-ndjson", body).await;
        (answer.status, answer.body)
    };
    let lines = |from: usize, to: usize| -> String {
        let lines = (from..to).map(|n| json!({"id": n.to_string(), "text": format!("Line {n}.")}).to_string() + "\n");
        lines.collect()
    };
    let (status, body) = ndjson(&lines(0, 1_050), "?wait=300").await;
    assert_eq!(status, 200, "{body}");
    let result = &body["result"];
    assert_eq!((&result["documents"], &result["lines"]), (&json!(1_050), &json!(1_050)));
    assert_eq!(result["tasks"].as_array().unwrap().len(), 2);
    assert!(
        result["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|task| task["status"] == "succeeded")
    );
    assert_eq!(count(&client, &docs).await, 1_050);

    for (bad, reason) in [
        ("{\"text\": 7}", "invalid type"),
        ("{\"text\": \" \"}", "its text is empty"),
    ] {
        let (status, body) = ndjson(&format!("{}\n{bad}\n{}", lines(2_000, 2_003), lines(3_000, 3_001)), "").await;
        let error = body["status"]["error"].as_str().unwrap();
        assert!(
            status == 400 && error.contains("line 5") && error.contains(reason),
            "{status} {body}"
        );
        let accepted = &body["status"]["accepted"];
        assert_eq!((&accepted["documents"], &accepted["lines"]), (&json!(3), &json!(5)));
        let task = accepted["task_ids"][0].as_u64().unwrap();
        let task = finished(&client, twofold_types::TaskId(task)).await;
        assert_eq!(task.documents_done, 3);
    }
    assert!(client.get_document(&docs, "3000").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn an_answer_may_wait_for_its_documents() {
    let (server, client, _dir) = server().await;
    let docs = name("docs");
    create(&client, &docs).await;
    let body = json!({"documents": [{"id": "a", "text": "A text."}]}).to_string();
    let (status, answer): (u16, Value) =
        send_json(server.url(), "POST", "/collections/docs/documents?wait=true", &body).await;
    assert_eq!(
        (status, &answer["result"]["task"]["status"]),
        (200, &json!("succeeded")),
        "{answer}"
    );
    client.pause_ingestion(&docs).await.unwrap();
    let (status, answer) = send_json(server.url(), "POST", "/collections/docs/documents?wait=1", &body).await;
    assert_eq!(
        (status, &answer["result"]["task"]["status"]),
        (202, &json!("enqueued")),
        "{answer}"
    );
    let (status, answer) = send_json(server.url(), "POST", "/collections/docs/documents?wait=1000", &body).await;
    assert_eq!(status, 400, "{answer}");
}
