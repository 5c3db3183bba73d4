//! Documents go in and the right passages come out.

use std::path::Path;

use serde_json::json;
use twofold_tests::Server;
use twofold_types::TaskStatus;
use twofold_types::api::QueryPoints;

use crate::support::{BINARY, count, document, documents, encoded_collection, finished, from_json, name, server};

#[tokio::test]
async fn documents_are_cut_encoded_and_found_by_meaning() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    let mut config = encoded_collection();
    config.chunking = Some(from_json(json!({"max_tokens": 40, "overlap": 8})));
    client.create_collection(&docs, &config).await.unwrap();
    let filler =
        "The committee met on Tuesday and went through the list of small repairs that the town hall needs. ".repeat(8);
    let long = format!("{filler}A lynx was photographed near the old quarry at dawn. {filler}");
    let sent = vec![
        document("long", &long),
        document("short", "Bread rises because yeast makes gas."),
    ];
    let task = client.add_documents(&docs, &documents(sent)).await.unwrap();
    let task = finished(&client, task).await;
    assert_eq!(
        (task.status, task.documents, task.documents_done),
        (TaskStatus::Succeeded, 2, 2)
    );
    assert!(task.chunks > 5, "{task:?}");
    assert_eq!(count(&client, &docs).await, task.chunks);

    let query: QueryPoints =
        from_json(json!({"query": {"text": "a wild cat was seen"}, "limit": 1, "with_payload": true}));
    let found = client.query(&docs, &query).await.unwrap();
    let payload = found[0].payload.as_ref().unwrap();
    let text = payload["text"].as_str().unwrap();
    assert!(text.contains("lynx"), "{text}");
    let (start, end) = (
        payload["start"].as_u64().unwrap() as usize,
        payload["end"].as_u64().unwrap() as usize,
    );
    assert_eq!(&long[start..end], text, "offsets are bytes of the document");
    assert_eq!(payload["document_id"], "long");

    let info = client.get_document(&docs, "long").await.unwrap();
    assert_eq!(info.chunks.len() as u64, task.chunks - 1);
    client.delete_document(&docs, "long").await.unwrap();
    assert_eq!(count(&client, &docs).await, 1);
    assert!(client.get_document(&docs, "long").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_document_that_is_sent_again_replaces_itself() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    let mut config = encoded_collection();
    config.chunking = Some(from_json(json!({"max_tokens": 16, "overlap": 0})));
    client.create_collection(&docs, &config).await.unwrap();
    let many_chunks = "One two three four five six seven eight nine ten. ".repeat(10);
    // All in one task, so that the versions of a document meet within one write as well.
    let sent = vec![
        document("a", &many_chunks),
        document("b", "Short."),
        document("a", "Now it is brief."),
        document("a", &many_chunks),
    ];
    let first = finished(&client, client.add_documents(&docs, &documents(sent)).await.unwrap()).await;
    // Of "a" only the newest version counts.
    assert_eq!((first.documents_done, first.documents_superseded), (2, 2));
    let chunks = client.get_document(&docs, "a").await.unwrap().chunks.len() as u64;
    assert!(chunks > 3);
    assert_eq!(count(&client, &docs).await, chunks + 1);
    let again = client
        .add_documents(&docs, &documents(vec![document("a", "Now it is brief.")]))
        .await
        .unwrap();
    finished(&client, again).await;
    assert_eq!(client.get_document(&docs, "a").await.unwrap().chunks.len(), 1);
    assert_eq!(count(&client, &docs).await, 2);
}

#[tokio::test]
async fn documents_without_ids_are_the_same_when_their_text_is() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    for _ in 0..2 {
        let sent = from_json(json!({"documents": [{"text": "Same text.", "metadata": {"lang": "en"}}]}));
        finished(&client, client.add_documents(&docs, &sent).await.unwrap()).await;
    }
    assert_eq!(count(&client, &docs).await, 1);
    let filter = from_json(json!({"filter": {"must": [{"key": "metadata.lang", "match": {"value": "en"}}]}}));
    assert_eq!(client.count_points(&docs, &filter).await.unwrap(), 1);
}

#[tokio::test]
async fn bad_documents_are_refused_before_they_are_accepted() {
    let (_server, client, _dir) = server().await;
    let (docs, plain) = (name("docs"), name("plain"));
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    client
        .create_collection(&plain, &from_json(json!({"vectors": {"size": 2, "distance": "Dot"}})))
        .await
        .unwrap();
    let good = document("a", "Fine.");
    let error = client
        .add_documents(&docs, &documents(vec![good.clone(), document("b", "  \n")]))
        .await
        .unwrap_err();
    assert!(
        error.status() == Some(400) && error.to_string().contains("document 1: its text is empty"),
        "{error}"
    );
    let error = client.add_documents(&plain, &documents(vec![good])).await.unwrap_err();
    assert!(
        error.status() == Some(400) && error.to_string().contains("no encoder"),
        "{error}"
    );
    assert_eq!(count(&client, &docs).await, 0);
}

#[tokio::test]
async fn a_task_ends_with_its_collection() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    let long: Vec<_> = (0..400)
        .map(|n| document(&n.to_string(), &format!("Text number {n} says little. ").repeat(20)))
        .collect();
    let task = client.add_documents(&docs, &documents(long)).await.unwrap();
    client.delete_collection(&docs).await.unwrap();
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    let task = finished(&client, task).await;
    assert_eq!(task.status, TaskStatus::Canceled);
    assert!(
        task.documents_deleted > 0 && task.errors.iter().any(|error| error.error.contains("deleted")),
        "{task:?}"
    );
    assert_eq!(task.documents_done + task.documents_deleted, 400);
    assert_eq!(
        count(&client, &docs).await,
        0,
        "the new collection gets nothing of the old one's"
    );
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_ends_well_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    let mut server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    client.create_collection(&docs, &encoded_collection()).await.unwrap();
    let long: Vec<_> = (0..300)
        .map(|n| document(&n.to_string(), &format!("Sentence {n} of a test. ").repeat(10)))
        .collect();
    let task = client.add_documents(&docs, &documents(long)).await.unwrap();
    assert!(server.terminate().success());
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    assert_eq!(finished(&client, task).await.documents_done, 300);
    assert_eq!(count(&client, &docs).await, 300);
}
