//! Ingestion into a server that runs in the test and takes any document but those that say `bad`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{IngestOptions, run};
use crate::cli::connection::Connection;

#[derive(Default)]
struct Stored {
    /// What the collection was created with.
    config: Option<Value>,
    documents: BTreeMap<String, Value>,
    /// How many documents each task has.
    tasks: Vec<usize>,
    /// Documents that were accepted since somebody asked.
    sent: usize,
}

#[derive(Clone, Default)]
struct TestServer {
    stored: Arc<Mutex<Stored>>,
}

fn ok(result: Value) -> Response {
    Json(json!({"result": result, "status": "ok", "time": 0.0})).into_response()
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"status": {"error": message}, "time": 0.0}))).into_response()
}

async fn collection(State(server): State<TestServer>) -> Response {
    let stored = server.stored.lock().unwrap();
    let Some(config) = &stored.config else {
        return error(StatusCode::NOT_FOUND, "Not found");
    };
    let params = json!({"vectors": {"size": 384, "distance": "Cosine"}});
    ok(json!({
        "status": "green", "optimizer_status": "ok", "indexed_vectors_count": 0, "points_count": 0, "segments_count": 1,
        "config": {"params": params, "hnsw_config": {}, "optimizer_config": {}, "encoders": config["encoders"]},
        "payload_schema": {},
    }))
}

async fn create(State(server): State<TestServer>, Json(config): Json<Value>) -> Response {
    server.stored.lock().unwrap().config = Some(config);
    ok(json!(true))
}

async fn add(State(server): State<TestServer>, Json(body): Json<Value>) -> Response {
    let documents = body["documents"].as_array().unwrap();
    if documents.iter().any(|document| document["text"] == "bad") {
        return error(StatusCode::UNPROCESSABLE_ENTITY, "this batch holds a bad document");
    }
    let mut stored = server.stored.lock().unwrap();
    for document in documents {
        stored
            .documents
            .insert(document["id"].as_str().unwrap().to_owned(), document.clone());
    }
    stored.tasks.push(documents.len());
    stored.sent += documents.len();
    (StatusCode::ACCEPTED, ok(json!({"task_id": stored.tasks.len() - 1}))).into_response()
}

/// All documents on one page, with all of their metadata.
async fn list(State(server): State<TestServer>) -> Response {
    let stored = server.stored.lock().unwrap();
    let documents = stored.documents.iter();
    let documents =
        documents.map(|(id, document)| json!({"id": id, "task_id": 0, "chunks": 1, "metadata": document["metadata"]}));
    ok(json!({"documents": documents.collect::<Vec<_>>()}))
}

async fn delete(State(server): State<TestServer>, Json(body): Json<Value>) -> Response {
    let mut stored = server.stored.lock().unwrap();
    for id in body["ids"].as_array().unwrap() {
        stored.documents.remove(id.as_str().unwrap());
    }
    ok(json!({"operation_id": 1, "status": "completed"}))
}

async fn task(State(server): State<TestServer>, UrlPath(id): UrlPath<usize>) -> Response {
    let documents = server.stored.lock().unwrap().tasks[id];
    ok(json!({
        "task_id": id, "collection": "notes", "status": "succeeded", "documents": documents, "documents_done": documents,
        "documents_failed": 0, "chunks": documents, "enqueued_at": "2026-01-01T00:00:00Z",
    }))
}

impl TestServer {
    async fn start(&self) -> String {
        let app = Router::new()
            .route("/collections/notes", get(collection).put(create))
            .route("/collections/notes/documents", post(add).get(list))
            .route("/collections/notes/documents/delete", post(delete))
            .route("/tasks/{id}", get(task))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    fn ids(&self) -> Vec<String> {
        self.stored.lock().unwrap().documents.keys().cloned().collect()
    }

    /// How many documents were sent since this was asked last.
    fn sent(&self) -> usize {
        std::mem::take(&mut self.stored.lock().unwrap().sent)
    }

    /// Waits until these are the documents that are stored.
    async fn has(&self, ids: &[&str]) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while self.ids() != ids {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "{:?} instead of {ids:?}", self.ids());
    }
}

fn options(url: String, path: &Path, model: Option<&str>) -> IngestOptions {
    IngestOptions {
        paths: vec![path.to_owned()],
        collection: "notes".parse().unwrap(),
        model: model.map(str::to_owned),
        chunking: None,
        fields: super::records::Fields::default(),
        delete_missing: false,
        watch: false,
        batch_bytes: 1 << 20,
        connection: Connection { url, api_key: None },
    }
}

fn texts(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn failed(code: std::process::ExitCode) -> bool {
    code != std::process::ExitCode::SUCCESS
}

#[tokio::test]
async fn the_collection_is_created_and_every_text_arrives_with_its_source() {
    let (server, dir) = (TestServer::default(), texts(&[("a.md", "one"), ("b.md", "two")]));
    let code = run(options(server.start().await, dir.path(), Some("org/model")))
        .await
        .unwrap();
    assert!(!failed(code));
    let stored = server.stored.lock().unwrap();
    assert_eq!(stored.config, Some(json!({"encoders": {"": {"model": "org/model"}}})));
    let source = dir.path().join("a.md");
    let modified = jiff::Timestamp::try_from(fs::metadata(&source).unwrap().modified().unwrap()).unwrap();
    let metadata =
        json!({"source": source.to_str().unwrap(), "source_modified": modified.to_string(), "source_bytes": 3});
    assert_eq!(
        stored.documents["a.md"],
        json!({"id": "a.md", "text": "one", "metadata": metadata})
    );
    assert_eq!(stored.tasks, [2]);
}

#[tokio::test]
async fn running_it_again_sends_only_what_has_changed() {
    let rows = "id,text\nx,one\ny,two\nx,three\n";
    let (server, dir) = (
        TestServer::default(),
        texts(&[("a.md", "one"), ("b.md", "two"), ("rows.csv", rows)]),
    );
    let url = server.start().await;
    let again = async || {
        assert!(!failed(run(options(url.clone(), dir.path(), None)).await.unwrap()));
        server.sent()
    };
    assert_eq!(again().await, 5);
    assert_eq!(
        again().await,
        1,
        "of two records with one id it is not known which of them is stored"
    );
    fs::write(dir.path().join("rows.csv"), "id,text\nx,one\ny,two\n").unwrap();
    assert_eq!((again().await, again().await), (2, 0));

    let later = SystemTime::now() + Duration::from_secs(9);
    let touched = fs::File::options().write(true).open(dir.path().join("a.md")).unwrap();
    touched.set_modified(later).unwrap();
    assert_eq!((again().await, again().await), (1, 0));

    server
        .stored
        .lock()
        .unwrap()
        .documents
        .retain(|id, _| id != "b.md" && id != "y");
    assert_eq!(
        (again().await, again().await),
        (2, 0),
        "what was deleted there is sent again"
    );
}

#[tokio::test]
async fn documents_whose_files_are_gone_go_when_asked_to() {
    let files = [
        ("a.md", "one"),
        ("b.md", "two"),
        ("rows.csv", "id,text\nx,one\ny,two\n"),
    ];
    let (server, dir) = (TestServer::default(), texts(&files));
    let url = server.start().await;
    run(options(url.clone(), dir.path(), None)).await.unwrap();
    server
        .stored
        .lock()
        .unwrap()
        .documents
        .insert("other".to_owned(), json!({"metadata": {"source": "other"}}));
    fs::remove_file(dir.path().join("b.md")).unwrap();
    fs::write(dir.path().join("rows.csv"), "id,text\ny,two\n").unwrap();

    run(options(url.clone(), dir.path(), None)).await.unwrap();
    assert_eq!(server.ids(), ["a.md", "b.md", "other", "x", "y"]);
    let mut deleting = options(url, dir.path(), None);
    deleting.delete_missing = true;
    run(deleting).await.unwrap();
    assert_eq!(server.ids(), ["a.md", "other", "y"]);
}

#[tokio::test]
async fn files_are_watched() {
    let (server, dir) = (TestServer::default(), texts(&[("a.md", "one")]));
    let mut watching = options(server.start().await, dir.path(), None);
    watching.watch = true;
    let watching = tokio::spawn(run(watching));
    server.has(&["a.md"]).await;

    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::write(dir.path().join("sub/b.md"), "two").unwrap();
    server.has(&["a.md", "sub/b.md"]).await;
    fs::rename(dir.path().join("a.md"), dir.path().join("c.md")).unwrap();
    server.has(&["c.md", "sub/b.md"]).await;
    server.sent();
    fs::write(dir.path().join("c.md"), "three").unwrap();
    let text = || server.stored.lock().unwrap().documents["c.md"]["text"].clone();
    while text() != "three" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.sent(), 1);
    fs::remove_dir_all(dir.path().join("sub")).unwrap();
    server.has(&["c.md"]).await;
    assert!(!watching.is_finished());
    watching.abort();
}

#[tokio::test]
async fn a_damaged_file_is_left_out_and_titles_are_kept() {
    let files = [
        ("a.html", "<title>A page</title><p>Text."),
        ("b.pdf", "%PDF-1.7"),
        ("c.docx", "PK"),
    ];
    let (server, dir) = (TestServer::default(), texts(&files));
    let code = run(options(server.start().await, dir.path(), None)).await.unwrap();
    assert!(failed(code));
    assert_eq!(server.ids(), ["a.html"]);
    let stored = server.stored.lock().unwrap();
    let page = &stored.documents["a.html"];
    assert_eq!(
        (&page["text"], &page["metadata"]["title"]),
        (&json!("Text."), &json!("A page"))
    );
}

#[tokio::test]
async fn one_bad_document_fails_alone() {
    let files = [("a", "x"), ("b", "bad"), ("c", "x"), ("d", "x"), ("e", "bad")];
    let (server, dir) = (TestServer::default(), texts(&files));
    let code = run(options(server.start().await, dir.path(), None)).await.unwrap();
    assert!(failed(code));
    assert_eq!(server.ids(), ["a", "c", "d"]);
}

#[tokio::test]
async fn a_collection_of_another_model_is_left_alone() {
    let (server, dir) = (TestServer::default(), texts(&[("a", "x")]));
    server.stored.lock().unwrap().config = Some(json!({"encoders": {"": {"model": "org/model"}}}));
    let url = server.start().await;
    let error = run(options(url.clone(), dir.path(), Some("org/other")))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("org/model") && error.contains("org/other"), "{error}");
    assert!(server.ids().is_empty());
    run(options(url, dir.path(), None)).await.unwrap();
    assert_eq!(server.ids(), ["a"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let dir = texts(&[("a", "x")]);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = run(options(format!("http://127.0.0.1:{port}"), dir.path(), None))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("cannot reach http://127.0.0.1:{port}")),
        "{error}"
    );
}
