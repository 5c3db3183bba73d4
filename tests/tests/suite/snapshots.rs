//! Snapshots as a client sees them.

use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use twofold_tests::Server;

use crate::support::{BINARY, call, count, name, server};

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
