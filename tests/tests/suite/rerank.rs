//! The relevance of texts to a query, in the shapes of text-embeddings-inference and of Cohere and Jina.

use std::path::Path;

use serde_json::{Value, json};
use twofold_types::Role;

use crate::support::{from_json, send_json, with_fixtures};

const QUERY: &str = "where does the cat sit?";

/// Texts with the scores that the reference implementation gives them with [`QUERY`], the most relevant first.
fn reference(family: &str, score: &str) -> Vec<(String, f64)> {
    let path = format!("../worker/encode/tests/fixtures/cross_encoders/{family}/reference.json");
    let json = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let reference: Value = serde_json::from_slice(&json).unwrap();
    let pairs = reference["pairs"].as_array().unwrap().iter();
    let of_query = pairs.filter(|pair| pair["query"] == QUERY);
    let mut scored: Vec<(String, f64)> = of_query
        .map(|pair| (pair["text"].as_str().unwrap().to_owned(), pair[score].as_f64().unwrap()))
        .collect();
    scored.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    // Of texts that are as relevant, the order is nobody's promise.
    scored.dedup_by(|(_, a), (_, b)| (*b - *a).abs() < 1e-4);
    scored
}

/// The texts in an order that is not that of their scores.
fn texts(reference: &[(String, f64)]) -> Vec<String> {
    let mut texts: Vec<String> = reference.iter().map(|(text, _)| text.clone()).collect();
    texts.sort_unstable();
    texts
}

/// Texts and scores are those of the reference, in its order.
#[track_caller]
fn assert_ranked<'a>(ranked: impl IntoIterator<Item = (&'a str, &'a Value)>, reference: &[(String, f64)]) {
    let mut count = 0;
    for ((text, score), (expected_text, expected)) in ranked.into_iter().zip(reference) {
        let score = score.as_f64().unwrap();
        assert!(
            (score - expected).abs() < 1e-4,
            "{text:?}: {score} instead of {expected}"
        );
        assert_eq!(text, expected_text);
        count += 1;
    }
    assert_eq!(count, reference.len());
}

#[tokio::test]
async fn texts_come_in_the_order_of_the_references_scores() {
    let (server, _dir) = with_fixtures(&["cross_encoders/xlm_roberta", "families/bert"], &[]).await;
    for (raw, score) in [(false, "score"), (true, "raw")] {
        let reference = reference("xlm_roberta", score);
        let texts = texts(&reference);
        // The only cross-encoder there is.
        let body = json!({"query": QUERY, "texts": texts, "raw_scores": raw, "return_text": true});
        let (status, answer) = send_json(server.url(), "POST", "/rerank", &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let ranks = answer.as_array().unwrap();
        for rank in ranks {
            assert_eq!(rank["text"], texts[rank["index"].as_u64().unwrap() as usize]);
        }
        assert_ranked(
            ranks
                .iter()
                .map(|rank| (rank["text"].as_str().unwrap(), &rank["score"])),
            &reference,
        );
    }
    let (_, answer) = send_json(server.url(), "POST", "/rerank", r#"{"query": "a", "texts": ["b"]}"#).await;
    assert_eq!(
        answer[0].as_object().unwrap().len(),
        2,
        "no text unless asked for: {answer}"
    );
}

#[tokio::test]
async fn the_shape_of_cohere_and_jina_ranks_alike_and_keeps_the_best() {
    let (server, _dir) = with_fixtures(&["cross_encoders/bert"], &[]).await;
    let reference = reference("bert", "score");
    let texts = texts(&reference);
    let documents: Vec<Value> = texts.iter().map(|text| json!({"text": text})).collect();
    for (path, documents) in [("/v1/rerank", json!(texts)), ("/v2/rerank", json!(documents))] {
        let body = json!({
            "model": "cross_encoders/bert", "query": QUERY, "documents": documents, "top_n": 5, "return_documents": true,
        });
        let (status, answer) = send_json(server.url(), "POST", path, &body.to_string()).await;
        assert_eq!(
            (status, &answer["model"]),
            (200, &json!("cross_encoders/bert")),
            "{answer}"
        );
        assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 100, "{answer}");
        let results = answer["results"].as_array().unwrap();
        for result in results {
            assert_eq!(
                result["document"]["text"],
                texts[result["index"].as_u64().unwrap() as usize]
            );
        }
        let ranked = results
            .iter()
            .map(|result| (result["document"]["text"].as_str().unwrap(), &result["relevance_score"]));
        assert_ranked(ranked, &reference[..5]);
    }
    let request = json!({"model": "cross_encoders/bert", "query": QUERY, "documents": texts, "top_n": 1});
    let ranked = server.client().rerank(&from_json(request)).await.unwrap();
    assert_eq!(texts[ranked.results[0].index], reference[0].0);
    assert_eq!((ranked.results.len(), &ranked.results[0].document), (1, &None));
}

#[tokio::test]
async fn texts_that_are_too_long_are_cut_where_asked_or_refused() {
    let (server, _dir) = with_fixtures(&["cross_encoders/bert"], &[]).await;
    let long = format!("{} The cat sits on the mat.", "a ".repeat(2_000));
    let rank = async |extra: Value| {
        let mut body = json!({"query": QUERY, "texts": ["short", long]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        send_json(server.url(), "POST", "/rerank", &body.to_string()).await
    };
    let score_of_long = |(status, answer): (u16, Value)| {
        assert_eq!(status, 200, "{answer}");
        let ranks = answer.as_array().unwrap();
        ranks.iter().find(|rank| rank["index"] == 1).unwrap()["score"].clone()
    };
    let at_the_end = score_of_long(rank(json!({})).await);
    assert_eq!(
        score_of_long(rank(json!({"truncation_direction": "Right"})).await),
        at_the_end
    );
    assert_ne!(
        score_of_long(rank(json!({"truncation_direction": "Left"})).await),
        at_the_end
    );
    let (status, answer) = rank(json!({"truncate": false})).await;
    assert_eq!((status, &answer["error_type"]), (413, &json!("validation")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("text 1"), "{answer}");
}

#[tokio::test]
async fn mistakes_are_answered_in_the_shape_of_each_api() {
    let (server, _dir) = with_fixtures(
        &["cross_encoders/bert", "cross_encoders/distilbert", "families/bert"],
        &[],
    )
    .await;
    let many = vec!["a"; 2_049];
    for (body, status, kind, part) in [
        (
            json!({"model": "families/bert", "texts": ["a"]}),
            400,
            "validation",
            "no cross-encoder",
        ),
        (
            json!({"texts": ["a"]}),
            400,
            "validation",
            "cross_encoders/bert, cross_encoders/distilbert",
        ),
        (
            json!({"model": "cross_encoders/bert", "texts": []}),
            400,
            "empty",
            "no texts",
        ),
        (
            json!({"model": "cross_encoders/bert", "texts": many}),
            413,
            "validation",
            "2048",
        ),
        (
            json!({"model": "cross_encoders/bert", "texts": "a"}),
            400,
            "validation",
            "sequence",
        ),
    ] {
        let mut body = body;
        body["query"] = json!(QUERY);
        let (received, answer) = send_json(server.url(), "POST", "/rerank", &body.to_string()).await;
        assert_eq!(
            (received, answer["error_type"].as_str()),
            (status, Some(kind)),
            "{answer}"
        );
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
    }
    for (body, status, code, part) in [
        (
            json!({"model": "families/bert", "documents": ["a"]}),
            400,
            Value::Null,
            "no cross-encoder",
        ),
        (
            json!({"model": "x/none", "documents": ["a"]}),
            404,
            json!("model_not_found"),
            "model pull",
        ),
        (json!({"documents": ["a"]}), 400, Value::Null, "`model`"),
        (
            json!({"model": "cross_encoders/bert", "documents": []}),
            400,
            Value::Null,
            "no texts",
        ),
        (
            json!({"model": "cross_encoders/bert", "documents": [{"title": "a"}]}),
            400,
            Value::Null,
            "`text`",
        ),
        (
            json!({"model": "cross_encoders/bert", "documents": ["a"], "top_n": 0}),
            400,
            Value::Null,
            "nonzero",
        ),
    ] {
        let mut body = body;
        body["query"] = json!(QUERY);
        let (received, answer) = send_json(server.url(), "POST", "/v1/rerank", &body.to_string()).await;
        assert_eq!((received, &answer["error"]["code"]), (status, &code), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(part), "{answer}");
    }
    let body = json!({"model": "cross_encoders/bert", "input": "a"}).to_string();
    let (status, answer) = send_json(server.url(), "POST", "/v1/embeddings", &body).await;
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("it is a cross-encoder"),
        "{answer}"
    );
    let request = json!({"model": "families/bert", "query": "a", "documents": ["a"]});
    let error = server.client().rerank(&from_json(request)).await.unwrap_err();
    assert!(
        error.is_rejected() && error.to_string().contains("no cross-encoder"),
        "{error}"
    );
}

#[tokio::test]
async fn cross_encoders_are_listed_and_share_the_memory_of_models() {
    let models = ["cross_encoders/bert", "families/bert"];
    let (server, _dir) = with_fixtures(&models, &["--models-memory", "1"]).await;
    let listed = async || {
        let (_, mut answer) = send_json(server.url(), "GET", "/models", "").await;
        let models = answer["result"]["models"].take();
        let loaded = [0, 1].map(|place| models[place]["loaded"].as_bool().unwrap());
        (models, loaded)
    };
    let body = json!({"model": models[1], "input": "a", "input_type": Role::Query}).to_string();
    send_json(server.url(), "POST", "/v1/embeddings", &body).await;
    assert_eq!(listed().await.1, [false, true]);
    let body = r#"{"query": "a", "texts": ["b"]}"#;
    let (status, _) = send_json(server.url(), "POST", "/rerank", body).await;
    assert_eq!(status, 200);
    let (models, loaded) = listed().await;
    assert_eq!(loaded, [true, false]);
    let reranker = &models[0];
    assert_eq!(
        (&reranker["kind"], &reranker["activation"]),
        (&json!("cross-encoder"), &json!("identity"))
    );
    assert_eq!(
        (&reranker["max_tokens"], &reranker["family"]),
        (&json!(300), &json!("bert"))
    );
    assert_eq!(reranker.get("dimensions"), None);
}
