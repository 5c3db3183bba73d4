//! The OpenAPI document: whole in itself, and true of what is sent and answered.

use std::collections::HashSet;
use std::path::Path;

use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use tempfile::TempDir;
use twofold_tests::Server;

use crate::support::{BINARY, send_json};

/// A server without models, with its document.
struct Contract {
    server: Server,
    document: Value,
    _dir: TempDir,
}

impl Contract {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let models = dir.path().join("models");
        std::fs::create_dir(&models).unwrap();
        let arguments = ["--models-dir", models.to_str().unwrap()];
        let server = Server::start_with(Path::new(BINARY), &dir.path().join("data"), None, &arguments).await;
        let (status, document) = send_json(server.url(), "GET", "/openapi.json", "").await;
        assert_eq!(status, 200);
        Self {
            server,
            document,
            _dir: dir,
        }
    }

    /// What is wrong with a value by the schema at a place of the document; none where there is no schema.
    fn error(&self, place: &str, value: &Value) -> Option<String> {
        self.document.pointer(place)?;
        const URL: &str = "http://twofold.test/openapi.json";
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource(URL, self.document.clone()).unwrap();
        let schema = compiler.compile(&format!("{URL}#{place}"), &mut schemas);
        let schema = schema.unwrap_or_else(|error| panic!("{place}: {error:#}"));
        let error = schemas.validate(value, schema).err()?;
        Some(format!("{error:#}"))
    }

    fn operation(method: &str, path: &str) -> String {
        format!("/paths/{}/{}", path.replace('/', "~1"), method.to_lowercase())
    }

    /// Asks, and checks the question and the answer against the document. Parameters of the path are filled in as they stand
    /// in `with`.
    async fn ask(&self, method: &str, path: &str, with: &[(&str, &str)], body: Value) -> (u16, Value) {
        let operation = Self::operation(method, path);
        let known = self.document.pointer(&operation);
        assert!(known.is_some(), "{method} {path} is not in the document");
        let mut address = path.to_owned();
        for (name, value) in with {
            address = address.replace(&format!("{{{name}}}"), value);
        }
        let sent = match &body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let (status, answer) = send_json(self.server.url(), method, &address, &sent).await;
        if status == 200 && !body.is_null() {
            let schema = format!("{operation}/requestBody/content/application~1json/schema");
            assert!(self.document.pointer(&schema).is_some(), "{method} {path} takes a body");
            let error = self.error(&schema, &body);
            assert!(
                error.is_none(),
                "{method} {path} took {body}, by the document {error:?}"
            );
        }
        let responses = format!("{operation}/responses");
        let documented = format!("{responses}/{status}");
        let response = match self.document.pointer(&documented) {
            Some(_) => documented,
            None => format!("{responses}/default"),
        };
        let schema = format!("{response}/content/application~1json/schema");
        assert!(
            self.document.pointer(&schema).is_some(),
            "{method} {path} answers {status}: {answer}"
        );
        let error = self.error(&schema, &answer);
        assert!(
            error.is_none(),
            "{method} {path} answered {status} {answer}, by the document {error:?}"
        );
        (status, answer)
    }
}

/// Calls `visit` with every object in a value.
fn objects<'v>(value: &'v Value, visit: &mut impl FnMut(&'v serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|value| objects(value, visit));
        }
        Value::Array(values) => values.iter().for_each(|value| objects(value, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let contract = Contract::start().await;
    let document = &contract.document;
    objects(document, &mut |object| {
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            let found = document.pointer(reference.trim_start_matches('#'));
            assert!(found.is_some(), "{reference} leads nowhere");
        }
    });
    let tags: HashSet<_> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"])
        .collect();
    let mut names = HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name), "two operations are named {name}");
            assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            let of = operation["tags"].as_array().unwrap();
            assert!(
                of.len() == 1 && tags.contains(&of[0]),
                "{method} {path} has one of the tags"
            );
            let parameters = operation["parameters"].as_array();
            let of_path = parameters
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path");
            let declared: HashSet<_> = of_path.map(|parameter| parameter["name"].as_str().unwrap()).collect();
            let needed: HashSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
            assert_eq!(declared, needed, "{method} {path}");
        }
    }
    for schema in document["components"]["schemas"].as_object().unwrap().keys() {
        contract.error(&format!("/components/schemas/{schema}"), &Value::Null);
    }
}

const COLLECTION: &str = "/collections/{collection}";

#[tokio::test]
async fn what_is_sent_and_answered_is_what_the_document_says() {
    let contract = Contract::start().await;
    let of = async |method: &str, path: &str, body: Value, expected: u16| {
        let path = format!("{COLLECTION}{path}");
        let (status, answer) = contract.ask(method, &path, &[("collection", "c")], body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
    };
    of("GET", "", Value::Null, 404).await;
    of(
        "PUT",
        "",
        json!({
            "vectors": {"": {"size": 2, "distance": "Cosine"}, "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
            "sparse_vectors": {"s": {"modifier": "idf", "index": {"on_disk": false}}},
            "metadata": {"about": [1, null]},
        }),
        200,
    )
    .await;
    of("PUT", "", json!({"vectors": {"size": 2, "distance": "Cosine"}}), 409).await;
    of("PATCH", "", json!({"metadata": {"about": null}}), 200).await;
    for schema in [json!("integer"), json!({"type": "keyword", "on_disk": true})] {
        let name = if schema.is_string() { "n" } else { "k" };
        of(
            "PUT",
            "/index",
            json!({"field_name": name, "field_schema": schema}),
            200,
        )
        .await;
    }
    of("PUT", "/points", json!({"points": [
        {"id": 1, "vector": [1, 0.5], "payload": {"k": "a", "n": 1, "at": "2024-02-29", "geo": {"lon": 1, "lat": 2}, "list": [{"x": 1}]}},
        {"id": "6f3b1e0e-2b1c-4c59-8f53-3f0b4ad2f2aa", "vector": {"": [0, 1], "m": [[1, 2], [3, 4]], "s": {"indices": [7], "values": [0.5]}}, "payload": {"k": "b", "n": 2}},
        {"id": 3, "vector": {}, "payload": null},
    ]}), 200).await;
    let batch = json!({"ids": [4, 5], "vectors": [[1, 1], [2, 1]], "payloads": [{"k": "a", "n": -1}, null]});
    of(
        "PUT",
        "/points",
        json!({"batch": batch, "update_mode": "insert_only"}),
        200,
    )
    .await;
    of("PUT", "/points", json!({"points": [{"id": -1, "vector": [1, 1]}]}), 400).await;

    let conditions = [
        json!({"key": "k", "match": {"value": "a"}}),
        json!({"slice": {"total": 2, "index": 1}}),
        json!({"key": "k", "match": {"any": ["a", "b"]}, "range": null}),
        json!({"key": "n", "range": {"gte": 0, "lt": 10.5, "gt": null}}),
        json!({"key": "at", "range": {"gte": "2024-01-01T00:00:00Z"}}),
        json!({"key": "geo", "geo_radius": {"center": {"lon": 1, "lat": 2}, "radius": 10}}),
        json!({"key": "list", "values_count": {"gte": 1}}),
        json!({"nested": {"key": "list", "filter": {"must": {"key": "x", "match": {"value": 1}}}}}),
        json!({"is_empty": {"key": "k"}}),
        json!({"is_null": {"key": "k"}}),
        json!({"has_id": [1, "6f3b1e0e-2b1c-4c59-8f53-3f0b4ad2f2aa"]}),
        json!({"has_vector": "m"}),
        json!({"should": [{"key": "k", "match": {"except": ["a"]}}], "must": null}),
    ];
    for condition in &conditions {
        of("POST", "/points/count", json!({"filter": {"must": [condition]}}), 200).await;
    }
    let min_should = json!({"conditions": conditions, "min_count": 2});
    of(
        "POST",
        "/points/count",
        json!({"filter": {"must_not": conditions[7], "min_should": min_should}, "exact": true}),
        200,
    )
    .await;
    of(
        "POST",
        "/points/count",
        json!({"filter": {"must": [{"key": "k"}]}}),
        400,
    )
    .await;

    for query in [
        json!([1, 0]),
        json!(1),
        json!("6f3b1e0e-2b1c-4c59-8f53-3f0b4ad2f2aa"),
        json!({"nearest": [1, 0], "mmr": {"diversity": 0.3}}),
        json!({"recommend": {"positive": [1], "negative": [[0, 1]], "strategy": "best_score"}}),
        json!({"discover": {"target": 1, "context": [{"positive": 1, "negative": 4}]}}),
        json!({"context": [{"positive": 1, "negative": 4}]}),
        json!({"order_by": "n"}),
        json!({"order_by": {"key": "n", "direction": "desc", "start_from": 1}}),
        json!({"sample": "random"}),
    ] {
        let body = json!({"query": query, "limit": 3, "with_payload": ["k"], "with_vector": true, "filter": {"must": [conditions[11]]}});
        of("POST", "/points/query", body, 200).await;
    }
    let prefetch = json!([{"query": [1, 0]}, {"query": {"indices": [7], "values": [1]}, "using": "s", "params": {"idf": "global"}}]);
    for query in [
        json!({"fusion": "dbsf"}),
        json!({"rrf": {"k": 3, "weights": [1, 2]}}),
        json!({"formula": {"sum": ["$score", {"mult": [2, {"key": "k", "match": {"value": "a"}}]}, {"exp_decay": {"x": "n", "scale": 2}}]}, "defaults": {"n": 0}}),
    ] {
        of(
            "POST",
            "/points/query",
            json!({"prefetch": prefetch, "query": query, "params": {"explain": true}}),
            200,
        )
        .await;
    }
    of(
        "POST",
        "/points/query",
        json!({"query": [[1, 2]], "using": "m", "params": {"explain": true, "exact": true}}),
        200,
    )
    .await;
    of("POST", "/points/query", json!({"query": [1, 2, 3]}), 400).await;
    of(
        "POST",
        "/points/query/batch",
        json!({"searches": [{"query": [1, 0]}, {"limit": 1}]}),
        200,
    )
    .await;
    of(
        "POST",
        "/points/query/groups",
        json!({"query": [1, 0], "group_by": "k", "with_lookup": "c"}),
        200,
    )
    .await;
    of(
        "POST",
        "/points/search",
        json!({"vector": {"name": "", "vector": [1, 0]}, "limit": 2, "with_payload": {"exclude": ["n"]}}),
        200,
    )
    .await;
    of(
        "POST",
        "/points/search/batch",
        json!({"searches": [{"vector": [1, 0], "limit": 2}]}),
        200,
    )
    .await;
    of(
        "POST",
        "/points/search/groups",
        json!({"vector": [1, 0], "limit": 2, "group_by": "n"}),
        200,
    )
    .await;
    of("POST", "/points/recommend", json!({"positive": [1], "limit": 2}), 200).await;
    of("POST", "/points/discover", json!({"target": [1, 0], "limit": 2}), 200).await;
    of("POST", "/points/search/matrix/pairs", json!({"sample": 4}), 200).await;
    of(
        "POST",
        "/points/search/matrix/offsets",
        json!({"limit": 2, "using": ""}),
        200,
    )
    .await;
    of("POST", "/facet", json!({"key": "k"}), 200).await;
    of("POST", "/points", json!({"ids": [1, 3], "with_vector": ["m"]}), 200).await;
    of(
        "POST",
        "/points/scroll",
        json!({"limit": 1, "order_by": {"key": "n"}, "with_vector": true}),
        200,
    )
    .await;
    of("POST", "/points/scroll", json!({"limit": 1}), 200).await;
    of(
        "POST",
        "/points/payload",
        json!({"payload": {"x": 1}, "points": [1], "key": "y"}),
        200,
    )
    .await;
    of(
        "PUT",
        "/points/payload",
        json!({"payload": {"x": 1}, "filter": {"must": conditions[0]}}),
        200,
    )
    .await;
    of(
        "POST",
        "/points/payload/delete",
        json!({"keys": ["x"], "points": [1]}),
        200,
    )
    .await;
    of(
        "PUT",
        "/points/vectors",
        json!({"points": [{"id": 1, "vector": {"m": [[1, 0]]}}]}),
        200,
    )
    .await;
    of(
        "POST",
        "/points/vectors/delete",
        json!({"vector": ["m"], "points": [1]}),
        200,
    )
    .await;
    let operations = json!([{"upsert": {"points": [{"id": 9, "vector": [1, 0]}]}}, {"clear_payload": {"points": [9]}}, {"delete": {"points": [9]}}]);
    of("POST", "/points/batch", json!({"operations": operations}), 200).await;
    of("POST", "/points/delete", json!({"filter": {}}), 200).await;
    of("GET", "", Value::Null, 200).await;
    of("GET", "/exists", Value::Null, 200).await;
    of("GET", "/aliases", Value::Null, 200).await;
    of("GET", "/documents", Value::Null, 200).await;
    of("GET", "/ingestion", Value::Null, 200).await;
    of("GET", "/dead-letters", Value::Null, 200).await;
    of("POST", "/snapshots", Value::Null, 200).await;
    of("GET", "/snapshots", Value::Null, 200).await;
    of("GET", "/cluster", Value::Null, 200).await;
    of("GET", "/shards", Value::Null, 200).await;
    of("GET", "/optimizations", Value::Null, 200).await;
    let with = json!({"hnsw_config": {"m": 8}, "optimizers_config": {"flush_interval_sec": 9}, "vectors": {"": {"on_disk": false}}, "sparse_vectors": {"s": {}}});
    of("PATCH", "", with, 200).await;
    let text = json!({"type": "text", "stopwords": {"languages": ["english"]}, "stemmer": {"type": "snowball", "language": "english"}, "ascii_folding": true});
    of("PUT", "/index", json!({"field_name": "t", "field_schema": text}), 200).await;
    of("GET", "", Value::Null, 200).await;

    for (method, path, body, expected) in [
        ("GET", "/", Value::Null, 200),
        ("GET", "/collections", Value::Null, 200),
        (
            "POST",
            "/collections/aliases",
            json!({"actions": [{"create_alias": {"collection_name": "c", "alias_name": "d"}}]}),
            200,
        ),
        ("GET", "/aliases", Value::Null, 200),
        ("POST", "/snapshots", Value::Null, 200),
        ("GET", "/snapshots", Value::Null, 200),
        ("GET", "/telemetry", Value::Null, 200),
        ("GET", "/cluster", Value::Null, 200),
        ("GET", "/cluster/telemetry", Value::Null, 200),
        ("GET", "/quotas", Value::Null, 200),
        ("PUT", "/quotas", Value::Null, 405),
        ("GET", "/issues", Value::Null, 200),
        ("DELETE", "/issues", Value::Null, 200),
        ("GET", "/models", Value::Null, 200),
        ("GET", "/v1/models", Value::Null, 200),
        ("GET", "/tasks", Value::Null, 200),
        ("GET", "/ingestion", Value::Null, 200),
        ("POST", "/embed", json!({"inputs": "a"}), 400),
        ("POST", "/v1/embeddings", json!({"input": ["a"], "model": "none"}), 404),
        ("POST", "/rerank", json!({"query": "a", "texts": ["b"]}), 400),
    ] {
        let (status, answer) = contract.ask(method, path, &[], body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
    }
    of("GET", "/reembed", Value::Null, 404).await;
    of(
        "POST",
        "/reembed",
        json!({"encoders": {"words": {"model": "Qdrant/bm25"}, "gone": null}}),
        400,
    )
    .await;
    of("DELETE", "", Value::Null, 200).await;

    let d = [("collection", "d")];
    let reembed = "/collections/{collection}/reembed";
    let config = json!({"encoders": {"words": {"model": "Qdrant/bm25"}}});
    let made = contract.ask("PUT", "/collections/{collection}", &d, config).await;
    assert_eq!(made.0, 200);
    let change = json!({"encoders": {"words": {"model": "Qdrant/bm25", "options": {"language": "german"}}}});
    assert_eq!(contract.ask("POST", reembed, &d, change).await.0, 202);
    assert_eq!(contract.ask("GET", reembed, &d, Value::Null).await.0, 200);
}

#[tokio::test]
async fn the_document_refuses_what_the_server_refuses() {
    let contract = Contract::start().await;
    for (schema, wrong) in [
        ("Filter", json!({"most": []})),
        ("Condition", json!({"key": "a", "near": {}})),
        ("Condition", json!({"has_id": [-1]})),
        ("FieldCondition", json!({"key": "a", "match": {"value": 1.5}})),
        ("FieldCondition", json!({"match": {"value": 1}})),
        ("Query", json!({"fusion": "sum"})),
        ("Query", json!(-1)),
        ("VectorInput", json!({"indices": [1]})),
        ("VectorInput", json!([1, "a"])),
        ("VectorsInput", json!("a")),
        ("PointsSelector", json!({})),
        ("PayloadFieldSchema", json!("place")),
        ("CollectionName", json!("a/b")),
        ("TextsInput", json!(7)),
        ("CreateCollection", json!({"vectors": {"size": 4, "distance": "Near"}})),
        ("EncoderParams", json!({"model": "m", "dimensions": 0})),
        ("Reembed", json!({"encoders": {"": "m"}})),
    ] {
        let error = contract.error(&format!("/components/schemas/{schema}"), &wrong);
        assert!(error.is_some(), "{schema} takes {wrong}");
    }
}
