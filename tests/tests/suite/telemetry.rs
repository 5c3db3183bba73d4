//! What an operator's tools ask a server for: metrics of every step.

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
