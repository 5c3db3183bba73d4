//! Search by text in one request.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use twofold_client::Client;
use twofold_tests::{MODEL, Server};
use twofold_types::api::{Passage, SearchResult};
use twofold_types::{CollectionName, TaskStatus};

use crate::support::{call, document, documents, finished, from_json, name, send_json, server, with_fixtures};

const DENSE: &str = "families/bert";
const CROSS_ENCODER: &str = "cross_encoders/bert";

/// Makes the collection and waits until it holds the documents.
async fn fill(client: &Client, docs: &CollectionName, config: Value, texts: &[(&str, &str)]) {
    client.create_collection(docs, &from_json(config)).await.unwrap();
    let sent = texts.iter().map(|(id, text)| document(id, text)).collect();
    let task = client.add_documents(docs, &documents(sent)).await.unwrap();
    let task = finished(client, task).await;
    assert_eq!(
        (task.status, task.documents_done),
        (TaskStatus::Succeeded, texts.len() as u64)
    );
}

async fn search(client: &Client, request: Value) -> SearchResult {
    let found = client.search(&name("docs"), &from_json(request.clone())).await;
    found.unwrap_or_else(|error| panic!("{request}: {error}"))
}

fn ids(passages: &[Passage]) -> Vec<&str> {
    passages
        .iter()
        .map(|passage| passage.document_id.as_deref().unwrap_or("-"))
        .collect()
}

const BREAD: [(&str, &str); 4] = [
    (
        "bread",
        "Bread rises because yeast makes gas. It is baked when it has doubled.",
    ),
    ("lynx", "A lynx was photographed near the old quarry at dawn."),
    ("ledger", "The ledger of 1891 lists flour, candles and nails."),
    ("quarry", "The quarry and the bread oven of the village are old."),
];

#[tokio::test]
async fn words_and_meaning_answer_together() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    let encoders = json!({"": {"model": MODEL}, "words": {"model": "Qdrant/bm25"}});
    fill(&client, &docs, json!({"encoders": encoders}), &BREAD).await;
    // The first is found by its meaning, the second by a number that means nothing.
    for (text, expected) in [("why does dough get bigger?", "bread"), ("1891", "ledger")] {
        let found = search(&client, json!({"text": text, "limit": 2})).await;
        assert_eq!((ids(&found.passages)[0], found.passages.len()), (expected, 2), "{text}");
    }
    let found = search(&client, json!({"text": "the bread oven of the village"})).await;
    assert_eq!(
        found.passages.len(),
        4,
        "every document is somewhere in the dense ranking"
    );
    let mut scores: Vec<f32> = Vec::new();
    for passage in &found.passages {
        // Reciprocal ranks, as documented: k is 2, and ranks are from 0 on there.
        let ranks = passage.stages.vectors.values().map(|stage| stage.rank as f32);
        let expected: f32 = ranks.map(|rank| 1.0 / (rank + 1.0)).sum();
        assert!((passage.score - expected).abs() < 1e-6, "{passage:?}");
        assert_eq!(
            (passage.stages.fusion, passage.stages.rerank),
            (Some(passage.score), None)
        );
        scores.push(passage.score);
    }
    assert!(scores.is_sorted_by(|a, b| a >= b));
    let best = &found.passages[0];
    assert_eq!(best.document_id.as_deref(), Some("quarry"));
    assert_eq!(best.stages.vectors.len(), 2);
    let place = &best.place;
    assert_eq!(
        (place.chunk, place.start, place.end),
        (Some(0), Some(0), Some(BREAD[3].1.len() as u64))
    );
    assert_eq!(place.text.as_deref(), Some(BREAD[3].1));
    assert_eq!(
        (&best.payload, &best.vector, &best.highlights, &best.neighbours),
        (&None, &None, &None, &None)
    );
    assert_eq!((found.groups, found.rerank, found.explain), (None, None, None));

    // One vector: its own scores, and nothing is fused.
    let alone = search(
        &client,
        json!({"text": "the bread oven of the village", "using": ["words"]}),
    )
    .await;
    assert_eq!(ids(&alone.passages), ["quarry", "bread"]);
    let best = &alone.passages[0];
    assert_eq!(
        (best.stages.fusion, best.stages.vectors["words"].score),
        (None, best.score)
    );
}

#[tokio::test]
async fn fusion_and_weights_are_as_asked() {
    let (server, _dir) = with_fixtures(&[DENSE], &[]).await;
    let (client, docs) = (server.client(), name("docs"));
    let encoders = json!({"dense": {"model": DENSE}, "words": {"model": "Qdrant/bm25"}});
    fill(&client, &docs, json!({"encoders": encoders}), &BREAD).await;
    let order = async |extra: Value| {
        let mut request = json!({"text": "the old bread"});
        request
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        search(&client, request).await.passages
    };
    let dense = order(json!({"using": ["dense"]})).await;
    for weights in [
        json!({"weights": {"words": 0}}),
        json!({"weights": {"words": 0}, "fusion": "dbsf"}),
        json!({"fusion": {"rrf": {"weights": [1, 0]}}}),
        json!({"fusion": {"rrf": {"weights": [0, 1]}}, "using": ["words", "dense"]}),
    ] {
        assert_eq!(ids(&order(weights.clone()).await), ids(&dense), "{weights}");
    }
    let score = |passage: &Passage, k: f32| -> f32 {
        let ranks = passage.stages.vectors.values().map(|stage| stage.rank as f32);
        ranks.map(|rank| 1.0 / (rank + k - 1.0)).sum()
    };
    for passage in order(json!({"fusion": {"rrf": {"k": 60}}})).await {
        assert!((passage.score - score(&passage, 60.0)).abs() < 1e-6, "{passage:?}");
    }
    // As the query that it stands for.
    let prefetch = json!([
        {"query": {"text": "the old bread"}, "using": "dense", "limit": 100},
        {"query": {"text": "the old bread"}, "using": "words", "limit": 100},
    ]);
    let query = json!({"prefetch": prefetch, "query": {"fusion": "dbsf"}});
    let points = client.query(&docs, &from_json(query)).await.unwrap();
    let passages = order(json!({"fusion": "dbsf"})).await;
    let passages: Vec<_> = passages.iter().map(|passage| (passage.id, passage.score)).collect();
    assert_eq!(
        passages,
        points.iter().map(|point| (point.id, point.score)).collect::<Vec<_>>()
    );
    let threshold = passages[1].1;
    let good = order(json!({"fusion": "dbsf", "score_threshold": threshold})).await;
    assert_eq!(good.len(), 2);
}

/// Documents of one sentence a chunk, found by their words.
async fn by_sentences(client: &Client, texts: &[(&str, &str)]) {
    let chunking = json!({"strategy": "sentence", "max_tokens": 5, "overlap": 0});
    let config = json!({"encoders": {"words": {"model": "Qdrant/bm25"}}, "chunking": chunking});
    fill(client, &name("docs"), config, texts).await;
}

#[tokio::test]
async fn a_document_is_answered_once_however_many_of_its_chunks_match() {
    let (server, client, _dir) = server().await;
    let greedy = "Lynx lynx lynx lynx lynx. ".repeat(450);
    by_sentences(
        &client,
        &[
            ("greedy", &greedy),
            ("b", "One lynx among four."),
            ("a", "A lynx here."),
        ],
    )
    .await;
    let found = search(&client, json!({"text": "lynx", "limit": 3, "explain": true})).await;
    assert_eq!(ids(&found.passages), ["greedy", "a", "b"]);
    let explain = found.explain.unwrap();
    assert_eq!((explain.collapsed, explain.candidates), (3, 452));
    // 100, 400, and all there are.
    assert_eq!(explain.rounds, 3);
    let first = search(&client, json!({"text": "lynx", "limit": 1, "explain": true})).await;
    assert_eq!(
        (ids(&first.passages), first.explain.unwrap().rounds),
        (vec!["greedy"], 1)
    );
    let rest = search(&client, json!({"text": "lynx", "limit": 2, "offset": 1})).await;
    assert_eq!(ids(&rest.passages), ["a", "b"]);

    // What is no chunk stands for itself.
    let point = |id: u64| json!({"id": id, "vector": {"words": {"text": "lynx lynx lynx"}}, "payload": {"text": "A point.", "start": 7}});
    call(
        &server,
        "PUT",
        "/collections/docs/points",
        json!({"points": [point(1), point(2)]}),
    )
    .await;
    let found = search(&client, json!({"text": "lynx", "limit": 9, "with_payload": ["start"]})).await;
    assert_eq!(ids(&found.passages).iter().filter(|id| **id == "-").count(), 2);
    assert_eq!(found.passages.len(), 5);
    let point = found
        .passages
        .iter()
        .find(|passage| passage.document_id.is_none())
        .unwrap();
    assert_eq!(
        (point.place.text.as_deref(), point.place.start),
        (Some("A point."), None)
    );
    assert_eq!(json!(point.payload), json!({"start": 7}));
}

#[tokio::test]
async fn passages_come_in_groups() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    let config = json!({"encoders": {"words": {"model": "Qdrant/bm25"}}});
    client.create_collection(&docs, &from_json(config)).await.unwrap();
    let sent = json!({"documents": [
        {"id": "a", "text": "lynx lynx lynx", "metadata": {"place": "quarry"}},
        {"id": "b", "text": "lynx among others", "metadata": {"place": "village"}},
        {"id": "c", "text": "lynx lynx", "metadata": {"place": "quarry"}},
        {"id": "d", "text": "lynx, and nowhere"},
        {"id": "e", "text": "a lynx with a bear and an owl", "metadata": {"place": "quarry"}},
    ]});
    finished(&client, client.add_documents(&docs, &from_json(sent)).await.unwrap()).await;
    let request = json!({"text": "lynx", "group_by": "metadata.place", "group_size": 2});
    let found = search(&client, request.clone()).await;
    assert!(found.passages.is_empty());
    let groups = found.groups.unwrap();
    let groups: Vec<_> = groups
        .iter()
        .map(|group| (json!(group.id), ids(&group.passages)))
        .collect();
    assert_eq!(
        groups,
        [(json!("quarry"), vec!["a", "c"]), (json!("village"), vec!["b"])]
    );
    let mut second = request;
    second["offset"] = json!(1);
    let groups = search(&client, second).await.groups.unwrap();
    assert_eq!((groups.len(), ids(&groups[0].passages)), (1, vec!["b"]));
    assert_eq!(json!(groups[0].passages[0].metadata), json!({"place": "village"}));
}

#[tokio::test]
async fn a_passage_comes_with_the_chunks_around_it() {
    let (_server, client, _dir) = server().await;
    let text = "Alpha begins the text. Beta follows it. Gamma is third. Delta is fourth. Omega ends it.";
    let other = "Alpha of another text. Zeta beside it.";
    by_sentences(&client, &[("greek", text), ("other", other)]).await;
    let around = async |word: &str, neighbours: u32| {
        let found = search(&client, json!({"text": word, "neighbours": neighbours, "limit": 1})).await;
        let passage = found.passages.into_iter().next().unwrap();
        let start = passage.place.start.unwrap() as usize;
        assert!(
            text[start..].starts_with(passage.place.text.as_deref().unwrap()),
            "{passage:?}"
        );
        let words = |chunks: Vec<twofold_types::api::NeighbourChunk>| -> Vec<String> {
            let word = |text: String| text.split(' ').next().unwrap().to_owned();
            chunks
                .into_iter()
                .map(|chunk| word(chunk.place.text.unwrap()))
                .collect()
        };
        passage
            .neighbours
            .map(|around| (words(around.before), words(around.after)))
    };
    let expect = |before: &[&str], after: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Some((owned(before), owned(after)))
    };
    assert_eq!(around("gamma", 1).await, expect(&["Beta"], &["Delta"]));
    assert_eq!(
        around("gamma", 50).await,
        expect(&["Alpha", "Beta"], &["Delta", "Omega"])
    );
    assert_eq!(around("begins", 2).await, expect(&[], &["Beta", "Gamma"]));
    assert_eq!(around("omega", 2).await, expect(&["Gamma", "Delta"], &[]));
    assert_eq!(around("gamma", 0).await, None);
}

#[tokio::test]
async fn the_sentences_that_match_best_are_named() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    fill(
        &client,
        &docs,
        json!({"encoders": {"words": {"model": "Qdrant/bm25"}}}),
        &BREAD,
    )
    .await;
    let found = search(
        &client,
        json!({"text": "Why is bread baking?", "highlight": true, "limit": 1}),
    )
    .await;
    let passage = &found.passages[0];
    let highlights = passage.highlights.as_ref().unwrap();
    let text = passage.place.text.as_deref().unwrap();
    let sentences: Vec<&str> = highlights
        .iter()
        .map(|highlight| &text[highlight.start..highlight.end])
        .collect();
    assert_eq!(
        sentences,
        [
            "It is baked when it has doubled.",
            "Bread rises because yeast makes gas."
        ]
    );
    assert!(
        highlights
            .iter()
            .all(|highlight| text.contains(&highlight.text) && highlight.words == 1)
    );
}

#[tokio::test]
async fn documents_come_in_the_order_of_a_reranker() {
    let (server, _dir) = with_fixtures(&[DENSE, CROSS_ENCODER, "kinds/colbert"], &[]).await;
    let (client, docs) = (server.client(), name("docs"));
    let encoders =
        json!({"dense": {"model": DENSE}, "words": {"model": "Qdrant/bm25"}, "tokens": {"model": "kinds/colbert"}});
    fill(&client, &docs, json!({"encoders": encoders}), &BREAD).await;
    let asked = "an old bread";
    let texts: Vec<&str> = BREAD.iter().map(|(_, text)| *text).collect();
    let body = json!({"query": asked, "texts": texts}).to_string();
    let (_, ranks) = send_json(server.url(), "POST", "/rerank", &body).await;
    let expected: Vec<(&str, f32)> = ranks
        .as_array()
        .unwrap()
        .iter()
        .map(|rank| {
            (
                BREAD[rank["index"].as_u64().unwrap() as usize].0,
                rank["score"].as_f64().unwrap() as f32,
            )
        })
        .collect();
    let search = async |extra: Value| {
        let mut request = json!({"text": asked, "using": ["dense", "words"]});
        request
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        search(&client, request).await
    };
    let check = |passages: &[Passage], expected: &[(&str, f32)]| {
        assert_eq!(ids(passages), expected.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        for (passage, (_, expected)) in passages.iter().zip(expected) {
            assert!((passage.score - expected).abs() < 1e-4, "{passage:?} {expected}");
            assert_eq!(passage.stages.rerank, Some(passage.score));
            assert!(passage.stages.fusion.is_some_and(|fused| fused != passage.score));
        }
    };
    let rerank = json!({"model": CROSS_ENCODER});
    let all = search(json!({"rerank": rerank})).await;
    check(&all.passages, &expected);
    let report = all.rerank.unwrap();
    assert!(report.applied && report.scored == 4 && report.time > 0.0, "{report:?}");
    let page = search(json!({"rerank": rerank, "limit": 2, "offset": 1})).await;
    check(&page.passages, &expected[1..3]);
    let grouped = search(json!({"rerank": rerank, "group_by": "document_id"}))
        .await
        .groups
        .unwrap();
    let grouped: Vec<Passage> = grouped.into_iter().flat_map(|group| group.passages).collect();
    check(&grouped, &expected);

    let fused = search(json!({})).await;
    let late = search(json!({"rerank": {"model": CROSS_ENCODER, "timeout_ms": 0}})).await;
    assert_eq!(late.passages, fused.passages);
    let report = late.rerank.unwrap();
    assert!(!report.applied && report.note.unwrap().contains("the time was used up"));

    let by_tokens = search(json!({"rerank": {"using": "tokens"}})).await;
    let tokens = search(json!({"using": ["tokens"]})).await;
    assert_eq!(ids(&by_tokens.passages), ids(&tokens.passages));
    assert_eq!(by_tokens.passages[0].score, tokens.passages[0].score);
}

#[tokio::test]
async fn it_is_told_how_an_answer_was_found() {
    let (server, _dir) = with_fixtures(&[DENSE, CROSS_ENCODER], &[]).await;
    let (client, docs) = (server.client(), name("docs"));
    let encoders = json!({"dense": {"model": DENSE}, "words": {"model": "Qdrant/bm25"}});
    fill(&client, &docs, json!({"encoders": encoders}), &BREAD).await;
    let request = json!({"text": "bread", "explain": true, "weights": {"words": 0.5}, "rerank": {"model": CROSS_ENCODER}, "limit": 1});
    let found = search(&client, request).await;
    let explain = found.explain.unwrap();
    let vectors: BTreeMap<&str, _> = explain
        .vectors
        .iter()
        .map(|(name, vector)| (name.as_str(), vector))
        .collect();
    let (dense, words) = (vectors["dense"], vectors["words"]);
    assert_eq!((dense.model.as_str(), dense.weight, dense.found), (DENSE, 1.0, 4));
    assert_eq!(
        (words.model.as_str(), words.weight, words.found),
        ("Qdrant/bm25", 0.5, 2)
    );
    assert_eq!((words.search.plan.as_str(), words.search.matching), ("inverted", 4));
    assert!(
        ["gather", "exact", "flat"].contains(&dense.search.plan.as_str()),
        "{dense:?}"
    );
    assert!(dense.encode_time > 0.0 && dense.search.search_time > 0.0, "{dense:?}");
    assert_eq!((explain.candidates, explain.collapsed, explain.rounds), (4, 4, 1));
    assert_eq!(explain.collapse_key, "document_id");
    let rerank = found.rerank.unwrap();
    let parts =
        dense.encode_time + dense.search.search_time + words.search.search_time + rerank.time + explain.collapse_time;
    assert!(explain.total_time > parts, "{explain:?} {rerank:?}");
}

#[tokio::test]
async fn mistakes_say_what_is_accepted() {
    let (server, _dir) = with_fixtures(&[DENSE], &[]).await;
    let encoders = json!({"words": {"model": "Qdrant/bm25"}});
    let config = json!({"encoders": encoders, "vectors": {"bare": {"size": 2, "distance": "Dot"}}});
    call(&server, "PUT", "/collections/docs", config).await;
    call(
        &server,
        "PUT",
        "/collections/bare",
        json!({"vectors": {"size": 2, "distance": "Dot"}}),
    )
    .await;
    let empty = call(&server, "POST", "/collections/docs/search", json!({"text": "a cat"})).await;
    assert_eq!(empty, json!({"passages": []}));
    for (path, request, status, part) in [
        ("bare", json!({"text": "a"}), 400, "the collection has no encoder"),
        ("none", json!({"text": "a"}), 404, "Collection `none` doesn't exist"),
        ("docs", json!({"text": " "}), 400, "`text`: it is empty"),
        ("docs", json!({}), 400, "missing field `text`"),
        (
            "docs",
            json!({"text": "a", "limit": 0}),
            400,
            "`limit`: it is 0; at least 1",
        ),
        (
            "docs",
            json!({"text": "a", "limit": 100_001}),
            400,
            "over the limit of 100000",
        ),
        ("docs", json!({"text": "a", "group_size": 2}), 400, "`group_by`"),
        (
            "docs",
            json!({"text": "a", "group_by": "k", "group_size": 0}),
            400,
            "`group_size`: it is 0",
        ),
        (
            "docs",
            json!({"text": "a", "group_by": "k..k"}),
            400,
            "not a payload key",
        ),
        (
            "docs",
            json!({"text": "a", "using": ["titles"]}),
            400,
            "Not existing vector name error: `titles`",
        ),
        (
            "docs",
            json!({"text": "a", "using": ["bare"]}),
            400,
            "vector `bare` has no encoder",
        ),
        (
            "docs",
            json!({"text": "a", "using": ["words", "words"]}),
            400,
            "names `words` twice",
        ),
        ("docs", json!({"text": "a", "using": []}), 400, "names no vector"),
        (
            "docs",
            json!({"text": "a", "weights": {"dense": 1}}),
            400,
            "`dense` is not searched",
        ),
        ("docs", json!({"text": "a", "weights": {"words": -1}}), 400, "from 0 on"),
        (
            "docs",
            json!({"text": "a", "fusion": {"rrf": {"weights": [1, 2]}}}),
            400,
            "1 vectors are searched",
        ),
        (
            "docs",
            json!({"text": "a", "fusion": {"rrf": {"weights": [1]}}, "weights": {"words": 1}}),
            400,
            "given twice",
        ),
        ("docs", json!({"text": "a", "fusion": "sum"}), 400, "dbsf"),
        (
            "docs",
            json!({"text": "a", "rerank": {"model": "x/none"}}),
            400,
            "twofold model pull x/none",
        ),
        ("docs", json!({"text": "a", "rerank": {}}), 400, "`model`"),
        (
            "docs",
            json!({"text": "a", "neighbours": 51}),
            400,
            "neighbours: 51 is over the limit of 50",
        ),
        ("docs", json!({"text": "a", "top_k": 3}), 400, "unknown field `top_k`"),
    ] {
        let path = format!("/collections/{path}/search");
        let (received, answer) = send_json(server.url(), "POST", &path, &request.to_string()).await;
        assert_eq!(received, status, "{request}: {answer}");
        let error = answer["status"]["error"].as_str().unwrap();
        assert!(error.contains(part), "{request}: {error}");
    }
}

#[tokio::test]
async fn a_filter_counts_for_every_vector() {
    let (server, _dir): (Server, _) = with_fixtures(&[DENSE], &[]).await;
    let (client, docs) = (server.client(), name("docs"));
    let encoders = json!({"dense": {"model": DENSE}, "words": {"model": "Qdrant/bm25"}});
    fill(&client, &docs, json!({"encoders": encoders}), &BREAD).await;
    let filter = json!({"must": [{"key": "document_id", "match": {"any": ["bread", "lynx"]}}]});
    let found = search(&client, json!({"text": "the quarry and the bread", "filter": filter})).await;
    let mut ids = ids(&found.passages);
    ids.sort_unstable();
    assert_eq!(ids, ["bread", "lynx"]);
}
