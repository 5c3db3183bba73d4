//! Webhooks: every finished task is told to whoever the operator named, signed, and again until it was heard.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use twofold_tests::Server;

use crate::support::{BINARY, call, document, documents, name};

const KEY: &[u8] = b"twenty-four bytes or more";

/// A request as it arrived.
#[derive(Clone)]
struct Heard {
    headers: HeaderMap,
    body: Bytes,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The body, if it was signed with the key, by the rules of Standard Webhooks.
    fn verified(&self) -> Value {
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = [format!("{id}.{timestamp}.").as_bytes(), &self.body].concat();
        let mac = sign(&Key::new(HMAC_SHA256, KEY), &signed);
        let expected = format!("v1,{}", BASE64_STANDARD.encode(mac));
        assert_eq!(self.header("webhook-signature"), expected);
        let sent: u64 = timestamp.parse().unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(sent <= now && now - sent < 300, "{sent} is not {now}");
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What a receiver does with the next requests, and what it was sent.
#[derive(Default)]
struct Script {
    /// A status, and how long it takes; 200 at once where nothing is left.
    answers: VecDeque<(u16, Duration)>,
    heard: Vec<Heard>,
}

type Receiver = Arc<Mutex<Script>>;

async fn receive(State(script): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let (status, delay) = {
        let mut script = script.lock().unwrap();
        script.heard.push(Heard { headers, body });
        script.answers.pop_front().unwrap_or((200, Duration::ZERO))
    };
    tokio::time::sleep(delay).await;
    StatusCode::from_u16(status).unwrap()
}

fn listen(listener: TcpListener, answers: &[(u16, Duration)]) -> Receiver {
    let script = Receiver::default();
    script.lock().unwrap().answers = answers.iter().copied().collect();
    let service = Router::new().route("/hook", post(receive)).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    script
}

/// Waits until so many requests have arrived.
async fn heard(receiver: &Receiver, count: usize) -> Vec<Heard> {
    let started = Instant::now();
    loop {
        let heard = receiver.lock().unwrap().heard.clone();
        if heard.len() >= count {
            return heard;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "only {} requests have come",
            heard.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a server on a directory, with the receiver `ops`, which is tried again soon.
async fn start(dir: &Path, address: std::net::SocketAddr, more: Value) -> Server {
    let mut ops = json!({
        "url": format!("http://{address}/hook"), "secret_env": "OPS_SECRET", "timeout_seconds": 1,
        "first_pause_seconds": 0.1, "longest_pause_seconds": 0.3,
    });
    ops.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let file = dir.join("webhooks.json");
    std::fs::write(&file, json!({ "ops": ops }).to_string()).unwrap();
    let models = dir.join("models");
    std::fs::create_dir_all(&models).unwrap();
    let args = [
        "--models-dir",
        models.to_str().unwrap(),
        "--webhooks",
        file.to_str().unwrap(),
    ];
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(KEY));
    Server::start_in(Path::new(BINARY), &dir.join("data"), &[("OPS_SECRET", &secret)], &args).await
}

async fn with_receiver(answers: &[(u16, Duration)], more: Value) -> (Server, Receiver, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = listen(listener, answers);
    (start(dir.path(), address, more).await, receiver, dir)
}

/// Hands a document over, and answers the task.
async fn task(server: &Server, id: &str) -> u64 {
    let client = server.client();
    if !client.collection_exists(&name("c")).await.unwrap() {
        // BM25 is built in.
        let config = json!({"encoders": {"words": {"model": "Qdrant/bm25"}}});
        call(server, "PUT", "/collections/c", config).await;
    }
    let added = client
        .add_documents(&name("c"), &documents(vec![document(id, "some words")]))
        .await;
    added.unwrap().0
}

/// Waits until a metric of the receiver has a value.
async fn metric(server: &Server, metric: &str, value: u64) {
    let started = Instant::now();
    let line = format!("twofold_webhook_{metric}{{webhook=\"ops\"}} {value}");
    loop {
        let text = reqwest::get(format!("{}/metrics", server.url()))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        if text.lines().any(|found| found == line) {
            return;
        }
        let all: Vec<_> = text.lines().filter(|found| found.contains("webhook")).collect();
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "there is no `{line}` in {all:#?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_finished_task_is_told_signed() {
    let (server, receiver, _dir) = with_receiver(&[], json!({})).await;
    let tasks = [task(&server, "a").await, task(&server, "b").await];
    let heard = heard(&receiver, 2).await;
    let mut told = Vec::new();
    for message in &heard {
        let body = message.verified();
        assert_eq!(
            (&body["type"], &body["data"]["status"]),
            (&"task.finished".into(), &"succeeded".into())
        );
        assert_eq!(
            (&body["data"]["collection"], &body["data"]["documents_done"]),
            (&"c".into(), &1.into())
        );
        assert_eq!(message.header("content-type"), "application/json");
        told.push(body["data"]["task_id"].as_u64().unwrap());
    }
    told.sort_unstable();
    assert_eq!(told, tasks);
    assert_ne!(heard[0].header("webhook-id"), heard[1].header("webhook-id"));
    metric(&server, "deliveries_total", 2).await;
    metric(&server, "messages_waiting", 0).await;
}

#[tokio::test]
async fn a_receiver_that_fails_or_is_slow_is_told_again_under_the_same_id() {
    let slow = Duration::from_secs(3);
    let (server, receiver, _dir) =
        with_receiver(&[(500, Duration::ZERO), (200, slow), (302, Duration::ZERO)], json!({})).await;
    task(&server, "a").await;
    let heard = heard(&receiver, 4).await;
    for message in &heard {
        assert_eq!(message.verified(), heard[0].verified());
        assert_eq!(message.header("webhook-id"), heard[0].header("webhook-id"));
    }
    metric(&server, "failed_attempts_total", 3).await;
    metric(&server, "deliveries_total", 1).await;
    metric(&server, "messages_waiting", 0).await;
}

#[tokio::test]
async fn what_was_not_heard_before_a_crash_is_told_after_it() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens there for now; an address on which no other test takes ports.
    let address = TcpListener::bind("127.77.0.1:0").await.unwrap().local_addr().unwrap();
    let mut server = start(dir.path(), address, json!({})).await;
    let tasks = [task(&server, "a").await, task(&server, "b").await];
    metric(&server, "messages_waiting", 2).await;
    server.kill();
    let receiver = listen(TcpListener::bind(address).await.unwrap(), &[]);
    let server = start(dir.path(), address, json!({})).await;
    let heard = heard(&receiver, 2).await;
    let told = heard
        .iter()
        .map(|message| message.verified()["data"]["task_id"].as_u64().unwrap());
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    assert_eq!(told, tasks);
    metric(&server, "messages_waiting", 0).await;
}

#[tokio::test]
async fn what_nobody_hears_is_given_up() {
    let never = [(503, Duration::ZERO); 100];
    let (server, receiver, _dir) = with_receiver(&never, json!({"give_up_seconds": 1})).await;
    task(&server, "a").await;
    metric(&server, "given_up_total", 1).await;
    metric(&server, "messages_waiting", 0).await;
    assert!(receiver.lock().unwrap().heard.len() > 1);
}
