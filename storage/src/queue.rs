//! The durable queue of documents that wait to be encoded.
//!
//! A task is a record and the documents it carries, written in one synced batch before it is acknowledged. What becomes of
//! the documents is written in the batch that writes their chunks ([`Operation::Finish`](crate::Operation::Finish)).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use twofold_types::{CollectionName, Document, Priority, Task, TaskId, TaskStatus};

use crate::backlog::{Amount, Backlog, WaitingCollection};
use crate::collection::Collection;
use crate::error::{Result, StorageError};
use crate::finish::{put_waiting, version_key, write_task};
use crate::key::{CollectionId, PAUSED, paused_key, task_key};
use crate::options::Options;
use crate::outbox::announce;
use crate::queued::QueuedDocument;
use crate::record::{DiskRecord, json};
use crate::rocks::{Batch, Cf, Rocks, Snapshot};
use crate::task::{RetryRecord, TaskRecord, Version, WaitingRecord};

/// Finished tasks that are forgotten at once, at most.
const PRUNED: usize = 10_000;

/// Which tasks are listed.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskFilter<'a> {
    /// Those of this collection.
    pub collection: Option<&'a CollectionName>,
    /// Those that stand so.
    pub status: Option<TaskStatus>,
    /// Those that were accepted no later than this one.
    pub from: Option<TaskId>,
}

/// The queue of a data directory.
pub struct Queue {
    pub(crate) rocks: Arc<Rocks>,
    options: Arc<Options>,
    next: AtomicU64,
    backlog: Mutex<Backlog>,
}

impl Queue {
    pub(crate) fn open(rocks: Arc<Rocks>, options: Arc<Options>) -> Result<Self> {
        let mut next = 0;
        let mut backlog = Backlog::default();
        let snapshot = rocks.snapshot();
        for entry in snapshot.scan(Cf::Tasks, &[], &[]) {
            let (key, value) = entry?;
            let id = task_of_key(&key)?;
            next = id.0 + 1;
            let record = TaskRecord::from_bytes(&value)?;
            let retries = retries(&snapshot, id, &record)?;
            backlog.follow(id, &record, record.collection_name()?, retries, 0);
        }
        for entry in snapshot.scan(Cf::Meta, PAUSED, &[]) {
            if let Some(collection) = CollectionId::from_key(&entry?.0[PAUSED.len()..]) {
                backlog.pause(collection);
            }
        }
        drop(snapshot);
        Ok(Self {
            rocks,
            options,
            next: AtomicU64::new(next),
            backlog: Mutex::new(backlog),
        })
    }

    /// Accepts documents, each with an id, for a collection. They are durable when this returns. `now` is in milliseconds
    /// since 1970, as everywhere here.
    pub fn enqueue(
        &self,
        collection: &Collection,
        documents: &[Document],
        priority: Priority,
        now: u64,
    ) -> Result<TaskId> {
        let bodies: Vec<Vec<u8>> = documents.iter().map(json).collect();
        let bytes = bodies.iter().map(|body| body.len() as u64).sum();
        self.check_room(documents.len() as u64, bytes, now)?;
        let record = TaskRecord::new(collection, priority, documents, bytes, now);
        let mut batch = self.rocks.batch();
        // What waits for an id is changed under the collection's writer, and so in the order of the tasks.
        let writer = collection.lock_writer()?;
        let id = TaskId(self.next.fetch_add(1, Ordering::Relaxed));
        batch.put(Cf::Tasks, &task_key(id), &record.to_bytes());
        announce(&mut batch, &self.options.webhooks, id, &record)?;
        let ids = documents
            .iter()
            .map(|document| document.id.as_deref().unwrap_or_default());
        let keys: Vec<Vec<u8>> = ids.map(|id| collection.id.document_key(id)).collect();
        let snapshot = self.rocks.snapshot();
        let waiting = snapshot.get_many(Cf::Waiting, &keys)?;
        let dead = snapshot.get_many(Cf::DeadLetters, &keys)?;
        let mut rows = std::collections::HashMap::new();
        for (ordinal, ((key, body), (waiting, dead))) in
            (0..).zip(keys.iter().zip(&bodies).zip(waiting.iter().zip(&dead)))
        {
            let version = Version { task: id, ordinal };
            batch.put(Cf::TaskBodies, &version_key(version), body);
            let before = match rows.get(key) {
                Some(before) => Some(*before),
                None => waiting.as_deref().map(WaitingRecord::from_bytes).transpose()?,
            };
            let row = WaitingRecord::accept(before, version);
            put_waiting(&mut batch, key, Some(row));
            rows.insert(key, row);
            if dead.is_some() {
                batch.delete(Cf::DeadLetters, key);
            }
        }
        fail::fail_point!("enqueue::before_write");
        self.rocks.write(batch)?;
        // Known as soon as it is written: who has the writer knows of every task of the collection.
        let name = collection.name().clone();
        self.backlog.lock().follow(id, &record, name, Vec::new(), now);
        drop(writer);
        self.rocks.sync()?;
        fail::fail_point!("enqueue::after_sync");
        Ok(id)
    }

    /// Refuses documents where too much waits already, or the disk is nearly full. What is too much by itself is accepted
    /// where nothing waits.
    fn check_room(&self, documents: u64, bytes: u64, now: u64) -> Result<()> {
        self.options.check_disk()?;
        let backlog = self.backlog.lock();
        let waiting = backlog.total();
        let over = (waiting.bytes + bytes).saturating_sub(self.options.max_queued_bytes);
        let too_many = waiting.documents + documents > self.options.max_queued_documents;
        if waiting.tasks > 0 && (over > 0 || too_many) {
            let rate = backlog.rate(now).unwrap_or(0.0).max(1.0);
            return Err(StorageError::QueueFull {
                documents: waiting.documents,
                bytes: waiting.bytes,
                retry_after: ((over as f64 / rate) as u64).clamp(1, 60),
            });
        }
        Ok(())
    }

    /// Whether there is room on the disk for what comes of documents.
    pub fn check_disk(&self) -> Result<()> {
        self.options.check_disk()
    }

    /// What may be taken up, of every collection that is neither paused nor held: enough for `documents` of them.
    pub fn waiting(&self, documents: u64, now: u64) -> Vec<WaitingCollection> {
        self.backlog.lock().waiting(documents, now)
    }

    /// When the next document is tried again that is not due at `now`.
    pub fn next_due(&self, now: u64) -> Option<u64> {
        self.backlog.lock().next_due(now)
    }

    /// Notes that documents were taken up, so that they are not taken up again as long as this process lives, unless they are
    /// put back.
    pub fn take_up(&self, documents: &[QueuedDocument]) {
        let mut backlog = self.backlog.lock();
        for document in documents {
            backlog.take_up(document.version.task, document.version.ordinal);
        }
    }

    /// Takes in what was committed of tasks.
    pub fn committed(&self, tasks: impl IntoIterator<Item = TaskId>, now: u64) -> Result<()> {
        // Read under the lock: what is taken in last was read last.
        let mut backlog = self.backlog.lock();
        let snapshot = self.rocks.snapshot();
        for id in tasks {
            if !backlog.is_unfinished(id) {
                continue;
            }
            let record = self.record(&snapshot, id)?;
            let retries = retries(&snapshot, id, &record)?;
            let name = record.collection_name()?;
            backlog.follow(id, &record, name, retries, now);
        }
        Ok(())
    }

    /// Ends what is left of a task whose collection, of the number `gone`, is gone. A task that a successor has taken over goes on:
    /// what was taken up of it is put back.
    pub fn collection_gone(&self, id: TaskId, gone: CollectionId, now: u64) -> Result<()> {
        let mut record = self.record(&self.rocks.snapshot(), id)?;
        if record.is_finished() {
            return self.committed([id], now);
        }
        if record.collection() != gone {
            return self.put_back([id], now);
        }
        record.collection_deleted(now);
        let mut batch = self.rocks.batch();
        write_task(&mut batch, id, &record);
        announce(&mut batch, &self.options.webhooks, id, &record)?;
        self.rocks.write(batch)?;
        self.rocks.sync()?;
        self.committed([id], now)
    }

    /// Forgets that documents of tasks were taken up: they are taken up again, as far as they have not ended.
    pub(crate) fn put_back(&self, tasks: impl IntoIterator<Item = TaskId>, now: u64) -> Result<()> {
        let mut backlog = self.backlog.lock();
        let snapshot = self.rocks.snapshot();
        for id in tasks {
            let record = self.record(&snapshot, id)?;
            let retries = retries(&snapshot, id, &record)?;
            backlog.put_back(id, &record, record.collection_name()?, retries, now);
        }
        Ok(())
    }

    /// Adds to a batch that whatever waits for a collection, or was given up, is another's from then on. Answers the tasks; they are
    /// [put back](Self::put_back) when the batch is written. The caller has the writers of both collections.
    pub(crate) fn hand_over(&self, batch: &mut Batch<'_>, from: CollectionId, to: CollectionId) -> Result<Vec<TaskId>> {
        let snapshot = self.rocks.snapshot();
        let backlog = self.backlog.lock();
        let mut tasks = Vec::new();
        for id in backlog.tasks_of(from) {
            let mut record = self.record(&snapshot, id)?;
            if !record.is_finished() {
                record.set_collection(to);
                batch.put(Cf::Tasks, &task_key(id), &record.to_bytes());
                tasks.push(id);
            }
        }
        if backlog.is_paused(from) {
            batch.put(Cf::Meta, &paused_key(to), &[]);
        }
        drop(backlog);
        batch.delete(Cf::Meta, &paused_key(from));
        for cf in [Cf::Waiting, Cf::DeadLetters] {
            for entry in snapshot.scan(cf, &from.key(), &[]) {
                let (key, value) = entry?;
                batch.put(cf, &[&to.key(), &key[from.key().len()..]].concat(), &value);
            }
            batch.delete_prefix(cf, &from.key());
        }
        Ok(tasks)
    }

    /// The batch of [`hand_over`](Self::hand_over) is written.
    pub(crate) fn handed_over(&self, tasks: Vec<TaskId>, from: CollectionId, to: CollectionId, now: u64) -> Result<()> {
        let mut backlog = self.backlog.lock();
        if backlog.is_paused(from) {
            backlog.pause(to);
        }
        backlog.resume(from);
        backlog.release(from);
        drop(backlog);
        self.put_back(tasks, now)
    }

    /// The number of a task's collection.
    pub fn collection_of(&self, id: TaskId) -> Result<CollectionId> {
        Ok(self.record(&self.rocks.snapshot(), id)?.collection())
    }

    /// Whether a task is finished.
    pub fn is_finished(&self, id: TaskId) -> bool {
        !self.backlog.lock().is_unfinished(id)
    }

    pub(crate) fn record(&self, snapshot: &Snapshot<'_>, id: TaskId) -> Result<TaskRecord> {
        let bytes = snapshot.get(Cf::Tasks, &task_key(id))?;
        TaskRecord::from_bytes(&bytes.ok_or(StorageError::TaskNotFound(id))?)
    }

    /// A task as it is answered.
    pub fn task(&self, id: TaskId, now: u64) -> Result<Task> {
        let record = self.record(&self.rocks.snapshot(), id)?;
        self.answer(id, record, now)
    }

    fn answer(&self, id: TaskId, record: TaskRecord, now: u64) -> Result<Task> {
        let backlog = self.backlog.lock();
        record.answer(id, backlog.next_retry(id), backlog.eta(id, now))
    }

    /// Tasks, the newest first, and the one that the next page begins with.
    pub fn tasks(&self, filter: &TaskFilter<'_>, limit: usize, now: u64) -> Result<(Vec<Task>, Option<TaskId>)> {
        let end = filter.from.map_or(u64::MAX, |from| from.0.saturating_add(1));
        let snapshot = self.rocks.snapshot();
        let mut page = Vec::new();
        for entry in snapshot.scan_back(Cf::Tasks, &task_key(TaskId(end))) {
            let (key, value) = entry?;
            let (id, record) = (task_of_key(&key)?, TaskRecord::from_bytes(&value)?);
            let wanted = filter.status.is_none_or(|status| record.status() == status)
                && match filter.collection {
                    Some(collection) => record.collection_name()? == *collection,
                    None => true,
                };
            if !wanted {
                continue;
            }
            if page.len() == limit {
                return Ok((page, Some(id)));
            }
            page.push(self.answer(id, record, now)?);
        }
        Ok((page, None))
    }

    /// Lets the documents of a collection wait until it is resumed; those that are taken up are worked off.
    pub fn pause(&self, collection: &Collection) -> Result<()> {
        self.set_paused(collection, true)
    }

    /// Lets the documents of a collection be taken up again.
    pub fn resume(&self, collection: &Collection) -> Result<()> {
        self.set_paused(collection, false)
    }

    fn set_paused(&self, collection: &Collection, paused: bool) -> Result<()> {
        let writer = collection.lock_writer()?;
        let mut batch = self.rocks.batch();
        match paused {
            true => batch.put(Cf::Meta, &paused_key(collection.id), &[]),
            false => batch.delete(Cf::Meta, &paused_key(collection.id)),
        }
        self.rocks.write(batch)?;
        self.rocks.sync()?;
        drop(writer);
        let mut backlog = self.backlog.lock();
        match paused {
            true => backlog.pause(collection.id),
            false => backlog.resume(collection.id),
        }
        Ok(())
    }

    /// A collection is gone: nobody will resume it, and its tasks are there to be ended.
    pub(crate) fn collection_dropped(&self, collection: CollectionId) {
        let mut backlog = self.backlog.lock();
        backlog.resume(collection);
        backlog.release(collection);
    }

    /// Lets the documents of a collection wait for a moment, until it is [released](Self::release) or the process ends.
    pub fn hold(&self, collection: &Collection) {
        self.backlog.lock().hold(collection.id);
    }

    /// Ends a [hold](Self::hold).
    pub fn release(&self, collection: &Collection) {
        self.backlog.lock().release(collection.id);
    }

    /// Whether the documents of a collection wait until it is resumed.
    pub fn is_paused(&self, collection: &Collection) -> bool {
        self.backlog.lock().is_paused(collection.id)
    }

    /// How much waits.
    pub fn amount(&self) -> Amount {
        self.backlog.lock().total()
    }

    /// When the oldest of the tasks that are not finished was accepted, in milliseconds since 1970.
    pub fn oldest(&self) -> Option<u64> {
        self.backlog.lock().oldest()
    }

    /// How much of a collection waits.
    pub fn amount_of(&self, collection: &Collection) -> Amount {
        self.backlog.lock().amount_of(collection.id)
    }

    /// Bytes of documents that were worked off lately, a second.
    pub fn rate(&self, now: u64) -> Option<f64> {
        self.backlog.lock().rate(now)
    }

    /// Forgets finished tasks that are too many or too old.
    pub fn prune(&self, now: u64) -> Result<()> {
        let finished = self.backlog.lock().finished;
        let mut excess = finished.saturating_sub(self.options.finished_tasks);
        let age = u64::try_from(self.options.finished_task_age.as_millis()).unwrap_or(u64::MAX);
        let mut batch = self.rocks.batch();
        let mut pruned = 0;
        for entry in self.rocks.snapshot().scan(Cf::Tasks, &[], &[]) {
            let (key, value) = entry?;
            let Some(finished_at) = TaskRecord::from_bytes(&value)?.finished_at() else {
                continue;
            };
            // Tasks finish about in their order, so what is behind the first that stays is looked at another time.
            if (excess == 0 && finished_at.saturating_add(age) >= now) || pruned == PRUNED {
                break;
            }
            // The newest stays, whatever its age: the next number follows from it.
            if task_of_key(&key)?.0 + 1 == self.next.load(Ordering::Relaxed) {
                break;
            }
            batch.delete(Cf::Tasks, &key);
            excess = excess.saturating_sub(1);
            pruned += 1;
        }
        if pruned > 0 {
            self.rocks.write(batch)?;
            self.backlog.lock().finished -= pruned as u64;
        }
        Ok(())
    }
}

/// When documents of a task are tried again.
fn retries(snapshot: &Snapshot<'_>, id: TaskId, record: &TaskRecord) -> Result<Vec<(u64, RetryRecord)>> {
    if record.is_finished() {
        return Ok(Vec::new());
    }
    let rows = snapshot.scan(Cf::Retries, &task_key(id), &[]);
    let rows = rows.map(|entry| {
        let (key, value) = entry?;
        let ordinal = key.last_chunk().copied().map(u64::from_be_bytes);
        Ok((ordinal.unwrap_or_default(), RetryRecord::from_bytes(&value)?))
    });
    rows.collect()
}

pub(crate) fn task_of_key(key: &[u8]) -> Result<TaskId> {
    let id = key.try_into().map(u64::from_be_bytes);
    id.map(TaskId).map_err(|_| StorageError::Corrupt {
        what: "task key",
        reason: "it is not 8 bytes long".to_owned(),
    })
}
