//! `twofold ingest`: files become documents, and the command ends when they are searchable.

mod batch;
mod content;
mod job;
mod origin;
pub(super) mod progress;
mod records;
mod report;
mod stored;
#[cfg(test)]
mod tests;
mod walk;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use twofold_client::types::{ChunkingStrategy, CollectionName};

use self::job::Job;
use self::records::Fields;
use self::watch::{Bell, watch};
use super::connection::Connection;

/// A batch of several megabytes has to be made durable before the server answers.
const TIMEOUT: Duration = Duration::from_secs(120);
/// A server whose queue is full says when to come back; ingestion waits for as long as that goes on.
const MAX_RETRIES: usize = 10_000;

/// Options of an ingestion.
#[derive(Debug, clap::Args)]
pub(super) struct IngestOptions {
    /// Files and directories: plain text, source code, .md, .html, .pdf, .docx, and records in .jsonl, .csv, .tsv and .parquet.
    /// A file's document id is its path below the directory that is given here; every record is a document of its own. Files
    /// that the server has as they are now are not sent again. Hidden files and what .gitignore names are left out, and so is
    /// what is not UTF-8 text
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
    /// Delete documents whose files below PATH are gone
    #[arg(long)]
    delete_missing: bool,
    /// Go on until Ctrl-C: send what changes, and delete documents whose files are gone
    #[arg(long)]
    watch: bool,
    /// Bytes of text sent at once, about
    #[arg(long, default_value_t = 4 << 20, value_name = "BYTES")]
    batch_bytes: usize,
    #[command(flatten)]
    connection: Connection,
}

/// Runs an ingestion. Documents that failed make the exit code 1.
pub(super) async fn run(options: IngestOptions) -> anyhow::Result<ExitCode> {
    let client = options
        .connection
        .client(|builder| builder.timeout(TIMEOUT).max_retries(MAX_RETRIES))?;
    let job = Job {
        client,
        collection: options.collection,
        connection: options.connection,
        paths: options.paths,
        fields: options.fields,
        batch_bytes: options.batch_bytes,
        deletes_missing: options.delete_missing || options.watch,
    };
    // What changes while files are read is heard of as well.
    let bell = options.watch.then(|| Bell::hang(&job.paths)).transpose()?;
    let files = job.files().await?;
    if files.files.is_empty() && bell.is_none() {
        bail!("there are no files to ingest");
    }
    job.ensure_collection(options.model, options.chunking).await?;
    let (report, stored) = job.run(files, job.stored().await?).await?;
    report.print(&job.collection)?;
    if let Some(bell) = bell {
        tokio::select! {
            watched = watch(&job, bell, stored) => watched?,
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    Ok(match report.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn chunking_strategy(name: &str) -> Result<ChunkingStrategy, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}
