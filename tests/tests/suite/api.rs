//! The collection API as a client sees it.

use std::path::Path;

use serde_json::{Value, json};
use twofold_client::Error;
use twofold_tests::{MODEL, Server};
use twofold_types::api::{
    CountPoints, CreatePayloadIndex, GetPoints, PointsSelector, QueryPoints, ScrollPoints, SetPayload,
    UpdateCollection, UpsertPoints,
};
use twofold_types::{PayloadSchemaType, PointId, ScoredPoint, VectorsOutput};

use crate::support::{BINARY, count, encoded_collection, from_json, name, send_json, server};

fn ids(points: &[ScoredPoint]) -> Vec<PointId> {
    points.iter().map(|point| point.id).collect()
}

fn message(error: Error) -> (u16, String) {
    (error.status().unwrap_or_default(), error.to_string())
}

#[tokio::test]
async fn points_are_put_in_found_changed_and_taken_out() {
    let (_server, client, _dir) = server().await;
    let cities = name("cities");
    client
        .create_collection(
            &cities,
            &from_json(json!({"vectors": {"size": 2, "distance": "Cosine"}})),
        )
        .await
        .unwrap();
    let points: UpsertPoints = from_json(json!({"points": [
        {"id": 1, "vector": [2.0, 0.0], "payload": {"name": "Oslo", "people": 700_000, "tags": ["north", "sea"]}},
        {"id": 2, "vector": [1.0, 1.0], "payload": {"name": "Bern", "people": 140_000}},
        {"id": "6f3b1e0e-2b1c-4c59-8f53-3f0b4ad2f2aa", "vector": [0.0, 3.0], "payload": {"name": "Rome", "people": 2_800_000, "mayor": null}}
    ]}));
    let written = client.upsert_points(&cities, &points).await.unwrap();
    assert_eq!((written.operation_id, written.status.as_str()), (1, "completed"));

    let query = |body: Value| from_json::<QueryPoints>(body);
    let found = client
        .query(
            &cities,
            &query(json!({"query": [1.0, 0.1], "with_payload": true, "with_vector": true})),
        )
        .await
        .unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].id, PointId::Num(1));
    assert!(found[0].score > 0.99 && found[0].version == 1);
    assert_eq!(
        found[0].vector,
        Some(VectorsOutput::Single(vec![1.0, 0.0].into())),
        "vectors of Cosine are stored normalised"
    );
    assert_eq!(found[0].payload.as_ref().unwrap()["name"], "Oslo");

    for (filter, expected) in [
        (json!({"must": {"key": "name", "match": {"value": "Bern"}}}), vec![2]),
        (
            json!({"must": [{"key": "people", "range": {"gte": 140_000, "lt": 700_001}}]}),
            vec![1, 2],
        ),
        (
            json!({"must": [{"key": "tags", "match": {"any": ["sea", "x"]}}]}),
            vec![1],
        ),
        (
            json!({"must_not": [{"key": "name", "match": {"except": ["Bern"]}}]}),
            vec![2],
        ),
        (json!({"must": [{"key": "name", "match": {"any": []}}]}), vec![]),
        (json!({"must": [{"has_id": [2, 77]}]}), vec![2]),
        (json!({"must_not": [{"is_empty": {"key": "tags"}}]}), vec![1]),
        (
            json!({"should": [{"key": "name", "match": {"value": "Oslo"}}, {"must": [{"has_id": [2]}]}]}),
            vec![1, 2],
        ),
    ] {
        // With and without payload indexes the same points match.
        let found = client
            .query(&cities, &query(json!({"query": [1.0, 0.0], "filter": filter.clone()})))
            .await
            .unwrap();
        assert_eq!(
            ids(&found),
            expected.iter().map(|&id| PointId::Num(id)).collect::<Vec<_>>(),
            "{filter}"
        );
        let counted = client
            .count_points(&cities, &from_json(json!({"filter": filter.clone()})))
            .await
            .unwrap();
        assert_eq!(counted, expected.len() as u64, "{filter}");
    }
    let null = client
        .count_points(
            &cities,
            &from_json(json!({"filter": {"must": [{"is_null": {"key": "mayor"}}]}})),
        )
        .await
        .unwrap();
    assert_eq!(null, 1);

    let set: SetPayload = from_json(
        json!({"payload": {"visited": true}, "filter": {"must": [{"key": "people", "range": {"gt": 500_000}}]}}),
    );
    client.set_payload(&cities, &set).await.unwrap();
    let visited: CountPoints = from_json(json!({"filter": {"must": [{"key": "visited", "match": {"value": true}}]}}));
    assert_eq!(client.count_points(&cities, &visited).await.unwrap(), 2);

    client
        .delete_points(&cities, &PointsSelector::Points(vec![PointId::Num(1)]))
        .await
        .unwrap();
    assert_eq!(count(&client, &cities).await, 2);
    let found = client
        .query(&cities, &query(json!({"query": [1.0, 0.0], "limit": 1})))
        .await
        .unwrap();
    assert_eq!(ids(&found), [PointId::Num(2)]);
    let gone = client
        .get_points(&cities, &from_json::<GetPoints>(json!({"ids": [1, 2]})))
        .await
        .unwrap();
    assert_eq!(gone.iter().map(|point| point.id).collect::<Vec<_>>(), [PointId::Num(2)]);
}

#[tokio::test]
async fn a_payload_index_changes_no_answer() {
    let (_server, client, _dir) = server().await;
    let things = name("things");
    client
        .create_collection(&things, &from_json(json!({"vectors": {"size": 1, "distance": "Dot"}})))
        .await
        .unwrap();
    let long = "x".repeat(100);
    let rows: Vec<Value> = (0..200)
        .map(|id| {
            let number = if id % 3 == 0 {
                json!(id)
            } else {
                json!(f64::from(id) / 2.0)
            };
            let word = ["red", "green", &long][id as usize % 3];
            let odd = if id % 7 == 0 { json!("text") } else { json!([id, -id]) };
            let payload = json!({"word": word, "n": number, "flag": id % 2 == 0, "odd": odd});
            json!({"id": id, "vector": [id], "payload": payload})
        })
        .collect();
    client
        .upsert_points(&things, &from_json(json!({"points": rows})))
        .await
        .unwrap();
    let filters = [
        json!({"must": [{"key": "word", "match": {"value": "red"}}]}),
        json!({"must": [{"key": "word", "match": {"any": ["green", long]}}], "must_not": [{"key": "flag", "match": {"value": true}}]}),
        json!({"must": [{"key": "n", "range": {"gt": 10, "lte": 60.5}}, {"key": "word", "match": {"except": ["red"]}}]}),
        json!({"must": [{"key": "n", "match": {"value": 30}}]}),
        json!({"must": [{"key": "odd", "range": {"lt": -150}}]}),
        json!({"should": [{"key": "odd", "match": {"value": "text"}}, {"key": "n", "range": {"gte": 99, "gt": 98}}]}),
        json!({"must_not": [{"key": "n", "range": {"lt": 80}}]}),
        json!({"must": [{"key": "missing", "range": {}}]}),
    ];
    let mut answers = Vec::new();
    for filter in &filters {
        let page: ScrollPoints = from_json(json!({"filter": filter, "limit": 1000}));
        answers.push(client.scroll_points(&things, &page).await.unwrap().points);
    }
    assert!(
        answers.iter().filter(|points| !points.is_empty()).count() >= 7,
        "filters that match nothing show nothing"
    );
    for (key, schema) in [
        ("word", PayloadSchemaType::Keyword),
        ("n", PayloadSchemaType::Float),
        ("flag", PayloadSchemaType::Bool),
        ("odd", PayloadSchemaType::Integer),
    ] {
        let index = CreatePayloadIndex {
            field_name: key.to_owned(),
            field_schema: schema.into(),
        };
        client.create_payload_index(&things, &index).await.unwrap();
    }
    // Some points come and go after the indexes were made.
    client
        .delete_points(&things, &from_json(json!({"points": [0, 3, 7]})))
        .await
        .unwrap();
    for id in [0, 3, 7] {
        client
            .upsert_points(&things, &from_json(json!({"points": [rows[id]]})))
            .await
            .unwrap();
    }
    for (filter, expected) in filters.iter().zip(&answers) {
        let page: ScrollPoints = from_json(json!({"filter": filter, "limit": 1000}));
        assert_eq!(
            client.scroll_points(&things, &page).await.unwrap().points,
            *expected,
            "{filter}"
        );
    }
    let info = client.get_collection(&things).await.unwrap();
    assert_eq!(info.payload_schema["word"].points, 200);
    assert_eq!(info.payload_schema["odd"].points, 200 - 29);
}

#[tokio::test]
async fn scrolling_visits_every_point_once_in_the_order_of_ids() {
    let (_server, client, _dir) = server().await;
    let many = name("many");
    client
        .create_collection(&many, &from_json(json!({"vectors": {"size": 1, "distance": "Euclid"}})))
        .await
        .unwrap();
    let ids: Vec<u64> = (0..57).map(|n| n * 7 % 57).collect();
    let vectors: Vec<_> = ids.iter().map(|&id| json!([id])).collect();
    client
        .upsert_points(&many, &from_json(json!({"batch": {"ids": ids, "vectors": vectors}})))
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut page = ScrollPoints {
        limit: Some(10),
        ..ScrollPoints::default()
    };
    loop {
        let result = client.scroll_points(&many, &page).await.unwrap();
        seen.extend(result.points.iter().map(|point| point.id));
        match result.next_page_offset {
            Some(next) => page.offset = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (0..57).map(PointId::Num).collect::<Vec<_>>());
    let nearest = client
        .query(
            &many,
            &from_json(json!({"query": [20.2], "limit": 3, "score_threshold": 0.9})),
        )
        .await
        .unwrap();
    assert_eq!(
        nearest.iter().map(|point| point.id).collect::<Vec<_>>(),
        [PointId::Num(20), PointId::Num(21)]
    );
    assert!((nearest[0].score - 0.2).abs() < 1e-4, "Euclid answers the distance");
    let like = client
        .query(&many, &from_json(json!({"query": 20, "limit": 1, "offset": 2})))
        .await
        .unwrap();
    assert_eq!(
        like.iter().map(|point| point.score).collect::<Vec<_>>(),
        [2.0],
        "the point itself is not among its neighbours, and the two at distance 1 are skipped"
    );
}

#[tokio::test]
async fn texts_are_encoded_on_both_sides_and_other_models_are_refused() {
    let (_server, client, _dir) = server().await;
    let plain = name("plain");
    // As a client of another maker does it: a plain vector, and texts with a model.
    client
        .create_collection(
            &plain,
            &from_json(json!({"vectors": {"size": 384, "distance": "Cosine"}})),
        )
        .await
        .unwrap();
    let text = |text: &str| json!({"text": text, "model": MODEL.to_lowercase()});
    let points = json!({"points": [
        {"id": 1, "vector": text("A man is eating pasta in a restaurant.")},
        {"id": 2, "vector": text("The central bank raised interest rates.")},
    ]});
    client.upsert_points(&plain, &from_json(points)).await.unwrap();
    let found = client
        .query(&plain, &from_json(json!({"query": text("dinner with noodles")})))
        .await
        .unwrap();
    assert_eq!(ids(&found), [PointId::Num(1), PointId::Num(2)]);
    let other = json!({"query": {"text": "x", "model": "intfloat/e5-small-v2"}});
    let (status, error) = message(client.query(&plain, &from_json(other)).await.unwrap_err());
    assert!(
        status == 400 && error.contains(&MODEL.to_lowercase()) && error.contains("e5-small-v2"),
        "{error}"
    );
    let unbound = name("unbound");
    client
        .create_collection(
            &unbound,
            &from_json(json!({"vectors": {"size": 3, "distance": "Cosine"}})),
        )
        .await
        .unwrap();
    let (status, error) = message(
        client
            .query(&unbound, &from_json(json!({"query": {"text": "x"}})))
            .await
            .unwrap_err(),
    );
    assert!(status == 400 && error.contains("no encoder"), "{error}");
    let (status, error) = message(
        client
            .query(&unbound, &from_json(json!({"query": text("x")})))
            .await
            .unwrap_err(),
    );
    assert!(status == 400 && error.contains("384") && error.contains('3'), "{error}");
}

#[tokio::test]
async fn mistakes_are_answered_with_what_was_wrong() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    let (status, _) = message(
        client
            .create_collection(&docs, &encoded_collection())
            .await
            .unwrap_err(),
    );
    assert_eq!(status, 409);
    let (status, error) = message(client.get_collection(&name("nowhere")).await.unwrap_err());
    assert!(
        status == 404 && error.contains("Collection `nowhere` doesn't exist!"),
        "{error}"
    );
    for (points, part) in [
        (
            json!({"points": [{"id": 1, "vector": [1.0]}]}),
            "expected dim: 384, got 1",
        ),
        (json!({"points": [{"id": 1, "vector": {"other": [1.0]}}]}), "`other`"),
    ] {
        let (status, error) = message(client.upsert_points(&docs, &from_json(points)).await.unwrap_err());
        assert!(status == 400 && error.contains(part), "{error}");
    }
    let models: twofold_types::api::CreateCollection = from_json(json!({"encoders": {"": {"model": "no/such-model"}}}));
    let (status, error) = message(client.create_collection(&name("new"), &models).await.unwrap_err());
    assert!(
        status == 400 && error.contains("twofold model pull no/such-model"),
        "{error}"
    );
    let escape: twofold_types::api::CreateCollection = from_json(json!({"encoders": {"": {"model": "../../etc"}}}));
    assert_eq!(
        message(client.create_collection(&name("new"), &escape).await.unwrap_err()).0,
        400
    );
    let (status, _) = message(client.get_task(twofold_types::TaskId(9)).await.unwrap_err());
    assert_eq!(status, 404);
}

#[tokio::test]
async fn collections_are_listed_described_and_deleted() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    let change: UpdateCollection = from_json(json!({"metadata": {"owner": "me"}}));
    client.update_collection(&docs, &change).await.unwrap();
    let info = client.get_collection(&docs).await.unwrap();
    assert_eq!(info.status, "green");
    assert_eq!(info.config.encoders[""].model.as_str(), MODEL);
    assert_eq!(info.config.metadata.unwrap()["owner"], "me");
    assert_eq!(client.list_collections().await.unwrap(), std::slice::from_ref(&docs));
    assert!(client.collection_exists(&docs).await.unwrap());
    assert!(client.delete_collection(&docs).await.unwrap());
    assert!(!client.delete_collection(&docs).await.unwrap());
    assert!(!client.collection_exists(&docs).await.unwrap());
}

#[tokio::test]
async fn malformed_requests_are_answered_in_the_envelope() {
    let dir = tempfile::tempdir().unwrap();
    let limits = ["--max-body-bytes", "1000"];
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &limits).await;
    let plain = json!({"vectors": {"size": 2, "distance": "Dot"}});
    server
        .client()
        .create_collection(&name("c"), &from_json(plain))
        .await
        .unwrap();
    let long = format!("{{\"x\": \"{}\"}}", "x".repeat(2000));
    for (method, path, body, status, part) in [
        (
            "PUT",
            "/collections/c/points",
            "{\"points\": [",
            400,
            "Format error in JSON body",
        ),
        (
            "PUT",
            "/collections/c/points",
            "{}",
            400,
            "exactly one of `points` and `batch`",
        ),
        (
            "PUT",
            "/collections/c/points",
            "{\"points\": [{\"id\": -1, \"vector\": [1, 2]}]}",
            400,
            "unsigned 64-bit integer or a UUID",
        ),
        (
            "PUT",
            "/collections/c/points",
            "{\"points\": [{\"id\": 1, \"vector\": \"x\"}]}",
            400,
            "an array of numbers",
        ),
        (
            "PUT",
            "/collections/c/points",
            "{\"points\": [{\"id\": 1, \"vector\": [1e39, 0]}]}",
            400,
            "finite",
        ),
        (
            "PUT",
            "/collections/d",
            "{\"vectors\": {\"size\": 0, \"distance\": \"Dot\"}}",
            400,
            "not within 1 and 65536",
        ),
        (
            "PUT",
            "/collections/d",
            "{\"vectors\": {\"size\": 4, \"distance\": \"Hamming\"}}",
            400,
            "Cosine",
        ),
        (
            "PUT",
            "/collections/a%2Fb",
            "{\"vectors\": {\"size\": 4, \"distance\": \"Dot\"}}",
            400,
            "cannot name a collection",
        ),
        (
            "POST",
            "/collections/c/points/query",
            "{\"query\": {\"fusion\": \"rrf\"}}",
            400,
            "need a `prefetch`",
        ),
        (
            "POST",
            "/collections/c/points/query",
            "{\"query\": [1, 2], \"limit\": 1000000000}",
            400,
            "over the limit of 100000",
        ),
        (
            "POST",
            "/collections/c/points/query",
            "{\"query\": [1, 2], \"with_payload\": 7}",
            400,
            "`with_payload` is true",
        ),
        (
            "POST",
            "/collections/c/points/query",
            "{\"query\": 77}",
            404,
            "No point with id 77",
        ),
        (
            "POST",
            "/collections/c/points/scroll",
            "{\"filter\": {\"must\": [{\"key\": \"a[\", \"match\": {\"value\": 1}}]}}",
            400,
            "`a[` is not a payload key",
        ),
        ("GET", "/collections/c/points/abc", "", 400, "`abc` is not a point id"),
        ("GET", "/tasks/abc", "", 400, "`abc` is not a task's number"),
        ("GET", "/nowhere", "", 404, "no endpoint `/nowhere`"),
        ("DELETE", "/collections", "", 405, "does not take DELETE"),
        ("PUT", "/collections/c/points", &long, 413, "over the limit"),
    ] {
        let (received, answer) = send_json(server.url(), method, path, body).await;
        let error = answer["status"]["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{method} {path}: {answer}"));
        assert!(
            received == status && error.contains(part),
            "{method} {path} {body}: {received} {error}"
        );
    }
}

#[tokio::test]
async fn a_collection_says_where_its_vectors_are() {
    let (_server, client, _dir) = server().await;
    let request = json!({
        "vectors": {
            "quick": {"size": 2, "distance": "Dot"},
            "mapped": {"size": 2, "distance": "Dot", "on_disk": true},
            "slow": {"size": 2, "distance": "Dot", "on_disk": true, "quantization_config": {"scalar": {"type": "int8"}}},
        },
        "quantization_config": {"scalar": {"type": "int8", "always_ram": true}},
    });
    client.create_collection(&name("c"), &from_json(request)).await.unwrap();
    let points = json!({"points": [{"id": 1, "vector": {"quick": [1, 0]}}]});
    client.upsert_points(&name("c"), &from_json(points)).await.unwrap();
    let info = client.get_collection(&name("c")).await.unwrap();
    let place = |name: &str| info.placement[name].current.clone();
    assert_eq!(
        [place("quick"), place("mapped"), place("slow")],
        ["memory", "mapped", "disk"]
    );
    assert!(info.placement["quick"].heap_bytes > 0);
    assert_eq!(info.placement["slow"].heap_bytes, 0);
}
