//! One ingestion: files are compared with what the server has, and what is other is sent or deleted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use twofold_client::Client;
use twofold_client::types::api::{AddDocuments, CreateCollection, DocumentsSelector};
use twofold_client::types::{
    ChunkingParams, ChunkingStrategy, CollectionName, Document, DocumentError, EncoderParams, ModelId, Task, TaskId,
};

use super::super::connection::Connection;
use super::batch::Batches;
use super::progress::Progress;
use super::records::Fields;
use super::report::{Report, counted};
use super::stored::Stored;
use super::walk::{Files, walk};

const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// Documents deleted at once.
const DELETED_AT_ONCE: usize = 1000;

/// What is ingested where.
pub(super) struct Job {
    pub client: Client,
    pub collection: CollectionName,
    pub connection: Connection,
    pub paths: Vec<PathBuf>,
    pub fields: Fields,
    pub batch_bytes: usize,
    /// Whether documents go whose files are gone.
    pub deletes_missing: bool,
}

/// What sending has left behind.
struct Sent {
    skipped: u64,
    unchanged: u64,
    errors: Vec<DocumentError>,
    stored: Stored,
}

impl Job {
    /// The files there are now.
    pub async fn files(&self) -> anyhow::Result<Files> {
        let paths = self.paths.clone();
        tokio::task::spawn_blocking(move || walk(&paths)).await?
    }

    /// What the server has now.
    pub async fn stored(&self) -> anyhow::Result<Stored> {
        let stored = Stored::fetch(&self.client, &self.collection).await;
        stored
            .map_err(|error| self.connection.explain(error))
            .context("cannot list the documents")
    }

    /// Creates the collection where it is missing; where it exists, its encoder must be the model that was asked for.
    pub async fn ensure_collection(
        &self,
        model: Option<String>,
        chunking: Option<ChunkingStrategy>,
    ) -> anyhow::Result<()> {
        match self.client.get_collection(&self.collection).await {
            Ok(info) => {
                let encoder = info
                    .config
                    .encoders
                    .get("")
                    .or_else(|| info.config.encoders.values().next());
                let Some(encoder) = encoder else {
                    bail!(
                        "collection `{}` has no encoder: it takes points with ready vectors only",
                        self.collection
                    );
                };
                if let Some(model) = model.filter(|model| ModelId::new(model) != encoder.model) {
                    bail!(
                        "collection `{}` is encoded by `{}`, not by `{model}`",
                        self.collection,
                        encoder.model
                    );
                }
                return Ok(());
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(self.connection.explain(error)),
        }
        let encoder = EncoderParams::new(ModelId::new(model.as_deref().unwrap_or(DEFAULT_MODEL)));
        let encoders = Some(BTreeMap::from([(String::new(), encoder)]));
        let chunking = chunking.map(|strategy| ChunkingParams {
            strategy,
            ..Default::default()
        });
        let config = CreateCollection {
            encoders,
            chunking,
            ..Default::default()
        };
        match self.client.create_collection(&self.collection, &config).await {
            // Somebody else was quicker.
            Err(error) if error.is_conflict() => Ok(()),
            created => created
                .map_err(|error| self.connection.explain(error))
                .with_context(|| format!("cannot create collection `{}`", self.collection)),
        }
    }

    /// Makes what is stored the same as the files are, and returns both what was done and what is stored then.
    pub async fn run(&self, files: Files, mut stored: Stored) -> anyhow::Result<(Report, Stored)> {
        let begin = Instant::now();
        let Files { files, is_incomplete } = files;
        let found = files.len() as u64;
        let (changed, stored) = tokio::task::spawn_blocking(move || (stored.changed(files), stored)).await?;
        let unchanged = found - changed.len() as u64;

        let mut progress = Progress::new(changed.len() as u64);
        let (tasks, accepted) = mpsc::unbounded_channel();
        let batches = Batches::new(changed, self.fields.clone(), stored, self.batch_bytes);
        let (sent, followed) = tokio::join!(self.send(batches, tasks), self.follow(accepted, &mut progress));
        progress.finish();
        let mut sent = sent?;
        let mut report = followed?;
        report.failed += sent.errors.len() as u64;
        report.errors.extend(sent.errors);
        report.unchanged += unchanged + sent.unchanged;
        report.skipped = sent.skipped;
        if self.deletes_missing {
            report.deleted = self.delete_missing(&mut sent.stored, is_incomplete).await?;
        }
        report.duration = begin.elapsed();
        Ok((report, sent.stored))
    }

    /// Reads and sends everything. Tasks that were accepted go to `tasks`, which is closed at the end.
    async fn send(&self, mut batches: Batches, tasks: mpsc::UnboundedSender<TaskId>) -> anyhow::Result<Sent> {
        let (mut skipped, mut unchanged, mut errors) = (0, 0, Vec::new());
        loop {
            let (rest, batch) = tokio::task::spawn_blocking(move || {
                let batch = batches.next();
                (batches, batch)
            })
            .await?;
            batches = rest;
            let Some(batch) = batch else { break };
            skipped += batch.skipped;
            unchanged += batch.unchanged;
            errors.extend(batch.errors);
            self.send_batch(batch.documents, &tasks, &mut errors).await?;
            if tasks.is_closed() {
                break;
            }
        }
        Ok(Sent {
            skipped,
            unchanged,
            errors,
            stored: batches.into_stored(),
        })
    }

    /// Sends documents. The server refuses a batch as a whole, so one that is refused is halved until the documents
    /// that it does not want are alone.
    async fn send_batch(
        &self,
        documents: Vec<Document>,
        tasks: &mpsc::UnboundedSender<TaskId>,
        errors: &mut Vec<DocumentError>,
    ) -> anyhow::Result<()> {
        let mut waiting = vec![documents];
        while let Some(documents) = waiting.pop() {
            if documents.is_empty() {
                continue;
            }
            let mut request = AddDocuments { documents };
            match self.client.add_documents(&self.collection, &request).await {
                Ok(task) if tasks.send(task).is_ok() => {}
                // Following has failed, and that is the failure to tell.
                Ok(_) => return Ok(()),
                Err(error) if error.is_rejected() && request.documents.len() > 1 => {
                    let second = request.documents.split_off(request.documents.len() / 2);
                    waiting.extend([second, request.documents]);
                }
                Err(error) if error.is_rejected() => {
                    errors.extend(request.documents.into_iter().map(|document| DocumentError {
                        document_id: document.id.unwrap_or_default(),
                        error: error.to_string(),
                    }))
                }
                Err(error) => return Err(self.connection.explain(error)).context("cannot send documents"),
            }
        }
        Ok(())
    }

    /// Follows tasks in the order in which they were accepted, which is the order in which the server works.
    async fn follow(
        &self,
        mut tasks: mpsc::UnboundedReceiver<TaskId>,
        progress: &mut Progress,
    ) -> anyhow::Result<Report> {
        let mut report = Report::default();
        while let Some(id) = tasks.recv().await {
            let finished = self.client.wait_for_task(id, |task| {
                let done = report.documents + report.failed + task.documents - waiting(task);
                progress.update(done, report.chunks + task.chunks);
            });
            let task = finished
                .await
                .map_err(|error| self.connection.explain(error))
                .with_context(|| format!("cannot follow task {id}; the server goes on with it as soon as it can"))?;
            report.documents += task.documents_done;
            report.chunks += task.chunks;
            report.unchanged += task.documents_unchanged;
            report.failed += task.documents_failed + task.documents_canceled;
            if task.documents_canceled > 0 {
                report.errors.push(DocumentError {
                    document_id: format!("task {id}"),
                    error: format!("{} were canceled", counted(task.documents_canceled, "document")),
                });
            }
            report.errors.extend(task.errors);
        }
        Ok(report)
    }

    /// Deletes documents whose files are gone, and returns how many.
    async fn delete_missing(&self, stored: &mut Stored, is_incomplete: bool) -> anyhow::Result<u64> {
        if is_incomplete {
            eprintln!("nothing is deleted: some files could not be listed, and may be there");
            return Ok(0);
        }
        let missing = stored.take_missing(&self.paths);
        for ids in missing.chunks(DELETED_AT_ONCE) {
            let ids = DocumentsSelector::Ids(ids.to_vec());
            let deleted = self.client.delete_documents(&self.collection, &ids).await;
            deleted
                .map_err(|error| self.connection.explain(error))
                .context("cannot delete documents")?;
        }
        Ok(missing.len() as u64)
    }
}

/// Documents of a task that have not ended.
fn waiting(task: &Task) -> u64 {
    let ended = task.documents_done
        + task.documents_superseded
        + task.documents_deleted
        + task.documents_failed
        + task.documents_canceled;
    task.documents.saturating_sub(ended)
}
