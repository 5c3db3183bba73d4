//! Snapshots as a client sees them.

use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{count, name, server};

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
