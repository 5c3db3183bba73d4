//! Vectors of documents that are pooled from their chunks: what they are, and that they are never behind.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use twofold_client::Client;
use twofold_storage::{chunk_id, document_point_id};
use twofold_tests::{MODEL, Server};
use twofold_types::api::{CreateCollection, QueryPoints};
use twofold_types::{
    CollectionName, Distance, Document, Record, ScoredPoint, TaskStatus, VectorParams, VectorsConfig, VectorsOutput,
};

use crate::support::{BINARY, count, document, documents, finished, from_json, name, send_json, server};

#[derive(Clone, Copy)]
pub enum Method<'a> {
    Mean,
    Max,
    /// To a scoring vector, else the mean, with a scale.
    Attention(Option<&'a [f32]>, f64),
}

/// The formulas once more, component by component.
pub fn reference(method: Method<'_>, chunks: &[Vec<f32>]) -> Vec<f64> {
    let column = |j: usize| chunks.iter().map(move |chunk| f64::from(chunk[j]));
    let dimensions = 0..chunks[0].len();
    let mean = |j| column(j).sum::<f64>() / chunks.len() as f64;
    match method {
        Method::Mean => dimensions.map(mean).collect(),
        Method::Max => dimensions.map(|j| column(j).fold(f64::MIN, f64::max)).collect(),
        Method::Attention(scoring, scale) => {
            let scoring: Vec<f64> = match scoring {
                Some(scoring) => scoring.iter().map(|&x| f64::from(x)).collect(),
                None => dimensions.clone().map(mean).collect(),
            };
            let norm = |vector: &[f64]| vector.iter().map(|x| x.powi(2)).sum::<f64>().sqrt();
            let weight = |chunk: &Vec<f32>| {
                let chunk: Vec<f64> = chunk.iter().map(|&x| f64::from(x)).collect();
                let dot: f64 = chunk.iter().zip(&scoring).map(|(x, y)| x * y).sum();
                let norms = norm(&chunk) * norm(&scoring);
                (scale * if norms > 0.0 { dot / norms } else { 0.0 }).exp()
            };
            let weights: Vec<f64> = chunks.iter().map(weight).collect();
            let total: f64 = weights.iter().sum();
            let weighted = |j| column(j).zip(&weights).map(|(x, a)| x * a).sum::<f64>() / total;
            dimensions.map(weighted).collect()
        }
    }
}

const METHODS: [(&str, Method<'static>); 4] = [
    ("mean", Method::Mean),
    ("max", Method::Max),
    ("attention", Method::Attention(None, 20.0)),
    ("even", Method::Attention(None, 0.0)),
];

/// MiniLM, and its vectors pooled by every method; chunks of at most so many tokens.
fn pooling_collection(max_tokens: usize) -> CreateCollection {
    from_json(json!({
        "encoders": {"": {"model": MODEL}},
        "pooled_vectors": {
            "mean": {"of": "", "method": "mean"},
            "max": {"method": "max"},
            "attention": {"method": "attention"},
            "even": {"method": "attention", "scale": 0.0},
        },
        "chunking": {"max_tokens": max_tokens, "overlap": 0},
    }))
}

async fn put(client: &Client, docs: &CollectionName, sent: Vec<Document>) {
    let expected = sent.len() as u64;
    let task = client.add_documents(docs, &documents(sent)).await.unwrap();
    let task = finished(client, task).await;
    assert_eq!(
        (task.status, task.documents_done),
        (TaskStatus::Succeeded, expected),
        "{task:?}"
    );
}

/// The vectors of a point by name.
fn vectors(record: &Record) -> BTreeMap<String, Vec<f32>> {
    let named = match record.vector.clone() {
        Some(VectorsOutput::Single(unnamed)) => BTreeMap::from([(String::new(), unnamed)]),
        Some(VectorsOutput::Named(named)) => named,
        None => BTreeMap::new(),
    };
    let dense = named.into_iter();
    dense
        .map(|(name, vector)| (name, vector.into_dense().unwrap()))
        .collect()
}

/// The chunks of a document and its own point agree; answers the payload of that.
async fn check(client: &Client, docs: &CollectionName, id: &str) -> Value {
    let stored = client.get_document(docs, id).await.unwrap();
    let mut chunks = Vec::new();
    for chunk in &stored.chunks {
        let mut vectors = vectors(&client.get_point(docs, chunk.id).await.unwrap());
        chunks.push(vectors.remove("").unwrap());
        assert!(vectors.is_empty(), "a chunk has no pooled vectors: {vectors:?}");
    }
    let point = client.get_point(docs, document_point_id(id)).await.unwrap();
    let vectors = vectors(&point);
    assert_eq!(vectors.len(), METHODS.len());
    for (name, method) in METHODS {
        let expected = reference(method, &chunks);
        let length = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        let differs = |(pooled, expected): (&f32, &f64)| (f64::from(*pooled) - expected / length).abs() > 1e-6;
        assert!(!vectors[name].iter().zip(&expected).any(differs), "{name} of {id}");
    }
    let payload = json!(point.payload);
    assert_eq!(payload["document_id"], id);
    payload
}

async fn ask(client: &Client, docs: &CollectionName, text: &str, using: &str) -> Vec<ScoredPoint> {
    let query: QueryPoints =
        from_json(json!({"query": {"text": text}, "using": using, "limit": 20, "with_payload": true}));
    client.query(docs, &query).await.unwrap()
}

fn document_of(point: &ScoredPoint) -> &str {
    point.payload.as_ref().unwrap()["document_id"].as_str().unwrap()
}

const FOREST: &str = "Beeches and oaks stand in the forest above the village. Owls hunt in it at night, and deer \
    graze at its edge in the morning. In autumn people gather mushrooms under the old trees.";
const KITCHEN: &str = "Knead the dough until it is smooth. Let it rest for an hour in a warm place. Bake the bread \
    until its crust is brown, and let it cool on a rack.";

#[tokio::test]
async fn documents_are_found_by_vectors_pooled_from_their_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let docs = name("docs");
    let mut server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    client.create_collection(&docs, &pooling_collection(16)).await.unwrap();
    let forest = Document {
        metadata: Some(from_json(json!({"place": "outside"}))),
        ..document("forest", FOREST)
    };
    let sent = vec![
        forest.clone(),
        document("kitchen", KITCHEN),
        document("short", "A quiet lake."),
    ];
    put(&client, &docs, sent).await;
    let info = client.get_collection(&docs).await.unwrap();
    assert_eq!(
        json!(info.config)["pooled_vectors"]["max"],
        json!({"of": "", "method": "max"})
    );
    let chunks = client.get_document(&docs, "forest").await.unwrap().chunks.len();
    assert!(chunks > 2, "{chunks}");
    let payload = check(&client, &docs, "forest").await;
    assert_eq!(payload["chunks"], chunks);
    assert_eq!(payload["metadata"], json!({"place": "outside"}));
    assert!(
        payload.get("chunk").is_none() && payload.get("text").is_none(),
        "{payload}"
    );
    assert!(check(&client, &docs, "kitchen").await.get("metadata").is_none());
    assert_eq!(
        check(&client, &docs, "short").await["chunks"],
        1,
        "one chunk is pooled as well"
    );

    for (using, _) in METHODS {
        for (text, expected) in [
            ("wild animals between trees", "forest"),
            ("how to make bread", "kitchen"),
        ] {
            let found = ask(&client, &docs, text, using).await;
            let ids: Vec<&str> = found.iter().map(document_of).collect();
            assert_eq!((ids.len(), ids[0]), (3, expected), "{using}: {ids:?}");
            assert_eq!(found[0].id, document_point_id(expected));
        }
    }
    // Chunks are found as ever, and documents' points are not among them.
    let found = ask(&client, &docs, "wild animals between trees", "").await;
    assert!(
        found
            .iter()
            .all(|point| point.payload.as_ref().unwrap().contains_key("chunk"))
    );

    // Other metadata: nothing is encoded, and vectors stay.
    let outside = Document {
        metadata: Some(from_json(json!({"place": "hills"}))),
        ..forest
    };
    put(&client, &docs, vec![outside]).await;
    assert_eq!(
        check(&client, &docs, "forest").await["metadata"],
        json!({"place": "hills"})
    );
    // Another text, with fewer chunks.
    put(
        &client,
        &docs,
        vec![document(
            "kitchen",
            "Knead the dough. Peel the potatoes, boil them and mash them with warm milk and butter.",
        )],
    )
    .await;
    check(&client, &docs, "kitchen").await;
    let points = count(&client, &docs).await;
    server.kill();
    let server = Server::start(Path::new(BINARY), dir.path(), None).await;
    let client = server.client();
    for id in ["forest", "kitchen", "short"] {
        check(&client, &docs, id).await;
    }
    assert_eq!(
        document_of(&ask(&client, &docs, "mashed vegetables", "mean").await[0]),
        "kitchen"
    );

    let gone = client.get_document(&docs, "kitchen").await.unwrap().chunks.len() as u64 + 1;
    client.delete_document(&docs, "kitchen").await.unwrap();
    assert_eq!(count(&client, &docs).await, points - gone);
    let found = ask(&client, &docs, "mashed vegetables", "mean").await;
    assert!(found.iter().all(|point| document_of(point) != "kitchen"));
}

#[tokio::test]
async fn writes_to_chunks_are_pooled_at_once_and_pooled_vectors_are_not_written() {
    let (server, client, _dir) = server().await;
    let docs = name("docs");
    client.create_collection(&docs, &pooling_collection(16)).await.unwrap();
    put(
        &client,
        &docs,
        vec![document("forest", FOREST), document("kitchen", KITCHEN)],
    )
    .await;
    let call = async |path: &str, method: &str, body: Value| {
        send_json(
            server.url(),
            method,
            &format!("/collections/docs/points{path}?wait=true"),
            &body.to_string(),
        )
        .await
    };
    let chunk = json!(chunk_id("forest", 1));
    let vector = json!({"": {"text": "Trains leave every hour.", "model": MODEL}});
    let update = json!({"points": [{"id": chunk, "vector": vector}]});
    assert_eq!(call("/vectors", "PUT", update).await.0, 200);
    check(&client, &docs, "forest").await;
    assert_eq!(call("/delete", "POST", json!({"points": [chunk]})).await.0, 200);
    let chunks = client.get_document(&docs, "forest").await.unwrap().chunks;
    assert!(chunks.iter().all(|left| json!(left.id) != chunk) && chunks.len() > 1);
    check(&client, &docs, "forest").await;

    let zeros = vec![0.0; 384];
    let id = json!(document_point_id("kitchen"));
    let refused = [
        ("", "PUT", json!({"points": [{"id": 1, "vector": {"mean": zeros}}]})),
        (
            "/vectors",
            "PUT",
            json!({"points": [{"id": id, "vector": {"max": zeros}}]}),
        ),
        (
            "/vectors/delete",
            "POST",
            json!({"points": [id], "vector": ["attention"]}),
        ),
    ];
    for (path, method, body) in refused {
        let (status, answer) = call(path, method, body).await;
        let error = answer["status"]["error"].as_str().unwrap_or_default();
        assert!(status == 400 && error.contains("is pooled from"), "{answer}");
    }
    check(&client, &docs, "kitchen").await;

    // By filter: a document goes if one of its chunks matches; its own point, which has no text, says nothing.
    let without =
        json!({"filter": {"must_not": [{"has_id": chunks.iter().map(|chunk| json!(chunk.id)).collect::<Vec<_>>()}]}});
    let path = "/collections/docs/documents/delete";
    assert_eq!(send_json(server.url(), "POST", path, &without.to_string()).await.0, 200);
    let left = client.list_documents(&docs, None, 10).await.unwrap();
    let left: Vec<&str> = left.documents.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(left, ["forest"]);
    assert_eq!(count(&client, &docs).await, chunks.len() as u64 + 1);
}

#[tokio::test]
async fn pooled_vectors_take_the_parameters_of_their_source_or_their_own() {
    let (server, client, _dir) = server().await;
    let create = async |name: &str, body: Value| {
        send_json(server.url(), "PUT", &format!("/collections/{name}"), &body.to_string()).await
    };
    let encoders = json!({"text": {"model": MODEL}});
    // A stock client has nowhere but `metadata` to put this.
    let pooled = json!({"mean": {"of": "text", "method": "mean"}, "sum": {"of": "text", "method": "max"}});
    let body = json!({
        "vectors": {
            "text": {"size": 384, "distance": "Cosine", "on_disk": true},
            "sum": {"size": 384, "distance": "Dot"},
        },
        "metadata": {"encoders": encoders, "pooled_vectors": pooled},
    });
    let (status, answer) = create("stock", body).await;
    assert_eq!(status, 200, "{answer}");
    let VectorsConfig::Named(params) = client
        .get_collection(&name("stock"))
        .await
        .unwrap()
        .config
        .params
        .vectors
    else {
        panic!("it has three vectors")
    };
    assert_eq!(params["mean"], params["text"]);
    assert_eq!(params["sum"], VectorParams::new(384, Distance::Dot));

    let words = json!({"text": {"model": MODEL}, "words": {"model": "Qdrant/bm25"}});
    for (encoders, vectors, pooled, expected) in [
        (
            &words,
            json!({}),
            json!({"of": "words", "method": "mean"}),
            "only dense vectors",
        ),
        (
            &words,
            json!({}),
            json!({"of": "txt", "method": "mean"}),
            "`txt` is none of [\"text\", \"words\"]",
        ),
        (&words, json!({}), json!({"method": "mean"}), "`` is none of"),
        (
            &words,
            json!({}),
            json!({"of": "text", "method": "median"}),
            "`attention`",
        ),
        (
            &words,
            json!({}),
            json!({"of": "text", "method": "mean", "scale": 2.0}),
            "settings of the method",
        ),
        (
            &words,
            json!({}),
            json!({"of": "text", "method": "attention", "scoring_vector": [1.0]}),
            "384",
        ),
        (
            &words,
            json!({"document": {"size": 3, "distance": "Dot"}}),
            json!({"of": "text", "method": "max"}),
            "its size is 3",
        ),
    ] {
        let body = json!({"encoders": encoders, "vectors": vectors, "pooled_vectors": {"document": pooled}});
        let (status, answer) = create("refused", body).await;
        let error = answer["status"]["error"].as_str().unwrap_or_default();
        assert!(status == 400 && error.contains(expected), "{expected}: {answer}");
    }
}
