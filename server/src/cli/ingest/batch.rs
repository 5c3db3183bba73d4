//! Files read into batches of documents, one batch in memory at a time.

use std::fs;
use std::io::Read;
use std::path::Path;

use twofold_client::types::{Document, DocumentError, Payload};

use super::walk::File;

/// Documents a batch, however small they are: one task reports at most 100 errors.
const BATCH_DOCUMENTS: usize = 256;
/// A larger file would not fit into a request to a server with its default limits.
const LARGEST_FILE_BYTES: u64 = 24 << 20;
/// How much of a file is looked at to tell that it is not text.
const SNIFFED_BYTES: usize = 8 << 10;

/// The batches that files make.
pub(super) struct Batches {
    files: std::vec::IntoIter<File>,
    /// Read already, and too much for the batch before.
    waiting: Option<Document>,
    batch_bytes: usize,
}

/// What is sent at once, and what was met on the way to it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub documents: Vec<Document>,
    /// How many files were passed over because there is no text in them.
    pub skipped: u64,
    /// Files that hold text, or may, and cannot be sent.
    pub errors: Vec<DocumentError>,
}

/// What a file holds.
#[derive(Debug, PartialEq)]
enum Content {
    Text(String),
    NoText(&'static str),
    TooLarge,
}

impl Batches {
    /// Batches of about `batch_bytes` bytes of text; a larger document is a batch of its own.
    pub fn new(files: Vec<File>, batch_bytes: usize) -> Self {
        Self {
            files: files.into_iter(),
            waiting: None,
            batch_bytes,
        }
    }

    /// The next batch, read now.
    pub fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while let Some(document) = self.waiting.take().or_else(|| self.read_next(&mut batch)) {
            if !batch.documents.is_empty() && bytes + document.text.len() > self.batch_bytes {
                self.waiting = Some(document);
                return Some(batch);
            }
            bytes += document.text.len();
            batch.documents.push(document);
            if batch.documents.len() == BATCH_DOCUMENTS {
                return Some(batch);
            }
        }
        let is_empty = batch.documents.is_empty() && batch.skipped == 0 && batch.errors.is_empty();
        (!is_empty).then_some(batch)
    }

    fn read_next(&mut self, batch: &mut Batch) -> Option<Document> {
        for file in self.files.by_ref() {
            match read(&file.path) {
                Ok(Content::Text(text)) => {
                    let source = file.path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
                    let metadata = Payload::from_iter([("source".to_owned(), source.into())]);
                    return Some(Document {
                        id: Some(file.id),
                        text,
                        metadata: Some(metadata),
                    });
                }
                Ok(Content::NoText(reason)) => {
                    eprintln!("skipped {}: {reason}", file.path.display());
                    batch.skipped += 1;
                }
                Ok(Content::TooLarge) => {
                    let error = format!("larger than {} MiB", LARGEST_FILE_BYTES >> 20);
                    batch.errors.push(DocumentError {
                        document_id: file.id,
                        error,
                    });
                }
                Err(error) => batch.errors.push(DocumentError {
                    document_id: file.id,
                    error: error.to_string(),
                }),
            }
        }
        None
    }
}

fn read(path: &Path) -> std::io::Result<Content> {
    let mut file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(SNIFFED_BYTES as u64).read_to_end(&mut bytes)?;
    if bytes.contains(&0) {
        return Ok(Content::NoText("binary"));
    }
    file.take(LARGEST_FILE_BYTES + 1 - bytes.len() as u64)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE_BYTES {
        return Ok(Content::TooLarge);
    }
    Ok(match String::from_utf8(bytes) {
        Err(_) => Content::NoText("not UTF-8 text"),
        Ok(text) if text.contains('\0') => Content::NoText("binary"),
        Ok(text) if text.trim().is_empty() => Content::NoText("empty"),
        Ok(text) => Content::Text(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(files: &[(&str, &[u8])], batch_bytes: usize) -> Vec<Batch> {
        let dir = tempfile::tempdir().unwrap();
        let files = files.iter().map(|(name, content)| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            File {
                id: (*name).to_owned(),
                path,
            }
        });
        let mut batches = Batches::new(files.collect(), batch_bytes);
        std::iter::from_fn(|| batches.next()).collect()
    }

    fn ids(batch: &Batch) -> Vec<&str> {
        batch
            .documents
            .iter()
            .map(|document| document.id.as_deref().unwrap())
            .collect()
    }

    #[test]
    fn batches_are_bounded_by_bytes_and_lose_nothing() {
        let files: [(&str, &[u8]); 5] = [
            ("a", b"1234"),
            ("b", b"12"),
            ("c", b"1"),
            ("d", b"123456789"),
            ("e", b"1"),
        ];
        let batches = batches(&files, 6);
        let ids: Vec<_> = batches.iter().map(ids).collect();
        assert_eq!(ids, [vec!["a", "b"], vec!["c"], vec!["d"], vec!["e"]]);
    }

    #[test]
    fn batches_are_bounded_by_count() {
        let names: Vec<_> = (0..BATCH_DOCUMENTS + 1).map(|n| format!("{n}")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        let counts: Vec<_> = batches(&files, 1 << 20)
            .iter()
            .map(|batch| batch.documents.len())
            .collect();
        assert_eq!(counts, [BATCH_DOCUMENTS, 1]);
    }

    #[test]
    fn what_is_not_text_is_skipped_and_what_is_too_large_fails() {
        let large = vec![b'x'; LARGEST_FILE_BYTES as usize + 1];
        let late_nul = [vec![b'x'; SNIFFED_BYTES], vec![0]].concat();
        let files: [(&str, &[u8]); 6] = [
            ("binary", b"ab\0c"),
            ("late", &late_nul),
            ("latin1", b"caf\xe9"),
            ("empty", b" \n"),
            ("large", &large),
            ("text", "größe".as_bytes()),
        ];
        let batches = batches(&files, 1 << 20);
        assert_eq!(batches.len(), 1);
        assert_eq!(ids(&batches[0]), ["text"]);
        assert_eq!(batches[0].skipped, 4);
        assert_eq!(batches[0].errors.len(), 1);
        assert_eq!(batches[0].errors[0].document_id, "large");
    }
}
