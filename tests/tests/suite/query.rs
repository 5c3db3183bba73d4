//! Sparse vectors, multivectors, and queries made of others, through the public API.

use std::path::Path;

use serde_json::{Value, json};
use twofold_tests::Server;

use crate::support::{BINARY, call, send_json, server};

async fn hits(server: &Server, collection: &str, body: Value) -> Vec<(u64, f64)> {
    let found = call(server, "POST", &format!("/collections/{collection}/points/query"), body).await;
    let points = found["points"].as_array().unwrap().iter();
    points
        .map(|point| (point["id"].as_u64().unwrap(), point["score"].as_f64().unwrap()))
        .collect()
}

async fn filled(server: &Server) {
    let create = json!({
        "vectors": {
            "dense": {"size": 2, "distance": "Dot"},
            "tokens": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"words": {}, "bm25": {"modifier": "idf"}},
    });
    call(server, "PUT", "/collections/c", create).await;
    let point = |id: u64, dense: [f32; 2], tokens: Value, words: Value| {
        let vectors = json!({"dense": dense, "tokens": tokens, "words": words, "bm25": words});
        json!({"id": id, "vector": vectors, "payload": {"n": id}})
    };
    let points = json!([
        point(
            1,
            [1.0, 0.0],
            json!([[1.0, 0.0], [0.0, 1.0]]),
            json!({"indices": [7, 3], "values": [1.0, 2.0]})
        ),
        point(
            2,
            [0.0, 1.0],
            json!([[2.0, 0.0]]),
            json!({"indices": [3], "values": [5.0]})
        ),
        point(
            3,
            [0.5, 0.5],
            json!([[0.5, 0.5]]),
            json!({"indices": [9], "values": [1.0]})
        ),
    ]);
    call(server, "PUT", "/collections/c/points", json!({"points": points})).await;
}

async fn check_filled(server: &Server) {
    let words = |indices: [u32; 2], values: [f32; 2]| json!({"indices": indices, "values": values});
    let sparse = json!({"query": words([3, 7], [1.0, 10.0]), "using": "words", "with_vector": ["words"]});
    assert_eq!(
        hits(server, "c", sparse).await,
        [(1, 12.0), (2, 5.0)],
        "point 3 shares no dimension"
    );
    let idf = |n: f64| ((3.0 - n + 0.5) / (n + 0.5) + 1.0).ln();
    let rare = hits(
        server,
        "c",
        json!({"query": words([3, 9], [1.0, 1.0]), "using": "bm25"}),
    )
    .await;
    let expected = [(2, 5.0 * idf(2.0)), (3, idf(1.0)), (1, 2.0 * idf(2.0))];
    for ((id, score), (expected_id, expected)) in rare.into_iter().zip(expected) {
        assert!(
            id == expected_id && (score - expected).abs() < 1e-5,
            "{id} {score} {expected}"
        );
    }
    let tokens = json!({"query": [[1.0, 0.0], [0.0, 1.0]], "using": "tokens"});
    assert_eq!(hits(server, "c", tokens).await, [(1, 2.0), (2, 2.0), (3, 1.0)]);
    let got = call(server, "GET", "/collections/c/points/1", json!(null)).await;
    let vectors = &got["vector"];
    assert_eq!(vectors["words"], json!({"indices": [3, 7], "values": [2.0, 1.0]}));
    assert_eq!(vectors["tokens"], json!([[1.0, 0.0], [0.0, 1.0]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_vector_is_found_and_survives_a_restart() {
    let (mut first, _client, dir) = server().await;
    filled(&first).await;
    check_filled(&first).await;
    first.kill();
    let second = Server::start(Path::new(BINARY), dir.path(), None).await;
    check_filled(&second).await;
    let info = call(&second, "GET", "/collections/c", json!(null)).await;
    assert_eq!(
        info["config"]["params"]["sparse_vectors"]["bm25"],
        json!({"modifier": "idf"})
    );
    let multi = &info["config"]["params"]["vectors"]["tokens"]["multivector_config"];
    assert_eq!(multi, &json!({"comparator": "max_sim"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_change_of_a_sparse_vector_is_in_the_next_answer() {
    let (server, _client, _dir) = server().await;
    call(
        &server,
        "PUT",
        "/collections/s",
        json!({"sparse_vectors": {"": {"modifier": "idf"}}}),
    )
    .await;
    let query = json!({"query": {"indices": [1], "values": [1.0]}, "limit": 100});
    for round in 0..120u64 {
        let vector = json!({"": {"indices": [1, 100 + round], "values": [1.0 + round as f32, 1.0]}});
        let points = json!({"points": [{"id": round % 40, "vector": vector}]});
        call(&server, "PUT", "/collections/s/points", points).await;
        if round % 3 == 0 {
            call(
                &server,
                "POST",
                "/collections/s/points/delete",
                json!({"points": [(round + 7) % 40]}),
            )
            .await;
        }
        let found = hits(&server, "s", query.clone()).await;
        let alive = call(&server, "POST", "/collections/s/points/count", json!({})).await;
        let alive = alive["count"].as_f64().unwrap();
        assert_eq!(found.len() as f64, alive, "round {round}");
        let best = (1.0 + round as f64) * (0.5 / (alive + 0.5) + 1.0).ln();
        assert_eq!(found[0].0, round % 40);
        assert!(
            (found[0].1 - best).abs() < 1e-4 * best.max(1e-3),
            "round {round}: {found:?}, {best}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ranks_what_its_prefetches_found_under_all_filters() {
    let (server, _client, _dir) = server().await;
    filled(&server).await;
    let words = json!({"indices": [3], "values": [1.0]});
    let prefetch = json!([
        {"query": [1.0, 0.0], "using": "dense", "limit": 3},
        {"query": words, "using": "words", "limit": 3},
    ]);
    let fused = hits(&server, "c", json!({"prefetch": prefetch, "query": {"fusion": "rrf"}})).await;
    let expected = [(1, 1.0 / 2.0 + 1.0 / 3.0), (2, 1.0 / 4.0 + 1.0 / 2.0), (3, 1.0 / 3.0)];
    for ((id, score), (expected_id, expected)) in fused.into_iter().zip(expected) {
        assert!(id == expected_id && (score - expected).abs() < 1e-6, "{id} {score}");
    }
    // The filter outside is applied before the limit inside.
    let only_3 = json!({"must": [{"key": "n", "match": {"value": 3}}]});
    let one = json!({"query": [1.0, 0.0], "using": "dense", "limit": 1});
    let filtered = json!({"prefetch": one, "query": [0.0, 1.0], "using": "dense", "filter": only_3});
    assert_eq!(hits(&server, "c", filtered).await, [(3, 0.5)]);
    let formula = json!({
        "prefetch": {"query": [1.0, 0.0], "using": "dense", "limit": 3},
        "query": {"formula": {"sum": ["$score", {"mult": [0.25, "n"]}, {"key": "n", "match": {"value": 2}}]}},
    });
    assert_eq!(hits(&server, "c", formula).await, [(2, 1.5), (1, 1.25), (3, 1.25)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_switched_in_one_request() {
    let (server, _client, _dir) = server().await;
    for name in ["old", "new"] {
        let create = json!({"vectors": {"size": 1, "distance": "Dot"}});
        call(&server, "PUT", &format!("/collections/{name}"), create).await;
        let id = name.len() as u64 + u64::from(name == "new");
        let points = json!({"points": [{"id": id, "vector": [1.0], "payload": {"from": name}}]});
        call(&server, "PUT", &format!("/collections/{name}/points"), points).await;
    }
    let alias = |collection: &str| json!({"create_alias": {"collection_name": collection, "alias_name": "live"}});
    call(
        &server,
        "POST",
        "/collections/aliases",
        json!({"actions": [alias("old")]}),
    )
    .await;
    assert_eq!(hits(&server, "live", json!({"query": [1.0]})).await, [(3, 1.0)]);
    let switch = json!({"actions": [{"delete_alias": {"alias_name": "live"}}, alias("new")]});
    call(&server, "POST", "/collections/aliases", switch).await;
    assert_eq!(hits(&server, "live", json!({"query": [1.0]})).await, [(4, 1.0)]);
    let broken = json!({"actions": [{"delete_alias": {"alias_name": "live"}}, alias("nowhere")]}).to_string();
    let (status, _) = send_json(server.url(), "POST", "/collections/aliases", &broken).await;
    assert_eq!(status, 404);
    let listed = call(&server, "GET", "/aliases", json!(null)).await;
    assert_eq!(
        listed["aliases"],
        json!([{"alias_name": "live", "collection_name": "new"}])
    );
    call(&server, "DELETE", "/collections/new", json!(null)).await;
    let listed = call(&server, "GET", "/aliases", json!(null)).await;
    assert_eq!(listed["aliases"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_an_upsert_are_kept() {
    let (server, _client, _dir) = server().await;
    call(
        &server,
        "PUT",
        "/collections/u",
        json!({"vectors": {"size": 1, "distance": "Dot"}}),
    )
    .await;
    let put = async |body: Value| call(&server, "PUT", "/collections/u/points", body).await;
    let point = |id: u64, version: u64| json!({"id": id, "vector": [1.0], "payload": {"v": version}});
    put(json!({"points": [point(1, 1), point(2, 2)]})).await;
    let older = json!({"must": [{"key": "v", "range": {"lt": 2}}]});
    put(json!({"points": [point(1, 9), point(2, 9), point(3, 9)], "update_filter": older})).await;
    put(json!({"points": [point(3, 7), point(4, 4)], "update_mode": "insert_only"})).await;
    put(json!({"points": [point(4, 5), point(5, 5)], "update_mode": "update_only"})).await;
    let listed = call(&server, "POST", "/collections/u/points/scroll", json!({})).await;
    let versions: Vec<_> = listed["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["payload"]["v"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [9, 2, 9, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_index_says_what_words_are() {
    let (server, _client, _dir) = server().await;
    call(
        &server,
        "PUT",
        "/collections/t",
        json!({"vectors": {"size": 1, "distance": "Dot"}}),
    )
    .await;
    let texts = ["Foot-notes on snow", "footnotes, and the snow", "検索エンジン"];
    let points: Vec<_> = (1..)
        .zip(texts)
        .map(|(id, text)| json!({"id": id, "vector": [1.0], "payload": {"text": text}}))
        .collect();
    call(&server, "PUT", "/collections/t/points", json!({"points": points})).await;
    let count = async |condition: Value| {
        let filter = json!({"filter": {"must": [{"key": "text", "match": condition}]}});
        call(&server, "POST", "/collections/t/points/count", filter).await["count"]
            .as_u64()
            .unwrap()
    };
    let index = async |schema: Value| {
        call(
            &server,
            "PUT",
            "/collections/t/index",
            json!({"field_name": "text", "field_schema": schema}),
        )
        .await;
    };
    assert_eq!(count(json!({"text": "SNOW foot"})).await, 1);
    assert_eq!(count(json!({"text": "検索"})).await, 0);
    for on_disk in [false, true] {
        index(
            json!({"type": "text", "tokenizer": "prefix", "min_token_len": 2, "max_token_len": 6, "on_disk": on_disk}),
        )
        .await;
        assert_eq!(count(json!({"text": "foot sn"})).await, 2);
        assert_eq!(count(json!({"text_any": "not engine"})).await, 1);
        index(json!({"type": "text", "tokenizer": "multilingual", "on_disk": on_disk})).await;
        assert_eq!(count(json!({"text": "検索"})).await, 1);
        assert_eq!(count(json!({"phrase": "on snow"})).await, 1);
        assert_eq!(count(json!({"phrase": "snow snow"})).await, 0);
        let english = json!({
            "type": "text", "ascii_folding": true, "stopwords": "english",
            "stemmer": {"type": "snowball", "language": "english"}, "on_disk": on_disk,
        });
        index(english.clone()).await;
        assert_eq!(count(json!({"text": "the fööt, noted"})).await, 1);
        assert_eq!(count(json!({"text_any": "the and"})).await, 0);
        assert_eq!(count(json!({"phrase": "notes in snows"})).await, 1);
        let info = call(&server, "GET", "/collections/t", Value::Null).await;
        assert_eq!(info["payload_schema"]["text"]["params"], english);
        index(
            json!({"type": "text", "stopwords": {"languages": ["de", "en"], "custom": ["snow"]}, "on_disk": on_disk}),
        )
        .await;
        assert_eq!(count(json!({"text_any": "snow and"})).await, 0);
        assert_eq!(count(json!({"phrase": "foot notes"})).await, 1);
    }
    let unknown = json!({"field_name": "text", "field_schema": {"type": "text", "stopwords": "basque"}});
    let (status, answer) = send_json(server.url(), "PUT", "/collections/t/index", &unknown.to_string()).await;
    let message = answer["status"]["error"].as_str().unwrap();
    assert!(status == 400 && message.contains("`turkish`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_divide_the_points() {
    let (server, _client, _dir) = server().await;
    filled(&server).await;
    let count = async |filter: Value| {
        let body = json!({ "filter": filter });
        let found = call(&server, "POST", "/collections/c/points/count", body).await;
        found["count"].as_u64().unwrap()
    };
    let all = count(json!({})).await;
    let mut sum = 0;
    for index in 0..3 {
        let slice = json!({"slice": {"total": 3, "index": index}});
        let of_slice = count(json!({"must": slice})).await;
        assert_eq!(count(json!({"must_not": [slice]})).await, all - of_slice);
        sum += of_slice;
    }
    assert_eq!(sum, all);
    let body = json!({"filter": {"must": {"slice": {"total": 3, "index": 3}}}}).to_string();
    let (status, answer) = send_json(server.url(), "POST", "/collections/c/points/count", &body).await;
    assert!(status == 400 && answer.to_string().contains("below"), "{answer}");
}
