//! What the server has already of what is ingested. The server is asked for it and no file keeps it, so it is true whatever
//! became of the collection in between.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use twofold_client::types::CollectionName;
use twofold_client::{Client, Error};

use super::origin::{KEYS, Origin};
use super::records::holds_records;
use super::walk::File;

/// Documents asked for at once.
const PAGE: usize = 1000;

/// Documents that came from files, and files that were dealt with since the server was asked.
#[derive(Debug, Default)]
pub(super) struct Stored {
    documents: HashMap<String, StoredDocument>,
    files: HashMap<String, Origin>,
}

#[derive(Debug)]
struct StoredDocument {
    origin: Origin,
    /// Whether it was met among the files, and so is not missing there.
    is_met: bool,
}

impl Stored {
    /// Asks the server.
    pub async fn fetch(client: &Client, collection: &CollectionName) -> Result<Self, Error> {
        let mut stored = Self::default();
        let mut from = None;
        loop {
            let page = client
                .list_documents_with(collection, from.as_deref(), PAGE, &KEYS)
                .await?;
            for document in page.documents {
                if let Some(origin) = document.metadata.as_ref().and_then(Origin::of_metadata) {
                    let document_of = StoredDocument { origin, is_met: false };
                    stored.documents.insert(document.id, document_of);
                }
            }
            from = page.next;
            if from.is_none() {
                return Ok(stored);
            }
        }
    }

    /// Begins to meet documents, with those of files that are unchanged, and returns the files that have to be read. Of a
    /// file of records nothing but reading tells whether all of them are stored.
    pub fn changed(&mut self, mut files: Vec<File>) -> Vec<File> {
        let mut unchanged = HashSet::new();
        files.retain(|File { id, path, origin }| {
            let is_stored = || {
                self.documents
                    .get(id)
                    .is_some_and(|document| document.origin == *origin)
            };
            let is_unchanged = self.files.get(id) == Some(origin) || !holds_records(path) && is_stored();
            if is_unchanged {
                unchanged.insert(origin.source().to_owned());
            }
            !is_unchanged
        });
        for document in self.documents.values_mut() {
            document.is_met = unchanged.contains(document.origin.source());
        }
        files
    }

    /// Meets a document of a file, and tells whether it is stored as the file has it. One that was met before has another
    /// record of the same id, and it is not known which of them is stored.
    pub fn has(&mut self, id: &str, origin: &Origin) -> bool {
        self.documents.get_mut(id).is_some_and(|document| {
            let was_met = std::mem::replace(&mut document.is_met, true);
            !was_met && document.origin == *origin
        })
    }

    /// Notes that a document of a file is on its way, or cannot be stored.
    pub fn insert_document(&mut self, id: &str, origin: &Origin) {
        let origin = origin.clone();
        let document = StoredDocument { origin, is_met: true };
        self.documents.insert(id.to_owned(), document);
    }

    /// Notes that a file was dealt with, as it was then.
    pub fn insert_file(&mut self, id: &str, origin: &Origin) {
        self.files.insert(id.to_owned(), origin.clone());
    }

    /// Meets all documents of a file, for it could not be read as a whole.
    pub fn keep_all_of(&mut self, file: &Origin) {
        let documents = self.documents.values_mut();
        documents
            .filter(|document| document.origin.source() == file.source())
            .for_each(|document| document.is_met = true);
    }

    /// Takes out the documents of files below these directories that were not met, and returns their ids.
    pub fn take_missing(&mut self, roots: &[PathBuf]) -> Vec<String> {
        let missing = self
            .documents
            .extract_if(|_, document| !document.is_met && document.origin.is_below(roots));
        let mut ids: Vec<_> = missing.map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, version: &str) -> File {
        File {
            id: path.to_owned(),
            path: path.into(),
            origin: Origin::fixed(path, version),
        }
    }

    fn ids(files: &[File]) -> Vec<&str> {
        files.iter().map(|file| file.id.as_str()).collect()
    }

    fn stored(documents: &[(&str, &File)]) -> Stored {
        let mut stored = Stored::default();
        for (id, file) in documents {
            stored.insert_document(id, &file.origin);
        }
        stored
    }

    #[test]
    fn files_are_read_that_are_new_or_have_changed() {
        let (a, b, c) = (file("d/a", "1"), file("d/b", "1"), file("d/c", "1"));
        let mut stored = stored(&[("d/a", &a), ("d/b", &b)]);
        let changed = stored.changed(vec![a, file("d/b", "2"), c]);
        assert_eq!(ids(&changed), ["d/b", "d/c"]);
    }

    #[test]
    fn records_are_told_apart_one_by_one_until_their_file_was_dealt_with() {
        let rows = file("d/rows.csv", "1");
        let mut stored = stored(&[("d/rows.csv#1", &rows)]);
        assert_eq!(stored.changed(vec![rows.clone()]).len(), 1);
        assert!(stored.has("d/rows.csv#1", &rows.origin) && !stored.has("d/rows.csv#2", &rows.origin));
        assert!(
            !stored.has("d/rows.csv#1", &rows.origin),
            "a second record of this id takes its place"
        );
        stored.insert_document("d/rows.csv#2", &rows.origin);
        stored.insert_file(&rows.id, &rows.origin);
        assert!(stored.changed(vec![rows]).is_empty());
        assert!(stored.take_missing(&["d".into()]).is_empty());
    }

    #[test]
    fn documents_are_missing_whose_file_or_record_is_gone() {
        let (kept, gone, rows) = (file("d/kept", "1"), file("d/gone", "1"), file("d/rows.csv", "1"));
        let (other, now) = (file("other/x", "1"), file("d/rows.csv", "2"));
        let mut stored = stored(&[
            ("kept", &kept),
            ("gone", &gone),
            ("row 1", &rows),
            ("row 2", &rows),
            ("elsewhere", &other),
        ]);
        stored.insert_document("d/kept", &kept.origin);
        stored.changed(vec![kept, now.clone()]);
        assert!(!stored.has("row 1", &now.origin));
        assert_eq!(stored.take_missing(&["d".into()]), ["gone", "row 2"]);
        assert!(stored.take_missing(&["d".into()]).is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_its_documents() {
        let rows = file("d/rows.csv", "1");
        let mut stored = stored(&[("row 1", &rows)]);
        let changed = stored.changed(vec![file("d/rows.csv", "2")]);
        stored.keep_all_of(&changed[0].origin);
        assert!(stored.take_missing(&["d".into()]).is_empty());
    }
}
