//! `twofold ingest`: files become documents, and the command ends when they are searchable.

mod batch;
mod content;
pub(super) mod progress;
mod records;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use twofold_client::Client;
use twofold_client::types::api::{AddDocuments, CreateCollection};
use twofold_client::types::{
    ChunkingParams, ChunkingStrategy, CollectionName, Document, DocumentError, EncoderParams, ModelId, Task, TaskId,
};

use self::batch::Batches;
use self::progress::Progress;
use self::records::Fields;
use super::connection::Connection;
use super::output::print;

const DEFAULT_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// A batch of several megabytes has to be made durable before the server answers.
const TIMEOUT: Duration = Duration::from_secs(120);
/// A server whose queue is full says when to come back; ingestion waits for as long as that goes on.
const MAX_RETRIES: usize = 10_000;

/// Options of an ingestion.
#[derive(Debug, clap::Args)]
pub(super) struct IngestOptions {
    /// Files and directories: plain text, source code, .md, .html, .pdf, .docx, and records in .jsonl, .csv, .tsv and .parquet.
    /// A file's document id is its path below the directory that is given here; every record is a document of its own. Hidden
    /// files and what .gitignore names are left out, and so is what is not UTF-8 text
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where the documents go; created where it is missing
    #[arg(long, short, value_name = "NAME")]
    collection: CollectionName,
    /// The model that encodes a collection that is created [default: sentence-transformers/all-MiniLM-L6-v2]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// How documents of a collection that is created are cut: recursive, sentence, markdown, code or none
    #[arg(long, value_name = "STRATEGY", value_parser = chunking_strategy)]
    chunking: Option<ChunkingStrategy>,
    #[command(flatten)]
    fields: Fields,
    /// Bytes of text sent at once, about
    #[arg(long, default_value_t = 4 << 20, value_name = "BYTES")]
    batch_bytes: usize,
    #[command(flatten)]
    connection: Connection,
}

/// What became of the documents.
#[derive(Debug, Default)]
struct Outcome {
    documents: u64,
    chunks: u64,
    /// How many of the documents had been there already.
    unchanged: u64,
    failed: u64,
    errors: Vec<DocumentError>,
}

/// Runs an ingestion. Documents that failed make the exit code 1.
pub(super) async fn run(options: IngestOptions) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    let paths = options.paths;
    let files = tokio::task::spawn_blocking(move || walk::walk(&paths)).await??;
    if files.is_empty() {
        bail!("there are no files to ingest");
    }
    let client = options
        .connection
        .client(|builder| builder.timeout(TIMEOUT).max_retries(MAX_RETRIES))?;
    let job = Ingestion {
        client,
        collection: options.collection,
        connection: options.connection,
    };
    job.ensure_collection(options.model, options.chunking).await?;

    let mut progress = Progress::new(files.len() as u64);
    let (tasks, accepted) = mpsc::unbounded_channel();
    let batches = Batches::new(files, options.fields, options.batch_bytes);
    let (sent, followed) = tokio::join!(job.send(batches, tasks), job.follow(accepted, &mut progress));
    progress.finish();
    let sent = sent?;
    let mut outcome = followed?;
    outcome.failed += sent.errors.len() as u64;
    outcome.errors.extend(sent.errors);

    let seconds = begin.elapsed().as_secs_f64();
    let Outcome {
        documents,
        chunks,
        unchanged,
        failed,
        errors,
    } = outcome;
    let (documents, chunks) = (counted(documents, "document"), counted(chunks, "chunk"));
    let skipped = if sent.skipped == 0 {
        String::new()
    } else {
        format!(", {} skipped", counted(sent.skipped, "file"))
    };
    let unchanged = match unchanged {
        0 => String::new(),
        unchanged => format!(", {unchanged} unchanged"),
    };
    print(&format!(
        "ingested {documents} as {chunks} into `{}` in {seconds:.1} s{unchanged}{skipped}\n",
        job.collection
    ))?;
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: {} failed:", counted(failed, "document"));
    for DocumentError { document_id, error } in &errors {
        eprintln!("  {document_id}: {error}");
    }
    if failed > errors.len() as u64 {
        eprintln!("  and {} more", failed - errors.len() as u64);
    }
    Ok(ExitCode::FAILURE)
}

fn chunking_strategy(name: &str) -> Result<ChunkingStrategy, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
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

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What sending has left behind.
#[derive(Default)]
struct Sent {
    skipped: u64,
    errors: Vec<DocumentError>,
}

struct Ingestion {
    client: Client,
    collection: CollectionName,
    connection: Connection,
}

impl Ingestion {
    /// Creates the collection where it is missing; where it exists, its encoder must be the model that was asked for.
    async fn ensure_collection(&self, model: Option<String>, chunking: Option<ChunkingStrategy>) -> anyhow::Result<()> {
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

    /// Reads and sends everything. Tasks that were accepted go to `tasks`, which is closed at the end.
    async fn send(&self, mut batches: Batches, tasks: mpsc::UnboundedSender<TaskId>) -> anyhow::Result<Sent> {
        let mut sent = Sent::default();
        loop {
            let (rest, batch) = tokio::task::spawn_blocking(move || {
                let batch = batches.next();
                (batches, batch)
            })
            .await?;
            batches = rest;
            let Some(batch) = batch else { return Ok(sent) };
            sent.skipped += batch.skipped;
            sent.errors.extend(batch.errors);
            self.send_batch(batch.documents, &tasks, &mut sent.errors).await?;
            if tasks.is_closed() {
                return Ok(sent);
            }
        }
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
    ) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        while let Some(id) = tasks.recv().await {
            let finished = self.client.wait_for_task(id, |task| {
                let done = outcome.documents + outcome.failed + task.documents - waiting(task);
                progress.update(done, outcome.chunks + task.chunks);
            });
            let task = finished
                .await
                .map_err(|error| self.connection.explain(error))
                .with_context(|| format!("cannot follow task {id}; the server goes on with it as soon as it can"))?;
            outcome.documents += task.documents_done;
            outcome.chunks += task.chunks;
            outcome.unchanged += task.documents_unchanged;
            outcome.failed += task.documents_failed + task.documents_canceled;
            if task.documents_canceled > 0 {
                outcome.errors.push(DocumentError {
                    document_id: format!("task {id}"),
                    error: format!("{} were canceled", counted(task.documents_canceled, "document")),
                });
            }
            outcome.errors.extend(task.errors);
        }
        Ok(outcome)
    }
}
