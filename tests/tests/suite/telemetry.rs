//! What an operator's tools ask a server for: metrics of every step, and telemetry.

use serde_json::{Value, json};
use twofold_tests::Server;

use crate::support::{call, with_fixtures};

const RERANKER: &str = "cross_encoders/bert";

/// The value of a series; none where it is not there.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

async fn metrics(server: &Server) -> String {
    let url = format!("{}/metrics", server.url());
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// A collection of words with two documents.
async fn filled(server: &Server) {
    let encoders = json!({"encoders": {"words": {"model": "Qdrant/bm25"}}});
    call(server, "PUT", "/collections/notes", encoders).await;
    let documents = json!({"documents": [
        {"id": "a", "text": "The cat sits on the mat."},
        {"id": "b", "text": "A library keeps its books on shelves."},
    ]});
    let url = format!("{}/collections/notes/documents?wait=true", server.url());
    let added = reqwest::Client::new().post(url).json(&documents).send().await.unwrap();
    assert!(added.status().is_success(), "{}", added.status());
}

#[tokio::test]
async fn every_step_of_queries_and_of_ingestion_is_timed() {
    let (server, _dir) = with_fixtures(&[RERANKER], &[]).await;
    let counts = async |of: &str, stages: &[&str]| {
        let text = metrics(&server).await;
        let count = |stage: &&str| {
            let series = format!(r#"twofold_{of}_stage_duration_seconds_count{{stage="{stage}"}}"#);
            value(&text, &series).unwrap_or_else(|| panic!("{series} is not in\n{text}"))
        };
        stages.iter().map(count).collect::<Vec<f64>>()
    };
    let (queries, ingestion) = (
        ["encode", "filter", "search", "rerank", "fetch"],
        ["chunk", "tokenize", "encode", "commit"],
    );
    assert_eq!(counts("query", &queries).await, [0.0; 5]);
    assert_eq!(counts("ingestion", &ingestion).await, [0.0; 4]);

    filled(&server).await;
    let ingested = counts("ingestion", &ingestion).await;
    assert!(ingested.iter().all(|count| *count > 0.0), "{ingested:?}");
    assert_eq!(counts("query", &queries).await, [0.0; 5]);

    let text = json!({"text": "cat", "model": "Qdrant/bm25"});
    let query = json!({"query": text, "using": "words", "prefetch": {"query": text, "using": "words"}});
    for _ in 0..2 {
        call(&server, "POST", "/collections/notes/points/query", query.clone()).await;
    }
    // The second text was known, and prefetches count with their query.
    assert_eq!(counts("query", &queries).await, [1.0, 2.0, 2.0, 0.0, 2.0]);
    let search = json!({"text": "books", "rerank": {"model": RERANKER}});
    call(&server, "POST", "/collections/notes/search", search).await;
    let groups = json!({"query": text, "using": "words", "group_by": "document_id"});
    call(&server, "POST", "/collections/notes/points/query/groups", groups).await;
    assert_eq!(counts("query", &queries).await, [2.0, 4.0, 4.0, 1.0, 4.0]);
    assert_eq!(counts("ingestion", &ingestion).await, ingested);

    let text = metrics(&server).await;
    for series in [
        "twofold_oldest_task_age_seconds",
        "twofold_rocksdb_block_cache_bytes",
        r#"twofold_query_stage_duration_seconds_bucket{stage="fetch",le="+Inf"}"#,
    ] {
        assert!(value(&text, series).is_some(), "{series} is not in\n{text}");
    }
    let other = value(&text, r#"twofold_collection_other_bytes{collection="notes"}"#);
    assert!(other.is_some_and(|bytes| bytes > 0.0), "{other:?}");
}

#[tokio::test]
async fn a_task_that_waits_grows_old() {
    let (server, _dir) = with_fixtures(&[], &[]).await;
    filled(&server).await;
    const AGE: &str = "twofold_oldest_task_age_seconds";
    assert_eq!(value(&metrics(&server).await, AGE), Some(0.0));
    call(&server, "POST", "/collections/notes/ingestion/pause", Value::Null).await;
    let url = format!("{}/collections/notes/documents", server.url());
    let waits = json!({"documents": [{"id": "c", "text": "It waits."}]});
    reqwest::Client::new().post(url).json(&waits).send().await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while value(&metrics(&server).await, AGE).is_none_or(|age| age < 1.0) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("it is older than a second within twenty");
}

async fn telemetry(server: &Server, parameters: &str) -> Value {
    call(server, "GET", &format!("/telemetry?{parameters}"), Value::Null).await
}

#[tokio::test]
async fn telemetry_tells_as_much_as_is_asked_for() {
    let (server, _dir) = with_fixtures(&[], &[]).await;
    filled(&server).await;
    let vectors = json!({"vectors": {"size": 2, "distance": "Dot"}});
    call(&server, "PUT", "/collections/ready", vectors).await;
    let points = json!({"points": [{"id": 1, "vector": [1, 0]}, {"id": 2, "vector": [0, 1]}, {"id": 3, "vector": {}}]});
    call(&server, "PUT", "/collections/ready/points?wait=true", points).await;

    let least = telemetry(&server, "").await;
    assert_eq!(least["app"]["name"], "twofold");
    assert_eq!(least["collections"], json!({"number_of_collections": 2}));
    assert_eq!(least["cluster"], json!({"enabled": false}));
    let puts = &least["requests"]["rest"]["responses"]["PUT /collections/{collection}"]["200"];
    assert_eq!(puts["count"], 2, "{least}");
    assert!(puts["total_duration_micros"].as_u64().unwrap() > 0 && puts["last_responded"].is_string());

    let more = telemetry(&server, "details_level=1").await;
    assert_eq!(more["id"], least["id"]);
    assert_eq!(more["app"]["features"]["rocksdb"], true);
    assert!(more["app"]["system"]["cores"].as_u64().unwrap() > 0);
    let aggregated = &more["collections"]["collections"][1];
    assert_eq!(
        (&aggregated["vectors"], &aggregated["params"]["vectors"]["size"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(aggregated.get("id"), None);

    let most = telemetry(&server, "details_level=3").await;
    let collection = &most["collections"]["collections"][1];
    let local = &collection["shards"][0]["local"];
    assert_eq!(collection["id"], "ready");
    assert_eq!(
        [
            &local["num_points"],
            &local["num_vectors"],
            &local["num_vectors_by_name"][""]
        ],
        [3, 2, 2]
    );
    assert_eq!(
        (&local["status"], &local["optimizations"]["status"]),
        (&json!("green"), &json!("ok"))
    );
}

#[tokio::test]
async fn anonymous_telemetry_names_nothing() {
    let (server, _dir) = with_fixtures(&[], &[]).await;
    let config = json!({
        "vectors": {"customers": {"size": 2, "distance": "Dot"}},
        "sparse_vectors": {"invoices": {}},
        "metadata": {"owner": "somebody"},
        "encoders": {"invoices": {"model": "Qdrant/bm25"}},
        "chunking": {"template": "{surname}: {text}"},
    });
    call(&server, "PUT", "/collections/patients", config).await;
    let points: Vec<Value> = (0..123)
        .map(|id| json!({"id": id, "vector": {"customers": [id, 1]}}))
        .collect();
    call(
        &server,
        "PUT",
        "/collections/patients/points?wait=true",
        json!({"points": points}),
    )
    .await;
    let words = ["patients", "customers", "invoices", "somebody", "surname", "bm25"];
    let open = telemetry(&server, "details_level=9&anonymize=false").await.to_string();
    assert!(words.iter().all(|word| open.contains(word)), "{open}");
    let hidden = telemetry(&server, "details_level=9&anonymize=true").await;
    let text = hidden.to_string();
    assert!(!words.iter().any(|word| text.contains(word)), "{text}");
    assert_eq!(
        hidden["collections"]["collections"][0]["shards"][0]["local"]["num_points"],
        100
    );
}

#[tokio::test]
async fn telemetry_that_is_asked_for_wrongly_is_refused() {
    let (server, _dir) = with_fixtures(&[], &[]).await;
    for wrong in ["details_level=-1", "details_level=much", "anonymize=perhaps"] {
        let (status, body) = crate::support::send_json(server.url(), "GET", &format!("/telemetry?{wrong}"), "").await;
        let message = body["status"]["error"].as_str().unwrap();
        assert!(
            status == 400 && message.contains(wrong.split('=').next().unwrap()),
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn telemetry_holds_no_secret_and_is_for_those_who_read() {
    let args = ["--api-key", "unspoken-full", "--read-only-api-key", "unspoken-reader"];
    let (server, dir) = with_fixtures(&[], &args).await;
    let ask = async |key: Option<&str>| {
        let http = reqwest::Client::new();
        let request = http.get(format!("{}/telemetry?details_level=9", server.url()));
        let request = key
            .into_iter()
            .fold(request, |request, key| request.header("api-key", key));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(ask(None).await.0, 401);
    let (status, text) = ask(Some("unspoken-reader")).await;
    assert_eq!(status, 200, "{text}");
    let data_dir = dir.path().file_name().unwrap().to_str().unwrap();
    assert!(!text.contains("unspoken") && !text.contains(data_dir), "{text}");
}
