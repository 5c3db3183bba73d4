//! Documents that were given up, kept with their text until somebody decides.
//!
//! There is at most one for an id: a later version that is accepted takes its place, and so does deleting the document.

use bincode::{Decode, Encode};
use twofold_types::{DeadLetter, Document, Priority, TaskId};

use crate::collection::Collection;
use crate::error::{InvalidInput, Result, StorageError};
use crate::key::document_of_key;
use crate::queue::Queue;
use crate::record::{DiskRecord, from_json};
use crate::rocks::Cf;
use crate::task::{Version, rfc3339};

/// Documents of one task that retries them, at most.
const RETRY_DOCUMENTS: usize = 1_000;

/// Bytes of dead letters that are read at once, about.
const PAGE_BYTES: usize = 8 << 20;

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct DeadLetterRecord {
    /// As JSON.
    document: Vec<u8>,
    task: u64,
    reason: String,
    attempts: u32,
    failed_at: u64,
}

impl DiskRecord for DeadLetterRecord {
    const WHAT: &'static str = "dead letter record";
}

impl DeadLetterRecord {
    pub(crate) fn new(document: Vec<u8>, version: Version, attempts: u32, reason: String, now: u64) -> Self {
        Self {
            document,
            task: version.task.0,
            reason,
            attempts,
            failed_at: now,
        }
    }

    fn document(&self) -> Result<Document> {
        from_json(Self::WHAT, &self.document)
    }

    /// The dead letter of a document, which may be unreadable: its text is then what its record holds.
    fn answer(self, id: &str) -> DeadLetter {
        let (text, metadata) = match self.document() {
            Ok(document) => (document.text, document.metadata),
            Err(_) => (String::from_utf8_lossy(&self.document).into_owned(), None),
        };
        DeadLetter {
            document_id: id.to_owned(),
            reason: self.reason,
            attempts: self.attempts,
            task_id: TaskId(self.task),
            failed_at: rfc3339(self.failed_at),
            text,
            metadata,
        }
    }
}

/// Dead letters by their documents' ids, and the id that the next page begins with.
type Page = (Vec<(String, DeadLetterRecord)>, Option<String>);

impl Collection {
    /// Dead letters in the order of their documents' ids, from `from` on, and the id that the next page begins with.
    pub fn dead_letters(&self, from: Option<&str>, limit: usize) -> Result<(Vec<DeadLetter>, Option<String>)> {
        let (page, next) = self.scan_dead_letters(from, limit)?;
        let page = page.into_iter().map(|(id, letter)| letter.answer(&id));
        Ok((page.collect(), next))
    }

    /// The dead letter of a document.
    pub fn dead_letter(&self, id: &str) -> Result<DeadLetter> {
        Ok(self.find_dead_letter(id)?.answer(id))
    }

    /// How many dead letters there are.
    pub fn count_dead_letters(&self) -> Result<u64> {
        let mut count = 0;
        let view = self.rocks.snapshot();
        view.scan_keys(Cf::DeadLetters, &self.id.key(), &[], |_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Forgets dead letters: that of a document, or all. Says how many there were.
    pub fn delete_dead_letters(&self, id: Option<&str>) -> Result<u64> {
        let writer = self.lock_writer()?;
        let mut batch = self.rocks.batch();
        let deleted = match id {
            Some(id) => {
                self.find_dead_letter(id)?;
                batch.delete(Cf::DeadLetters, &self.id.document_key(id));
                1
            }
            None => {
                batch.delete_prefix(Cf::DeadLetters, &self.id.key());
                self.count_dead_letters()?
            }
        };
        self.rocks.write(batch)?;
        drop(writer);
        self.rocks.sync()?;
        Ok(deleted)
    }

    fn find_dead_letter(&self, id: &str) -> Result<DeadLetterRecord> {
        let found = self.rocks.snapshot().get(Cf::DeadLetters, &self.id.document_key(id))?;
        DeadLetterRecord::from_bytes(&found.ok_or_else(|| StorageError::DeadLetterNotFound(id.to_owned()))?)
    }

    /// At most `limit` dead letters, and fewer where they are large, and the id that goes on behind them.
    fn scan_dead_letters(&self, from: Option<&str>, limit: usize) -> Result<Page> {
        let snapshot = self.rocks.snapshot();
        let start = from.map_or(Vec::new(), |id| self.id.document_key(id));
        let (mut found, mut bytes) = (Vec::new(), 0);
        for entry in snapshot.scan(Cf::DeadLetters, &self.id.key(), &start) {
            let (key, value) = entry?;
            if found.len() >= limit || bytes >= PAGE_BYTES {
                return Ok((found, Some(document_of_key(&key))));
            }
            bytes += value.len();
            found.push((document_of_key(&key), DeadLetterRecord::from_bytes(&value)?));
        }
        Ok((found, None))
    }
}

impl Queue {
    /// Puts dead letters back to those that wait, as if they were accepted now: those of `ids`, or all. Says how many
    /// documents that are, and the tasks that carry them. Of all, those that cannot be read stay.
    pub fn retry_dead_letters(
        &self,
        collection: &Collection,
        ids: Option<&[String]>,
        now: u64,
    ) -> Result<(u64, Vec<TaskId>)> {
        let (mut documents, mut tasks) = (0, Vec::new());
        let mut put_back = |page: Vec<Document>| -> Result<()> {
            documents += page.len() as u64;
            tasks.push(self.enqueue(collection, &page, Priority::Normal, now)?);
            Ok(())
        };
        match ids {
            Some(ids) => {
                let found = ids.iter().map(|id| {
                    let document = collection.find_dead_letter(id)?.document();
                    document.map_err(|_| InvalidInput::UnreadableDeadLetter(id.clone()).into())
                });
                let found = found.collect::<Result<Vec<_>>>()?;
                if !found.is_empty() {
                    put_back(found)?;
                }
            }
            None => {
                let mut from = None;
                loop {
                    let (page, next) = collection.scan_dead_letters(from.as_deref(), RETRY_DOCUMENTS)?;
                    let readable: Vec<_> = page.iter().filter_map(|(_, letter)| letter.document().ok()).collect();
                    if !readable.is_empty() {
                        put_back(readable)?;
                    }
                    match next {
                        Some(next) => from = Some(next),
                        None => break,
                    }
                }
            }
        }
        Ok((documents, tasks))
    }
}
