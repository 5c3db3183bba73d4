//! Every method sends what its endpoint takes and reads what it answers.

mod support;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use support::{Server, ok};
use twofold_client::Client;
use twofold_client::types::api::{
    CreateCollection, Query, QueryBatch, QueryPoints, ScrollPoints, SetPayload, UpdateCollection,
};
use twofold_client::types::embeddings::{CreateEmbeddings, Embed, EmbeddingValue, InputType, PromptName};
use twofold_client::types::{
    CollectionName, ModelId, PointId, Precision, Reembedding, ReembeddingState, TaskId, TaskStatus, VectorInput,
};

fn notes() -> CollectionName {
    "notes".parse().unwrap()
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn task(status: &str, done: u64) -> Value {
    json!({
        "task_id": 3, "collection": "notes", "status": status, "documents": 2, "documents_done": done,
        "documents_failed": 0, "chunks": done * 4, "enqueued_at": "2026-01-01T00:00:00Z",
    })
}

#[tokio::test]
async fn collections_are_created_listed_changed_and_deleted() {
    let info = json!({
        "status": "green", "optimizer_status": "ok", "indexed_vectors_count": 0, "points_count": 5, "segments_count": 1,
        "config": {"params": {"vectors": {"size": 3, "distance": "Dot"}}, "hnsw_config": {}, "optimizer_config": {}},
        "payload_schema": {"city": {"data_type": "keyword", "points": 5}},
    });
    let update = json!({"operation_id": 1, "status": "completed"});
    let answers = [
        json!(true),
        json!({"collections": [{"name": "notes"}]}),
        info,
        json!(true),
        update.clone(),
        update,
        json!(true),
    ];
    let server = Server::with(answers.map(ok)).await;
    let client = Client::builder(&server.url).build().unwrap();
    let config = CreateCollection {
        encoders: Some(from(json!({"": {"model": "m"}}))),
        ..Default::default()
    };
    client.create_collection(&notes(), &config).await.unwrap();
    assert_eq!(client.list_collections().await.unwrap(), [notes()]);
    assert_eq!(client.get_collection(&notes()).await.unwrap().points_count, 5);
    let change = UpdateCollection {
        metadata: Some(from(json!({"owner": "a"}))),
        ..Default::default()
    };
    client.update_collection(&notes(), &change).await.unwrap();
    let index = from(json!({"field_name": "city", "field_schema": "keyword"}));
    client.create_payload_index(&notes(), &index).await.unwrap();
    client.delete_payload_index(&notes(), "city").await.unwrap();
    assert!(client.delete_collection(&notes()).await.unwrap());

    let seen = server.seen();
    let lines: Vec<_> = seen.iter().map(|request| request.line.as_str()).collect();
    let expected = [
        "PUT /collections/notes",
        "GET /collections",
        "GET /collections/notes",
        "PATCH /collections/notes",
        "PUT /collections/notes/index?wait=true",
        "DELETE /collections/notes/index/city?wait=true",
        "DELETE /collections/notes",
    ];
    assert_eq!(lines, expected);
    assert_eq!(seen[0].body, json!({"encoders": {"": {"model": "m"}}}));
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert_eq!(seen[4].body, json!({"field_name": "city", "field_schema": "keyword"}));
}

#[tokio::test]
async fn a_re_embedding_is_begun_followed_and_canceled() {
    let reembedding = |state: &str, done: u64| {
        json!({
            "state": state, "documents": 4, "documents_done": done, "documents_failed": 0,
            "started_at": "2026-01-01T00:00:00Z", "encoders": {"": {"model": "n"}},
        })
    };
    let answers = [
        reembedding("copying", 0),
        reembedding("following", 3),
        reembedding("done", 4),
        reembedding("canceled", 0),
        reembedding("following", 0),
    ];
    let server = Server::with(answers.map(ok)).await;
    let client = Client::builder(&server.url).build().unwrap();
    let change = from(json!({"encoders": {"": {"model": "n"}, "old": null}, "chunking": {"max_tokens": 9}}));
    let begun = client.reembed(&notes(), &change).await.unwrap();
    assert_eq!(begun.state, ReembeddingState::Copying);
    let mut seen = Vec::new();
    let progress = |reembedding: &Reembedding| seen.push(reembedding.documents_done);
    let done = client.wait_for_reembedding(&notes(), progress).await.unwrap();
    assert_eq!((done.state, seen), (ReembeddingState::Done, vec![3, 4]));
    client.cancel_reembedding(&notes()).await.unwrap();
    client.retry_reembedding(&notes()).await.unwrap();

    let seen = server.seen();
    let lines: Vec<_> = seen.iter().map(|request| request.line.as_str()).collect();
    let expected = [
        "POST /collections/notes/reembed",
        "GET /collections/notes/reembed",
        "GET /collections/notes/reembed",
        "DELETE /collections/notes/reembed",
        "POST /collections/notes/reembed/retry",
    ];
    assert_eq!(lines, expected);
    assert_eq!(
        seen[0].body,
        json!({"encoders": {"": {"model": "n"}, "old": null}, "chunking": {"max_tokens": 9}})
    );
}

#[tokio::test]
async fn points_are_written_with_wait_and_read_back() {
    let update = || json!({"operation_id": 9, "status": "completed"});
    let record = || json!({"id": 1, "payload": {"a": 1}, "vector": [0.5, 0.5]});
    let mut answers: Vec<_> = (0..6).map(|_| update()).collect();
    answers.extend([
        json!([record()]),
        record(),
        json!({"points": [record()], "next_page_offset": 2}),
        json!({"count": 8}),
    ]);
    let server = Server::with(answers.into_iter().map(ok)).await;
    let client = Client::builder(&server.url).build().unwrap();
    let selector = from(json!({"points": [1]}));
    let set: SetPayload = from(json!({"payload": {"a": 1}, "points": [1]}));
    let upsert = from(json!({"points": [{"id": 1, "vector": [0.5, 0.5], "payload": {"a": 1}}]}));
    assert_eq!(client.upsert_points(&notes(), &upsert).await.unwrap().operation_id, 9);
    client.delete_points(&notes(), &selector).await.unwrap();
    client.set_payload(&notes(), &set).await.unwrap();
    client.overwrite_payload(&notes(), &set).await.unwrap();
    client
        .delete_payload(&notes(), &from(json!({"keys": ["a"], "points": [1]})))
        .await
        .unwrap();
    client.clear_payload(&notes(), &selector).await.unwrap();
    assert_eq!(
        client.get_points(&notes(), &from(json!({"ids": [1]}))).await.unwrap()[0].id,
        PointId::Num(1)
    );
    assert!(
        client
            .get_point(&notes(), PointId::Num(1))
            .await
            .unwrap()
            .vector
            .is_some()
    );
    let page = client.scroll_points(&notes(), &ScrollPoints::default()).await.unwrap();
    assert_eq!(page.next_page_offset, Some(PointId::Num(2)));
    assert_eq!(client.count_points(&notes(), &Default::default()).await.unwrap(), 8);

    let seen = server.seen();
    let lines: Vec<_> = seen.iter().map(|request| request.line.as_str()).collect();
    let expected = [
        "PUT /collections/notes/points?wait=true",
        "POST /collections/notes/points/delete?wait=true",
        "POST /collections/notes/points/payload?wait=true",
        "PUT /collections/notes/points/payload?wait=true",
        "POST /collections/notes/points/payload/delete?wait=true",
        "POST /collections/notes/points/payload/clear?wait=true",
        "POST /collections/notes/points",
        "GET /collections/notes/points/1",
        "POST /collections/notes/points/scroll",
        "POST /collections/notes/points/count",
    ];
    assert_eq!(lines, expected);
    assert_eq!(seen[0].body["points"][0]["vector"], json!([0.5, 0.5]));
    assert_eq!(seen[2].body, json!({"payload": {"a": 1}, "points": [1]}));
    assert_eq!(seen[4].body, json!({"keys": ["a"], "points": [1]}));
}

#[tokio::test]
async fn queries_answer_the_nearest_points() {
    let points = json!({"points": [{"id": 4, "version": 1, "score": 0.75}]});
    let server = Server::with([ok(points.clone()), ok(json!([points.clone(), points]))]).await;
    let client = Client::builder(&server.url).build().unwrap();
    let query = || QueryPoints {
        query: Some(Query::Nearest(VectorInput::Dense(vec![1.0, 0.0]))),
        ..Default::default()
    };
    assert_eq!(client.query(&notes(), &query()).await.unwrap()[0].score, 0.75);
    let batch = QueryBatch {
        searches: vec![query(), query()],
    };
    assert_eq!(client.query_batch(&notes(), &batch).await.unwrap().len(), 2);
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /collections/notes/points/query");
    assert_eq!(seen[0].body, json!({"query": [1.0, 0.0]}));
    assert_eq!(seen[1].line, "POST /collections/notes/points/query/batch");
}

#[tokio::test]
async fn searches_answer_passages() {
    let passage = json!({
        "id": 4, "score": 0.75, "document_id": "tea", "chunk": 1, "start": 40, "end": 49, "text": "Green tea",
        "stages": {"vectors": {"": {"rank": 1, "score": 0.8}}, "fusion": 0.75},
    });
    let report = json!({"applied": false, "candidates": 1, "scored": 0, "note": "no time", "time": 10.0});
    let server = Server::with([ok(json!({"passages": [passage], "rerank": report}))]).await;
    let client = Client::builder(&server.url).build().unwrap();
    let search = from(json!({"text": "tea", "rerank": {"model": "m"}}));
    let found = client.search(&notes(), &search).await.unwrap();
    let best = &found.passages[0];
    assert_eq!(
        (best.place.start, best.place.text.as_deref()),
        (Some(40), Some("Green tea"))
    );
    assert_eq!(best.stages.vectors[""].rank, 1);
    assert_eq!(found.rerank.unwrap().note.as_deref(), Some("no time"));
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /collections/notes/search");
    assert_eq!(seen.body, json!({"text": "tea", "rerank": {"model": "m"}}));
}

#[tokio::test]
async fn a_task_is_followed_to_its_end() {
    let accepted = (StatusCode::ACCEPTED, ok(json!({"task_id": 3}))).into_response();
    let states = [task("enqueued", 0), task("processing", 1), task("succeeded", 2)];
    let server = Server::with([accepted].into_iter().chain(states.map(ok))).await;
    let client = Client::builder(&server.url).build().unwrap();
    let documents = from(json!({"documents": [{"id": "a", "text": "x"}, {"text": "y"}]}));
    let id = client.add_documents(&notes(), &documents).await.unwrap();
    let mut done = Vec::new();
    let last = client
        .wait_for_task(id, |task| done.push(task.documents_done))
        .await
        .unwrap();
    assert_eq!(done, [0, 1, 2]);
    assert_eq!(last.status, TaskStatus::Succeeded);
    assert_eq!(server.seen()[1].line, "GET /tasks/3");
}

#[tokio::test]
async fn documents_and_tasks_are_read_and_deleted() {
    let document = json!({"id": "a/b", "task_id": 3, "chunks": [{"id": "550e8400-e29b-41d4-a716-446655440000"}]});
    let deleted = json!({"operation_id": 2, "status": "completed"});
    let answers = [document, deleted, json!({"tasks": [task("failed", 0)]})];
    let server = Server::with(answers.map(ok)).await;
    let client = Client::builder(&server.url).build().unwrap();
    assert_eq!(client.get_document(&notes(), "a/b").await.unwrap().task_id, TaskId(3));
    client.delete_document(&notes(), "a/b").await.unwrap();
    assert_eq!(client.list_tasks().await.unwrap()[0].status, TaskStatus::Failed);
    assert_eq!(server.seen()[1].line, "DELETE /collections/notes/documents/a%2Fb");
}

#[tokio::test]
async fn the_version_is_read_without_an_envelope() {
    let body = json!({"title": "twofold", "version": "1.19.0", "commit": "abc"}).to_string();
    let server = Server::with(["ok".into_response(), body.into_response()]).await;
    let client = Client::builder(&server.url).build().unwrap();
    client.healthz().await.unwrap();
    assert_eq!(client.version().await.unwrap().version, "1.19.0");
}

#[tokio::test]
async fn documents_are_ranked_and_errors_without_an_envelope_are_read() {
    let answer = json!({
        "model": "m", "results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}],
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    });
    let refusal = json!({"error": {"message": "it is no cross-encoder", "type": "invalid_request_error", "param": null, "code": null}});
    let refusal = (StatusCode::BAD_REQUEST, refusal.to_string()).into_response();
    let server = Server::with([answer.to_string().into_response(), refusal]).await;
    let client = Client::builder(&server.url).build().unwrap();
    let request = from(json!({"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1}));
    let ranked = client.rerank(&request).await.unwrap();
    assert_eq!((ranked.results[0].index, ranked.usage.total_tokens), (1, 7));
    let seen = &server.seen()[0];
    assert_eq!(
        (seen.line.as_str(), &seen.body["documents"]),
        ("POST /v1/rerank", &json!(["a", {"text": "b"}]))
    );
    let error = client.rerank(&request).await.unwrap_err();
    assert_eq!(
        (error.status(), error.to_string().as_str()),
        (Some(400), "it is no cross-encoder (HTTP 400)")
    );
}

#[tokio::test]
async fn texts_are_embedded_in_either_shape() {
    let openai = json!({
        "object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}], "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    });
    let refusal = json!({"error": "text 0 has 600 tokens", "error_type": "validation"}).to_string();
    let answers = [
        json!([[0.5, 0.25], [1.0, 0.0]]).to_string().into_response(),
        openai.to_string().into_response(),
        (StatusCode::PAYLOAD_TOO_LARGE, refusal).into_response(),
    ];
    let server = Server::with(answers).await;
    let client = Client::builder(&server.url).build().unwrap();
    let request = Embed {
        prompt_name: Some(PromptName::Query),
        truncate: Some(false),
        ..Embed::new(["a", "b"].into_iter().collect())
    };
    assert_eq!(client.embed(&request).await.unwrap(), [[0.5, 0.25], [1.0, 0.0]]);
    let created = CreateEmbeddings {
        input_type: Some(InputType::Document),
        ..CreateEmbeddings::new(ModelId::new("m"), ["a"].into_iter().collect())
    };
    let made = client.create_embeddings(&created).await.unwrap();
    assert_eq!(made.list.data[0].embedding, EmbeddingValue::Float(vec![0.5, 0.25]));
    assert_eq!(made.usage.total_tokens, 3);
    let error = client.embed(&request).await.unwrap_err();
    assert_eq!(
        (error.status(), error.to_string().as_str()),
        (Some(413), "text 0 has 600 tokens (HTTP 413)")
    );
    let seen = server.seen();
    let lines: Vec<_> = seen.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(lines, ["POST /embed", "POST /v1/embeddings", "POST /embed"]);
    assert_eq!(
        seen[0].body,
        json!({"inputs": ["a", "b"], "truncate": false, "prompt_name": "query"})
    );
    assert_eq!(
        seen[1].body,
        json!({"input": ["a"], "model": "m", "input_type": "document"})
    );
}

#[tokio::test]
async fn models_are_listed_with_what_is_in_memory() {
    let list = json!({
        "models": [
            {"id": "a/b", "loaded": true, "precisions": ["f32", "int8"], "family": "bert", "kind": "dense", "dimensions": 3,
             "distance": "Cosine", "max_tokens": 9, "pooling": "mean", "normalize": true, "prompts": {}, "weight_bytes": 12},
            {"id": "a/broken", "loaded": false, "error": "tokenizer.json is missing"},
        ],
        "loaded_bytes": 15, "budget_bytes": 100,
        "query_cache": {"entries": 1, "capacity": 2, "hits": 3, "misses": 4},
        "embedding_cache": {"bytes": 5, "capacity_bytes": 6, "hits": 7, "misses": 8},
    });
    let server = Server::with([ok(list)]).await;
    let client = Client::builder(&server.url).build().unwrap();
    let list = client.list_models().await.unwrap();
    assert_eq!(list.models[0].precisions, [Precision::F32, Precision::Int8]);
    assert!(list.models[1].details.is_none() && list.models[1].error.is_some());
    assert_eq!((list.embedding_cache.hits, list.query_cache.misses), (7, 4));
    assert_eq!(server.seen()[0].line, "GET /models");
}
