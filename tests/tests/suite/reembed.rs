//! Re-embedding: other encoders or chunks are made beside what answers, and switched at once.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twofold_client::Client;
use twofold_tests::{MODEL, Server};
use twofold_types::api::{AddDocuments, QueryPoints, UpsertPoints};
use twofold_types::{CollectionName, Priority, Reembed, Reembedding, ReembeddingState, TaskStatus};

use crate::support::{BINARY, call, count, document, documents, finished, from_json, name, send_json, server};

/// The model's first so many dimensions.
fn shortened(dimensions: usize) -> Reembed {
    from_json(json!({"encoders": {"": {"model": MODEL, "dimensions": dimensions}}}))
}

async fn create(client: &Client, collection: &CollectionName) {
    let config = json!({"encoders": {"": {"model": MODEL}}, "chunking": {"max_tokens": 20, "overlap": 4}});
    client.create_collection(collection, &from_json(config)).await.unwrap();
}

async fn ended(client: &Client, collection: &CollectionName) -> Reembedding {
    let waited = client.wait_for_reembedding(collection, |_| {});
    let waited = tokio::time::timeout(Duration::from_secs(120), waited);
    waited.await.expect("it ends within two minutes").unwrap()
}

async fn put(client: &Client, collection: &CollectionName, sent: Value) -> twofold_types::Task {
    let sent: AddDocuments = from_json(json!({"documents": sent}));
    finished(client, client.add_documents(collection, &sent).await.unwrap()).await
}

async fn dimensions(client: &Client, collection: &CollectionName) -> Value {
    let info = json!(client.get_collection(collection).await.unwrap());
    info["config"]["params"]["vectors"]["size"].clone()
}

/// The document that a question finds first.
async fn found(client: &Client, collection: &CollectionName, question: &str) -> Value {
    let query: QueryPoints = from_json(json!({"query": {"text": question}, "limit": 1, "with_payload": true}));
    let points = client.query(collection, &query).await.unwrap();
    points[0].payload.as_ref().unwrap()["document_id"].clone()
}

async fn matching(client: &Client, collection: &CollectionName, key: &str, value: &str) -> u64 {
    let filter = from_json(json!({"filter": {"must": [{"key": key, "match": {"value": value}}]}}));
    client.count_points(collection, &filter).await.unwrap()
}

/// Waits until the state is one that was looked for.
async fn until(client: &Client, collection: &CollectionName, state: ReembeddingState) -> Reembedding {
    let begin = Instant::now();
    loop {
        let reembedding = client.get_reembedding(collection).await.unwrap();
        if reembedding.state == state {
            return reembedding;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{reembedding:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Several chunks, with white space at its ends and of all kinds between.
fn uneven(about: &str) -> String {
    format!(
        "\n  # {about}\n\n\n{about} is what this is about, and there is more of it than fits into one.\t\t\nA line that follows, \
         indented:\n\n        four words of code;\n\u{a0}\n{about} ends here, after a few more words that fill it up. \r\n \n"
    )
}

#[tokio::test]
async fn the_old_vectors_answer_until_the_new_ones_do() {
    let dir = tempfile::tempdir().unwrap();
    // Long enough for all that is done meanwhile.
    let slow = "reembed::enqueued=1*sleep(10000)->off";
    let server = Server::start_failing(Path::new(BINARY), dir.path(), slow, &[]).await;
    let client = server.client();
    let docs = name("docs");
    create(&client, &docs).await;
    let texts = json!([
        {"id": "bread", "text": uneven("Bread that rises because yeast makes gas"), "metadata": {"lang": "en"}},
        {"id": "lynx", "text": uneven("A lynx, a wild cat with short tail"), "metadata": {"lang": "en"}},
        {"id": "ship", "text": uneven("A ship with three masts"), "metadata": {"lang": "en"}},
        {"id": "tea", "text": "Green tea wants water at 80 °C."},
    ]);
    assert_eq!(put(&client, &docs, texts.clone()).await.documents_done, 4);
    for key in ["metadata.lang", "chunk"] {
        let schema = if key == "chunk" { "integer" } else { "keyword" };
        let index = from_json(json!({"field_name": key, "field_schema": schema}));
        client.create_payload_index(&docs, &index).await.unwrap();
    }
    let alias = json!({"actions": [{"create_alias": {"collection_name": "docs", "alias_name": "alias"}}]});
    call(&server, "POST", "/collections/aliases", alias).await;

    let begun = client.reembed(&name("alias"), &shortened(64)).await.unwrap();
    assert_eq!(
        (begun.state, begun.documents),
        (ReembeddingState::Copying, 4),
        "{begun:?}"
    );
    assert_eq!(begun.encoders[""].dimensions.map(usize::from), Some(64));

    // It answers as before, and takes documents.
    assert_eq!(dimensions(&client, &docs).await, 384);
    assert_eq!(found(&client, &docs, "a wild animal").await, "lynx");
    assert_eq!(client.list_collections().await.unwrap(), std::slice::from_ref(&docs));
    put(
        &client,
        &docs,
        json!([{"id": "cheese", "text": uneven("Cheese from the milk of goats"), "metadata": {"lang": "fr"}}]),
    )
    .await;
    put(
        &client,
        &docs,
        json!([{"id": "bread", "text": texts[0]["text"], "metadata": {"lang": "de"}}]),
    )
    .await;
    client.delete_document(&docs, "ship").await.unwrap();
    let before = (
        matching(&client, &docs, "metadata.lang", "fr").await,
        matching(&client, &docs, "metadata.lang", "de").await,
    );
    assert!(before.0 > 1 && before.1 > 1, "{before:?}");
    assert_eq!(found(&client, &docs, "food made of milk").await, "cheese");
    let metadata = json!({"metadata": {"note": "kept"}, "strict_mode_config": {"enabled": true, "max_query_limit": 9}});
    call(&server, "PATCH", "/collections/docs", metadata).await;
    client.delete_payload_index(&docs, "chunk").await.unwrap();
    let index = from_json(json!({"field_name": "metadata.note", "field_schema": "keyword"}));
    client.create_payload_index(&docs, &index).await.unwrap();

    // Points have to wait, and a second one too.
    let points: UpsertPoints = from_json(json!({"points": [{"id": 1, "vector": vec![0.5; 384]}]}));
    let refused = client.upsert_points(&docs, &points).await.unwrap_err();
    assert!(
        refused.is_conflict() && refused.to_string().contains("documents can be sent"),
        "{refused}"
    );
    let set = from_json(json!({"payload": {"a": 1}, "filter": {}}));
    assert!(client.set_payload(&docs, &set).await.unwrap_err().is_conflict());
    let second = client.reembed(&docs, &shortened(32)).await.unwrap_err();
    assert!(second.is_conflict(), "{second}");
    let (_, metrics) = tokio::join!(
        client.get_reembedding(&docs),
        reqwest::get(format!("{}/metrics", server.url()))
    );
    let metrics = metrics.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("twofold_reembedding_documents{collection=\"docs\"} 4"),
        "{metrics}"
    );
    assert!(metrics.contains("twofold_collections 1"), "{metrics}");
    assert_eq!(until(&client, &docs, ReembeddingState::Copying).await.documents, 4);
    assert_eq!(dimensions(&client, &docs).await, 384);

    let done = ended(&client, &docs).await;
    assert_eq!(
        (done.state, done.documents, done.documents_done),
        (ReembeddingState::Done, 4, 4),
        "{done:?}"
    );
    assert!(done.finished_at.is_some() && done.last_error.is_none(), "{done:?}");
    let info = json!(client.get_collection(&docs).await.unwrap());
    assert_eq!(info["config"]["params"]["vectors"]["size"], 64);
    assert_eq!(info["config"]["encoders"][""]["dimensions"], 64);
    assert_eq!(info["config"]["metadata"]["note"], "kept");
    assert_eq!(info["config"]["strict_mode_config"]["max_query_limit"], 9);
    let indexes: Vec<&String> = info["payload_schema"].as_object().unwrap().keys().collect();
    assert_eq!(indexes, ["metadata.lang", "metadata.note"]);
    let listed = client.list_documents(&docs, None, 10).await.unwrap().documents;
    let listed: Vec<_> = listed.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(listed, ["bread", "cheese", "lynx", "tea"]);
    let after = (
        matching(&client, &docs, "metadata.lang", "fr").await,
        matching(&client, &docs, "metadata.lang", "de").await,
    );
    assert_eq!(after, before);
    for (question, id) in [
        ("a wild animal", "lynx"),
        ("food made of milk", "cheese"),
        ("green tea", "tea"),
    ] {
        assert_eq!(found(&client, &name("alias"), question).await, id, "{question}");
    }
    // Texts are what they were, to the last byte: the same is known again.
    let again = put(&client, &docs, json!([texts[1], texts[3]])).await;
    assert_eq!(again.documents_unchanged, 2, "{again:?}");
    // And points can be written again.
    let points: UpsertPoints = from_json(json!({"points": [{"id": 1, "vector": vec![0.5; 64]}]}));
    client.upsert_points(&docs, &points).await.unwrap();
}

#[tokio::test]
async fn chunks_and_further_encoders_change_as_well_and_back() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    create(&client, &docs).await;
    let sent = (0..40).map(|n| json!({"id": format!("{n}"), "text": uneven(&format!("Number {n}"))}));
    put(&client, &docs, json!(sent.collect::<Vec<_>>())).await;
    let points = count(&client, &docs).await;
    let change = json!({"encoders": {"words": {"model": "Qdrant/bm25"}}, "chunking": {"max_tokens": 200}});
    client.reembed(&docs, &from_json(change)).await.unwrap();
    assert_eq!(ended(&client, &docs).await.documents_done, 40);
    let whole = count(&client, &docs).await;
    assert!(whole < points, "{whole} of {points}");
    let words: QueryPoints =
        from_json(json!({"query": {"text": "number 17"}, "using": "words", "limit": 1, "with_payload": true}));
    let first = client.query(&docs, &words).await.unwrap().remove(0);
    assert_eq!(first.payload.unwrap()["document_id"], "17");

    let back = json!({"encoders": {"words": null}, "chunking": {"max_tokens": 20, "overlap": 4}});
    client.reembed(&docs, &from_json(back)).await.unwrap();
    assert_eq!(ended(&client, &docs).await.state, ReembeddingState::Done);
    assert_eq!(count(&client, &docs).await, points);
    let config = json!(client.get_collection(&docs).await.unwrap())["config"].clone();
    assert_eq!(config["params"]["sparse_vectors"], Value::Null);
}

#[tokio::test]
async fn what_waits_and_what_was_given_up_goes_over_to_the_new_vectors() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    let args = ["--ingest-first-pause", "0.02", "--ingest-attempts", "2"];
    let long = "one two three four five six seven ".repeat(8);
    // A dead letter of the source.
    let failing = "lanes::forward=return(30)";
    let mut server = Server::start_failing(Path::new(BINARY), dir.path(), failing, &args).await;
    let client = server.client();
    client
        .create_collection(&docs, &from_json(json!({"encoders": {"": {"model": MODEL}}})))
        .await
        .unwrap();
    put(
        &client,
        &docs,
        json!([{"id": "a", "text": "A text."}, {"id": "bad", "text": long}]),
    )
    .await;
    assert_eq!(client.collection_ingestion(&docs).await.unwrap().dead_letters, 1);
    server.kill();
    let server = Server::start_with(Path::new(BINARY), dir.path(), None, &args).await;
    let client = server.client();
    client.pause_ingestion(&docs).await.unwrap();
    let add = |id: &str, text: &str| documents(vec![document(id, text)]);
    let waiting = client.add_documents(&docs, &add("b", "Waits.")).await.unwrap();
    let newer = client
        .add_documents_with(&docs, &add("a", "A newer text."), Priority::High)
        .await
        .unwrap();
    client.reembed(&docs, &shortened(64)).await.unwrap();
    assert_eq!(ended(&client, &docs).await.state, ReembeddingState::Done);
    assert_eq!(dimensions(&client, &docs).await, 64);
    let ingestion = client.collection_ingestion(&docs).await.unwrap();
    assert_eq!(
        (
            ingestion.paused,
            ingestion.tasks,
            ingestion.documents,
            ingestion.dead_letters
        ),
        (true, 2, 2, 1),
        "{ingestion:?}"
    );
    for task in [waiting, newer] {
        assert_eq!(client.get_task(task).await.unwrap().status, TaskStatus::Enqueued);
    }
    client.resume_ingestion(&docs).await.unwrap();
    for task in [waiting, newer] {
        assert_eq!(finished(&client, task).await.documents_done, 1);
    }
    assert_eq!(
        client.get_document(&docs, "a").await.unwrap().chunks[0]
            .payload
            .as_ref()
            .unwrap()["text"],
        "A newer text."
    );
    let retried = client.retry_dead_letters(&docs, None).await.unwrap();
    assert_eq!(finished(&client, retried.task_ids[0]).await.documents_done, 1);
    assert_eq!(client.list_documents(&docs, None, 10).await.unwrap().documents.len(), 3);
}

#[tokio::test]
async fn documents_that_cannot_be_encoded_anew_keep_the_old_vectors_until_somebody_decides() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    let mut server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    client
        .create_collection(&docs, &from_json(json!({"encoders": {"": {"model": MODEL}}})))
        .await
        .unwrap();
    let long = "one two three four five six seven ".repeat(8);
    put(
        &client,
        &docs,
        json!([{"id": "a", "text": "A text."}, {"id": "bad", "text": long}]),
    )
    .await;
    server.kill();
    let args = ["--ingest-first-pause", "0.02", "--ingest-attempts", "2"];
    let failing = "lanes::forward=return(30)";
    let server = Server::start_failing(Path::new(BINARY), dir.path(), failing, &args).await;
    let client = server.client();
    client.reembed(&docs, &shortened(64)).await.unwrap();
    let blocked = ended(&client, &docs).await;
    assert_eq!(
        (
            blocked.state,
            blocked.documents,
            blocked.documents_done,
            blocked.documents_failed
        ),
        (ReembeddingState::Blocked, 2, 1, 1),
        "{blocked:?}"
    );
    let error = blocked.last_error.unwrap();
    assert!(error.contains("`bad`") && error.contains("fault injection"), "{error}");
    assert_eq!(dimensions(&client, &docs).await, 384);
    // Tried again, it fails again; what was done is not done again.
    assert_ne!(
        client.retry_reembedding(&docs).await.unwrap().state,
        ReembeddingState::Done
    );
    assert_eq!(
        until(&client, &docs, ReembeddingState::Blocked).await.documents_failed,
        1
    );
    put(&client, &docs, json!([{"id": "bad", "text": "Short by now."}])).await;
    assert_eq!(until(&client, &docs, ReembeddingState::Done).await.documents_done, 2);
    assert_eq!(dimensions(&client, &docs).await, 64);
}

#[tokio::test]
async fn what_is_canceled_or_deleted_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let slow = "reembed::enqueued=sleep(1500)";
    let mut server = Server::start_failing(Path::new(BINARY), dir.path(), slow, &[]).await;
    let client = server.client();
    let docs = name("docs");
    create(&client, &docs).await;
    put(&client, &docs, json!([{"id": "a", "text": uneven("Bread")}])).await;
    assert!(client.get_reembedding(&docs).await.unwrap_err().is_not_found());
    assert!(client.cancel_reembedding(&docs).await.unwrap_err().is_not_found());
    client.reembed(&docs, &shortened(64)).await.unwrap();
    // Its tasks are not anybody's to cancel by themselves.
    let begin = Instant::now();
    let task = loop {
        let newest = client.list_tasks().await.unwrap().remove(0);
        if newest.priority == Priority::Low {
            break newest.task_id;
        }
        assert!(begin.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let refused = client.cancel_task(task).await;
    assert!(refused.is_err_and(|error| error.is_conflict()));
    let canceled = client.cancel_reembedding(&docs).await.unwrap();
    assert_eq!(canceled.state, ReembeddingState::Canceled);
    assert!(canceled.finished_at.is_some());
    assert!(finished(&client, task).await.status.is_finished());
    let set = from_json(json!({"payload": {"a": 1}, "filter": {}}));
    client.set_payload(&docs, &set).await.unwrap();
    // Now a chunk has what no document has.
    let refused = client.reembed(&docs, &shortened(64)).await.unwrap_err();
    assert!(
        refused.to_string().contains("points are not as they were made"),
        "{refused}"
    );
    let keys = from_json(json!({"keys": ["a"], "filter": {}}));
    client.delete_payload(&docs, &keys).await.unwrap();
    client.reembed(&docs, &shortened(64)).await.unwrap();
    assert!(client.delete_collection(&docs).await.unwrap());
    assert!(client.get_reembedding(&docs).await.unwrap_err().is_not_found());
    create(&client, &docs).await;
    assert!(client.get_reembedding(&docs).await.unwrap_err().is_not_found());
    server.kill();
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    assert_eq!(count(&client, &docs).await, 0);
    let begin = Instant::now();
    while client.ingestion().await.unwrap().documents > 0 {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "something waits for what is gone"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    put(&client, &docs, json!([{"id": "a", "text": "Bread."}])).await;
    client.reembed(&docs, &shortened(32)).await.unwrap();
    assert_eq!(ended(&client, &docs).await.state, ReembeddingState::Done);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    let (server, client, _dir) = server().await;
    let docs = name("docs");
    create(&client, &docs).await;
    put(
        &client,
        &docs,
        json!([{"id": "a", "text": uneven("Bread")}, {"id": "b", "text": "Tea."}]),
    )
    .await;
    let ask = async |body: Value| {
        let (status, answer) = send_json(server.url(), "POST", "/collections/docs/reembed", &body.to_string()).await;
        (
            status,
            answer["status"]["error"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let sixty_four = json!({"encoders": {"": {"model": MODEL, "dimensions": 64}}});
    for (body, status, words) in [
        (json!({}), 400, "nothing would change"),
        (json!({"encoders": {"": {"model": MODEL}}}), 400, "nothing would change"),
        (
            json!({"encoders": {"": {"model": "nobody/nothing"}}}),
            400,
            "nobody/nothing",
        ),
        (json!({"encoders": {"x": null}}), 400, "vector `x`"),
        (json!({"encoder": {}}), 400, "`encoders`"),
        (json!({"chunking": {"template": "{title"}}), 400, "{text}"),
        (json!({"encoders": {"": null}}), 400, "at least one vector"),
    ] {
        let (found, error) = ask(body.clone()).await;
        assert!(found == status && error.contains(words), "{body}: {found} {error}");
    }
    let (status, _) = send_json(
        server.url(),
        "POST",
        "/collections/none/reembed",
        &sixty_four.to_string(),
    )
    .await;
    assert_eq!(status, 404);
    // Ready vectors have no text.
    let points: UpsertPoints =
        from_json(json!({"points": (1..=3).map(|id| json!({"id": id, "vector": vec![0.5; 384]})).collect::<Vec<_>>()}));
    client.upsert_points(&docs, &points).await.unwrap();
    let (status, error) = ask(sixty_four.clone()).await;
    assert!(status == 400 && error.contains("3 points"), "{status} {error}");
    client
        .delete_points(&docs, &from_json(json!({"points": [1, 2, 3]})))
        .await
        .unwrap();
    // A chunk that is missing.
    let chunk = client.get_document(&docs, "a").await.unwrap().chunks[1].id;
    client
        .delete_points(&docs, &from_json(json!({"points": [chunk]})))
        .await
        .unwrap();
    let (status, error) = ask(sixty_four.clone()).await;
    assert!(
        status == 400 && error.contains("1 chunks of documents were deleted"),
        "{status} {error}"
    );
    client.delete_document(&docs, "a").await.unwrap();
    // None of these was begun, and points can be written.
    assert!(client.get_reembedding(&docs).await.unwrap_err().is_not_found());
    client.reembed(&docs, &from_json(sixty_four)).await.unwrap();
    assert_eq!(ended(&client, &docs).await.documents_done, 1);
}

#[tokio::test]
async fn the_command_line_follows_until_it_is_done() {
    let (server, client, _dir) = server().await;
    let docs = name("docs");
    create(&client, &docs).await;
    put(&client, &docs, json!([{"id": "a", "text": uneven("Bread")}])).await;
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(BINARY)
            .args(["reembed", "docs", "--url", server.url()])
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (succeeded, _, error) = run(&["--chunking", r#"{"max_tokens": 30}"#]);
    assert!(succeeded && error.ends_with("done: 1 of 1 documents\n"), "{error}");
    assert_eq!(run(&["--status"]).1, "done: 1 of 1 documents\n");
    let (succeeded, _, error) = run(&["--model", MODEL]);
    assert!(!succeeded && error.contains("nothing would change"), "{error}");
    let (succeeded, _, error) = run(&[]);
    assert!(!succeeded && error.contains("--encoders"), "{error}");
    let (succeeded, _, error) = run(&["--cancel"]);
    assert!(!succeeded && error.contains("not being re-embedded"), "{error}");
}
