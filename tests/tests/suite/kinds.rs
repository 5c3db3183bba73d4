//! Encoders of sparse vectors and of late interaction fill a collection and answer queries by text.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use twofold_client::Client;
use twofold_tests::Server;
use twofold_types::api::{CreateCollection, QueryPoints};
use twofold_types::{CollectionName, TaskStatus};

use crate::support::{BINARY, copy, document, documents, finished, from_json, name, send_json, server};

const TEXTS: [(&str, &str); 3] = [
    ("bread", "Bread rises because yeast makes gas."),
    (
        "lynx",
        "A lynx was photographed near the old quarry at dawn; two lynxes live there.",
    ),
    ("quarry", "The quarry and the bread oven of the village are old."),
];

/// A server with tiny models of these kinds, below `t/`.
async fn with_kinds(names: &[&str]) -> (Server, Client, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/encode/tests/fixtures/kinds");
    let models = dir.path().join("models");
    for name in names {
        copy(&fixtures.join(name), &models.join("t").join(name));
    }
    let args = ["--models-dir", models.to_str().unwrap()];
    let server = Server::start_with(Path::new(BINARY), &dir.path().join("data"), None, &args).await;
    let client = server.client();
    (server, client, dir)
}

/// Makes the collection and waits until it holds the texts.
async fn fill(client: &Client, docs: &CollectionName, config: Value) {
    let config: CreateCollection = from_json(config);
    client.create_collection(docs, &config).await.unwrap();
    let sent = TEXTS.map(|(id, text)| document(id, text)).to_vec();
    let task = client.add_documents(docs, &documents(sent)).await.unwrap();
    let task = finished(client, task).await;
    assert_eq!(
        (task.status, task.documents_done),
        (TaskStatus::Succeeded, 3),
        "{task:?}"
    );
}

/// The documents that a query finds, best first.
async fn found(client: &Client, docs: &CollectionName, query: Value) -> Vec<String> {
    let mut query: QueryPoints = from_json(query);
    query.with_payload = Some(from_json(json!(true)));
    let points = client.query(docs, &query).await.unwrap().into_iter();
    points
        .map(|point| from_json(point.payload.unwrap()["document_id"].clone()))
        .collect()
}

#[tokio::test]
async fn documents_are_found_by_their_words() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    fill(&client, &docs, json!({"encoders": {"words": {"model": "Qdrant/bm25"}}})).await;
    let config = client.get_collection(&docs).await.unwrap().config;
    assert_eq!(
        json!(config)["params"]["sparse_vectors"]["words"]["modifier"],
        "idf",
        "{config:?}"
    );
    for (text, expected) in [
        ("the lynx of the quarry", &["lynx", "quarry"][..]),
        ("BREADS and yeasts", &["bread", "quarry"]),
        ("an ocean", &[]),
        ("the of and", &[]),
    ] {
        let query = json!({"query": {"text": text}, "using": "words"});
        assert_eq!(found(&client, &docs, query).await, expected, "{text}");
    }
}

#[tokio::test]
async fn words_and_meaning_are_fused() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    let encoders = json!({"": {"model": twofold_tests::MODEL}, "words": {"model": "Qdrant/bm25"}});
    fill(&client, &docs, json!({"encoders": encoders})).await;
    let prefetch = json!([
        {"query": {"text": "why does dough get bigger?"}, "limit": 2},
        {"query": {"text": "yeast"}, "using": "words", "limit": 2},
    ]);
    let query = json!({"prefetch": prefetch, "query": {"fusion": "rrf"}, "limit": 1});
    assert_eq!(found(&client, &docs, query).await, ["bread"]);
}

#[tokio::test]
async fn texts_of_points_are_encoded_by_the_model_they_name() {
    let (server, _client, _dir) = server().await;
    let call = async |method: &str, path: &str, body: Value| {
        let (status, mut answer) = send_json(server.url(), method, path, &body.to_string()).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer["result"].take()
    };
    let config = json!({"vectors": {}, "sparse_vectors": {"bm25": {"modifier": "idf"}}});
    call("PUT", "/collections/docs", config).await;
    let text = |text: &str| json!({"text": text, "model": "Qdrant/bm25"});
    let points: Vec<Value> = (1..)
        .zip(TEXTS)
        .map(|(id, (_, words))| json!({"id": id, "vector": {"bm25": text(words)}}))
        .collect();
    call("PUT", "/collections/docs/points?wait=true", json!({"points": points})).await;
    let query = json!({"query": text("lynxes in a quarry"), "using": "bm25", "with_vector": true});
    let answer = call("POST", "/collections/docs/points/query", query).await;
    let points = answer["points"].as_array().unwrap();
    let ids: Vec<&Value> = points.iter().map(|point| &point["id"]).collect();
    assert_eq!(ids, [2, 3]);
    // Nothing is there twice but "lynx", and nothing that is there once weighs more than "quarry".
    let values: Vec<f64> = from_json(points[0]["vector"]["bm25"]["values"].clone());
    let lynx = values.iter().copied().fold(0.0, f64::max);
    let quarry = values.iter().copied().fold(f64::MAX, f64::min);
    let idf = |texts: f64| (1.0 + (3.0 - texts + 0.5) / (texts + 0.5)).ln();
    let expected = lynx * idf(1.0) + quarry * idf(2.0);
    let score = points[0]["score"].as_f64().unwrap();
    assert!((score - expected).abs() < 1e-5 && lynx > quarry, "{score} {expected}");
}

#[tokio::test]
async fn documents_are_found_by_terms_and_by_tokens_of_networks() {
    let (_server, client, _dir) = with_kinds(&["splade_bert", "colbert"]).await;
    let docs = name("docs");
    let encoders = json!({"terms": {"model": "t/splade_bert"}, "tokens": {"model": "t/colbert"}});
    fill(&client, &docs, json!({"encoders": encoders})).await;
    // The weights are random: of all texts, a text is like itself.
    for using in ["terms", "tokens"] {
        for (id, text) in TEXTS {
            let query = json!({"query": {"text": text}, "using": using});
            let found = found(&client, &docs, query).await;
            assert_eq!(found.len(), 3, "{using}");
            if using == "tokens" {
                assert_eq!(found[0], id, "{using}");
            }
        }
    }
}

#[tokio::test]
async fn an_encoder_of_another_kind_than_its_vector_is_refused() {
    let (server, _client, _dir) = server().await;
    for (vectors, expected) in [
        (json!({"vectors": {"words": {"size": 4, "distance": "Dot"}}}), "dense"),
        (
            json!({"vectors": {"words": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}}),
            "multi",
        ),
    ] {
        let mut body = vectors;
        body["encoders"] = json!({"words": {"model": "Qdrant/bm25"}});
        let (status, answer) = send_json(server.url(), "PUT", "/collections/c", &body.to_string()).await;
        let error = answer["status"]["error"].as_str().unwrap();
        let words = ["words", "sparse", expected];
        assert!(
            status == 400 && words.iter().all(|word| error.contains(word)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn options_beside_a_text_overrule_those_of_its_vector() {
    let (server, client, _dir) = server().await;
    let docs = name("docs");
    let config = json!({"encoders": {"words": {"model": "Qdrant/bm25", "options": {"k": 2.0}}}});
    client.create_collection(&docs, &from_json(config)).await.unwrap();
    let text = |text: &str, options: Value| json!({"text": text, "model": "Qdrant/bm25", "options": options});
    let german = json!({"language": "german"});
    let points = json!({"points": [
        {"id": 1, "vector": {"words": text("Die Häuser standen leer", german.clone())}},
        {"id": 2, "vector": {"words": text("empty houses, houses", json!({}))}},
        {"id": 3, "vector": {"words": text("empty houses, houses", json!({"avg_len": 2}))}},
    ]});
    client.upsert_points(&docs, &from_json(points)).await.unwrap();
    let ask = async |words: &str, options: Value| {
        let query = json!({"query": text(words, options), "using": "words", "with_vector": true});
        let found = client.query(&docs, &from_json(query)).await.unwrap();
        found
            .into_iter()
            .map(|point| from_json(json!(point.id)))
            .collect::<Vec<u64>>()
    };
    // What a German stemmer makes of it, and an English one does not.
    assert_eq!(ask("in den Häusern", german.clone()).await, [1]);
    assert_eq!(ask("in den Häusern", json!({})).await, [0u64; 0]);
    assert_eq!(
        ask("house", json!(null)).await,
        [2, 3],
        "a longer text than the average weighs less"
    );
    assert_eq!(ask("house", json!({"stopwords": ["house"]})).await, [0u64; 0]);

    let path = "/collections/docs/points/query";
    for (options, part) in [
        (json!({"language": "klingon"}), "`tamil`"),
        (json!({"tokenizer": "word"}), "`avg_len`"),
        (json!({"b": 2}), "0 to 1"),
    ] {
        let body = json!({"query": text("house", options), "using": "words"}).to_string();
        let (status, answer) = send_json(server.url(), "POST", path, &body).await;
        let error = answer["status"]["error"].as_str().unwrap_or_default();
        assert!(status == 400 && error.contains(part), "{answer}");
    }
}
