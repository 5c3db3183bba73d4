//! A server that answers what a test tells it to and remembers what it was sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method, path and query.
    pub line: String,
    pub headers: HeaderMap,
    pub body: Value,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<Response>,
    seen: Vec<Seen>,
}

/// The running server; it ends with the test's runtime.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    script: Arc<Mutex<Script>>,
}

impl Server {
    /// A server that gives these answers, one a request, and 404 after the last.
    pub async fn with(answers: impl IntoIterator<Item = Response>) -> Self {
        let script = Arc::new(Mutex::new(Script {
            answers: answers.into_iter().collect(),
            seen: Vec::new(),
        }));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, script }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut script = script.lock().unwrap();
    script.seen.push(Seen {
        line: format!("{method} {uri}"),
        headers,
        body,
    });
    script
        .answers
        .pop_front()
        .unwrap_or_else(|| error(StatusCode::NOT_FOUND, "no answer is left"))
}

/// A successful answer.
pub fn ok(result: Value) -> Response {
    Json(json!({"result": result, "status": "ok", "time": 0.001})).into_response()
}

/// An error in the server's own words.
pub fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"status": {"error": message}, "time": 0.001}))).into_response()
}
