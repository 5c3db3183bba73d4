//! Ingestion into a server that runs in the test and takes any document but those that say `bad`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

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
    (StatusCode::ACCEPTED, ok(json!({"task_id": stored.tasks.len() - 1}))).into_response()
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
            .route("/collections/notes/documents", post(add))
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
}

fn options(url: String, path: &Path, model: Option<&str>) -> IngestOptions {
    IngestOptions {
        paths: vec![path.to_owned()],
        collection: "notes".parse().unwrap(),
        model: model.map(str::to_owned),
        chunking: None,
        fields: super::records::Fields::default(),
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
    let expected = json!({"id": "a.md", "text": "one", "metadata": {"source": source.to_str().unwrap()}});
    assert_eq!(stored.documents["a.md"], expected);
    assert_eq!(stored.tasks, [2]);
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
