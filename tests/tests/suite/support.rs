//! What the tests of this binary share.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use twofold_client::Client;
use twofold_storage::{Options, Store};
use twofold_tests::{MODEL, Server};
use twofold_types::api::{AddDocuments, CountPoints, CreateCollection};
use twofold_types::{CollectionName, Document, Task, TaskId};

pub const BINARY: &str = env!("CARGO_BIN_EXE_twofold-under-test");

pub async fn server() -> (Server, Client, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    (server, client, dir)
}

/// A server with small models by the names of their fixtures, such as `cross_encoders/bert`.
pub async fn with_fixtures(models: &[&str], args: &[&str]) -> (Server, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/encode/tests/fixtures");
    for model in models {
        copy(&fixtures.join(model), &dir.path().join("models").join(model));
    }
    let models_dir = dir.path().join("models");
    let args = [&["--models-dir", models_dir.to_str().unwrap()], args].concat();
    let server = Server::start_with(Path::new(BINARY), &dir.path().join("data"), None, &args).await;
    (server, dir)
}

/// Sends a request that has to succeed, and returns its result.
pub async fn call(server: &Server, method: &str, path: &str, body: Value) -> Value {
    let (status, mut answer) = send_json(server.url(), method, path, &body.to_string()).await;
    assert_eq!(status, 200, "{method} {path} {body}: {answer}");
    answer["result"].take()
}

/// A copy of a directory.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// All that the data directory of a server that is gone holds agrees.
pub fn check_store(dir: &Path) {
    let store = Store::open(Options::new(dir)).unwrap();
    assert_eq!(store.check().unwrap(), [""; 0]);
}

pub fn name(name: &str) -> CollectionName {
    name.parse().unwrap()
}

pub fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A collection that MiniLM fills.
pub fn encoded_collection() -> CreateCollection {
    from_json(json!({"encoders": {"": {"model": MODEL}}}))
}

pub fn document(id: &str, text: &str) -> Document {
    Document {
        id: Some(id.to_owned()),
        text: text.to_owned(),
        metadata: None,
    }
}

pub fn documents(documents: Vec<Document>) -> AddDocuments {
    AddDocuments { documents }
}

/// An answer as it came.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

/// Sends a body of JSON as it is and returns the status and the body of the answer.
pub async fn send_json(url: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = send(url, method, path, "application/json", body).await;
    (answer.status, answer.body)
}

/// Sends a body as it is.
pub async fn send(url: &str, method: &str, path: &str, kind: &str, body: &str) -> Answer {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {body}")),
    }
}

pub async fn finished(client: &Client, task: TaskId) -> Task {
    let waited = tokio::time::timeout(Duration::from_secs(120), client.wait_for_task(task, |_| {}));
    waited.await.expect("the task ends within two minutes").unwrap()
}

pub async fn count(client: &Client, collection: &CollectionName) -> u64 {
    client.count_points(collection, &CountPoints::default()).await.unwrap()
}
