//! A corpus in BEIR's layout becomes documents of a collection.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use twofold_client::Client;
use twofold_client::types::api::AddDocuments;
use twofold_client::types::{CollectionName, Document, EncoderParams, ModelId, TaskId};

use super::super::connection::Connection;
use super::super::ingest::progress::Progress;
use super::judgements::json_lines;

/// Documents and bytes of text that are sent at once, about.
const BATCH_DOCUMENTS: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;

/// A line of `corpus.jsonl`; other keys have no meaning.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

impl From<Line> for Document {
    /// The title stands before the text, as in BEIR's own encoders.
    fn from(Line { id, title, text }: Line) -> Self {
        let text = match title.is_empty() {
            true => text,
            false => format!("{title} {text}"),
        };
        Self {
            id: Some(id),
            text,
            metadata: None,
        }
    }
}

/// The encoders of a collection that is created without others being named: one of meaning, one of words.
pub(super) fn default_encoders() -> BTreeMap<String, EncoderParams> {
    let encoder = |vector: &str, model: &str| (vector.to_owned(), EncoderParams::new(ModelId::new(model)));
    BTreeMap::from([
        encoder("dense", "sentence-transformers/all-MiniLM-L6-v2"),
        encoder("words", "Qdrant/bm25"),
    ])
}

/// Sends all documents of a file and waits until they are searchable. What is stored already is not encoded again.
pub(super) async fn ingest(
    client: &Client,
    connection: &Connection,
    collection: &CollectionName,
    path: &Path,
) -> anyhow::Result<()> {
    let (mut tasks, mut sent): (Vec<TaskId>, u64) = Default::default();
    let mut lines = json_lines::<Line>(path)?.peekable();
    while lines.peek().is_some() {
        let (mut documents, mut bytes) = (Vec::new(), 0);
        while documents.len() < BATCH_DOCUMENTS && bytes < BATCH_BYTES {
            let Some(line) = lines.next() else { break };
            let document = Document::from(line?);
            bytes += document.text.len();
            documents.push(document);
        }
        sent += documents.len() as u64;
        let task = client.add_documents(collection, &AddDocuments { documents }).await;
        tasks.push(
            task.map_err(|error| connection.explain(error))
                .context("cannot send documents")?,
        );
    }
    let mut progress = Progress::new(sent);
    let (mut done, mut chunks) = (0, 0);
    for id in tasks {
        let finished = client.wait_for_task(id, |task| {
            progress.update(done + task.documents_done, chunks + task.chunks);
        });
        let task = finished.await.map_err(|error| connection.explain(error))?;
        if let Some(error) = task.errors.first() {
            bail!(
                "document `{}` could not be ingested: {}",
                error.document_id,
                error.error
            );
        }
        done += task.documents_done;
        chunks += task.chunks;
    }
    progress.finish();
    Ok(())
}
