//! What is known in memory of the tasks that are not finished: what waits, what is taken up, what is tried again and when.
//!
//! All of it follows from records and is read from them at a start; only what is taken up is lost by a crash, and is taken
//! up again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use twofold_types::{CollectionName, Priority, TaskId, TaskStatus};

use crate::key::CollectionId;
use crate::task::{RetryRecord, TaskRecord};

/// How long what was worked off counts for the rate, in milliseconds.
const RATE_SPAN: u64 = 60_000;

/// Documents of one collection that may be taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingCollection {
    /// The collection's number: the successor of one that is being re-embedded has the same name.
    pub id: CollectionId,
    /// Its name.
    pub collection: CollectionName,
    /// Its tasks in the order in which they are worked off.
    pub tasks: Vec<WaitingTask>,
}

/// Documents of one task that may be taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingTask {
    /// The task.
    pub task: TaskId,
    /// Its priority.
    pub priority: Priority,
    /// Ordinals of documents whose time to be tried again has come.
    pub due: Vec<u64>,
    /// The first document that was never taken up.
    pub from: u64,
    /// How many were never taken up.
    pub left: u64,
}

struct Entry {
    collection: CollectionId,
    name: CollectionName,
    priority: Priority,
    documents: u64,
    /// The first document that is not taken up, on disk or in memory.
    cursor: u64,
    waiting: u64,
    bytes: u64,
    /// When it was accepted.
    accepted: u64,
    retries: BTreeMap<u64, Retry>,
}

struct Retry {
    round: u32,
    due: u64,
    taken_up: bool,
}

#[derive(Default)]
pub(crate) struct Backlog {
    tasks: BTreeMap<TaskId, Entry>,
    order: BTreeMap<CollectionId, BTreeSet<(Priority, TaskId)>>,
    paused: BTreeSet<CollectionId>,
    /// Collections whose documents are not taken up for a moment; forgotten by a restart.
    held: BTreeSet<CollectionId>,
    total: Amount,
    /// When how many bytes were worked off.
    worked_off: VecDeque<(u64, u64)>,
    pub(crate) finished: u64,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Tasks that are not finished.
    pub tasks: u64,
    /// Their documents that have not ended.
    pub documents: u64,
    /// Bytes of these, about.
    pub bytes: u64,
}

impl Backlog {
    /// Takes in what the record of a task and its retries say now.
    pub(crate) fn follow(
        &mut self,
        id: TaskId,
        record: &TaskRecord,
        name: CollectionName,
        retries: Vec<(u64, RetryRecord)>,
        now: u64,
    ) {
        let before = self.remove(id);
        if let Some(before) = &before
            && record.status() != TaskStatus::Canceled
        {
            self.worked_off
                .push_back((now, before.bytes.saturating_sub(record.waiting_bytes())));
        }
        while self.worked_off.front().is_some_and(|(at, _)| at + RATE_SPAN < now) {
            self.worked_off.pop_front();
        }
        if record.is_finished() {
            self.finished += 1;
            return;
        }
        let retries = retries.into_iter().map(|(ordinal, retry)| {
            let known = before.as_ref().and_then(|before| before.retries.get(&ordinal));
            let taken_up = known.is_some_and(|known| known.round == retry.round && known.taken_up);
            let RetryRecord { round, due, .. } = retry;
            (ordinal, Retry { round, due, taken_up })
        });
        let entry = Entry {
            collection: record.collection(),
            name,
            priority: record.priority(),
            documents: record.documents,
            cursor: before
                .as_ref()
                .map_or(record.taken, |before| before.cursor.max(record.taken)),
            waiting: record.waiting(),
            bytes: record.waiting_bytes(),
            accepted: record.accepted(),
            retries: retries.collect(),
        };
        self.total.tasks += 1;
        self.total.documents += entry.waiting;
        self.total.bytes += entry.bytes;
        self.order
            .entry(entry.collection)
            .or_default()
            .insert((entry.priority, id));
        self.tasks.insert(id, entry);
    }

    fn remove(&mut self, id: TaskId) -> Option<Entry> {
        let entry = self.tasks.remove(&id)?;
        self.total.tasks -= 1;
        self.total.documents -= entry.waiting;
        self.total.bytes -= entry.bytes;
        if let Some(order) = self.order.get_mut(&entry.collection) {
            order.remove(&(entry.priority, id));
            if order.is_empty() {
                self.order.remove(&entry.collection);
            }
        }
        Some(entry)
    }

    pub(crate) fn total(&self) -> Amount {
        self.total
    }

    /// When the oldest of the tasks was accepted.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let (_, oldest) = self.tasks.first_key_value()?;
        Some(oldest.accepted)
    }

    pub(crate) fn amount_of(&self, collection: CollectionId) -> Amount {
        let tasks = self.order.get(&collection).into_iter().flatten();
        tasks.fold(Amount::default(), |amount, (_, id)| {
            let entry = &self.tasks[id];
            Amount {
                tasks: amount.tasks + 1,
                documents: amount.documents + entry.waiting,
                bytes: amount.bytes + entry.bytes,
            }
        })
    }

    /// The tasks of a collection that are not finished.
    pub(crate) fn tasks_of(&self, collection: CollectionId) -> Vec<TaskId> {
        let order = self.order.get(&collection).into_iter().flatten();
        order.map(|(_, id)| *id).collect()
    }

    /// Takes in what the record of a task and its retries say, as if nothing of it were taken up.
    pub(crate) fn put_back(
        &mut self,
        id: TaskId,
        record: &TaskRecord,
        name: CollectionName,
        retries: Vec<(u64, RetryRecord)>,
        now: u64,
    ) {
        if self.remove(id).is_some() {
            self.follow(id, record, name, retries, now);
        }
    }

    pub(crate) fn hold(&mut self, collection: CollectionId) {
        self.held.insert(collection);
    }

    pub(crate) fn release(&mut self, collection: CollectionId) {
        self.held.remove(&collection);
    }

    pub(crate) fn is_unfinished(&self, id: TaskId) -> bool {
        self.tasks.contains_key(&id)
    }

    pub(crate) fn pause(&mut self, collection: CollectionId) {
        self.paused.insert(collection);
    }

    pub(crate) fn resume(&mut self, collection: CollectionId) {
        self.paused.remove(&collection);
    }

    pub(crate) fn is_paused(&self, collection: CollectionId) -> bool {
        self.paused.contains(&collection)
    }

    /// What may be taken up, of every collection that is neither paused nor held: enough for `documents` of them.
    pub(crate) fn waiting(&self, documents: u64, now: u64) -> Vec<WaitingCollection> {
        let collections = self
            .order
            .iter()
            .filter(|(collection, _)| !self.is_paused(**collection) && !self.held.contains(*collection));
        let mut waiting = Vec::new();
        for (&number, order) in collections {
            let mut tasks = Vec::new();
            let mut wanted = documents;
            let mut name = None;
            for (priority, id) in order {
                let entry = &self.tasks[id];
                let due = entry
                    .retries
                    .iter()
                    .filter(|(_, retry)| !retry.taken_up && retry.due <= now);
                let due: Vec<u64> = due.map(|(ordinal, _)| *ordinal).collect();
                let left = entry.documents - entry.cursor;
                if left == 0 && due.is_empty() {
                    continue;
                }
                wanted = wanted.saturating_sub(left + due.len() as u64);
                name.get_or_insert(&entry.name);
                tasks.push(WaitingTask {
                    task: *id,
                    priority: *priority,
                    due,
                    from: entry.cursor,
                    left,
                });
                if wanted == 0 {
                    break;
                }
            }
            if let Some(name) = name {
                let collection = name.clone();
                waiting.push(WaitingCollection {
                    id: number,
                    collection,
                    tasks,
                });
            }
        }
        waiting
    }

    /// Notes that a document was taken up.
    pub(crate) fn take_up(&mut self, id: TaskId, ordinal: u64) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        if let Some(retry) = entry.retries.get_mut(&ordinal) {
            retry.taken_up = true;
        }
        entry.cursor = entry.cursor.max(ordinal + 1);
    }

    /// When the next document of a task is tried again.
    pub(crate) fn next_retry(&self, id: TaskId) -> Option<u64> {
        let entry = self.tasks.get(&id)?;
        entry.retries.values().map(|retry| retry.due).min()
    }

    /// When the next document at all is tried again that is not due at `now`.
    pub(crate) fn next_due(&self, now: u64) -> Option<u64> {
        let retries = self.tasks.values().flat_map(|entry| entry.retries.values());
        retries
            .filter(|retry| !retry.taken_up && retry.due > now)
            .map(|retry| retry.due)
            .min()
    }

    /// Bytes that were worked off lately, a second.
    pub(crate) fn rate(&self, now: u64) -> Option<f64> {
        let recent = self.worked_off.iter().filter(|(at, _)| at + RATE_SPAN >= now);
        let (mut first, mut bytes) = (now, 0);
        for (at, worked_off) in recent {
            first = first.min(*at);
            bytes += worked_off;
        }
        // What was worked off by the first of them took about as long as the others, so there must be a second.
        (bytes > 0 && now > first).then(|| bytes as f64 * 1e3 / (now - first) as f64)
    }

    /// Seconds until a task is finished, if collections take turns and all goes on as it did lately.
    pub(crate) fn eta(&self, id: TaskId, now: u64) -> Option<u64> {
        let entry = self.tasks.get(&id)?;
        let rate = self.rate(now)?;
        if self.is_paused(entry.collection) {
            return None;
        }
        let order = &self.order[&entry.collection];
        let until = order.range(..=(entry.priority, id));
        let own: u64 = until.map(|(_, task)| self.tasks[task].bytes).sum();
        let others = self
            .order
            .keys()
            .filter(|other| **other != entry.collection && !self.is_paused(**other));
        let others: u64 = others.map(|other| self.amount_of(*other).bytes.min(own)).sum();
        Some(((own + others) as f64 / rate).ceil() as u64)
    }
}
