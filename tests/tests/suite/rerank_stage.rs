//! The rerank stage of queries: the best points in the order of a cross-encoder, or of another vector.

use serde_json::{Value, json};
use twofold_tests::Server;

use crate::support::{call, send_json, with_fixtures};

const QUERY: &str = "where does the cat sit?";
const MODEL: &str = "cross_encoders/bert";
const TEXTS: [&str; 6] = [
    "a",
    "The cat sits on the mat.",
    "A catalogue stands between the reader and the shelf",
    "written as text",
    "A library keeps its books on shelves",
    "shipping it!",
];

/// A collection whose points come in the order of their ids, each with a text; the last one has none.
async fn filled(server: &Server) {
    call(
        server,
        "PUT",
        "/collections/c",
        json!({"vectors": {"size": 1, "distance": "Dot"}}),
    )
    .await;
    let point = |(id, text): (usize, &&str)| {
        let payload = json!({"body": {"words": text}, "n": id, "kind": (["even", "odd"][id % 2])});
        json!({"id": id, "vector": [10.0 - id as f64], "payload": payload})
    };
    let mut points: Vec<Value> = TEXTS.iter().enumerate().map(point).collect();
    points.push(json!({"id": 6, "vector": [4.0], "payload": {"n": 6, "kind": "even"}}));
    call(server, "PUT", "/collections/c/points", json!({"points": points})).await;
}

/// Places in `texts` with their scores, the most relevant first.
async fn ranked(server: &Server, texts: &[&str]) -> Vec<(u64, f64)> {
    let body = json!({"query": QUERY, "texts": texts}).to_string();
    let (status, ranks) = send_json(server.url(), "POST", "/rerank", &body).await;
    assert_eq!(status, 200, "{ranks}");
    let rank = |rank: &Value| (rank["index"].as_u64().unwrap(), rank["score"].as_f64().unwrap());
    ranks.as_array().unwrap().iter().map(rank).collect()
}

fn hits(points: &Value) -> Vec<(u64, f64)> {
    let hit = |point: &Value| (point["id"].as_u64().unwrap(), point["score"].as_f64().unwrap());
    points.as_array().unwrap().iter().map(hit).collect()
}

#[track_caller]
fn assert_same(received: &[(u64, f64)], expected: &[(u64, f64)]) {
    assert_eq!(received.len(), expected.len(), "{received:?} {expected:?}");
    for ((id, score), (expected_id, expected)) in received.iter().zip(expected) {
        assert!(
            id == expected_id && (score - expected).abs() < 1e-4,
            "{id} {score} {expected_id} {expected}"
        );
    }
}

fn stage(extra: Value) -> Value {
    let mut stage = json!({"model": MODEL, "query": QUERY, "text_key": "body.words"});
    stage
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    stage
}

#[tokio::test]
async fn the_best_points_come_in_the_order_of_a_cross_encoder() {
    let (server, _dir) = with_fixtures(&[MODEL], &[]).await;
    filled(&server).await;
    let query = async |extra: Value| {
        let mut body = json!({"query": [1.0]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        call(&server, "POST", "/collections/c/points/query", body).await
    };
    let expected = ranked(&server, &TEXTS).await;
    assert_ne!(
        expected.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5]
    );
    let all = query(json!({"rerank": stage(json!({}))})).await;
    assert_same(&hits(&all["points"]), &expected);
    // The one without a text is left out.
    let report = &all["rerank"];
    assert_eq!(
        (&report["applied"], &report["candidates"], &report["scored"]),
        (&json!(true), &json!(7), &json!(6))
    );
    assert_eq!(report.get("note"), None);
    assert_eq!(
        all["points"][0].get("payload"),
        None,
        "nothing is answered that was not asked for"
    );
    let page = query(json!({"rerank": stage(json!({})), "limit": 2, "offset": 1, "with_payload": ["n"]})).await;
    assert_same(&hits(&page["points"]), &expected[1..3]);
    assert_eq!(page["points"][0]["payload"], json!({"n": expected[1].0}));
    // What is beyond the limit is neither scored nor answered.
    let few = query(json!({"rerank": stage(json!({"limit": 3}))})).await;
    assert_same(&hits(&few["points"]), &ranked(&server, &TEXTS[..3]).await);
    let good = query(json!({"rerank": stage(json!({"score_threshold": expected[2].1 - 1e-4}))})).await;
    assert_same(&hits(&good["points"]), &expected[..3]);
    let none = query(json!({"rerank": stage(json!({})), "filter": {"must": [{"has_id": [99]}]}})).await;
    assert_eq!(
        (&none["points"], &none["rerank"]["candidates"]),
        (&json!([]), &json!(0))
    );
}

#[tokio::test]
async fn batches_and_groups_are_reranked_too() {
    let (server, _dir) = with_fixtures(&[MODEL], &[]).await;
    filled(&server).await;
    let expected = ranked(&server, &TEXTS).await;
    let searches = json!([{"query": [1.0], "rerank": stage(json!({}))}, {"query": [1.0]}]);
    let batch = call(
        &server,
        "POST",
        "/collections/c/points/query/batch",
        json!({"searches": searches}),
    )
    .await;
    assert_same(&hits(&batch[0]["points"]), &expected);
    assert_eq!(hits(&batch[1]["points"])[0].0, 0);
    assert_eq!(batch[1].get("rerank"), None);

    let groups = json!({"query": [1.0], "group_by": "kind", "group_size": 3, "rerank": stage(json!({}))});
    let groups = call(&server, "POST", "/collections/c/points/query/groups", groups).await;
    let best = expected[0].0;
    let kinds = [["even", "odd"], ["odd", "even"]][best as usize % 2];
    for (group, kind) in groups["groups"].as_array().unwrap().iter().zip(kinds) {
        assert_eq!(group["id"], kind);
        let of_kind = |id: u64| ["even", "odd"][id as usize % 2] == kind;
        let expected: Vec<_> = expected.iter().copied().filter(|(id, _)| of_kind(*id)).collect();
        assert_same(&hits(&group["hits"]), &expected);
        assert_eq!(group["hits"][0].get("payload"), None);
    }
    // Of each kind three were found, and the third of the even ones is not among the first three.
    assert_eq!(groups["rerank"]["candidates"], 6);
}

#[tokio::test]
async fn a_stored_multivector_reranks_by_maxsim() {
    let (server, _dir) = with_fixtures(&["kinds/colbert"], &[]).await;
    let config =
        json!({"vectors": {"": {"size": 1, "distance": "Dot"}}, "encoders": {"tokens": {"model": "kinds/colbert"}}});
    call(&server, "PUT", "/collections/c", config).await;
    let point =
        |(id, text): (usize, &&str)| json!({"id": id, "vector": {"": [10.0 - id as f64], "tokens": {"text": text}}});
    let mut points: Vec<Value> = TEXTS.iter().enumerate().map(point).collect();
    points.push(json!({"id": 6, "vector": {"": [20.0]}}));
    call(&server, "PUT", "/collections/c/points", json!({"points": points})).await;
    let first = json!({"query": [1.0], "using": ""});
    let mut reranked = first.clone();
    reranked["rerank"] = json!({"using": "tokens", "query": QUERY, "limit": 5});
    let reranked = call(&server, "POST", "/collections/c/points/query", reranked).await;
    let mut prefetch = first;
    prefetch["limit"] = json!(5);
    let two_stages = json!({"prefetch": prefetch, "query": {"text": QUERY}, "using": "tokens"});
    let two_stages = call(&server, "POST", "/collections/c/points/query", two_stages).await;
    assert_eq!(hits(&two_stages["points"]).len(), 4);
    assert_same(&hits(&reranked["points"]), &hits(&two_stages["points"]));
    assert_eq!(
        (&reranked["rerank"]["candidates"], &reranked["rerank"]["scored"]),
        (&json!(5), &json!(4))
    );
}

#[tokio::test]
async fn without_time_points_keep_their_order_and_it_is_said() {
    let (server, _dir) = with_fixtures(&[MODEL], &[]).await;
    filled(&server).await;
    let body = json!({"query": [1.0], "rerank": stage(json!({"timeout_ms": 0})), "limit": 3});
    let answer = call(&server, "POST", "/collections/c/points/query", body).await;
    assert_same(&hits(&answer["points"]), &[(0, 10.0), (1, 9.0), (2, 8.0)]);
    let report = &answer["rerank"];
    assert_eq!((&report["applied"], &report["scored"]), (&json!(false), &json!(0)));
    assert!(report["note"].as_str().unwrap().contains("0 of 6"), "{report}");
}

#[tokio::test]
async fn what_is_asked_is_the_text_of_the_query_or_of_a_prefetch() {
    let (server, _dir) = with_fixtures(&[MODEL], &[]).await;
    call(
        &server,
        "PUT",
        "/collections/c",
        json!({"encoders": {"words": {"model": "Qdrant/bm25"}}}),
    )
    .await;
    let texts = ["The cat sits on the mat.", "A cat, a cat!", "Cats sit where they want."];
    let points: Vec<Value> = (0..)
        .zip(texts)
        .map(|(id, text)| json!({"id": id, "vector": {"words": {"text": text}}, "payload": {"text": text}}))
        .collect();
    call(&server, "PUT", "/collections/c/points", json!({"points": points})).await;
    let expected = ranked(&server, &texts).await;
    let of_text = json!({"query": {"text": QUERY}, "using": "words"});
    for mut query in [
        of_text.clone(),
        json!({"prefetch": [of_text.clone(), of_text], "query": {"fusion": "rrf"}}),
    ] {
        query["rerank"] = json!({"model": MODEL});
        let answer = call(&server, "POST", "/collections/c/points/query", query).await;
        assert_same(&hits(&answer["points"]), &expected);
    }
}

#[tokio::test]
async fn mistakes_in_a_stage_say_what_is_accepted() {
    let (server, _dir) = with_fixtures(&[MODEL, "families/bert"], &[]).await;
    filled(&server).await;
    for (rerank, part) in [
        (json!({"model": "x/none", "query": "q"}), "twofold model pull x/none"),
        (json!({"model": "families/bert", "query": "q"}), "no cross-encoder"),
        (json!({"model": MODEL}), "`rerank.query`: say what is asked"),
        (json!({"query": "q"}), "`model`"),
        (json!({"model": MODEL, "using": "", "query": "q"}), "not both"),
        (json!({"using": "tokens", "query": "q"}), "Not existing vector name"),
        (json!({"using": "", "query": "q"}), "no encoder"),
        (json!({"using": "", "query": "q", "timeout_ms": 1}), "`timeout_ms`"),
        (
            json!({"model": MODEL, "query": "q"}),
            "none of the 7 points that were found has a text at `text`",
        ),
        (
            json!({"model": MODEL, "query": "q", "text_key": "a..b"}),
            "not a payload key",
        ),
        (stage(json!({"limit": 0})), "`rerank.limit`: it is 0"),
        (
            stage(json!({"limit": 2_049})),
            "points to rerank: 2049 is over the limit of 2048",
        ),
        (stage(json!({"top_n": 3})), "unknown field `top_n`"),
    ] {
        let body = json!({"query": [1.0], "rerank": rerank}).to_string();
        let (status, answer) = send_json(server.url(), "POST", "/collections/c/points/query", &body).await;
        assert_eq!(status, 400, "{rerank}: {answer}");
        let error = answer["status"]["error"].as_str().unwrap();
        assert!(error.contains(part), "{rerank}: {error}");
    }
}
