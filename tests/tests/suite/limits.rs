//! What requests may ask for, and how long.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use twofold_tests::Server;

use crate::support::{BINARY, send_json};

/// A server without models, and how to ask it.
struct Limited {
    server: Server,
    _dir: TempDir,
}

impl Limited {
    async fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let models = dir.path().join("models");
        std::fs::create_dir(&models).unwrap();
        let arguments = [&["--models-dir", models.to_str().unwrap()], arguments].concat();
        let server = Server::start_with(Path::new(BINARY), &dir.path().join("data"), None, &arguments).await;
        Self { server, _dir: dir }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let path = format!("/collections/c{path}");
        send_json(self.server.url(), method, &path, &body.to_string()).await
    }

    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer["result"].clone()
    }

    /// A collection of so many points with small vectors.
    async fn fill(&self, points: usize) {
        self.done("PUT", "", json!({"vectors": {"size": 4, "distance": "Euclid"}}))
            .await;
        let ids: Vec<usize> = (0..points).collect();
        let vectors: Vec<[usize; 4]> = ids.iter().map(|id| [id % 7, id % 11, id % 13, *id]).collect();
        let payloads: Vec<Value> = ids.iter().map(|id| json!({"n": id, "k": id % 3})).collect();
        let batch = json!({"batch": {"ids": ids, "vectors": vectors, "payloads": payloads}});
        self.done("PUT", "/points", batch).await;
    }
}

#[tokio::test]
async fn a_read_ends_at_its_deadline() {
    let server = Limited::start(&["--request-timeout", "0.05"]).await;
    server.fill(10_000).await;
    // Every point is compared with every other.
    let expensive = json!({"sample": 10_000, "limit": 3});
    let started = Instant::now();
    let (status, answer) = server
        .ask("POST", "/points/search/matrix/pairs", expensive.clone())
        .await;
    let ended = started.elapsed();
    assert_eq!(status, 408, "{answer}");
    let message = answer["status"]["error"].as_str().unwrap();
    assert!(
        message.starts_with("Timeout error") && message.contains("0.05 seconds"),
        "{message}"
    );

    let started = Instant::now();
    let path = "/points/search/matrix/pairs?timeout=300";
    server.done("POST", path, expensive).await;
    let whole = started.elapsed();
    assert!(whole > Duration::from_millis(200), "it is expensive: {whole:?}");
    assert!(ended < whole, "{ended:?} of {whole:?}");

    // What takes no time is answered, and writes take what they take.
    server
        .done("POST", "/points/query", json!({"query": [1, 2, 3, 4]}))
        .await;
    let many = json!({"key": "n", "range": {"gte": 5_000}});
    server
        .done("POST", "/points/delete?timeout=1", json!({"filter": {"must": many}}))
        .await;
    let left = server.done("POST", "/points/count?timeout=60", json!({})).await;
    assert_eq!(left["count"], 5_000);
    let (status, answer) = server.ask("POST", "/points/count?timeout=never", json!({})).await;
    assert_eq!(status, 400, "{answer}");
}
