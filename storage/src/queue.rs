//! The durable queue of documents that wait to be encoded.
//!
//! A task is a record and the documents it carries, written in one synced batch before it is acknowledged. Documents are
//! worked off in order; how far a task has come is written in the batch that writes the chunks of its documents.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bincode::{Decode, Encode};
use parking_lot::Mutex;
use twofold_types::{CollectionName, Document, DocumentError, Task, TaskId, TaskStatus};

use crate::collection::Collection;
use crate::error::{Result, StorageError};
use crate::key::{CollectionId, task_body_key, task_key};
use crate::operation::TaskProgress;
use crate::record::{DiskRecord, from_json, json};
use crate::rocks::{Batch, Cf, Rocks};

/// Why documents failed is kept for this many of a task.
const MAX_ERRORS: usize = 100;

/// Finished tasks that are kept to be asked for.
const KEPT_FINISHED: u64 = 100_000;

/// A task on disk.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct TaskRecord {
    collection: u32,
    name: String,
    /// How many documents it carries.
    pub documents: u64,
    /// How many of them are dealt with, from the first on.
    pub done: u64,
    failed: u64,
    chunks: u64,
    errors: Vec<(String, String)>,
    enqueued_at: u64,
    started_at: Option<u64>,
    finished_at: Option<u64>,
}

impl DiskRecord for TaskRecord {
    const WHAT: &'static str = "task record";
}

impl TaskRecord {
    /// Counts a document that became `chunks` chunks. `now` is in milliseconds since 1970, as everywhere here.
    pub fn document_stored(&mut self, chunks: u64, now: u64) {
        self.chunks += chunks;
        self.document_done(now);
    }

    /// Counts a document that could not be stored.
    pub fn document_failed(&mut self, document: &str, error: String, now: u64) {
        self.failed += 1;
        if self.errors.len() < MAX_ERRORS {
            self.errors.push((document.to_owned(), error));
        }
        self.document_done(now);
    }

    fn document_done(&mut self, now: u64) {
        self.started_at.get_or_insert(now);
        self.done += 1;
        if self.done == self.documents {
            self.finished_at = Some(now);
        }
    }

    /// Gives up what is left of the task.
    pub fn abandon(&mut self, error: &str, now: u64) {
        self.failed += self.documents - self.done;
        self.done = self.documents;
        self.errors.push(("*".to_owned(), error.to_owned()));
        self.finished_at = Some(now);
    }

    /// Whether every document is dealt with.
    pub fn is_finished(&self) -> bool {
        self.finished_at.is_some()
    }

    fn status(&self) -> TaskStatus {
        match (self.is_finished(), self.started_at) {
            (true, _) if self.failed > 0 && self.failed == self.documents => TaskStatus::Failed,
            (true, _) => TaskStatus::Succeeded,
            (false, Some(_)) => TaskStatus::Processing,
            (false, None) => TaskStatus::Enqueued,
        }
    }
}

/// The queue of a data directory.
pub struct Queue {
    rocks: Arc<Rocks>,
    next: AtomicU64,
    unfinished: Mutex<BTreeSet<TaskId>>,
}

impl Queue {
    pub(crate) fn open(rocks: Arc<Rocks>) -> Result<Self> {
        let mut next = 0;
        let mut unfinished = BTreeSet::new();
        for entry in rocks.snapshot().scan(Cf::Tasks, &[], &[]) {
            let (key, value) = entry?;
            let id = u64::from_be_bytes(key.as_ref().try_into().map_err(|_| corrupt_key())?);
            next = id + 1;
            if !TaskRecord::from_bytes(&value)?.is_finished() {
                unfinished.insert(TaskId(id));
            }
        }
        Ok(Self {
            rocks,
            next: AtomicU64::new(next),
            unfinished: Mutex::new(unfinished),
        })
    }

    /// Accepts documents for a collection. They are durable when this returns.
    pub fn enqueue(&self, collection: &Collection, documents: &[Document], now: u64) -> Result<TaskId> {
        let id = TaskId(self.next.fetch_add(1, Ordering::Relaxed));
        let record = TaskRecord {
            collection: collection.id.0,
            name: collection.name().to_string(),
            documents: documents.len() as u64,
            done: 0,
            failed: 0,
            chunks: 0,
            errors: Vec::new(),
            enqueued_at: now,
            started_at: None,
            finished_at: documents.is_empty().then_some(now),
        };
        let mut batch = self.rocks.batch();
        batch.put(Cf::Tasks, &task_key(id), &record.to_bytes());
        for (ordinal, document) in documents.iter().enumerate() {
            batch.put(Cf::TaskBodies, &task_body_key(id, ordinal as u64), &json(document));
        }
        if let Some(old) = id.0.checked_sub(KEPT_FINISHED).map(TaskId)
            && self.unfinished.lock().first().is_none_or(|first| *first > old)
        {
            batch.delete(Cf::Tasks, &task_key(old));
        }
        fail::fail_point!("enqueue::before_write");
        self.rocks.write(batch)?;
        self.rocks.sync()?;
        fail::fail_point!("enqueue::after_sync");
        if !record.is_finished() {
            self.unfinished.lock().insert(id);
        }
        Ok(id)
    }

    /// Tasks that are not finished, in the order in which they were accepted.
    pub fn unfinished(&self) -> Vec<TaskId> {
        self.unfinished.lock().iter().copied().collect()
    }

    /// The record of a task.
    pub fn record(&self, id: TaskId) -> Result<TaskRecord> {
        let bytes = self.rocks.snapshot().get(Cf::Tasks, &task_key(id))?;
        TaskRecord::from_bytes(&bytes.ok_or(StorageError::TaskNotFound(id))?)
    }

    /// Documents of a task from `from` on, at most `limit` of them and not many more than `bytes`.
    pub fn documents(&self, id: TaskId, from: u64, limit: usize, bytes: usize) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        let mut read = 0;
        for entry in self
            .rocks
            .snapshot()
            .scan(Cf::TaskBodies, &task_key(id), &task_body_key(id, from))
            .take(limit)
        {
            let (_, value) = entry?;
            documents.push(from_json("task body", &value)?);
            read += value.len();
            if read >= bytes {
                break;
            }
        }
        Ok(documents)
    }

    /// Notes that the state of tasks was committed.
    pub fn committed(&self, tasks: &[TaskProgress]) {
        let mut unfinished = self.unfinished.lock();
        for (id, _) in tasks.iter().filter(|(_, record)| record.is_finished()) {
            unfinished.remove(id);
        }
    }

    /// Commits the state of a task by itself.
    pub fn commit(&self, id: TaskId, record: TaskRecord) -> Result<()> {
        let mut batch = self.rocks.batch();
        write_progress(&mut batch, id, &record);
        self.rocks.write(batch)?;
        self.rocks.sync()?;
        self.committed(&[(id, record)]);
        Ok(())
    }

    /// A task as it is answered.
    pub fn task(&self, id: TaskId) -> Result<Task> {
        answer(id, self.record(id)?)
    }

    /// The newest tasks, newest first.
    pub fn tasks(&self, limit: usize) -> Result<Vec<Task>> {
        let mut newest = Vec::new();
        let mut id = self.next.load(Ordering::Relaxed);
        while id > 0 && newest.len() < limit {
            id -= 1;
            match self.task(TaskId(id)) {
                Ok(task) => newest.push(task),
                Err(StorageError::TaskNotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    /// Whether the task was for this very collection, and not for an earlier one of its name.
    pub fn is_for(record: &TaskRecord, collection: &Collection) -> bool {
        CollectionId(record.collection) == collection.id
    }

    /// The name of a task's collection.
    pub fn collection_of(record: &TaskRecord) -> Result<CollectionName> {
        record
            .name
            .parse()
            .map_err(|error: twofold_types::InvalidCollectionName| StorageError::Corrupt {
                what: "task record",
                reason: error.to_string(),
            })
    }
}

/// Writes how far a task has come; the documents of a finished one are not needed any more.
pub(crate) fn write_progress(batch: &mut Batch<'_>, id: TaskId, record: &TaskRecord) {
    batch.put(Cf::Tasks, &task_key(id), &record.to_bytes());
    if record.is_finished() {
        batch.delete_range(Cf::TaskBodies, &task_body_key(id, 0), &task_body_key(id, u64::MAX));
    }
}

fn answer(id: TaskId, record: TaskRecord) -> Result<Task> {
    let time = |millis: u64| {
        let stamp = jiff::Timestamp::from_millisecond(i64::try_from(millis).unwrap_or(i64::MAX));
        stamp.map(|stamp| stamp.to_string()).unwrap_or_default()
    };
    Ok(Task {
        task_id: id,
        collection: Queue::collection_of(&record)?,
        status: record.status(),
        documents: record.documents,
        documents_done: record.done - record.failed,
        documents_failed: record.failed,
        chunks: record.chunks,
        errors: record
            .errors
            .into_iter()
            .map(|(document_id, error)| DocumentError { document_id, error })
            .collect(),
        enqueued_at: time(record.enqueued_at),
        started_at: record.started_at.map(time),
        finished_at: record.finished_at.map(time),
    })
}

fn corrupt_key() -> StorageError {
    StorageError::Corrupt {
        what: "task key",
        reason: "it is not 8 bytes long".to_owned(),
    }
}
