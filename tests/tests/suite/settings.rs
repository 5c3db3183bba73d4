//! What may be changed of a collection.

use serde_json::{Value, json};
use twofold_tests::Server;

use crate::support::{BINARY, call, send_json, server};

#[tokio::test]
async fn settings_are_changed_together_or_not_at_all_and_stay() {
    let (server, _client, dir) = server().await;
    let created = json!({
        "vectors": {"d": {"size": 1, "distance": "Dot"}, "m": {"size": 1, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
        "sparse_vectors": {"s": {"index": {"on_disk": true}}},
        "hnsw_config": {"m": 32},
        "optimizers_config": {"indexing_threshold": 7},
    });
    call(&server, "PUT", "/collections/a", created).await;
    let info = call(&server, "GET", "/collections/a", Value::Null).await;
    let config = &info["config"];
    assert_eq!(
        config["hnsw_config"],
        json!({"m": 32, "ef_construct": 100, "full_scan_threshold": 10_000})
    );
    assert_eq!(config["optimizer_config"]["indexing_threshold"], 7);
    assert_eq!(config["optimizer_config"]["flush_interval_sec"], 5);

    let int8 = json!({"scalar": {"type": "int8", "always_ram": true}});
    let changes = json!({
        "vectors": {"d": {"on_disk": true, "hnsw_config": {"m": 8}, "quantization_config": "Disabled"}},
        "sparse_vectors": {"s": {"modifier": "idf"}},
        "quantization_config": int8,
        "hnsw_config": {"ef_construct": 50},
        "optimizers_config": {"max_optimization_threads": "auto", "deleted_threshold": 0.5},
        "params": {"replication_factor": 1},
        "metadata": {"owner": "a"},
        "strict_mode_config": {"max_query_limit": 9},
    });
    call(&server, "PATCH", "/collections/a", changes.clone()).await;
    let mut refused = changes;
    refused["vectors"] = json!({"d": {"on_disk": false}, "x": {}});
    refused["metadata"] = json!({"owner": "b"});
    let (status, body) = send_json(server.url(), "PATCH", "/collections/a", &refused.to_string()).await;
    assert!(status == 400 && body.to_string().contains("`x`"), "{body}");
    let wrong = r#"{"hnsw_config": {"edges": 7}}"#;
    let (status, body) = send_json(server.url(), "PATCH", "/collections/a", wrong).await;
    assert!(status == 400 && body.to_string().contains("`ef_construct`"), "{body}");

    let check = |info: &Value, current: &str| {
        let (config, params) = (&info["config"], &info["config"]["params"]);
        assert_eq!(config["hnsw_config"]["m"], 32);
        assert_eq!(config["hnsw_config"]["ef_construct"], 50);
        assert_eq!(config["optimizer_config"]["deleted_threshold"], 0.5);
        assert_eq!(config["optimizer_config"]["indexing_threshold"], 7);
        assert_eq!(
            (&config["metadata"]["owner"], &config["strict_mode_config"]),
            (&json!("a"), &json!({"max_query_limit": 9}))
        );
        assert_eq!(
            params["vectors"]["d"],
            json!({"size": 1, "distance": "Dot", "on_disk": true, "hnsw_config": {"m": 8}})
        );
        assert_eq!(params["vectors"]["m"]["quantization_config"], int8);
        assert_eq!(
            params["sparse_vectors"]["s"],
            json!({"index": {"on_disk": true}, "modifier": "idf"})
        );
        assert_eq!(
            (&info["placement"]["d"]["current"], &info["placement"]["d"]["asked"]),
            (&json!(current), &json!("disk"))
        );
    };
    check(&call(&server, "GET", "/collections/a", Value::Null).await, "memory");
    let points = json!({"points": [{"id": 1, "vector": {"d": [1]}}]});
    call(&server, "PUT", "/collections/a/points", points).await;

    // Vectors move at the next start.
    drop(server);
    let server = Server::start(BINARY.as_ref(), dir.path(), None).await;
    check(&call(&server, "GET", "/collections/a", Value::Null).await, "disk");
    let query = json!({"query": [1], "using": "d"});
    let found = call(&server, "POST", "/collections/a/points/query", query).await;
    assert_eq!(found["points"][0]["id"], 1);

    let bare = json!({"vectors": {"d": {"hnsw_config": {}}}});
    call(&server, "PATCH", "/collections/a", bare).await;
    let info = call(&server, "GET", "/collections/a", Value::Null).await;
    assert_eq!(info["config"]["params"]["vectors"]["d"].get("hnsw_config"), None);
}
