//! Embeddings alone, in the shapes of OpenAI and of text-embeddings-inference, and the list of models.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use twofold_tests::{MODEL, Server};
use twofold_types::embeddings::SparseValue;

use crate::support::{BINARY, copy, encoded_collection, from_json, name, send_json, server};

/// Sends a body and expects success.
async fn post(server: &Server, path: &str, body: Value) -> Value {
    let (status, answer) = send_json(server.url(), "POST", path, &body.to_string()).await;
    assert_eq!(status, 200, "{path} {body}: {answer}");
    answer
}

async fn models(server: &Server) -> Value {
    let (status, mut answer) = send_json(server.url(), "GET", "/models", "").await;
    assert_eq!(status, 200, "{answer}");
    answer["result"].take()
}

fn vector(value: &Value) -> Vec<f32> {
    from_json(value.clone())
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-5, "they differ by {largest}");
}

/// A server with the small models of these names, below `t/`.
async fn with_small_models(names: &[&str], args: &[&str]) -> (Server, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/encode/tests/fixtures/families");
    for name in names {
        copy(&fixtures.join(name), &dir.path().join("models/t").join(name));
    }
    let models_dir = dir.path().join("models");
    let args = [&["--models-dir", models_dir.to_str().unwrap()], args].concat();
    let server = Server::start_with(Path::new(BINARY), &dir.path().join("data"), None, &args).await;
    (server, dir)
}

#[tokio::test]
async fn embeddings_are_those_that_a_collection_stores() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--default-model", MODEL];
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &args).await;
    let client = server.client();
    let texts = ["Oslo lies at the head of a fjord.", "Bern is the capital.", ""];
    let answer = post(&server, "/v1/embeddings", json!({"model": MODEL, "input": texts})).await;
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!(MODEL)));
    assert_eq!(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]);
    for (index, data) in answer["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&data["object"], &data["index"]), (&json!("embedding"), &json!(index)));
        assert!((length(&vector(&data["embedding"])) - 1.0).abs() < 1e-4);
    }
    // [CLS] and [SEP] of every text count as well.
    let empty = post(&server, "/v1/embeddings", json!({"model": MODEL, "input": ""})).await;
    assert_eq!(empty["usage"]["prompt_tokens"], 2);

    let docs = name("docs");
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    let points = json!({"points": [{"id": 1, "vector": {"text": texts[0]}}]});
    client.upsert_points(&docs, &from_json(points)).await.unwrap();
    let query = json!({"query": {"text": "a city"}, "with_vector": true});
    let found = client.query(&docs, &from_json(query)).await.unwrap();
    let stored = serde_json::to_value(&found[0].vector).unwrap();
    assert_close(&vector(&stored), &vector(&answer["data"][0]["embedding"]));

    let bare = post(&server, "/embed", json!({"inputs": texts, "model": MODEL})).await;
    assert_eq!(bare.as_array().map(Vec::len), Some(3));
    assert_close(&vector(&bare[1]), &vector(&answer["data"][1]["embedding"]));
    let one = post(&server, "/embed", json!({"inputs": texts[1]})).await;
    assert_close(&vector(&one[0]), &vector(&bare[1]));
}

#[tokio::test]
async fn base64_is_the_same_vector_and_dimensions_keep_the_first() {
    let (server, _dir) = with_small_models(&["bert"], &[]).await;
    let request = json!({"model": "t/bert", "input": ["a text"], "dimensions": 8});
    let short = post(&server, "/v1/embeddings", request.clone()).await;
    let short = vector(&short["data"][0]["embedding"]);
    let whole = post(&server, "/v1/embeddings", json!({"model": "t/bert", "input": "a text"})).await;
    let whole = vector(&whole["data"][0]["embedding"]);
    let scale = length(&whole[..8]);
    assert_close(&short, &whole[..8].iter().map(|x| x / scale).collect::<Vec<_>>());

    let mut encoded = request;
    encoded["encoding_format"] = json!("base64");
    let encoded = post(&server, "/v1/embeddings", encoded).await;
    let text = encoded["data"][0]["embedding"].as_str().unwrap();
    let bytes = decoded(text);
    let floats = bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    assert_eq!(floats.collect::<Vec<_>>(), short);
}

/// Base 64 by its definition (RFC 4648, section 4).
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').chars();
    let bits: Vec<u8> = digits
        .flat_map(|digit| {
            let value = DIGITS.find(digit).unwrap();
            (0..6).rev().map(move |bit| (value >> bit & 1) as u8)
        })
        .collect();
    let bytes = bits.chunks_exact(8);
    bytes
        .map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit))
        .collect()
}

#[tokio::test]
async fn queries_and_documents_get_their_own_prompts() {
    let (server, dir) = with_small_models(&["bert"], &[]).await;
    let prompts = json!({"prompts": {"query": "query: ", "passage": "passage: "}});
    let config = dir.path().join("models/t/bert/config_sentence_transformers.json");
    std::fs::write(config, prompts.to_string()).unwrap();
    let embed = async |key: &str, side: &str| {
        let (path, mut body) = match key {
            "input_type" => ("/v1/embeddings", json!({"input": "a text", "model": "t/bert"})),
            _ => ("/embed", json!({"inputs": "a text", "model": "t/bert"})),
        };
        if !side.is_empty() {
            body[key] = json!(side);
        }
        let answer = post(&server, path, body).await;
        vector(answer.pointer("/data/0/embedding").unwrap_or(&answer[0]))
    };
    for (key, queries, documents) in [
        ("input_type", ["query", "search_query"], ["document", "search_document"]),
        ("prompt_name", ["query", "query"], ["document", "passage"]),
    ] {
        let by_default = embed(key, "").await;
        let query = embed(key, queries[0]).await;
        assert_ne!(query, by_default, "the model has a prompt for queries");
        assert_eq!(embed(key, queries[1]).await, query);
        for document in documents {
            assert_eq!(embed(key, document).await, by_default);
        }
    }
}

#[tokio::test]
async fn a_query_that_is_asked_again_is_not_encoded_again() {
    let (server, client, _dir) = server().await;
    let docs = name("docs");
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    let counts = async || {
        let cache = models(&server).await["query_cache"].take();
        (cache["entries"].clone(), cache["hits"].clone(), cache["misses"].clone())
    };
    let request = json!({"model": MODEL, "input": ["tea", "coffee"], "input_type": "query"});
    let first = post(&server, "/v1/embeddings", request.clone()).await;
    assert_eq!(counts().await, (json!(2), json!(0), json!(2)));
    assert_eq!(post(&server, "/v1/embeddings", request).await, first);
    assert_eq!(counts().await, (json!(2), json!(2), json!(2)));
    // A search asks for the same encoder.
    client
        .query(&docs, &from_json(json!({"query": {"text": "tea"}})))
        .await
        .unwrap();
    assert_eq!(counts().await, (json!(2), json!(3), json!(2)));
    post(&server, "/v1/embeddings", json!({"model": MODEL, "input": "tea"})).await;
    assert_eq!(
        counts().await,
        (json!(2), json!(3), json!(2)),
        "documents are no queries"
    );
}

#[tokio::test]
async fn models_are_listed_and_the_least_recently_used_makes_room() {
    let (server, dir) = with_small_models(&["bert", "roberta"], &["--models-memory", "1"]).await;
    copy(&dir.path().join("models/t/bert"), &dir.path().join("models/t/broken"));
    std::fs::remove_file(dir.path().join("models/t/broken/tokenizer.json")).unwrap();
    let before = post(&server, "/v1/embeddings", json!({"model": "t/bert", "input": "a text"})).await;
    let listed = models(&server).await;
    let facts = |place: usize| {
        let model = &listed["models"][place];
        (model["id"].clone(), model["loaded"].clone())
    };
    assert_eq!(facts(0), (json!("t/bert"), json!(true)));
    assert_eq!(facts(1), (json!("t/broken"), json!(false)));
    assert_eq!(facts(2), (json!("t/roberta"), json!(false)));
    let bert = &listed["models"][0];
    assert_eq!(bert["family"], "bert");
    assert_eq!(
        json!(before["data"][0]["embedding"].as_array().unwrap().len()),
        bert["dimensions"]
    );
    assert_eq!(listed["loaded_bytes"], bert["weight_bytes"]);
    assert_eq!(bert["precisions"], json!(["f32"]));
    let error = listed["models"][1]["error"].as_str().unwrap();
    assert!(error.contains("tokenizer.json"), "{error}");

    post(
        &server,
        "/v1/embeddings",
        json!({"model": "t/roberta", "input": "a text"}),
    )
    .await;
    let loaded = models(&server).await["models"].take();
    assert_eq!(
        (&loaded[0]["loaded"], &loaded[2]["loaded"]),
        (&json!(false), &json!(true))
    );
    let after = post(&server, "/v1/embeddings", json!({"model": "t/bert", "input": "a text"})).await;
    assert_eq!(before, after);

    let (status, answer) = send_json(server.url(), "GET", "/v1/models", "").await;
    assert_eq!((status, &answer["object"]), (200, &json!("list")));
    let ids: Vec<&Value> = answer["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, ["t/bert", "t/roberta"]);
    assert_eq!(
        (&answer["data"][0]["object"], &answer["data"][0]["owned_by"]),
        (&json!("model"), &json!("t"))
    );
}

#[tokio::test]
async fn mistakes_are_answered_in_the_shape_of_each_api() {
    let (server, _dir) = with_small_models(&["bert", "roberta"], &["--max-body-bytes", "100000"]).await;
    let many = vec!["a"; 2_049];
    for (body, status, param, code, part) in [
        (
            json!({"model": "t/bert", "input": [1, 2]}),
            400,
            json!("input"),
            Value::Null,
            "array of strings",
        ),
        (
            json!({"model": "t/bert", "input": [[1], [2]]}),
            400,
            json!("input"),
            Value::Null,
            "token ids",
        ),
        (
            json!({"model": "t/bert", "input": []}),
            400,
            json!("input"),
            Value::Null,
            "no texts",
        ),
        (
            json!({"model": "t/bert", "input": many}),
            400,
            json!("input"),
            Value::Null,
            "2048",
        ),
        (
            json!({"model": "t/bert", "input": 7}),
            400,
            Value::Null,
            Value::Null,
            "array of strings",
        ),
        (json!({"input": "a"}), 400, Value::Null, Value::Null, "`model`"),
        (
            json!({"model": "t/none", "input": "a"}),
            404,
            json!("model"),
            json!("model_not_found"),
            "model pull",
        ),
        (
            json!({"model": "../x", "input": "a"}),
            404,
            json!("model"),
            json!("model_not_found"),
            "not a model's name",
        ),
        (
            json!({"model": "t/bert", "input": "a", "dimensions": 9999}),
            400,
            json!("dimensions"),
            Value::Null,
            "9999",
        ),
        (
            json!({"model": "t/bert", "input": "a", "input_type": "x"}),
            400,
            Value::Null,
            Value::Null,
            "`query`",
        ),
        (
            json!({"model": "t/bert", "input": "a".repeat(100_001)}),
            413,
            Value::Null,
            Value::Null,
            "limit",
        ),
    ] {
        let (received, answer) = send_json(server.url(), "POST", "/v1/embeddings", &body.to_string()).await;
        let error = &answer["error"];
        assert_eq!(received, status, "{answer}");
        assert_eq!((&error["param"], &error["code"]), (&param, &code), "{answer}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(part), "{answer}");
    }
    let long = "word ".repeat(2_000);
    for (body, status, kind, part) in [
        (
            json!({"inputs": [1, 2], "model": "t/bert"}),
            400,
            "validation",
            "token ids",
        ),
        (json!({"inputs": [], "model": "t/bert"}), 400, "empty", "no texts"),
        (json!({"inputs": many, "model": "t/bert"}), 413, "validation", "2048"),
        (json!({"inputs": "a"}), 400, "validation", "t/bert, t/roberta"),
        (
            json!({"inputs": "a", "model": "t/bert", "prompt_name": "x"}),
            400,
            "validation",
            "`query`",
        ),
        (
            json!({"inputs": "a", "model": "t/bert", "truncation_direction": "Left"}),
            400,
            "validation",
            "`right`",
        ),
        (
            json!({"inputs": ["a", long], "model": "t/bert", "truncate": false}),
            413,
            "validation",
            "text 1 has",
        ),
    ] {
        let (received, answer) = send_json(server.url(), "POST", "/embed", &body.to_string()).await;
        assert_eq!((received, &answer["error_type"]), (status, &json!(kind)), "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
    }
    post(&server, "/embed", json!({"inputs": long, "model": "t/bert"})).await;
}

#[tokio::test]
async fn sparse_embeddings_need_no_files_and_are_refused_where_dense_ones_are_needed() {
    let (server, _dir) = with_small_models(&["bert"], &[]).await;
    let request = json!({"model": "qdrant/BM25", "inputs": ["The cats sat", "a dog"], "prompt_name": "query"});
    let queries = post(&server, "/embed_sparse", request).await;
    let terms: Vec<Vec<SparseValue>> = from_json(queries);
    assert_eq!(terms.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert!(terms.concat().iter().all(|term| term.value == 1.0));

    let options = json!({"language": "german", "avg_len": 3});
    let request = json!({"model": "Qdrant/bm25", "inputs": "Die Katzen und die Katze", "options": options});
    let terms: Vec<Vec<SparseValue>> = from_json(post(&server, "/embed_sparse", request).await);
    let words = terms[0].iter().map(|term| term.value);
    // One stem, twice in a document of two words.
    let expected = 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 2.0 / 3.0));
    assert_eq!(
        words.map(|weight| (weight - expected).abs() < 1e-6).collect::<Vec<_>>(),
        [true]
    );

    for (path, body, status, parts) in [
        (
            "/v1/embeddings",
            json!({"model": "Qdrant/bm25", "input": "a"}),
            400,
            ["sparse", "dense"],
        ),
        (
            "/embed_sparse",
            json!({"model": "t/bert", "inputs": "a"}),
            400,
            ["dense", "sparse"],
        ),
        (
            "/embed_all",
            json!({"model": "t/bert", "inputs": "a"}),
            400,
            ["dense", "multi"],
        ),
        (
            "/embed_sparse",
            json!({"model": "t/bert", "inputs": "a", "options": {"k": 1}}),
            400,
            ["`options`", "t/bert"],
        ),
        (
            "/embed_sparse",
            json!({"model": "Qdrant/bm25", "inputs": "a", "options": {"k1": 1}}),
            400,
            ["`k1`", "`avg_len`"],
        ),
    ] {
        let (received, answer) = send_json(server.url(), "POST", path, &body.to_string()).await;
        let answer = answer.to_string();
        assert_eq!(received, status, "{answer}");
        assert!(parts.iter().all(|part| answer.contains(part)), "{answer}");
    }
    let listed = models(&server).await;
    let last = listed["models"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["id"], &last["kind"]), (&json!("Qdrant/bm25"), &json!("sparse")));
}
