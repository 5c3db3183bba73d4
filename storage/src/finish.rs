//! How documents of the queue end: part of the same write as the points that come of them.
//!
//! What waits for an id is one row, changed under the collection's writer alone, as are the records of its tasks. So when a
//! document that was taken up comes back, it is certain here whether it still counts, and it ends exactly once: a document
//! that is neither the next of its task nor has a row among the retries has ended before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use twofold_types::{Document, PointId, TaskId};

use crate::dead_letter::DeadLetterRecord;
use crate::error::{Result, StorageError};
use crate::key::{task_body_key, task_key};
use crate::operation::{
    DOCUMENT_ID, DocumentSelector, Fingerprint, METADATA, NewPoint, Outcome, Selector, WorkedOff, chunk_id,
    document_point_id,
};
use crate::outbox::announce;
use crate::queued::{TASK_BODY, newest_of};
use crate::record::{DiskRecord, DocumentRecord, from_json};
use crate::rocks::{Batch, Cf};
use crate::task::{End, RetryRecord, TaskRecord, Version, WaitingRecord};
use crate::write::Write;

/// What an operation has changed of documents and tasks so far; `None` where there is none any more.
#[derive(Default)]
pub(crate) struct Documents {
    pub(crate) stored: HashMap<String, Option<DocumentRecord>>,
    waiting: HashMap<String, Option<WaitingRecord>>,
    tasks: BTreeMap<TaskId, TaskRecord>,
    /// Those of them that it has finished.
    finished: BTreeSet<TaskId>,
    /// Those of which a point was put in, changed or taken out.
    pub(crate) changed: BTreeSet<String>,
}

impl Documents {
    /// Those that were stored, replaced or deleted.
    pub(crate) fn written(self) -> Vec<String> {
        self.stored.into_keys().collect()
    }
}

impl Write<'_> {
    pub(crate) fn finish_documents(&mut self, documents: Vec<WorkedOff>, now: u64) -> Result<()> {
        for document in documents {
            self.finish_document(document, now)?;
        }
        self.write_tasks()
    }

    fn finish_document(&mut self, document: WorkedOff, now: u64) -> Result<()> {
        let id = document.version.task;
        let Some(mut task) = self.take_task(id)? else {
            return Ok(());
        };
        if !task.is_finished() {
            self.finish_document_of(&mut task, document, now)?;
            if task.is_finished() {
                self.documents.finished.insert(id);
            }
        }
        self.documents.tasks.insert(id, task);
        Ok(())
    }

    fn finish_document_of(&mut self, task: &mut TaskRecord, document: WorkedOff, now: u64) -> Result<()> {
        let WorkedOff { id, version, outcome } = document;
        let retried = self.retry(version)?;
        if version.ordinal != task.taken && retried.is_none() {
            return Ok(());
        }
        task.taken = task.taken.max(version.ordinal + 1);
        let overtaken = match id.as_str() {
            // Its record cannot be read, and no row knows of it.
            "" => Some(End::Superseded),
            id => self.waiting(id)?.and_then(|row| row.overtaken(version)),
        };
        let end = match overtaken {
            Some(end) => Ok(end),
            None => self.outcome(&id, version, outcome, now)?,
        };
        match end {
            Ok(end) => {
                if retried.is_some() {
                    self.batch.delete(Cf::Retries, &version_key(version));
                }
                self.end_version(&id)?;
                task.end(&id, end, now);
            }
            Err(retry) => {
                if retry.attempts > 0 {
                    task.attempted(retry.attempts, &retry.error, now);
                }
                let round = retried.map_or(0, |retried| retried.round + 1);
                let retry = RetryRecord { round, ..retry };
                self.batch.put(Cf::Retries, &version_key(version), &retry.to_bytes());
            }
        }
        Ok(())
    }

    /// Writes what came of a document that counts; an error is when it is tried again.
    fn outcome(
        &mut self,
        id: &str,
        version: Version,
        outcome: Outcome,
        now: u64,
    ) -> Result<std::result::Result<End, RetryRecord>> {
        let again = |attempts, due, error| {
            Err(RetryRecord {
                round: 0,
                attempts,
                due,
                error,
            })
        };
        Ok(match outcome {
            Outcome::Encoded {
                fingerprint,
                gaps,
                chunks,
            } => {
                let count = chunks.len() as u64;
                let record = DocumentRecord::new(count as u32, version.task, fingerprint, Some(gaps));
                self.put_document(id, record, chunks)?;
                Ok(End::Stored {
                    chunks: count,
                    encoded: true,
                })
            }
            Outcome::Unchanged { fingerprint, metadata } => {
                match self.keep_document(id, version.task, fingerprint, metadata.map(Value::from))? {
                    Some(chunks) => Ok(End::Stored { chunks, encoded: false }),
                    None => again(0, now, String::new()),
                }
            }
            // It counted when this was decided: what overtakes it does not go away before it does.
            Outcome::Overtaken => again(0, now, String::new()),
            Outcome::Retry { attempts, due, error } => again(attempts, due, error),
            Outcome::GivenUp { attempts, reason } => {
                let body = self.view.snapshot.get(Cf::TaskBodies, &version_key(version))?;
                let body = body.ok_or_else(|| StorageError::Corrupt {
                    what: TASK_BODY,
                    reason: format!("document {} of task {} is missing", version.ordinal, version.task),
                })?;
                let letter = DeadLetterRecord::new(body, version, attempts, reason.clone(), now);
                let key = self.view.collection.document_key(id);
                self.batch.put(Cf::DeadLetters, &key, &letter.to_bytes());
                Ok(End::Dead { attempts, reason })
            }
        })
    }

    pub(crate) fn cancel_task(&mut self, id: TaskId, now: u64) -> Result<()> {
        let Some(mut task) = self.take_task(id)? else {
            return Err(StorageError::TaskNotFound(id));
        };
        if task.is_finished() {
            return Ok(());
        }
        let mut canceled = Vec::new();
        for entry in self.view.snapshot.scan(Cf::Retries, &task_key(id), &[]) {
            canceled.push(entry?.0.to_vec());
        }
        canceled.extend((task.taken..task.documents).map(|ordinal| task_body_key(id, ordinal).to_vec()));
        for key in canceled {
            if let Some(body) = self.view.snapshot.get(Cf::TaskBodies, &key)? {
                let id = match from_json::<Document>(TASK_BODY, &body) {
                    Ok(document) => document.id,
                    Err(_) => {
                        let ordinal = key.last_chunk().copied().map(u64::from_be_bytes).unwrap_or_default();
                        newest_of(&self.view.snapshot, self.view.collection, Version { task: id, ordinal })?
                    }
                };
                self.end_version(&id.unwrap_or_default())?;
            }
        }
        task.cancel(now);
        self.documents.tasks.insert(id, task);
        self.documents.finished.insert(id);
        self.write_tasks()
    }

    pub(crate) fn delete_documents(&mut self, selector: DocumentSelector) -> Result<()> {
        let ids: BTreeSet<String> = match selector {
            DocumentSelector::Ids(ids) => ids.into_iter().collect(),
            DocumentSelector::Filter(filter) => {
                let mut ids = BTreeSet::new();
                for (_, record) in self.select(&Selector::Filter(filter))? {
                    if let Some(Value::String(id)) = record.payload()?.remove(DOCUMENT_ID)
                        && record.id() != document_point_id(&id)
                    {
                        ids.insert(id);
                    }
                }
                ids
            }
        };
        for id in ids {
            let key = self.view.collection.document_key(&id);
            if let Some(record) = self.stored(&id)? {
                self.delete_chunks(&id, 0..record.chunks)?;
                self.delete_point(document_point_id(&id))?;
                self.batch.delete(Cf::Documents, &key);
                self.documents.stored.insert(id.clone(), None);
            }
            if let Some(row) = self.waiting(&id)? {
                self.set_waiting(id, Some(row.delete()));
            }
            self.batch.delete(Cf::DeadLetters, &key);
        }
        Ok(())
    }

    fn put_document(&mut self, id: &str, record: DocumentRecord, points: Vec<NewPoint>) -> Result<()> {
        let chunks = record.chunks;
        let before = self.stored(id)?.map_or(0, |record| record.chunks);
        let metadata = points.first().and_then(|chunk| chunk.payload.get(METADATA)).cloned();
        self.put_document_point(id, chunks, metadata.as_ref())?;
        points.into_iter().try_for_each(|chunk| self.upsert(chunk))?;
        self.delete_chunks(id, chunks..before)?;
        self.set_stored(id, record);
        Ok(())
    }

    /// Keeps the chunks of a document with the same text, if all of them are there, and says how many they are.
    fn keep_document(
        &mut self,
        id: &str,
        task: TaskId,
        fingerprint: Fingerprint,
        metadata: Option<Value>,
    ) -> Result<Option<u64>> {
        let Some(stored) = self
            .stored(id)?
            .filter(|stored| stored.fingerprint().text == fingerprint.text)
        else {
            return Ok(None);
        };
        let mut points = Vec::new();
        for ordinal in 0..stored.chunks {
            let point = chunk_id(id, ordinal);
            let Some(offset) = self.offset(point)? else {
                return Ok(None);
            };
            points.push((point, offset));
        }
        if self.pools() {
            let point = document_point_id(id);
            match self.offset(point)? {
                Some(offset) => points.push((point, offset)),
                None => self.put_document_point(id, stored.chunks, metadata.as_ref())?,
            }
        }
        if stored.fingerprint().metadata != fingerprint.metadata {
            for (point, offset) in points {
                let Some(record) = self.record(offset)? else {
                    return Ok(None);
                };
                let mut payload = record.payload()?;
                match &metadata {
                    Some(metadata) => payload.insert(METADATA.to_owned(), metadata.clone()),
                    None => payload.remove(METADATA),
                };
                self.put_point(offset, point, &payload)?;
            }
        }
        let chunks = stored.chunks;
        self.set_stored(id, DocumentRecord::new(chunks, task, fingerprint, stored.gaps));
        Ok(Some(u64::from(chunks)))
    }

    fn delete_chunks(&mut self, document: &str, ordinals: std::ops::Range<u32>) -> Result<()> {
        for ordinal in ordinals {
            self.delete_point(chunk_id(document, ordinal))?;
        }
        Ok(())
    }

    fn delete_point(&mut self, id: PointId) -> Result<()> {
        match self.offset(id)? {
            Some(offset) => self.delete(id, offset),
            None => Ok(()),
        }
    }

    /// One version less of an id waits.
    fn end_version(&mut self, id: &str) -> Result<()> {
        if let Some(row) = self.waiting(id)? {
            self.set_waiting(id.to_owned(), row.end());
        }
        Ok(())
    }

    pub(crate) fn stored(&self, id: &str) -> Result<Option<DocumentRecord>> {
        match self.documents.stored.get(id) {
            Some(pending) => Ok(pending.clone()),
            None => self.view.document(id),
        }
    }

    fn set_stored(&mut self, id: &str, record: DocumentRecord) {
        let key = self.view.collection.document_key(id);
        self.batch.put(Cf::Documents, &key, &record.to_bytes());
        self.documents.stored.insert(id.to_owned(), Some(record));
    }

    fn waiting(&self, id: &str) -> Result<Option<WaitingRecord>> {
        match self.documents.waiting.get(id) {
            Some(pending) => Ok(*pending),
            None => self.view.waiting(id),
        }
    }

    fn set_waiting(&mut self, id: String, row: Option<WaitingRecord>) {
        put_waiting(&mut self.batch, &self.view.collection.document_key(&id), row);
        self.documents.waiting.insert(id, row);
    }

    /// When a document is tried again, where it was taken up before.
    fn retry(&self, version: Version) -> Result<Option<RetryRecord>> {
        let value = self.view.snapshot.get(Cf::Retries, &version_key(version))?;
        value.map(|value| RetryRecord::from_bytes(&value)).transpose()
    }

    fn take_task(&mut self, id: TaskId) -> Result<Option<TaskRecord>> {
        if let Some(pending) = self.documents.tasks.remove(&id) {
            return Ok(Some(pending));
        }
        let value = self.view.snapshot.get(Cf::Tasks, &task_key(id))?;
        value.map(|value| TaskRecord::from_bytes(&value)).transpose()
    }

    fn write_tasks(&mut self) -> Result<()> {
        for (id, task) in &self.documents.tasks {
            write_task(&mut self.batch, *id, task);
            if self.documents.finished.contains(id) {
                announce(&mut self.batch, self.webhooks, *id, task)?;
            }
        }
        Ok(())
    }
}

/// Writes what a task has come to; the documents of a finished one are not needed any more.
pub(crate) fn write_task(batch: &mut Batch<'_>, id: TaskId, record: &TaskRecord) {
    batch.put(Cf::Tasks, &task_key(id), &record.to_bytes());
    if record.is_finished() {
        for cf in [Cf::TaskBodies, Cf::Retries] {
            batch.delete_range(cf, &task_body_key(id, 0), &task_body_key(id, u64::MAX));
        }
    }
}

pub(crate) fn put_waiting(batch: &mut Batch<'_>, key: &[u8], row: Option<WaitingRecord>) {
    match row {
        Some(row) => batch.put(Cf::Waiting, key, &row.to_bytes()),
        None => batch.delete(Cf::Waiting, key),
    }
}

pub(crate) fn version_key(version: Version) -> [u8; 16] {
    task_body_key(version.task, version.ordinal)
}
