//! Files read into batches of documents, one batch in memory at a time.

use twofold_client::types::{Document, DocumentError, Payload};

use super::content::{self, Content, Text};
use super::records::{Fields, Records};
use super::stored::Stored;
use super::walk::File;

/// Documents a batch, however small they are: one task reports at most 100 errors.
const BATCH_DOCUMENTS: usize = 256;

/// The batches that files make.
pub(super) struct Batches {
    files: std::vec::IntoIter<File>,
    fields: Fields,
    stored: Stored,
    reading: Option<Reading>,
    /// Read already, and too much for the batch before.
    waiting: Option<Document>,
    batch_bytes: usize,
}

/// A file of records that is being read.
struct Reading {
    file: File,
    records: Records,
    /// A record could not be read, and so it is not known which one.
    is_damaged: bool,
}

/// What is sent at once, and what was met on the way to it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub documents: Vec<Document>,
    /// How many files were passed over because there is no text in them.
    pub skipped: u64,
    /// How many records are stored already.
    pub unchanged: u64,
    /// Files that hold text, or may, and cannot be sent.
    pub errors: Vec<DocumentError>,
}

impl Batches {
    /// Batches of about `batch_bytes` bytes of text; a larger document is a batch of its own. Records that are stored as
    /// they are do not become documents.
    pub fn new(files: Vec<File>, fields: Fields, stored: Stored, batch_bytes: usize) -> Self {
        Self {
            files: files.into_iter(),
            fields,
            stored,
            reading: None,
            waiting: None,
            batch_bytes,
        }
    }

    /// What is stored when all that was read is.
    pub fn into_stored(self) -> Stored {
        self.stored
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
        let is_empty = batch.documents.is_empty() && batch.skipped + batch.unchanged == 0 && batch.errors.is_empty();
        (!is_empty).then_some(batch)
    }

    fn read_next(&mut self, batch: &mut Batch) -> Option<Document> {
        loop {
            if let Some(document) = self.next_record(batch) {
                return Some(document);
            }
            let file = self.files.next()?;
            match Records::open(&file.path, &file.id, &file.origin, &self.fields) {
                Some(Ok(records)) => {
                    self.reading = Some(Reading {
                        file,
                        records,
                        is_damaged: false,
                    });
                }
                Some(Err(error)) => self.fail(file, &error, batch),
                None => match content::read(&file.path) {
                    Ok(Content::Text(text)) => return Some(self.document(file, text)),
                    Ok(Content::NoText(reason)) => {
                        eprintln!("skipped {}: {reason}", file.path.display());
                        self.stored.insert_file(&file.id, &file.origin);
                        batch.skipped += 1;
                    }
                    Err(error) => self.fail(file, &error, batch),
                },
            }
        }
    }

    fn document(&mut self, file: File, Text { title, text }: Text) -> Document {
        let mut metadata = Payload::new();
        if let Some(title) = title {
            metadata.insert("title".to_owned(), title.into());
        }
        file.origin.write_to(&mut metadata);
        self.stored.insert_document(&file.id, &file.origin);
        Document {
            id: Some(file.id),
            text,
            metadata: Some(metadata),
        }
    }

    /// Notes a file that cannot be read. What is stored of it stays.
    fn fail(&mut self, file: File, error: &anyhow::Error, batch: &mut Batch) {
        self.stored.keep_all_of(&file.origin);
        self.stored.insert_file(&file.id, &file.origin);
        batch.errors.push(DocumentError {
            document_id: file.id,
            error: format!("{error:#}"),
        });
    }

    /// The next document of the file of records that is being read.
    fn next_record(&mut self, batch: &mut Batch) -> Option<Document> {
        let Reading {
            file,
            records,
            is_damaged,
        } = self.reading.as_mut()?;
        for record in records {
            match record {
                Ok(document) if document.text.trim().is_empty() => batch.skipped += 1,
                Ok(document) => {
                    let id = document.id.as_deref().unwrap_or_default();
                    if !self.stored.has(id, &file.origin) {
                        self.stored.insert_document(id, &file.origin);
                        return Some(document);
                    }
                    batch.unchanged += 1;
                }
                Err(error) => {
                    *is_damaged = true;
                    batch.errors.push(error);
                }
            }
        }
        if *is_damaged {
            self.stored.keep_all_of(&file.origin);
        }
        self.stored.insert_file(&file.id, &file.origin);
        self.reading = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::content::{LARGEST_TEXT_BYTES, SNIFFED_BYTES};
    use super::super::origin::Origin;
    use super::*;

    fn batches(files: &[(&str, &[u8])], batch_bytes: usize) -> Vec<Batch> {
        let dir = tempfile::tempdir().unwrap();
        let files = files.iter().map(|(name, content)| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            File {
                id: (*name).to_owned(),
                origin: Origin::of(&path).unwrap(),
                path,
            }
        });
        let mut batches = Batches::new(files.collect(), Fields::default(), Stored::default(), batch_bytes);
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
    fn records_of_a_file_are_batched_like_files() {
        let files: [(&str, &[u8]); 3] = [
            (
                "a.jsonl",
                b"{\"text\": \"one\"}\n{\"text\": \"two\"}\nbad\n{\"text\": \" \"}\n",
            ),
            ("b.csv", b"id,text\nx,three\n"),
            ("c.txt", b"four"),
        ];
        let batches = batches(&files, 1 << 20);
        assert_eq!(ids(&batches[0]), ["a.jsonl#1", "a.jsonl#2", "x", "c.txt"]);
        assert_eq!((batches[0].skipped, batches[0].errors.len()), (1, 1));
        assert_eq!(batches[0].errors[0].document_id, "a.jsonl#3");
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
        let large = vec![b'x'; LARGEST_TEXT_BYTES as usize + 1];
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
