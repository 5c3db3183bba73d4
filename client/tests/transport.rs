//! What the client promises whatever the endpoint: retries, errors, keys, paths.

mod support;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use support::{Server, error, ok};
use twofold_client::types::CollectionName;
use twofold_client::{Client, Error};

fn notes() -> CollectionName {
    "notes".parse().unwrap()
}

fn busy(status: StatusCode, retry_after: &str) -> Response {
    (status, [("retry-after", retry_after.to_owned())], "busy").into_response()
}

fn client(server: &Server) -> Client {
    Client::builder(&server.url).build().unwrap()
}

#[tokio::test]
async fn a_busy_server_is_asked_again_with_the_same_body() {
    let busy = [
        busy(StatusCode::TOO_MANY_REQUESTS, "0"),
        busy(StatusCode::SERVICE_UNAVAILABLE, "0"),
    ];
    let server = Server::with(busy.into_iter().chain([ok(json!({"task_id": 7}))])).await;
    let documents = serde_json::from_value(json!({"documents": [{"id": "a", "text": "x"}]})).unwrap();
    let task = client(&server).add_documents(&notes(), &documents).await.unwrap();
    assert_eq!(task.0, 7);
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!(request.line, "POST /collections/notes/documents");
        assert_eq!(request.body, json!({"documents": [{"id": "a", "text": "x"}]}));
    }
}

#[tokio::test]
async fn retry_after_decides_how_long_to_wait() {
    let server = Server::with([busy(StatusCode::TOO_MANY_REQUESTS, "1"), ok(json!({"exists": true}))]).await;
    let begin = Instant::now();
    assert!(client(&server).collection_exists(&notes()).await.unwrap());
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(1), "asked again after {waited:?}");
    assert!(waited < Duration::from_secs(5), "asked again after {waited:?}");
}

#[tokio::test]
async fn retries_end_with_the_servers_own_error() {
    let server = Server::with((0..9).map(|_| busy(StatusCode::TOO_MANY_REQUESTS, "0"))).await;
    let client = Client::builder(&server.url).max_retries(2).build().unwrap();
    let failure = client.collection_exists(&notes()).await.unwrap_err();
    assert!(
        matches!(&failure, Error::Api { status: 429, message, .. } if message == "busy"),
        "{failure:?}"
    );
    assert!(failure.is_retryable());
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn other_errors_are_not_retried_and_carry_the_servers_words() {
    for (status, message) in [
        (404, "Not found: Collection `notes` doesn't exist!"),
        (409, "exists"),
        (500, "oh"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let server = Server::with([error(status, message), ok(json!(true))]).await;
        let failure = client(&server).delete_collection(&notes()).await.unwrap_err();
        assert_eq!(failure.to_string(), format!("{message} (HTTP {})", status.as_u16()));
        assert_eq!(failure.is_not_found(), status == StatusCode::NOT_FOUND);
        assert_eq!(failure.is_conflict(), status == StatusCode::CONFLICT);
        assert!(!failure.is_retryable());
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn an_error_that_is_not_the_servers_json_is_still_told() {
    let server = Server::with([(StatusCode::BAD_GATEWAY, "<h1>Bad gateway</h1>").into_response()]).await;
    let failure = client(&server).list_tasks().await.unwrap_err();
    assert!(matches!(&failure, Error::Api { status: 502, message, .. } if message == "<h1>Bad gateway</h1>"));
}

#[tokio::test]
async fn an_answer_of_another_shape_names_the_request() {
    let server = Server::with([ok(json!({"existent": 1}))]).await;
    let failure = client(&server).collection_exists(&notes()).await.unwrap_err();
    assert!(matches!(&failure, Error::Decode { .. }), "{failure:?}");
    assert!(
        failure.to_string().contains("GET /collections/notes/exists"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_refused_connection_fails_at_once() {
    // The port was free a moment ago and nobody listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let client = Client::builder(format!("http://127.0.0.1:{port}")).build().unwrap();
    let begin = Instant::now();
    let failure = client.healthz().await.unwrap_err();
    assert!(failure.is_connect(), "{failure:?}");
    assert!(
        begin.elapsed() < Duration::from_millis(150),
        "it was retried for {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_where_that_was_asked_for() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let client = Client::builder(format!("http://127.0.0.1:{port}"))
        .retry_connect(true)
        .build()
        .unwrap();
    let call = tokio::spawn(async move { client.healthz().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let app = axum::Router::new().fallback(|| async { "ok" });
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_slow_server_is_given_up_after_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::builder(url)
        .timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    let failure = client.healthz().await.unwrap_err();
    assert!(
        matches!(&failure, Error::Transport(source) if source.is_timeout()),
        "{failure:?}"
    );
    assert!(failure.is_retryable());
}

#[tokio::test]
async fn the_key_is_sent_and_not_shown() {
    let server = Server::with([ok(json!(true))]).await;
    let client = Client::builder(&server.url).api_key("s3cret").build().unwrap();
    client.delete_collection(&notes()).await.unwrap();
    assert_eq!(server.seen()[0].headers["api-key"], "s3cret");
    assert!(!format!("{client:?}").contains("s3cret"));
}

#[tokio::test]
async fn names_arrive_percent_encoded_below_the_servers_own_path() {
    let server = Server::with([error(StatusCode::NOT_FOUND, "no"), error(StatusCode::NOT_FOUND, "no")]).await;
    let client = Client::builder(format!("{}/search/", server.url)).build().unwrap();
    client
        .get_document(&"Büro 7".parse().unwrap(), "guide/a b?.md")
        .await
        .unwrap_err();
    client.delete_payload_index(&notes(), "meta.a[]").await.unwrap_err();
    let lines: Vec<_> = server.seen().into_iter().map(|request| request.line).collect();
    assert_eq!(
        lines[0],
        "GET /search/collections/B%C3%BCro%207/documents/guide%2Fa%20b%3F.md"
    );
    assert_eq!(
        lines[1],
        "DELETE /search/collections/notes/index/meta.a%5B%5D?wait=true"
    );
}

#[test]
fn urls_that_are_no_servers_are_refused() {
    for url in ["", "127.0.0.1:6333", "ftp://host", "http://host?x=1", "http://"] {
        assert!(
            matches!(Client::builder(url).build(), Err(Error::InvalidUrl { .. })),
            "{url:?}"
        );
    }
}

#[test]
fn a_client_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Client>();
}
