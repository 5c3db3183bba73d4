//! Collections whose encoder runs elsewhere: a service in this process that speaks OpenAI's protocol.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tempfile::TempDir;
use twofold_tests::Server;
use twofold_types::api::CreateCollection;

use crate::support::{BINARY, call, copy, document, documents, finished, from_json, name, send_json};

/// How the service is.
#[derive(Default)]
struct Mood {
    delay_millis: AtomicU64,
    /// The status that it answers; 0: all is well.
    status: AtomicU64,
    asked: AtomicU64,
    /// Texts that it was sent.
    texts: AtomicU64,
}

impl Mood {
    /// Takes as long as it does, and says whether the request is carried out.
    async fn take_up(&self) -> Result<(), (StatusCode, Json<Value>)> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.delay_millis.load(Ordering::SeqCst))).await;
        match self.status.load(Ordering::SeqCst) {
            0 => Ok(()),
            status => {
                let body = json!({"error": {"message": "not now"}});
                Err((StatusCode::from_u16(status as u16).unwrap(), Json(body)))
            }
        }
    }
}

async fn embeddings(State(mood): State<Arc<Mood>>, Json(request): Json<Value>) -> (StatusCode, Json<Value>) {
    if let Err(refused) = mood.take_up().await {
        return refused;
    }
    let texts = request["input"].as_array().unwrap().iter();
    mood.texts.fetch_add(texts.len() as u64, Ordering::SeqCst);
    let datum =
        |(index, text): (usize, &Value)| json!({"index": index, "embedding": vector_of(text.as_str().unwrap())});
    (
        StatusCode::OK,
        Json(json!({"data": texts.enumerate().map(datum).collect::<Vec<_>>()})),
    )
}

/// Texts that have the query in them are relevant.
async fn rerank(State(mood): State<Arc<Mood>>, Json(request): Json<Value>) -> (StatusCode, Json<Value>) {
    if let Err(refused) = mood.take_up().await {
        return refused;
    }
    let query = request["query"].as_str().unwrap();
    let texts = request["documents"].as_array().unwrap().iter();
    let score = |text: &Value| f32::from(u8::from(text.as_str().unwrap().contains(query)));
    let result = |(index, text): (usize, &Value)| json!({"index": index, "relevance_score": score(text)});
    (
        StatusCode::OK,
        Json(json!({"results": texts.enumerate().map(result).collect::<Vec<_>>()})),
    )
}

/// Texts on cats, on dogs, and on neither.
fn vector_of(text: &str) -> [f32; 3] {
    let about = |word: &str| f32::from(u8::from(text.contains(word)));
    [about("cat"), about("dog"), 0.1]
}

/// A server with the endpoint `fake`, and a small model of its own.
async fn with_endpoint() -> (Server, Arc<Mood>, TempDir) {
    let mood = Arc::new(Mood::default());
    let service = Router::new()
        .route("/embeddings", post(embeddings))
        .route("/rerank", post(rerank))
        .with_state(mood.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });

    let dir = tempfile::tempdir().unwrap();
    let endpoints = dir.path().join("endpoints.json");
    let models = json!({"m": {"dimensions": 3, "max_tokens": 100}});
    let endpoint = json!({"fake": {"protocol": "openai", "url": url, "models": models}});
    std::fs::write(&endpoints, endpoint.to_string()).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/encode/tests/fixtures/families/bert");
    let models_dir = dir.path().join("models");
    copy(&fixture, &models_dir.join("t/bert"));
    let server = start(dir.path(), &[]).await;
    (server, mood, dir)
}

/// A server on a directory that [`with_endpoint`] made.
async fn start(dir: &Path, more: &[&str]) -> Server {
    let (endpoints, models_dir) = (dir.join("endpoints.json"), dir.join("models"));
    let args = [
        "--endpoints",
        endpoints.to_str().unwrap(),
        "--models-dir",
        models_dir.to_str().unwrap(),
    ];
    Server::start_with(Path::new(BINARY), &dir.join("data"), None, &[&args, more].concat()).await
}

fn filled_by_fake() -> CreateCollection {
    from_json(json!({"encoders": {"": {"model": "fake/m"}}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_filled_and_asked_through_an_endpoint() {
    let (server, mood, _dir) = with_endpoint().await;
    let client = server.client();
    let pets = name("pets");
    client.create_collection(&pets, &filled_by_fake()).await.unwrap();
    let added = [("c", "a cat"), ("d", "a dog"), ("n", "a stone")].map(|(id, text)| document(id, text));
    let task = client.add_documents(&pets, &documents(added.into())).await.unwrap();
    finished(&client, task).await;
    let ask = async |text: &str| {
        let query = json!({"query": {"text": text}, "limit": 1, "with_payload": true});
        let found = client.query(&pets, &from_json(query)).await?;
        Ok::<_, twofold_client::Error>(found[0].payload.as_ref().unwrap()["text"].clone())
    };
    assert_eq!(ask("which dog?").await.unwrap(), "a dog");
    assert_eq!(ask("cats").await.unwrap(), "a cat");
    let asked = mood.asked.load(Ordering::SeqCst);
    assert_eq!(ask("cats").await.unwrap(), "a cat");
    assert_eq!(
        mood.asked.load(Ordering::SeqCst),
        asked,
        "a query that is asked again is not encoded again"
    );

    let body = json!({"model": "fake/m", "input": ["a dog"]}).to_string();
    let (status, answer) = send_json(server.url(), "POST", "/v1/embeddings", &body).await;
    assert_eq!(
        (status, &answer["data"][0]["embedding"][1]),
        (200, &json!(1.0)),
        "{answer}"
    );

    mood.status.store(503, Ordering::SeqCst);
    let error = ask("something else").await.unwrap_err();
    assert!(
        error.status() == Some(503) && error.to_string().contains("not now"),
        "{error}"
    );
    mood.status.store(400, Ordering::SeqCst);
    let error = ask("something else").await.unwrap_err();
    assert!(
        error.status() == Some(500) && error.to_string().contains("not now"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_was_encoded_is_not_encoded_again() {
    let (mut server, mood, dir) = with_endpoint().await;
    let sent = || mood.texts.load(Ordering::SeqCst);
    let added = || {
        let texts = [("a", "a cat"), ("b", "a dog"), ("c", "a cat"), ("d", "a cat")];
        documents(texts.map(|(id, text)| document(id, text)).into())
    };
    let fill = async |server: &Server, collection: &str| {
        let client = server.client();
        let collection = name(collection);
        client.create_collection(&collection, &filled_by_fake()).await.unwrap();
        finished(&client, client.add_documents(&collection, &added()).await.unwrap()).await;
        let query = json!({"query": {"text": "dogs"}, "limit": 1, "with_payload": true});
        let found = client.query(&collection, &from_json(query)).await.unwrap();
        assert_eq!(found[0].payload.as_ref().unwrap()["text"], "a dog");
    };
    fill(&server, "first").await;
    assert_eq!(sent(), 3, "two texts and a query");
    fill(&server, "second").await;
    let body = json!({"model": "fake/m", "input": ["a dog", "a dog", "a stone", "a stone"]}).to_string();
    let (status, answer) = send_json(server.url(), "POST", "/v1/embeddings", &body).await;
    let about_dogs: Vec<&Value> = (0..4).map(|n| &answer["data"][n]["embedding"][1]).collect();
    assert_eq!(
        (status, about_dogs),
        (200, [1.0, 1.0, 0.0, 0.0].map(|x| json!(x)).iter().collect())
    );
    assert_eq!(sent(), 4, "and one text that is new");
    let cache = server.client().list_models().await.unwrap().embedding_cache;
    assert_eq!((cache.hits, cache.misses), (4 + 2, 4 + 2));
    assert!(0 < cache.bytes && cache.bytes < cache.capacity_bytes);

    server.terminate();
    let mut server = start(dir.path(), &[]).await;
    fill(&server, "third").await;
    assert_eq!(sent(), 5, "the query");
    server.terminate();
    let server = start(dir.path(), &["--embedding-cache", "0"]).await;
    fill(&server, "fourth").await;
    assert_eq!(sent(), 8);
    let cache = server.client().list_models().await.unwrap().embedding_cache;
    assert_eq!((cache.capacity_bytes, cache.hits, cache.misses), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_endpoints_that_the_operator_names_are_called() {
    let (server, mood, _dir) = with_endpoint().await;
    let other: CreateCollection = from_json(json!({"encoders": {"": {"model": "other/m"}}}));
    let error = server
        .client()
        .create_collection(&name("pets"), &other)
        .await
        .unwrap_err();
    assert!(error.is_rejected() && error.to_string().contains("other/m"), "{error}");
    let pooled: CreateCollection = from_json(json!({"encoders": {"": {"model": "fake/m", "pooling": "mean"}}}));
    let error = server
        .client()
        .create_collection(&name("pets"), &pooled)
        .await
        .unwrap_err();
    assert!(error.is_rejected() && error.to_string().contains("pooling"), "{error}");
    assert_eq!(mood.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_keeps_nobody_from_models_of_this_machine() {
    let (server, mood, _dir) = with_endpoint().await;
    let client = server.client();
    let pets = name("pets");
    client.create_collection(&pets, &filled_by_fake()).await.unwrap();
    mood.delay_millis.store(4_000, Ordering::SeqCst);
    // Equal chunks would be encoded once.
    let long: String = (0..3_000).map(|number| format!("cat {number}. ")).collect();
    let task = client
        .add_documents(&pets, &documents(vec![document("c", &long)]))
        .await
        .unwrap();
    while mood.asked.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let started = Instant::now();
    for input_type in ["document", "query"] {
        let body = json!({"model": "t/bert", "input": ["a"], "input_type": input_type}).to_string();
        let (status, _) = send_json(server.url(), "POST", "/v1/embeddings", &body).await;
        assert_eq!(status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    finished(&client, task).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_ranks_as_a_cross_encoder_of_this_machine_does() {
    let (server, _mood, _dir) = with_endpoint().await;
    let documents = ["a dog", "a cat", "a stone", "cat and dog"];
    let request = json!({"model": "fake/m", "query": "cat", "documents": documents, "top_n": 2});
    let ranked = server.client().rerank(&from_json(request)).await.unwrap();
    let ranks: Vec<(usize, f32)> = ranked
        .results
        .iter()
        .map(|result| (result.index, result.relevance_score))
        .collect();
    assert_eq!(ranks, [(1, 1.0), (3, 1.0)]);
    let body = json!({"model": "fake/m", "query": "cat", "texts": documents, "truncate": false}).to_string();
    let (status, answer) = send_json(server.url(), "POST", "/rerank", &body).await;
    assert_eq!((status, &answer["error_type"]), (400, &json!("validation")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reranker_elsewhere_has_the_time_it_is_given() {
    let (server, mood, _dir) = with_endpoint().await;
    let config = json!({"vectors": {"size": 1, "distance": "Dot"}});
    call(&server, "PUT", "/collections/pets", config).await;
    let texts = ["a dog", "a stone", "a cat"];
    let points: Vec<Value> = (0..)
        .zip(texts)
        .map(|(id, text)| json!({"id": id, "vector": [9 - id], "payload": {"text": text}}))
        .collect();
    call(&server, "PUT", "/collections/pets/points", json!({"points": points})).await;
    let rerank = json!({"model": "fake/m", "query": "cat", "timeout_ms": 700});
    let query = json!({"query": [1], "rerank": rerank});
    let ask = async || {
        let answer = call(&server, "POST", "/collections/pets/points/query", query.clone()).await;
        let points = answer["points"].as_array().unwrap().iter();
        let ids: Vec<u64> = points.map(|point| point["id"].as_u64().unwrap()).collect();
        (ids, answer["rerank"].clone())
    };
    assert_eq!(ask().await.0, [2, 0, 1]);
    let started = Instant::now();
    mood.delay_millis.store(30_000, Ordering::SeqCst);
    let (ids, report) = ask().await;
    assert_eq!((ids, &report["applied"]), (vec![0, 1, 2], &json!(false)));
    assert!(report["note"].is_string(), "{report}");
    mood.delay_millis.store(0, Ordering::SeqCst);
    mood.status.store(503, Ordering::SeqCst);
    let (ids, report) = ask().await;
    assert_eq!((ids, &report["applied"]), (vec![0, 1, 2], &json!(false)));
    assert!(report["note"].as_str().unwrap().contains("not now"), "{report}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // What is wrong with a request is an error, and stays one.
    mood.status.store(400, Ordering::SeqCst);
    let (status, answer) = send_json(
        server.url(),
        "POST",
        "/collections/pets/points/query",
        &query.to_string(),
    )
    .await;
    assert!(status == 500 && answer.to_string().contains("not now"), "{answer}");
}
