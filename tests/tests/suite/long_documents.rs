//! A fact at the end of a document of 20,000 tokens, and the ways that should find it.

use serde_json::json;
use twofold_client::Client;
use twofold_tests::MODEL;
use twofold_types::api::{CreateCollection, QueryPoints};
use twofold_types::{CollectionName, ScoredPoint, TaskStatus};

use crate::support::{document, documents, finished, from_json, name, server};

const FACT: &str = "The key of the lighthouse is hidden under the third step of the cellar stairs.";
const QUESTION: &str = "Where is the key to the lighthouse?";

/// Minutes of a town council, every sentence of them other.
fn minutes(words: usize) -> String {
    const WHO: [&str; 7] = [
        "The mayor",
        "A councillor",
        "The treasurer",
        "The head of planning",
        "A resident",
        "The clerk",
        "The auditor",
    ];
    const DID: [&str; 5] = [
        "proposed to repair",
        "asked about the cost of",
        "reported on",
        "postponed the vote on",
        "objected to",
    ];
    const WHAT: [&str; 11] = [
        "the roof of the town hall",
        "the school budget",
        "street lights in the old quarter",
        "the bus timetable",
        "the swimming pool",
        "parking fees",
        "the library's opening hours",
        "the new waste contract",
        "the market square",
        "the playground fence",
        "the flood barrier",
    ];
    const WHEN: [&str; 3] = ["before the summer", "in the coming year", "at the next meeting"];
    let mut text = String::new();
    let mut written = 0;
    for n in 0.. {
        let sentence = format!("{} {} {} {}. ", WHO[n % 7], DID[n % 5], WHAT[n % 11], WHEN[n % 3]);
        written += sentence.split(' ').count() - 1;
        text.push_str(&sentence);
        if written >= words {
            break;
        }
    }
    text
}

/// `minutes`, the document with the fact, beside short documents of which one is nearer to the question than most of it.
async fn collection_of_minutes(client: &Client, docs: &CollectionName) {
    let config: CreateCollection = from_json(json!({
        "encoders": {"": {"model": MODEL}, "words": {"model": "Qdrant/bm25"}},
        "pooled_vectors": {"mean": {"method": "mean"}, "max": {"method": "max"}, "attention": {"method": "attention"}},
    }));
    client.create_collection(docs, &config).await.unwrap();
    let long = format!("{}{FACT}", minutes(20_000));
    assert!(
        long.split_whitespace().count() >= 20_000,
        "there are at least as many tokens as words"
    );
    let sent = vec![
        document("minutes", &long),
        document("coast", "Ships sail along the coast at night."),
        document("cooking", "Simmer the lentils with cumin until they are soft."),
    ];
    let task = client.add_documents(docs, &documents(sent)).await.unwrap();
    let task = finished(client, task).await;
    assert_eq!(
        (task.status, task.documents_done),
        (TaskStatus::Succeeded, 3),
        "{task:?}"
    );
    assert!(task.chunks > 80, "{task:?}");
}

/// What a query finds: documents in order with their scores, and the texts of chunks.
struct Found {
    documents: Vec<String>,
    scores: Vec<f32>,
    texts: Vec<Option<String>>,
}

impl Found {
    fn score(&self, document: &str) -> f32 {
        let place = self.documents.iter().position(|found| found == document);
        self.scores[place.expect("every document is found")]
    }
}

async fn ask(client: &Client, docs: &CollectionName, text: &str, using: &str) -> Found {
    let query: QueryPoints =
        from_json(json!({"query": {"text": text}, "using": using, "limit": 3, "with_payload": true}));
    let points = client.query(docs, &query).await.unwrap();
    let key = |point: &ScoredPoint, key: &str| {
        let value = point.payload.as_ref().unwrap().get(key);
        value.map(|value| value.as_str().unwrap().to_owned())
    };
    Found {
        documents: points.iter().filter_map(|point| key(point, "document_id")).collect(),
        scores: points.iter().map(|point| point.score).collect(),
        texts: points.iter().map(|point| key(point, "text")).collect(),
    }
}

#[tokio::test]
async fn a_fact_at_the_end_of_a_long_document_is_found() {
    let (_server, client, _dir) = server().await;
    let docs = name("docs");
    collection_of_minutes(&client, &docs).await;

    // Chunks find the fact itself, by its meaning and by its words.
    for using in ["", "words"] {
        let found = ask(&client, &docs, QUESTION, using).await;
        assert_eq!(found.documents[0], "minutes", "{using}");
        let passage = found.texts[0].as_deref().unwrap();
        assert!(passage.ends_with(FACT), "{using}: {passage}");
    }

    // Pooled vectors find what the document is about, which the fact is not: of a hundred chunks one is about it, so a
    // document that is only somewhat nearer to the question goes before it.
    let pooled = ["mean", "max", "attention"];
    let mut with_fact = Vec::new();
    for using in pooled {
        let about = ask(&client, &docs, "what the town council talked about", using).await;
        assert_eq!(
            (about.documents[0].as_str(), &about.texts[0]),
            ("minutes", &None),
            "{using}"
        );
        let found = ask(&client, &docs, QUESTION, using).await;
        assert_eq!(found.documents, ["coast", "minutes", "cooking"], "{using}");
        with_fact.push(found.score("minutes"));
    }
    // Yet each of them holds something of the fact: without that chunk the document is farther from the question.
    let last = client
        .get_document(&docs, "minutes")
        .await
        .unwrap()
        .chunks
        .pop()
        .unwrap();
    let last = from_json(json!({"points": [last.id]}));
    client.delete_points(&docs, &last).await.unwrap();
    for (using, before) in pooled.into_iter().zip(with_fact) {
        let after = ask(&client, &docs, QUESTION, using).await.score("minutes");
        assert!(before > after + 1e-4, "{using}: {before} {after}");
    }
}
