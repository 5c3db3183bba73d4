//! What became of an ingestion, told at its end.

use std::time::Duration;

use twofold_client::types::{CollectionName, DocumentError};

use super::super::output::print;

/// What became of the documents.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub documents: u64,
    pub chunks: u64,
    /// How many files, records and documents had been there already.
    pub unchanged: u64,
    /// How many files have no text.
    pub skipped: u64,
    pub deleted: u64,
    pub failed: u64,
    pub errors: Vec<DocumentError>,
    pub duration: Duration,
}

impl Report {
    /// Whether anything was done.
    pub fn is_something(&self) -> bool {
        self.documents + self.deleted + self.failed > 0
    }

    /// Tells it in a line, and every failure in another.
    pub fn print(&self, collection: &CollectionName) -> anyhow::Result<()> {
        let documents = counted(self.documents, "document");
        let chunks = counted(self.chunks, "chunk");
        let seconds = self.duration.as_secs_f64();
        let mut line = format!("ingested {documents} as {chunks} into `{collection}` in {seconds:.1} s");
        if self.unchanged > 0 {
            line += &format!(", {} unchanged", self.unchanged);
        }
        if self.deleted > 0 {
            line += &format!(", {} deleted", self.deleted);
        }
        if self.skipped > 0 {
            line += &format!(", {} skipped", counted(self.skipped, "file"));
        }
        print(&(line + "\n"))?;
        if self.failed == 0 {
            return Ok(());
        }
        eprintln!("error: {} failed:", counted(self.failed, "document"));
        for DocumentError { document_id, error } in &self.errors {
            eprintln!("  {document_id}: {error}");
        }
        if self.failed > self.errors.len() as u64 {
            eprintln!("  and {} more", self.failed - self.errors.len() as u64);
        }
        Ok(())
    }
}

pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
