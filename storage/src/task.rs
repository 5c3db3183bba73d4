//! A task as it is kept: what it carries, and what has become of it.
//!
//! The first `taken` documents have ended or have a row of their own among the retries; those behind wait for their turn.

use bincode::{Decode, Encode};
use twofold_types::{CollectionName, Document, DocumentError, Priority, Task, TaskId, TaskStatus};

use crate::collection::Collection;
use crate::error::{Result, StorageError};
use crate::key::CollectionId;
use crate::record::DiskRecord;

/// Why documents failed is kept for this many of a task.
const MAX_ERRORS: usize = 100;

/// The place of a document in the order of acceptance: later versions of an id are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The task that carries it.
    pub task: TaskId,
    /// Its place in the task.
    pub ordinal: u64,
}

/// A task on disk. Every document waits or is counted in exactly one of the numbers `stored` to `canceled`.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct TaskRecord {
    collection: u32,
    name: String,
    priority: DiskPriority,
    pub(crate) documents: u64,
    /// Bytes of the documents as they are kept.
    pub(crate) bytes: u64,
    pub(crate) taken: u64,
    stored: u64,
    superseded: u64,
    deleted: u64,
    dead: u64,
    canceled: u64,
    /// How many of those that are stored were not encoded.
    unchanged: u64,
    chunks: u64,
    errors: Vec<(String, String)>,
    /// The most failed attempts of a document.
    attempts: u32,
    last_error: Option<String>,
    enqueued_at: u64,
    started_at: Option<u64>,
    finished_at: Option<u64>,
    /// It was finished before all of its documents had ended by themselves.
    cut_short: bool,
}

impl DiskRecord for TaskRecord {
    const WHAT: &'static str = "task record";
    const VERSION: u8 = 2;
}

#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
enum DiskPriority {
    High,
    Normal,
    Low,
}

/// The end of a document that was worked off.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// It is searchable, as so many chunks.
    Stored { chunks: u64, encoded: bool },
    /// A later version of its id was accepted.
    Superseded,
    /// Its id was deleted.
    Deleted,
    /// It was given up.
    Dead { attempts: u32, reason: String },
}

impl TaskRecord {
    pub(crate) fn new(
        collection: &Collection,
        priority: Priority,
        documents: &[Document],
        bytes: u64,
        now: u64,
    ) -> Self {
        Self {
            collection: collection.id.0,
            name: collection.name().to_string(),
            priority: match priority {
                Priority::High => DiskPriority::High,
                Priority::Normal => DiskPriority::Normal,
                Priority::Low => DiskPriority::Low,
            },
            documents: documents.len() as u64,
            bytes,
            taken: 0,
            stored: 0,
            superseded: 0,
            deleted: 0,
            dead: 0,
            canceled: 0,
            unchanged: 0,
            chunks: 0,
            errors: Vec::new(),
            attempts: 0,
            last_error: None,
            enqueued_at: now,
            started_at: None,
            finished_at: documents.is_empty().then_some(now),
            cut_short: false,
        }
    }

    /// The collection that the documents are for; one of the same name that was made later is another.
    pub(crate) fn collection(&self) -> CollectionId {
        CollectionId(self.collection)
    }

    /// When it was accepted, in milliseconds since 1970.
    pub(crate) fn accepted(&self) -> u64 {
        self.enqueued_at
    }

    /// Its documents are for another collection from now on.
    pub(crate) fn set_collection(&mut self, collection: CollectionId) {
        self.collection = collection.0;
    }

    pub(crate) fn collection_name(&self) -> Result<CollectionName> {
        let name = self.name.parse();
        name.map_err(|error: twofold_types::InvalidCollectionName| StorageError::Corrupt {
            what: Self::WHAT,
            reason: error.to_string(),
        })
    }

    pub(crate) fn priority(&self) -> Priority {
        match self.priority {
            DiskPriority::High => Priority::High,
            DiskPriority::Normal => Priority::Normal,
            DiskPriority::Low => Priority::Low,
        }
    }

    /// How many documents have not ended.
    pub(crate) fn waiting(&self) -> u64 {
        self.documents - self.stored - self.superseded - self.deleted - self.dead - self.canceled
    }

    /// Bytes of the documents that have not ended, as if all were of one size.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let share = u128::from(self.bytes) * u128::from(self.waiting()) / u128::from(self.documents.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished_at.is_some()
    }

    pub(crate) fn finished_at(&self) -> Option<u64> {
        self.finished_at
    }

    /// Counts a document that has ended. `now` is in milliseconds since 1970, as everywhere here.
    pub(crate) fn end(&mut self, document: &str, end: End, now: u64) {
        match end {
            End::Stored { chunks, encoded } => {
                self.stored += 1;
                self.chunks += chunks;
                self.unchanged += u64::from(!encoded);
            }
            End::Superseded => self.superseded += 1,
            End::Deleted => self.deleted += 1,
            End::Dead { attempts, reason } => {
                self.dead += 1;
                self.attempted(attempts, &reason, now);
                if self.errors.len() < MAX_ERRORS {
                    self.errors.push((document.to_owned(), reason));
                }
            }
        }
        self.started_at.get_or_insert(now);
        if self.waiting() == 0 {
            self.finished_at = Some(now);
        }
    }

    /// Notes an attempt that failed and will be repeated.
    pub(crate) fn attempted(&mut self, attempts: u32, error: &str, now: u64) {
        self.attempts = self.attempts.max(attempts);
        self.last_error = Some(error.to_owned());
        self.started_at.get_or_insert(now);
    }

    /// What has not ended is canceled.
    pub(crate) fn cancel(&mut self, now: u64) {
        self.canceled += self.waiting();
        self.finished_at = Some(now);
        self.cut_short = true;
    }

    /// What has not ended is gone with its collection.
    pub(crate) fn collection_deleted(&mut self, now: u64) {
        self.deleted += self.waiting();
        self.errors
            .push(("*".to_owned(), "the collection was deleted".to_owned()));
        self.finished_at = Some(now);
        self.cut_short = true;
    }

    pub(crate) fn status(&self) -> TaskStatus {
        match (self.is_finished(), self.started_at) {
            (true, _) if self.cut_short => TaskStatus::Canceled,
            (true, _) if self.dead > 0 && self.dead == self.documents => TaskStatus::Failed,
            (true, _) => TaskStatus::Succeeded,
            (false, Some(_)) => TaskStatus::Processing,
            (false, None) => TaskStatus::Enqueued,
        }
    }

    /// The task as it is answered.
    pub(crate) fn answer(self, id: TaskId, next_retry: Option<u64>, eta_seconds: Option<u64>) -> Result<Task> {
        Ok(Task {
            task_id: id,
            collection: self.collection_name()?,
            status: self.status(),
            priority: self.priority(),
            documents: self.documents,
            documents_done: self.stored,
            documents_superseded: self.superseded,
            documents_deleted: self.deleted,
            documents_failed: self.dead,
            documents_canceled: self.canceled,
            documents_unchanged: self.unchanged,
            chunks: self.chunks,
            errors: self
                .errors
                .into_iter()
                .map(|(document_id, error)| DocumentError { document_id, error })
                .collect(),
            attempts: self.attempts,
            last_error: self.last_error,
            next_retry: next_retry.map(rfc3339),
            eta_seconds,
            enqueued_at: rfc3339(self.enqueued_at),
            started_at: self.started_at.map(rfc3339),
            finished_at: self.finished_at.map(rfc3339),
        })
    }
}

/// A time in milliseconds since 1970, as it is answered.
pub fn rfc3339(millis: u64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(i64::try_from(millis).unwrap_or(i64::MAX));
    stamp.map(|stamp| stamp.to_string()).unwrap_or_default()
}

/// A document that is tried again later.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct RetryRecord {
    /// Counts how often it was put back, so that two rows of one document are never the same.
    pub(crate) round: u32,
    /// How many attempts have failed.
    pub(crate) attempts: u32,
    /// When it is tried again.
    pub(crate) due: u64,
    /// What the last attempt failed of; empty where it was put back for another reason.
    pub(crate) error: String,
}

impl DiskRecord for RetryRecord {
    const WHAT: &'static str = "retry record";
}

/// The versions of one document's id that have not ended. There is no row where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) struct WaitingRecord {
    task: u64,
    ordinal: u64,
    /// How many versions wait.
    versions: u32,
    /// The id was deleted after the newest of them was accepted.
    deleted: bool,
}

impl DiskRecord for WaitingRecord {
    const WHAT: &'static str = "waiting document record";
}

impl WaitingRecord {
    /// One more version is accepted, and it is the newest.
    pub(crate) fn accept(before: Option<Self>, version: Version) -> Self {
        Self {
            task: version.task.0,
            ordinal: version.ordinal,
            versions: before.map_or(0, |before| before.versions) + 1,
            deleted: false,
        }
    }

    /// One version less waits.
    pub(crate) fn end(self) -> Option<Self> {
        let versions = self.versions.saturating_sub(1);
        (versions > 0).then_some(Self { versions, ..self })
    }

    /// The id is deleted: none of the versions that wait counts any more.
    pub(crate) fn delete(self) -> Self {
        Self { deleted: true, ..self }
    }

    /// How many versions wait.
    pub(crate) fn versions(&self) -> u64 {
        self.versions.into()
    }

    pub(crate) fn newest(&self) -> Version {
        Version {
            task: TaskId(self.task),
            ordinal: self.ordinal,
        }
    }

    /// How a version ends that does not count any more; none for the newest one, if its id was not deleted.
    pub(crate) fn overtaken(&self, version: Version) -> Option<End> {
        match () {
            () if self.deleted && version <= self.newest() => Some(End::Deleted),
            () if version < self.newest() => Some(End::Superseded),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_version_of_an_id_counts_until_it_is_deleted() {
        let version = |task, ordinal| Version {
            task: TaskId(task),
            ordinal,
        };
        let row = WaitingRecord::accept(None, version(1, 5));
        let row = WaitingRecord::accept(Some(row), version(2, 0));
        assert_eq!(row.versions, 2);
        assert_eq!(row.overtaken(version(1, 5)), Some(End::Superseded));
        assert_eq!(row.overtaken(version(2, 0)), None);
        let deleted = row.delete();
        assert_eq!(deleted.overtaken(version(1, 5)), Some(End::Deleted));
        assert_eq!(deleted.overtaken(version(2, 0)), Some(End::Deleted));
        let again = WaitingRecord::accept(Some(deleted), version(2, 1));
        assert_eq!(again.overtaken(version(2, 0)), Some(End::Superseded));
        assert_eq!(again.overtaken(version(2, 1)), None);
    }
}
