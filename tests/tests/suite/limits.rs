//! What requests may ask for, and how long.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use twofold_tests::Server;

use crate::support::{Answer, BINARY, send, send_json};

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
        let arguments = [&["--models-dir", models.to_str().unwrap()][..], arguments].concat();
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

#[tokio::test]
async fn strict_mode_refuses_with_the_words_that_clients_know() {
    let server = Limited::start(&[]).await;
    server.fill(20).await;
    server
        .done("PUT", "/index", json!({"field_name": "n", "field_schema": "integer"}))
        .await;
    let refused = async |method: &str, path: &str, body: Value, words: &str| {
        let (status, answer) = server.ask(method, path, body).await;
        assert_eq!(status, 400, "{method} {path}: {answer}");
        assert_eq!(
            answer["status"]["error"],
            format!("Bad request: {words}"),
            "{method} {path}"
        );
    };
    let limits = json!({
        "enabled": true,
        "max_query_limit": 5,
        "max_timeout": 30,
        "unindexed_filtering_retrieve": false,
        "unindexed_filtering_update": false,
        "search_max_hnsw_ef": 100,
        "search_allow_exact": false,
        "upsert_max_batchsize": 2,
        "search_max_batchsize": 1,
        "filter_max_conditions": 2,
        "condition_max_size": 3,
        "max_payload_index_count": 1,
        "read_rate_limit": 1000,
    });
    // Nothing holds before it is enabled.
    server
        .done("PATCH", "", json!({"strict_mode_config": {"max_query_limit": 1}}))
        .await;
    server
        .done("POST", "/points/query", json!({"query": [1, 2, 3, 4], "limit": 9}))
        .await;
    server.done("PATCH", "", json!({"strict_mode_config": limits})).await;
    server.done("PATCH", "", json!({"metadata": {"a": 1}})).await;
    let info = server.done("GET", "", Value::Null).await;
    assert_eq!(info["config"]["strict_mode_config"], limits);

    let query = json!([1, 2, 3, 4]);
    let limit = "Limit exceeded 6 > 5 for \"limit\". Help: Reduce the \"limit\" parameter to or below 5.";
    refused("POST", "/points/query", json!({"query": query, "limit": 6}), limit).await;
    refused(
        "POST",
        "/points/query",
        json!({"prefetch": {"query": query, "limit": 6}, "query": query, "limit": 1}),
        limit,
    )
    .await;
    refused(
        "POST",
        "/points/query/groups",
        json!({"query": query, "group_by": "n", "limit": 2, "group_size": 3}),
        limit,
    )
    .await;
    refused("POST", "/points/scroll", json!({"limit": 6}), limit).await;
    refused("POST", "/facet", json!({"key": "n", "limit": 6}), limit).await;
    let exact = json!({"query": query, "limit": 1, "params": {"exact": true}});
    refused(
        "POST",
        "/points/query",
        exact,
        "Exact search disabled!. Help: Set exact=false.",
    )
    .await;
    let ef = json!({"vector": query, "limit": 1, "params": {"hnsw_ef": 101}});
    let words = "Limit exceeded 101 > 100 for \"hnsw_ef\". Help: Reduce the \"hnsw_ef\" parameter to or below 100.";
    refused("POST", "/points/search", ef, words).await;
    let words = "Limit exceeded 31 > 30 for \"timeout\". Help: Reduce the \"timeout\" parameter to or below 30.";
    refused("POST", "/points/count?timeout=31", json!({}), words).await;
    let words = "Limit exceeded 2 > 1 for \"search batch size\". Help: Reduce the \"search batch size\" parameter to or below 1.";
    refused(
        "POST",
        "/points/query/batch",
        json!({"searches": [{"limit": 1}, {"limit": 1}]}),
        words,
    )
    .await;

    let by_k = json!({"must": [{"key": "k", "match": {"value": 1}}]});
    let words = "Index required but not found for \"k\" of one of the following types: [integer]. Help: Create an index for this \
                 key or use a different filter.";
    refused("POST", "/points/count", json!({"filter": by_k}), words).await;
    refused(
        "POST",
        "/points/query",
        json!({"query": query, "limit": 1, "filter": by_k}),
        words,
    )
    .await;
    refused("POST", "/points/delete", json!({"filter": by_k}), words).await;
    refused(
        "POST",
        "/points/payload",
        json!({"payload": {"x": 1}, "filter": by_k}),
        words,
    )
    .await;
    let nested = json!({"must": [{"nested": {"key": "list", "filter": {"must": [{"key": "x", "match": {"any": ["a", "b"]}}]}}}]});
    let words = "Index required but not found for \"list[].x\" of one of the following types: [keyword]. Help: Create an index for \
                 this key or use a different filter.";
    refused("POST", "/points/count", json!({"filter": nested}), words).await;
    let one = json!({"key": "n", "match": {"value": 1}});
    let many = json!({"must": [one, {"should": [one]}], "must_not": one});
    let words = "Filter condition limit reached (3 > 2). Help: Reduce the amount of conditions of your filter.";
    refused("POST", "/points/count", json!({"filter": many}), words).await;
    let wide = json!({"must": [{"key": "n", "match": {"any": [1, 2, 3, 4]}}]});
    let words = "Condition size limit reached (4 > 3). Help: Reduce the size of your condition.";
    refused("POST", "/points/count", json!({"filter": wide}), words).await;

    let points = |count: u64| {
        let points: Vec<Value> = (0..count)
            .map(|id| json!({"id": 100 + id, "vector": [1, 1, 1, id]}))
            .collect();
        json!({"points": points})
    };
    let words = "Limit exceeded 3 > 2 for \"upsert limit\". Help: Reduce the \"upsert limit\" parameter to or below 2.";
    refused("PUT", "/points", points(3), words).await;
    let words = "Collection already has the maximum number of payload indices (1). Help: Please delete an existing index before \
                 creating a new one.";
    refused(
        "PUT",
        "/index",
        json!({"field_name": "k", "field_schema": "integer"}),
        words,
    )
    .await;

    // What keeps to the limits is carried out.
    server.done("PUT", "/points", points(2)).await;
    server
        .done("PUT", "/index", json!({"field_name": "n", "field_schema": "float"}))
        .await;
    let within = json!({"query": query, "limit": 5, "filter": {"must": [{"key": "n", "range": {"gte": 1}}]}});
    server.done("POST", "/points/query?timeout=30", within).await;
    server
        .done("PATCH", "", json!({"strict_mode_config": {"max_points_count": 22}}))
        .await;
    refused("PUT", "/points", points(1), "Max points count limit of 22 reached!").await;
    server
        .done(
            "PATCH",
            "",
            json!({"strict_mode_config": {"max_collection_vector_size_bytes": 1_048_576, "max_points_count": 1_000}}),
        )
        .await;
    server.done("PUT", "/points", points(1)).await;
    server
        .done(
            "PATCH",
            "",
            json!({"strict_mode_config": {"max_collection_vector_size_bytes": 64}}),
        )
        .await;
    refused(
        "PUT",
        "/points",
        points(1),
        "Max vector storage size limit of 0.000061035156MB reached!",
    )
    .await;
    server.done("POST", "/points/delete", json!({"points": [101]})).await;
    server
        .done(
            "PATCH",
            "",
            json!({"strict_mode_config": {
                "max_collection_vector_size_bytes": 1_048_576, "search_max_oversampling": 2, "max_collection_payload_size_bytes": 1,
            }}),
        )
        .await;
    let oversampled = |oversampling: f64| json!({"query": query, "params": {"quantization": {"oversampling": oversampling}}, "limit": 1});
    server.done("POST", "/points/query", oversampled(2.0)).await;
    refused(
        "POST",
        "/points/query",
        json!({"prefetch": [oversampled(2.5)], "query": query, "limit": 1}),
        "Limit exceeded 2.5 > 2 for \"oversampling\". Help: Reduce the \"oversampling\" parameter to or below 2.",
    )
    .await;
    let payloads = "Max payload storage size limit of 0.0000009536743MB reached!";
    refused("PUT", "/points", points(1), payloads).await;
    let memory = json!({"max_collection_payload_size_bytes": 1_048_576, "max_resident_memory_percent": 0});
    server.done("PATCH", "", json!({ "strict_mode_config": memory })).await;
    let (status, answer) = server.ask("PUT", "/points", points(1)).await;
    let message = answer["status"]["error"].as_str().unwrap();
    assert!(
        status == 400 && message.contains("Resident memory limit reached"),
        "{message}"
    );
    server.done("POST", "/points/delete", json!({"points": [102]})).await;
    server
        .done("PATCH", "", json!({"strict_mode_config": {"enabled": false}}))
        .await;
    server.done("PUT", "/points", points(3)).await;
}

#[tokio::test]
async fn strict_mode_keeps_multivectors_and_sparse_vectors_short() {
    let (server, _client, _dir) = crate::support::server().await;
    let config = json!({
        "vectors": {"m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
        "sparse_vectors": {"s": {}},
        "strict_mode_config": {
            "enabled": true, "multivector_config": {"m": {"max_vectors": 2}}, "sparse_config": {"s": {"max_length": 1}},
        },
    });
    crate::support::call(&server, "PUT", "/collections/a", config).await;
    let put = async |method: &str, path: &str, vector: Value| {
        let body = json!({"points": [{"id": 1, "vector": vector}]}).to_string();
        let path = format!("/collections/a/points{path}");
        let answer = send(server.url(), method, &path, "application/json", &body).await;
        (answer.status, answer.body["status"]["error"].to_string())
    };
    let short = json!({"m": [[1, 0], [0, 1]], "s": {"indices": [7], "values": [1]}});
    assert_eq!(put("PUT", "", short).await.0, 200);
    for path in ["", "/vectors"] {
        let (status, message) = put("PUT", path, json!({"m": [[1, 0], [0, 1], [1, 1]]})).await;
        assert!(
            status == 400 && message.contains("Limit exceeded 3 > 2") && message.contains("max_vectors of m"),
            "{message}"
        );
        let (status, message) = put("PUT", path, json!({"s": {"indices": [7, 8], "values": [1, 1]}})).await;
        assert!(
            status == 400 && message.contains("Limit exceeded 2 > 1") && message.contains("max_length of s"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn queries_nest_only_so_deep() {
    let server = Limited::start(&[]).await;
    server.fill(3).await;
    let mut query = json!({"query": [1, 2, 3, 4]});
    for _ in 0..16 {
        query = json!({"query": [1, 2, 3, 4], "prefetch": query});
    }
    server.done("POST", "/points/query", query.clone()).await;
    let deeper = json!({"query": [1, 2, 3, 4], "prefetch": [query]});
    let (status, answer) = server.ask("POST", "/points/query", deeper).await;
    let message = answer["status"]["error"].as_str().unwrap();
    assert!(
        status == 400 && message.contains("nesting of prefetches: 17"),
        "{message}"
    );
    let many: Vec<Value> = vec![json!({"query": [1, 2, 3, 4], "limit": 1}); 257];
    let (status, answer) = server
        .ask(
            "POST",
            "/points/query",
            json!({"prefetch": many, "query": {"fusion": "rrf"}}),
        )
        .await;
    assert_eq!(status, 400, "{answer}");
}

#[tokio::test]
async fn reads_and_writes_over_the_rate_of_strict_mode_are_told_when_to_come_back() {
    let (server, _client, _dir) = crate::support::server().await;
    let send = async |method: &str, path: &str, body: Value| {
        let path = format!("/collections/a{path}");
        send(server.url(), method, &path, "application/json", &body.to_string()).await
    };
    let limits = json!({"enabled": true, "read_rate_limit": 3, "write_rate_limit": 4});
    let config = json!({"vectors": {"size": 2, "distance": "Dot"}, "strict_mode_config": limits});
    assert_eq!(send("PUT", "", config).await.status, 200);
    let points = |count: u64| {
        let points = (0..count).map(|id| json!({"id": id, "vector": [1, 0]}));
        json!({"points": points.collect::<Vec<_>>()})
    };
    let limited = |answer: Answer, what: &str| {
        let message = answer.body["status"]["error"].as_str().unwrap().to_owned();
        assert!(
            answer.status == 429 && message.contains(&format!("{what} rate limit exceeded")),
            "{} {message}",
            answer.status
        );
        let seconds = answer.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
        let seconds: u64 = seconds.unwrap_or_else(|| panic!("{}", answer.head)).parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    };
    assert_eq!(send("PUT", "/points?wait=true", points(3)).await.status, 200);
    limited(send("PUT", "/points?wait=true", points(3)).await, "Write");
    let never = send("PUT", "/points?wait=true", points(5)).await;
    assert!(
        never.status == 400 && never.body.to_string().contains("split your request"),
        "{}",
        never.body
    );
    for (path, body) in [
        ("/points/query", json!({"query": [1, 0]})),
        ("/points/scroll", json!({})),
        ("/points", json!({"ids": [1]})),
    ] {
        assert_eq!(send("POST", path, body).await.status, 200, "{path}");
    }
    limited(send("POST", "/points/count", json!({})).await, "Read");
    limited(send("POST", "/points", json!({"ids": [1]})).await, "Read");
    // What an operator looks at is not a read of points.
    assert_eq!(send("GET", "", Value::Null).await.status, 200);
    let off = json!({"strict_mode_config": {"enabled": false}});
    assert_eq!(send("PATCH", "", off).await.status, 200);
    assert_eq!(send("POST", "/points/count", json!({})).await.status, 200);
}
