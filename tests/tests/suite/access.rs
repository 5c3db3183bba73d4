//! Keys, browsers and metrics.

use std::path::Path;

use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use twofold_tests::Server;

use crate::support::BINARY;

async fn ask(
    url: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, String, reqwest::header::HeaderMap) {
    let mut request = Client::new().request(method, format!("{url}{path}")).json(&json!({}));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    (status, response.text().await.unwrap(), headers)
}

#[tokio::test]
async fn keys_open_what_they_are_for() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--api-key", "full", "--read-only-api-key", "reader"];
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &arguments).await;
    let status = async |method, path, key: Option<&str>| {
        let headers: Vec<_> = key.iter().map(|key| ("api-key", *key)).collect();
        ask(server.url(), method, path, &headers).await.0.as_u16()
    };
    for path in ["/", "/healthz", "/readyz", "/livez"] {
        assert_eq!(status(Method::GET, path, None).await, 200, "{path}");
    }
    assert_eq!(status(Method::GET, "/collections", None).await, 401);
    assert_eq!(status(Method::GET, "/metrics", None).await, 401);
    assert_eq!(status(Method::GET, "/no/such/endpoint", None).await, 401);
    assert_eq!(status(Method::GET, "/collections", Some("reader")).await, 200);
    assert_eq!(status(Method::PUT, "/collections/a", Some("reader")).await, 403);
    assert_eq!(status(Method::DELETE, "/collections/a", Some("reader")).await, 403);
    assert_eq!(
        status(Method::POST, "/collections/a/points/query", Some("reader")).await,
        404
    );
    assert_eq!(
        status(Method::POST, "/collections/a/points/delete", Some("reader")).await,
        403
    );
    assert_eq!(
        status(Method::POST, "/collections/a/points/count", Some("full")).await,
        404
    );
    assert_eq!(status(Method::GET, "/collections", Some("wrong")).await, 401);

    let (_, body, _) = ask(server.url(), Method::GET, "/collections", &[]).await;
    let error: twofold_types::api::ErrorEnvelope = serde_json::from_str(&body).unwrap();
    assert!(error.status.error.contains("API key"), "{body}");
    let bearer = [("authorization", "Bearer full")];
    assert_eq!(ask(server.url(), Method::GET, "/collections", &bearer).await.0, 200);
}

#[test]
fn an_address_of_other_machines_needs_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let refused = std::process::Command::new(BINARY)
        .args(["serve", "--listen", "0.0.0.0:0", "--data-dir"])
        .arg(dir.path().join("data"))
        .env_remove("TWOFOLD_API_KEY")
        .output()
        .unwrap();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        message.contains("TWOFOLD_API_KEY") && message.contains("127.0.0.1"),
        "{message}"
    );
    assert!(!dir.path().join("data").exists(), "nothing was begun");
}

#[tokio::test]
async fn browsers_are_let_in_from_named_origins_only() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--cors-origin", "https://here.example", "--api-key", "full"];
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &arguments).await;
    for (origin, allowed) in [("https://here.example", true), ("https://there.example", false)] {
        // A browser asks beforehand, and without a key.
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "api-key"),
        ];
        let (status, _, headers) = ask(server.url(), Method::OPTIONS, "/collections/a/points/query", &headers).await;
        assert_eq!(status, 200);
        let answered = headers
            .get("access-control-allow-origin")
            .map(|origin| origin.to_str().unwrap());
        assert_eq!(answered == Some(origin), allowed, "{origin}: {answered:?}");
    }
}

#[tokio::test]
async fn metrics_tell_requests_and_collections() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let url = server.url();
    let vectors = json!({"vectors": {"size": 2, "distance": "Dot"}});
    let points = json!({"points": [{"id": 1, "vector": [1.0, 0.0]}, {"id": 2, "vector": [0.0, 1.0]}]});
    for (path, body) in [
        ("/collections/two", vectors),
        ("/collections/two/points?wait=true", points),
    ] {
        let put = Client::new()
            .put(format!("{url}{path}"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(put.status(), 200);
    }
    ask(url, Method::GET, "/collections/none", &[]).await;
    let (status, text, headers) = ask(url, Method::GET, "/metrics", &[]).await;
    assert_eq!(status, 200);
    assert!(
        headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    for line in [
        r#"twofold_collection_points{collection="two"} 2"#,
        r#"twofold_http_request_duration_seconds_count{method="PUT",endpoint="/collections/{collection}/points",status="200"} 1"#,
        r#"twofold_http_request_duration_seconds_count{method="GET",endpoint="/collections/{collection}",status="404"} 1"#,
        "twofold_collections 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
