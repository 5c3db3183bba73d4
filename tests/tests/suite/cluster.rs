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

    for (method, path, expected) in [
        ("POST", "/cluster/recover", 405),
        ("DELETE", "/cluster/peer/7", 405),
        ("POST", "/collections/a/cluster", 405),
        ("PUT", "/collections/a/shards", 405),
        ("POST", "/collections/a/shards/delete", 405),
        ("GET", "/collections/none/cluster", 404),
        ("GET", "/collections/none/shards", 404),
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
