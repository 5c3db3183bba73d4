//! Snapshots as a client sees them.

use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use twofold_tests::Server;

use crate::support::{BINARY, call, count, from_json, name, send_json, server};

async fn answer(response: reqwest::Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_collection_moves_through_a_snapshot() {
    let (server, client, _dir) = server().await;
    let (url, http) = (server.url(), Client::new());
    let put = async |path: &str, body: Value| {
        answer(http.put(format!("{url}{path}")).json(&body).send().await.unwrap()).await
    };
    put("/collections/a", json!({"vectors": {"size": 2, "distance": "Dot"}})).await;
    let points: Vec<Value> = (0..50)
        .map(|id| json!({"id": id, "vector": [id, 1], "payload": {"id": id}}))
        .collect();
    put("/collections/a/points?wait=true", json!({ "points": points })).await;

    let (status, made) = answer(
        http.post(format!("{url}/collections/a/snapshots"))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 200, "{made}");
    let snapshot = made["result"]["name"].as_str().unwrap();
    let (_, listed) = answer(http.get(format!("{url}/collections/a/snapshots")).send().await.unwrap()).await;
    assert_eq!(listed["result"], json!([made["result"]]));

    let there = format!("{url}/collections/a/snapshots/{snapshot}");
    let whole = http.get(&there).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(whole.len() as u64, made["result"]["size"].as_u64().unwrap());
    let part = http.get(&there).header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!(
        (part.status().as_u16(), part.bytes().await.unwrap().as_ref()),
        (206, &whole[10..20])
    );

    let upload = async |collection: &str, checksum: &str, bytes: Vec<u8>| {
        let form = Form::new().part("snapshot", Part::bytes(bytes).file_name("x.snapshot"));
        let path = format!("{url}/collections/{collection}/snapshots/upload?priority=snapshot&checksum={checksum}");
        answer(http.post(path).multipart(form).send().await.unwrap()).await
    };
    let checksum = made["result"]["checksum"].as_str().unwrap();
    assert_eq!(upload("b", checksum, whole.to_vec()).await.0, 200);
    assert_eq!(count(&client, &name("b")).await, 50);
    let (status, body) = upload("c", "00ff", whole.to_vec()).await;
    assert!(
        status == 400 && body["status"]["error"].as_str().unwrap().contains("SHA-256"),
        "{body}"
    );
    assert_eq!(put("/collections/c/points", json!({"points": []})).await.0, 404);

    put(
        "/collections/a/points?wait=true",
        json!({"points": [{"id": 99, "vector": [0, 0]}]}),
    )
    .await;
    let (status, body) = put("/collections/a/snapshots/recover", json!({ "location": snapshot })).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(count(&client, &name("a")).await, 50);

    assert_eq!(http.delete(&there).send().await.unwrap().status(), 200);
    assert_eq!(http.get(&there).send().await.unwrap().status(), 404);
    let missing = http
        .get(format!("{url}/collections/a/snapshots/..%2F..%2Frocksdb%2FCURRENT"))
        .send()
        .await
        .unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn an_upload_that_is_no_form_is_told_what_is_accepted() {
    let (server, _client, _dir) = server().await;
    let path = format!("{}/collections/a/snapshots/upload", server.url());
    let http = Client::new();
    for content_type in ["application/octet-stream", "multipart/form-data"] {
        let request = http.post(&path).header("content-type", content_type).body("abc");
        let (status, body) = answer(request.send().await.unwrap()).await;
        let message = body["status"]["error"].as_str().unwrap();
        assert!(
            status == 400 && message.contains("multipart/form-data; boundary="),
            "{status} {body}"
        );
    }
    let form = Form::new().part("snapshot", Part::bytes(vec![1]));
    let twice = format!("{path}?checksum=00&checksum=ff");
    let (status, body) = answer(http.post(twice).multipart(form).send().await.unwrap()).await;
    let message = body["status"]["error"].as_str().unwrap();
    assert!(status == 400 && message.contains("checksum"), "{status} {body}");
}

#[tokio::test]
async fn everything_moves_through_a_storage_snapshot() {
    let (server, client, dir) = server().await;
    let http = Client::new();
    for collection in ["a", "b"] {
        let body = json!({"vectors": {"size": 2, "distance": "Dot"}});
        call(&server, "PUT", &format!("/collections/{collection}"), body).await;
        let points: Vec<Value> = (0..50).map(|id| json!({"id": id, "vector": [id, 1]})).collect();
        let path = format!("/collections/{collection}/points?wait=true");
        call(&server, "PUT", &path, json!({ "points": points })).await;
    }
    let alias = json!({"actions": [{"create_alias": {"collection_name": "b", "alias_name": "other"}}]});
    call(&server, "POST", "/collections/aliases", alias).await;
    let made = call(&server, "POST", "/snapshots", Value::Null).await;
    assert_eq!(call(&server, "GET", "/snapshots", Value::Null).await, json!([made]));
    call(&server, "DELETE", "/collections/b", Value::Null).await;

    let there = format!("{}/snapshots/{}", server.url(), made["name"].as_str().unwrap());
    let whole = http.get(&there).send().await.unwrap();
    let disposition = whole.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(disposition.contains(made["name"].as_str().unwrap()), "{disposition}");
    let whole = whole.bytes().await.unwrap();
    assert_eq!(whole.len() as u64, made["size"].as_u64().unwrap());
    let part = http.get(&there).header("range", "bytes=10-19").send().await.unwrap();
    assert_eq!(
        (part.status().as_u16(), part.bytes().await.unwrap().as_ref()),
        (206, &whole[10..20])
    );
    assert_eq!(http.delete(&there).send().await.unwrap().status(), 200);
    for missing in [there, format!("{}/snapshots/..%2Frocksdb%2FCURRENT", server.url())] {
        let (status, body) = answer(http.get(&missing).send().await.unwrap()).await;
        assert!(
            status == 404 && body["status"]["error"].as_str().unwrap().contains("doesn't exist"),
            "{body}"
        );
    }
    assert_eq!(count(&client, &name("a")).await, 50);
    drop(server);

    let file = dir.path().join("downloaded");
    std::fs::write(&file, &whole).unwrap();
    let restore = ["--storage-snapshot", file.to_str().unwrap()];
    let empty = tempfile::tempdir().unwrap();
    let server = Server::start_with(Path::new(BINARY), empty.path(), None, &restore).await;
    for collection in ["a", "b", "other"] {
        assert_eq!(count(&server.client(), &name(collection)).await, 50);
    }
    drop(server);
    let refused = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .args(restore)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && message.contains("--force-snapshot"),
        "{message}"
    );
    let forced = [restore.as_slice(), &["--force-snapshot"]].concat();
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &forced).await;
    assert_eq!(count(&server.client(), &name("b")).await, 50);
}

#[tokio::test]
async fn a_crash_while_a_storage_snapshot_is_made_or_restored_leaves_no_half() {
    let (server, _client, dir) = server().await;
    let body = json!({"vectors": {"size": 2, "distance": "Dot"}});
    call(&server, "PUT", "/collections/a", body).await;
    let made = call(&server, "POST", "/snapshots", Value::Null).await;
    drop(server);
    let binary = Path::new(BINARY);
    let server = Server::start(binary, dir.path(), Some("snapshot::before_rename:1")).await;
    let post = Client::new().post(format!("{}/snapshots", server.url()));
    assert!(post.send().await.is_err(), "the server ends at its fail point");
    drop(server);
    let server = Server::start(binary, dir.path(), None).await;
    assert_eq!(call(&server, "GET", "/snapshots", Value::Null).await, json!([made]));
    let body = json!({"vectors": {"size": 2, "distance": "Dot"}});
    call(&server, "PUT", "/collections/late", body).await;
    drop(server);

    let file = dir
        .path()
        .join("storage-snapshots")
        .join(made["name"].as_str().unwrap());
    let restore = ["--storage-snapshot", file.to_str().unwrap(), "--force-snapshot"];
    for (point, is_there) in [
        ("restore::before_exchange", 200),
        ("restore::taken_away", 200),
        ("restore::in_place", 404),
    ] {
        drop(Server::start_with(binary, dir.path(), Some(&format!("{point}:1")), &restore).await);
        let server = Server::start(binary, dir.path(), None).await;
        for (collection, expected) in [("a", 200), ("late", is_there)] {
            let path = format!("{}/collections/{collection}", server.url());
            let status = Client::new().get(path).send().await.unwrap().status();
            assert_eq!(status.as_u16(), expected, "{collection} after {point}");
        }
    }
}

#[tokio::test]
async fn snapshots_move_through_the_client() {
    let (server, client, _dir) = server().await;
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"vectors": {"size": 1, "distance": "Dot"}});
    call(&server, "PUT", "/collections/a", config).await;
    let points = json!({"points": [{"id": 1, "vector": [1]}, {"id": 2, "vector": [2]}]});
    call(&server, "PUT", "/collections/a/points", points).await;
    let (a, b) = (name("a"), name("b"));

    let made = client.create_snapshot(&a).await.unwrap();
    assert_eq!(client.list_snapshots(&a).await.unwrap(), std::slice::from_ref(&made));
    let file = dir.path().join("a.snapshot");
    assert_eq!(
        client.download_snapshot(&a, &made.name, &file).await.unwrap(),
        made.size
    );
    client.upload_snapshot(&b, &file).await.unwrap();
    assert_eq!(count(&client, &b).await, 2);
    call(&server, "POST", "/collections/a/points/delete", json!({"points": [1]})).await;
    let recover = from_json(json!({"location": made.name, "checksum": made.checksum}));
    client.recover_snapshot(&a, &recover).await.unwrap();
    assert_eq!(count(&client, &a).await, 2);
    client.delete_snapshot(&a, &made.name).await.unwrap();
    assert!(client.delete_snapshot(&a, &made.name).await.unwrap_err().is_not_found());
    let broken = dir.path().join("broken");
    std::fs::write(&broken, b"no snapshot").unwrap();
    assert!(client.upload_snapshot(&b, &broken).await.unwrap_err().is_rejected());
    let missing = client.upload_snapshot(&b, &dir.path().join("none")).await.unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");

    let all = client.create_storage_snapshot().await.unwrap();
    assert_eq!(
        client.list_storage_snapshots().await.unwrap(),
        std::slice::from_ref(&all)
    );
    assert_eq!(
        client.download_storage_snapshot(&all.name, &file).await.unwrap(),
        all.size
    );
    client.delete_storage_snapshot(&all.name).await.unwrap();
    assert!(client.list_storage_snapshots().await.unwrap().is_empty());
    let telemetry = client.telemetry(2).await.unwrap();
    assert_eq!(telemetry["collections"]["number_of_collections"], 2);
}

#[tokio::test]
async fn the_snapshots_of_a_shard_are_those_of_its_collection() {
    let (server, client, _dir) = server().await;
    let http = Client::new();
    let config = json!({"vectors": {"size": 1, "distance": "Dot"}});
    call(&server, "PUT", "/collections/a", config).await;
    let points = json!({"points": [{"id": 1, "vector": [1]}]});
    call(&server, "PUT", "/collections/a/points", points).await;
    let shard = "/collections/a/shards/0/snapshots";
    let made = call(&server, "POST", shard, Value::Null).await;
    assert_eq!(call(&server, "GET", shard, Value::Null).await, json!([made]));
    let there = format!("{shard}/{}", made["name"].as_str().unwrap());
    let bytes = http
        .get(format!("{}{there}", server.url()))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!(bytes.len() as u64, made["size"].as_u64().unwrap());
    let streamed = http.get(format!("{}/collections/a/shards/0/snapshot", server.url()));
    let streamed = streamed.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(call(&server, "GET", shard, Value::Null).await, json!([made]));
    for (collection, bytes) in [("b", bytes), ("c", streamed)] {
        let form = Form::new().part("snapshot", Part::bytes(bytes.to_vec()));
        let path = format!("{}/collections/{collection}/shards/0/snapshots/upload", server.url());
        assert_eq!(
            answer(http.post(path).multipart(form).send().await.unwrap()).await.0,
            200
        );
        assert_eq!(count(&client, &name(collection)).await, 1);
    }
    let location = json!({"location": made["name"]});
    assert_eq!(
        call(&server, "PUT", &format!("{shard}/recover"), location).await,
        json!(true)
    );
    assert_eq!(call(&server, "DELETE", &there, Value::Null).await, json!(true));
    for (shard, expected) in [("1", 404), ("first", 400)] {
        let path = format!("/collections/a/shards/{shard}/snapshots");
        let (status, body) = send_json(server.url(), "GET", &path, "").await;
        assert!(
            status == expected && body["status"]["error"].is_string(),
            "{status} {body}"
        );
    }
}
