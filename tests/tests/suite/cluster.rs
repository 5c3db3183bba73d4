//! What clients of a cluster are told by a single node.

use serde_json::{Value, json};

use crate::support::{call, send_json, server};

#[tokio::test]
async fn a_single_node_says_so_and_refuses_to_change_a_cluster() {
    let (server, _client, _dir) = server().await;
    call(
        &server,
        "PUT",
        "/collections/a",
        json!({"vectors": {"size": 2, "distance": "Dot"}}),
    )
    .await;
    let points = json!({"points": [{"id": 1, "vector": [1, 0]}, {"id": 2, "vector": [0, 1]}]});
    call(&server, "PUT", "/collections/a/points?wait=true", points).await;
    let cluster = call(&server, "GET", "/cluster", Value::Null).await;
    assert_eq!(cluster, json!({"status": "disabled"}));
    let info = call(&server, "GET", "/collections/a/cluster", Value::Null).await;
    assert_eq!(
        info["local_shards"],
        json!([{"shard_id": 0, "points_count": 2, "state": "Active"}])
    );
    assert_eq!((&info["shard_count"], &info["remote_shards"]), (&json!(1), &json!([])));
    let keys = call(&server, "GET", "/collections/a/shards", Value::Null).await;
    assert_eq!(keys, json!({"shard_keys": []}));
    assert_eq!(
        call(&server, "GET", "/issues", Value::Null).await,
        json!({"issues": []})
    );

    let telemetry = call(&server, "GET", "/cluster/telemetry", Value::Null).await;
    assert_eq!(
        telemetry["cluster"],
        json!({"enabled": false, "number_of_peers": 1, "peers": {}})
    );
    let of_a = &telemetry["collections"]["a"];
    assert_eq!(
        (&of_a["id"], of_a["shards"].as_array().unwrap().len()),
        (&json!("a"), 1)
    );
    assert_eq!(of_a["shards"][0]["replicas"][0]["num_points"], 2);

    for (method, path, expected) in [
        ("POST", "/cluster/recover", 405),
        ("DELETE", "/cluster/peer/7", 405),
        ("POST", "/collections/a/cluster", 405),
        ("PUT", "/collections/a/shards", 405),
        ("POST", "/collections/a/shards/delete", 405),
        ("GET", "/collections/none/cluster", 404),
        ("GET", "/collections/none/shards", 404),
        ("GET", "/collections/none/optimizations", 404),
    ] {
        let (status, body) = send_json(server.url(), method, path, "{}").await;
        let message = body["status"]["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{path}: {body}"));
        let named = if expected == 405 { "single node" } else { "none" };
        assert!(
            status == expected && message.contains(named),
            "{method} {path}: {status} {body}"
        );
    }
}

#[tokio::test]
async fn what_indexes_have_yet_to_do_is_told_as_of_one_segment() {
    let (server, _client, _dir) = server().await;
    let config = json!({"vectors": {"size": 1, "distance": "Dot"}});
    call(&server, "PUT", "/collections/a", config).await;
    let points = json!({"points": [{"id": 1, "vector": [1]}]});
    call(&server, "PUT", "/collections/a/points", points).await;
    let rest = call(&server, "GET", "/collections/a/optimizations", Value::Null).await;
    let summary = json!({"queued_optimizations": 0, "queued_segments": 0, "queued_points": 0, "idle_segments": 1});
    assert_eq!(rest, json!({"summary": summary, "running": []}));
    let path = "/collections/a/optimizations?with=queued,completed,idle_segments&completed_limit=3";
    let all = call(&server, "GET", path, Value::Null).await;
    assert_eq!((&all["queued"], &all["completed"]), (&json!([]), &json!([])));
    assert_eq!(all["idle_segments"][0]["points_count"], 1);
    let (status, body) = send_json(server.url(), "GET", "/collections/a/optimizations?with=all", "").await;
    assert!(status == 400 && body.to_string().contains("`idle_segments`"), "{body}");
}

#[tokio::test]
async fn quotas_tell_what_is_used_and_are_the_operators() {
    let (server, _client, _dir) = server().await;
    let quotas = call(&server, "GET", "/quotas", Value::Null).await;
    assert_eq!(quotas["config"], json!({"enabled": false}));
    let percent = |name: &str| quotas["usage"][name].as_u64().unwrap();
    assert!(percent("resident_memory_percent") <= 100 && percent("disk_usage_percent") <= 100);
    let (status, body) = send_json(server.url(), "PUT", "/quotas", r#"{"enabled": true}"#).await;
    assert!(status == 405 && body.to_string().contains("--memory-budget"), "{body}");
}
