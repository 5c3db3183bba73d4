//! What people judged relevant, and what the ways to an answer find of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use twofold_client::Client;
use twofold_tests::Server;
use twofold_types::evaluation::{Evaluate, Evaluation, StageReport};

use crate::support::{BINARY, copy, document, documents, finished, from_json, name, send_json};

const TEXTS: [(&str, &str); 4] = [
    ("bread", "Bread rises because yeast makes gas."),
    (
        "lynx",
        "A lynx was photographed near the old quarry at dawn; two lynxes live there.",
    ),
    ("quarry", "The quarry and the bread oven of the village are old."),
    ("ocean", "The ocean is deep and blue."),
];

/// A server with tiny models: of meaning, which is random, and of relevance, which is as well.
async fn tiny() -> (Server, Client, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/encode/tests/fixtures");
    for model in ["families/bert", "cross_encoders/bert"] {
        copy(&fixtures.join(model), &dir.path().join("models").join(model));
    }
    let models = dir.path().join("models");
    let args = ["--models-dir", models.to_str().unwrap()];
    let server = Server::start_with(Path::new(BINARY), &dir.path().join("data"), None, &args).await;
    let client = server.client();
    (server, client, dir)
}

/// The same with a collection of words and meaning.
async fn filled() -> (Server, Client, TempDir) {
    let (server, client, dir) = tiny().await;
    let docs = name("docs");
    let encoders = json!({"dense": {"model": "families/bert"}, "words": {"model": "Qdrant/bm25"}});
    let config = json!({"encoders": encoders, "chunking": {"strategy": "sentence", "max_tokens": 60, "overlap": 0}});
    client.create_collection(&docs, &from_json(config)).await.unwrap();
    let mut texts = TEXTS.map(|(id, text)| document(id, text)).to_vec();
    // More chunks than documents are retrieved, all of one document and all better than the next.
    texts.push(document(
        "long",
        &"The lynx sat by the quarry with the other lynx and said nothing. ".repeat(40),
    ));
    let task = client.add_documents(&docs, &documents(texts)).await.unwrap();
    let task = finished(&client, task).await;
    assert_eq!(task.documents_done, 5, "{task:?}");
    assert!(task.chunks > 10, "{task:?}");
    (server, client, dir)
}

/// Three queries, of which two are judged, with more keys.
fn request(more: Value) -> Value {
    let mut request = json!({
        "queries": [
            {"id": "q1", "text": "two lynxes in a quarry"},
            {"id": "q2", "text": "yeast"},
            {"id": "q3", "text": "nobody judged this"},
        ],
        "qrels": {"q1": {"lynx": 2, "quarry": 1, "ocean": 0}, "q2": {"bread": 1, "not there": 1}, "other": {"bread": 1}},
    });
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

#[tokio::test]
async fn stages_are_measured_by_the_best_chunk_of_every_document() {
    let (_server, client, _dir) = filled().await;
    let request: Evaluate = from_json(request(json!({"k": 3, "limit": 4, "with_rankings": true})));
    let evaluation = client.evaluate(&name("docs"), &request).await.unwrap();
    assert_eq!((evaluation.queries, evaluation.unjudged_queries), (2, 1));
    let names: Vec<&str> = evaluation
        .stages
        .iter()
        .map(|stage| stage.stage.name.as_str())
        .collect();
    assert_eq!(names, ["dense", "words", "hybrid"]);

    let words = &evaluation.stages[1];
    let found: Vec<Vec<&str>> = words
        .rankings
        .iter()
        .map(|ranking| ranking.documents.iter().map(|(id, _)| id.as_str()).collect())
        .collect();
    // Many chunks of `long` are nearer to the query than anything of `quarry`.
    let mut first = found[0].clone();
    first.sort_unstable();
    assert_eq!((first, &found[1]), (vec!["long", "lynx", "quarry"], &vec!["bread"]));
    let metrics = words.metrics;
    assert_eq!(
        (metrics.recall, metrics.precision, metrics.recall_at_limit),
        (0.75, 0.5, 0.75)
    );
    assert!(
        metrics.mrr >= 0.75 && metrics.map >= 0.5 && metrics.ndcg > 0.6,
        "{metrics:?}"
    );

    for stage in &evaluation.stages {
        let latency = stage.latency;
        assert!(
            0.0 < latency.p50 && latency.p50 <= latency.p95 && latency.p95 <= latency.p99,
            "{latency:?}"
        );
    }
    // Vectors of any text are near to each other: everything is found, in both orders.
    for stage in [&evaluation.stages[0], &evaluation.stages[2]] {
        assert!(
            stage.rankings.iter().all(|ranking| ranking.documents.len() == 4),
            "{stage:?}"
        );
    }

    let silent = Evaluate {
        with_rankings: false,
        ..request
    };
    let silent = client.evaluate(&name("docs"), &silent).await.unwrap();
    assert!(silent.stages.iter().all(|stage| stage.rankings.is_empty()));
    assert_eq!(silent.stages[1].metrics, metrics);
}

#[tokio::test]
async fn a_stage_may_fuse_and_rerank() {
    let (_server, client, _dir) = filled().await;
    let stages = json!([
        {"name": "fused", "using": ["words", "dense"], "rrf": {"k": 60}},
        {"name": "reranked", "using": ["words"], "rerank": "cross_encoders/bert"},
        {"name": "words", "using": ["words"]},
        {"name": "dense", "using": ["dense"]},
        {"name": "by a vector", "using": ["words"], "rerank_using": "dense"},
    ]);
    let request: Evaluate = from_json(request(json!({"stages": stages, "with_rankings": true})));
    let evaluation = client.evaluate(&name("docs"), &request).await.unwrap();
    let [fused, reranked, words, dense, by_vector] = &evaluation.stages[..] else {
        panic!("{evaluation:?}")
    };
    let single = |stage: &StageReport| {
        let documents = stage.rankings[0].documents.clone().into_iter();
        documents.filter(|(id, _)| id != "long").collect::<BTreeMap<_, _>>()
    };
    let (words, dense, by_vector) = (single(words), single(dense), single(by_vector));
    assert!(
        by_vector.len() == 2 && by_vector.keys().eq(words.keys()),
        "what words find"
    );
    assert!(
        by_vector.iter().all(|(id, score)| (dense[id] - score).abs() < 1e-6),
        "with the scores of the vector"
    );
    assert_eq!(fused.rankings[1].documents.len(), 5);
    let expected = json!({
        "model": "cross_encoders/bert", "query": "two lynxes in a quarry", "documents": TEXTS.map(|(_, text)| text),
    });
    let expected = client.rerank(&from_json(expected)).await.unwrap();
    let documents = &reranked.rankings[0].documents;
    assert!(documents.is_sorted_by(|(_, a), (_, b)| a >= b), "{documents:?}");
    let single: Vec<_> = documents.iter().filter(|(id, _)| id != "long").collect();
    assert_eq!(single.len(), 2);
    for (id, score) in single {
        let index = TEXTS.iter().position(|(text, _)| text == id).unwrap();
        let result = expected.results.iter().find(|result| result.index == index).unwrap();
        assert!(
            (result.relevance_score - score).abs() < 1e-4,
            "{id}: {score}, {result:?}"
        );
    }
}

#[tokio::test]
async fn distances_rank_the_nearest_first() {
    let (_server, client, _dir) = tiny().await;
    let config = json!({
        "vectors": {"": {"size": 32, "distance": "Euclid"}}, "encoders": {"": {"model": "families/bert"}},
    });
    let created = client.create_collection(&name("docs"), &from_json(config)).await;
    created.expect("the fixture has 32 dimensions");
    let texts = TEXTS.map(|(id, text)| document(id, text)).to_vec();
    let task = client.add_documents(&name("docs"), &documents(texts)).await.unwrap();
    finished(&client, task).await;
    let request = json!({
        "queries": [{"id": "q", "text": TEXTS[3].1}], "qrels": {"q": {"ocean": 1}}, "with_rankings": true,
    });
    let evaluation = client.evaluate(&name("docs"), &from_json(request)).await.unwrap();
    let documents = &evaluation.stages[0].rankings[0].documents;
    assert_eq!(
        (documents.len(), documents[0].0.as_str()),
        (4, "ocean"),
        "{documents:?}"
    );
    assert_eq!(evaluation.stages[0].metrics.map, 1.0);
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_refused_with_what_is_accepted() {
    let (server, _client, _dir) = filled().await;
    let stage = |name: &str, using: Value| json!({"name": name, "using": using});
    let twice = json!({"id": "q1", "text": "a"});
    let many: Vec<Value> = (0..1_001).map(|n| json!({"id": n.to_string(), "text": "a"})).collect();
    for (more, words) in [
        (json!({"k": 0}), &["`k` is 0"][..]),
        (json!({"k": 20, "limit": 10}), &["`k` is 20", "limit"]),
        (json!({"limit": 1001}), &["limit", "1000"]),
        (json!({"queries": many}), &["queries of one evaluation", "1000"]),
        (json!({"queries": [twice, twice]}), &["`q1`", "twice"]),
        (
            json!({"qrels": {"other": {"bread": 1}}}),
            &["none of the 3 queries", "qrels"],
        ),
        (
            json!({"stages": [stage("a", json!([]))]}),
            &["`a`", "at least one vector"],
        ),
        (
            json!({"stages": [stage("a", json!(["dense"])), stage("a", json!(["words"]))]}),
            &["`a`", "twice"],
        ),
        (json!({"stages": [stage("a", json!(["image"]))]}), &["image", "words"]),
        (
            json!({"stages": [{"name": "a", "using": ["words"], "rerank": "families/bert"}]}),
            &["no cross-encoder"],
        ),
        (
            json!({"stages": [{"name": "a", "using": ["words"], "rerank": "no/model"}]}),
            &["no/model"],
        ),
        (
            json!({"stages": [{"name": "a", "using": ["words"], "rerank": "cross_encoders/bert", "rerank_using": "dense"}]}),
            &["`rerank`", "`rerank_using`"],
        ),
        (json!({"top_k": 3}), &["`top_k`", "`k`"]),
        (json!({"qrels": {"q1": {"lynx": 0.5}}}), &["0.5"]),
    ] {
        let (status, answer) = send_json(
            server.url(),
            "POST",
            "/collections/docs/evaluate",
            &request(more.clone()).to_string(),
        )
        .await;
        let error = answer["status"]["error"].as_str().unwrap();
        assert!(
            status == 400 && words.iter().all(|word| error.contains(word)),
            "{more}: {answer}"
        );
    }
    let body = request(json!({})).to_string();
    let (status, _) = send_json(server.url(), "POST", "/collections/none/evaluate", &body).await;
    assert_eq!(status, 404);
    let plain = json!({"vectors": {"size": 2, "distance": "Dot"}}).to_string();
    send_json(server.url(), "PUT", "/collections/plain", &plain).await;
    let (status, answer) = send_json(server.url(), "POST", "/collections/plain/evaluate", &body).await;
    assert!(status == 400 && answer.to_string().contains("encoders"), "{answer}");
}

#[tokio::test]
async fn a_server_that_is_told_to_end_does_not_finish_an_evaluation() {
    let (mut server, client, _dir) = filled().await;
    let queries: Vec<Value> = (0..1_000)
        .map(|n| json!({"id": n.to_string(), "text": format!("lynx {n}")}))
        .collect();
    let qrels: serde_json::Map<String, Value> = (0..1_000).map(|n| (n.to_string(), json!({"lynx": 1}))).collect();
    let stages: Vec<Value> = (0..32)
        .map(|n| json!({"name": n.to_string(), "using": ["dense", "words"], "rerank": "cross_encoders/bert"}))
        .collect();
    let long: Evaluate = from_json(json!({"queries": queries, "qrels": qrels, "stages": stages}));
    let asked = tokio::spawn(async move { client.evaluate(&name("docs"), &long).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!asked.is_finished(), "it takes a minute: {:?}", asked.await);
    let told = Instant::now();
    let ended = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert!(
        ended.success() && told.elapsed() < Duration::from_secs(15),
        "{:?}",
        told.elapsed()
    );
    assert_eq!(asked.await.unwrap().unwrap_err().status(), Some(503));
}

/// Runs the command line against a server.
async fn twofold(server: &Server, args: Vec<String>) -> Output {
    let mut command = Command::new(BINARY);
    command.args(args).env("TWOFOLD_URL", server.url());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// A corpus with queries and judgements in BEIR's layout.
fn beir(dir: &Path) {
    let lines = |lines: Vec<Value>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut corpus: Vec<Value> = TEXTS
        .iter()
        .map(|(id, text)| json!({"_id": id, "title": "", "text": text}))
        .collect();
    corpus.push(json!({"_id": "titled", "title": "Glaciers", "text": "They move slowly."}));
    std::fs::write(dir.join("corpus.jsonl"), lines(corpus)).unwrap();
    let queries =
        [("q1", "lynx"), ("q2", "glaciers"), ("q3", "ocean")].map(|(id, text)| json!({"_id": id, "text": text}));
    std::fs::write(dir.join("queries.jsonl"), lines(queries.to_vec())).unwrap();
    let qrels = "query-id\tcorpus-id\tscore\nq1\tlynx\t1\nq2\ttitled\t1\n";
    std::fs::write(dir.join("qrels.tsv"), qrels).unwrap();
}

#[tokio::test]
async fn the_command_ingests_asks_and_writes_table_json_plot_and_runs() {
    let (server, client, dir) = tiny().await;
    beir(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut args: Vec<String> = ["evaluate", "docs", "--rerank", "cross_encoders/bert", "--k", "2"]
        .map(str::to_owned)
        .to_vec();
    args.extend(
        [
            "--encoder",
            "dense=families/bert",
            "--encoder",
            r#"words={"model": "Qdrant/bm25"}"#,
        ]
        .map(str::to_owned),
    );
    for (option, file) in [
        ("--corpus", "corpus.jsonl"),
        ("--queries", "queries.jsonl"),
        ("--qrels", "qrels.tsv"),
        ("--json", "report.json"),
        ("--plot", "plot.svg"),
        ("--runs", "runs"),
    ] {
        args.extend([option.to_owned(), path(file)]);
    }
    let output = twofold(&server, args).await;
    let (table, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{errors}");
    for part in [
        "nDCG@2",
        "Recall@100",
        "p99 ms",
        "hybrid + rerank",
        "2 queries; 1 without judgements were left out",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }

    let report: Evaluation = serde_json::from_slice(&std::fs::read(path("report.json")).unwrap()).unwrap();
    let names: Vec<&str> = report.stages.iter().map(|stage| stage.stage.name.as_str()).collect();
    assert_eq!(names, ["dense", "words", "hybrid", "hybrid + rerank"]);
    let words = report.stages[1].metrics;
    assert_eq!(
        (words.ndcg, words.map, words.precision),
        (1.0, 1.0, 0.5),
        "the title is searched as well"
    );
    let run = std::fs::read_to_string(path("runs/words.run")).unwrap();
    let first: Vec<&str> = run.lines().next().unwrap().split(' ').collect();
    assert_eq!((&first[..4], first[5]), (&["q1", "Q0", "lynx", "1"][..], "words"));
    assert!(
        std::fs::read_to_string(path("plot.svg"))
            .unwrap()
            .contains("hybrid + rerank")
    );
    assert_eq!(
        client
            .list_documents(&name("docs"), None, 10)
            .await
            .unwrap()
            .documents
            .len(),
        5
    );
}

#[tokio::test]
async fn the_command_names_what_it_cannot_use() {
    let (server, _client, dir) = tiny().await;
    beir(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("others.tsv"), "q9 0 lynx 1\n").unwrap();
    std::fs::write(path("broken.tsv"), "q1 0 lynx 1\nq1 lynx\n").unwrap();
    for (qrels, words) in [
        ("others.tsv", "none of the 3 queries"),
        ("broken.tsv", "line 2"),
        ("missing.tsv", "missing.tsv"),
        ("qrels.tsv", "docs"),
    ] {
        let args = [
            "evaluate",
            "docs",
            "--queries",
            &path("queries.jsonl"),
            "--qrels",
            &path(qrels),
        ]
        .map(str::to_owned);
        let output = twofold(&server, args.to_vec()).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(words), "{qrels}: {errors}");
    }
}
