//! Documents that wait, read from the queue: also those whose record cannot be read, so that they end like all others.

use twofold_types::{Document, TaskId};

use crate::error::Result;
use crate::finish::version_key;
use crate::key::{CollectionId, document_of_key, task_body_key, task_key};
use crate::queue::Queue;
use crate::record::{DiskRecord, from_json};
use crate::rocks::{Cf, Snapshot};
use crate::task::{RetryRecord, Version, WaitingRecord};

/// What the records of documents that wait are called.
pub(crate) const TASK_BODY: &str = "task body";

/// A document that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuedDocument {
    /// Its place in the queue.
    pub version: Version,
    /// The document. Where its record cannot be read, it is empty, with its id unless a later version of it waits or it was deleted.
    pub document: Document,
    /// Why its record cannot be read.
    pub unreadable: Option<String>,
    /// How many attempts have failed.
    pub attempts: u32,
}

impl Queue {
    /// Documents of a task that were not taken up yet: `count` from `from` on, and not many more than `bytes`.
    pub fn documents(&self, task: TaskId, from: u64, count: u64, bytes: usize) -> Result<Vec<QueuedDocument>> {
        let mut documents = Vec::new();
        let mut read = 0;
        let snapshot = self.rocks.snapshot();
        let bodies = snapshot.scan(Cf::TaskBodies, &task_key(task), &task_body_key(task, from));
        for (ordinal, entry) in (from..from + count).zip(bodies) {
            let (_, value) = entry?;
            read += value.len();
            documents.push(self.queued(&snapshot, Version { task, ordinal }, &value, 0)?);
            if read >= bytes {
                break;
            }
        }
        Ok(documents)
    }

    /// Documents of a task that are tried again, as far as they still wait.
    pub fn retried(&self, task: TaskId, ordinals: &[u64]) -> Result<Vec<QueuedDocument>> {
        let mut documents = Vec::new();
        let snapshot = self.rocks.snapshot();
        for &ordinal in ordinals {
            let version = Version { task, ordinal };
            let retry = snapshot.get(Cf::Retries, &version_key(version))?;
            let body = snapshot.get(Cf::TaskBodies, &version_key(version))?;
            if let (Some(retry), Some(body)) = (retry, body) {
                let attempts = RetryRecord::from_bytes(&retry)?.attempts;
                documents.push(self.queued(&snapshot, version, &body, attempts)?);
            }
        }
        Ok(documents)
    }

    fn queued(&self, snapshot: &Snapshot<'_>, version: Version, body: &[u8], attempts: u32) -> Result<QueuedDocument> {
        let (document, unreadable) = match from_json(TASK_BODY, body) {
            Ok(document) => (document, None),
            Err(error) => {
                let collection = self.record(snapshot, version.task)?.collection();
                let id = newest_of(snapshot, collection, version)?;
                let text = String::new();
                (
                    Document {
                        id,
                        text,
                        metadata: None,
                    },
                    Some(error.to_string()),
                )
            }
        };
        Ok(QueuedDocument {
            version,
            document,
            unreadable,
            attempts,
        })
    }
}

/// The document whose newest version that waits this is.
pub(crate) fn newest_of(snapshot: &Snapshot<'_>, collection: CollectionId, version: Version) -> Result<Option<String>> {
    for entry in snapshot.scan(Cf::Waiting, &collection.key(), &[]) {
        let (key, value) = entry?;
        if WaitingRecord::from_bytes(&value)?.newest() == version {
            return Ok(Some(document_of_key(&key)));
        }
    }
    Ok(None)
}
