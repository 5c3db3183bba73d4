//! The outbox: messages that wait to be delivered elsewhere, one for each receiver of each task that is finished.
//!
//! A message is written in the batch that finishes its task and deleted after it was delivered, so a crash loses none and may repeat the
//! last. Rows of a receiver are in the order in which they are due.

use std::sync::Arc;

use bincode::{Decode, Encode};
use serde_json::json as json_value;
use twofold_types::TaskId;
use uuid::Uuid;

use crate::error::{Result, StorageError};
use crate::options::Options;
use crate::record::{DiskRecord, json};
use crate::rocks::{Batch, Cf, Rocks};
use crate::task::{TaskRecord, rfc3339};

/// What a message is about: there is one kind.
const TASK_FINISHED: &str = "task.finished";

/// Ends the receiver's name in a key; no name has it.
const NAME_END: u8 = 0;

/// A message on disk.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct MessageRecord {
    id: [u8; 16],
    created: u64,
    attempts: u32,
    body: Vec<u8>,
}

impl DiskRecord for MessageRecord {
    const WHAT: &'static str = "message of the outbox";
}

/// A message that waits to be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The same whenever and to whomever it is delivered.
    pub id: Uuid,
    /// The task that it is about.
    pub task: TaskId,
    /// When the task was finished, in milliseconds since 1970.
    pub created: u64,
    /// How many attempts to deliver it have failed.
    pub attempts: u32,
    /// JSON.
    pub body: Vec<u8>,
    key: Vec<u8>,
}

/// What a receiver is to be sent next.
#[derive(Debug, Clone, PartialEq)]
pub enum NextMessage {
    /// This, now.
    Due(Message),
    /// Something at that time, in milliseconds since 1970.
    Later(u64),
    /// Nothing waits.
    Nothing,
}

/// The outbox of a data directory.
pub struct Outbox {
    rocks: Arc<Rocks>,
}

impl Outbox {
    /// Opens it. What waits for receivers that there are not any more is forgotten.
    pub(crate) fn open(rocks: Arc<Rocks>, options: &Options) -> Result<Self> {
        forget_others(&rocks, &options.webhooks)?;
        Ok(Self { rocks })
    }

    /// What a receiver is to be sent next.
    pub fn next(&self, receiver: &str, now: u64) -> Result<NextMessage> {
        let snapshot = self.rocks.snapshot();
        let Some(entry) = snapshot.scan(Cf::Outbox, &prefix(receiver), &[]).next() else {
            return Ok(NextMessage::Nothing);
        };
        let (key, value) = entry?;
        let (due, task) = due_and_task(&key)?;
        match due <= now {
            true => Ok(NextMessage::Due(message(key.to_vec(), task, &value)?)),
            false => Ok(NextMessage::Later(due)),
        }
    }

    /// A message was delivered. Not synced: a crash delivers it again.
    pub fn delivered(&self, message: &Message) -> Result<()> {
        let mut batch = self.rocks.batch();
        batch.delete(Cf::Outbox, &message.key);
        self.rocks.write(batch)
    }

    /// An attempt to deliver a message failed; the next one is at `due`.
    pub fn put_back(&self, receiver: &str, message: &Message, due: u64) -> Result<()> {
        let record = MessageRecord {
            id: message.id.into_bytes(),
            created: message.created,
            attempts: message.attempts + 1,
            body: message.body.clone(),
        };
        let mut batch = self.rocks.batch();
        batch.delete(Cf::Outbox, &message.key);
        batch.put(Cf::Outbox, &key(receiver, due, message.task), &record.to_bytes());
        self.rocks.write(batch)
    }

    /// Gives up what was created before that time and has not been delivered, and says how many messages that was.
    pub fn give_up(&self, receiver: &str, created_before: u64) -> Result<u64> {
        let (mut batch, mut given_up) = (self.rocks.batch(), 0);
        for entry in self.rocks.snapshot().scan(Cf::Outbox, &prefix(receiver), &[]) {
            let (key, value) = entry?;
            if MessageRecord::from_bytes(&value)?.created < created_before {
                batch.delete(Cf::Outbox, &key);
                given_up += 1;
            }
        }
        self.rocks.write(batch)?;
        Ok(given_up)
    }

    /// How many messages wait for a receiver.
    pub fn waiting(&self, receiver: &str) -> Result<u64> {
        let mut waiting = 0;
        let snapshot = self.rocks.snapshot();
        snapshot.scan_keys(Cf::Outbox, &prefix(receiver), &[], |_| {
            waiting += 1;
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(waiting)
    }
}

/// Forgets messages to all but these receivers.
fn forget_others(rocks: &Rocks, receivers: &[String]) -> Result<()> {
    let (mut batch, mut forgotten) = (rocks.batch(), 0_u64);
    for entry in rocks.snapshot().scan(Cf::Outbox, &[], &[]) {
        let (key, _) = entry?;
        if !receivers.iter().any(|name| key.starts_with(&prefix(name))) {
            batch.delete(Cf::Outbox, &key);
            forgotten += 1;
        }
    }
    if forgotten > 0 {
        tracing::warn!(
            messages = forgotten,
            "messages to webhooks that are not configured any more are forgotten"
        );
    }
    rocks.write(batch)
}

/// Puts a message about a task that this batch finishes into the outbox, for each receiver.
pub(crate) fn announce(batch: &mut Batch<'_>, receivers: &[String], id: TaskId, record: &TaskRecord) -> Result<()> {
    let Some(finished) = record.finished_at().filter(|_| !receivers.is_empty()) else {
        return Ok(());
    };
    let body = json(&json_value!({
        "type": TASK_FINISHED,
        "timestamp": rfc3339(finished),
        "data": record.clone().answer(id, None, None)?,
    }));
    // A name of the message that needs no chance: the body differs wherever the message does.
    let message = MessageRecord {
        id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &body).into_bytes(),
        created: finished,
        attempts: 0,
        body,
    };
    let value = message.to_bytes();
    for receiver in receivers {
        batch.put(Cf::Outbox, &key(receiver, finished, id), &value);
    }
    Ok(())
}

fn prefix(receiver: &str) -> Vec<u8> {
    [receiver.as_bytes(), &[NAME_END]].concat()
}

fn key(receiver: &str, due: u64, task: TaskId) -> Vec<u8> {
    [&prefix(receiver), due.to_be_bytes().as_slice(), &task.0.to_be_bytes()].concat()
}

fn due_and_task(key: &[u8]) -> Result<(u64, TaskId)> {
    let numbers: &[u8; 16] = key.last_chunk().ok_or_else(|| StorageError::Corrupt {
        what: "key of the outbox",
        reason: format!("it is {} bytes long", key.len()),
    })?;
    let numbers = u128::from_be_bytes(*numbers);
    Ok(((numbers >> 64) as u64, TaskId(numbers as u64)))
}

fn message(key: Vec<u8>, task: TaskId, value: &[u8]) -> Result<Message> {
    let record = MessageRecord::from_bytes(value)?;
    Ok(Message {
        id: Uuid::from_bytes(record.id),
        task,
        created: record.created,
        attempts: record.attempts,
        body: record.body,
        key,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use twofold_types::{CollectionConfig, Distance, Document, Priority, VectorParams};

    use super::*;
    use crate::{Collection, Operation, Outcome, Store, Version, WorkedOff};

    fn open(dir: &Path, receivers: &[&str]) -> Store {
        let webhooks = receivers.iter().map(|&name| name.to_owned()).collect();
        Store::open(Options {
            webhooks,
            ..Options::new(dir)
        })
        .unwrap()
    }

    fn create(store: &Store) -> Arc<Collection> {
        let config = CollectionConfig {
            vectors: BTreeMap::from([(String::new(), VectorParams::new(1, Distance::Dot))]),
            ..CollectionConfig::default()
        };
        store.create_collection(&"c".parse().unwrap(), &config).unwrap()
    }

    fn enqueue(store: &Store, collection: &Collection, documents: u64) -> TaskId {
        let documents: Vec<Document> = (0..documents)
            .map(|id| Document {
                id: Some(id.to_string()),
                text: "text".to_owned(),
                metadata: None,
            })
            .collect();
        store
            .queue()
            .enqueue(collection, &documents, Priority::Normal, 1)
            .unwrap()
    }

    fn give_up(collection: &Collection, task: TaskId, ordinals: &[u64], now: u64) {
        let documents = ordinals.iter().map(|&ordinal| WorkedOff {
            id: ordinal.to_string(),
            version: Version { task, ordinal },
            outcome: Outcome::GivenUp {
                attempts: 1,
                reason: "no".to_owned(),
            },
        });
        let documents = documents.collect();
        collection.apply(Operation::Finish { documents, now }).unwrap();
    }

    fn due(store: &Store, receiver: &str, now: u64) -> Message {
        match store.outbox().next(receiver, now).unwrap() {
            NextMessage::Due(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_task_is_announced_once_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), &["a", "ab"]);
        let collection = create(&store);
        let task = enqueue(&store, &collection, 3);
        give_up(&collection, task, &[0], 10);
        assert_eq!(store.outbox().next("a", 99).unwrap(), NextMessage::Nothing);
        give_up(&collection, task, &[1, 2], 20);
        // What is run again after a crash, and what comes too late.
        give_up(&collection, task, &[1, 2], 30);
        collection.apply(Operation::CancelTask { task, now: 40 }).unwrap();
        let counts = ["a", "ab"].map(|name| store.outbox().waiting(name).unwrap());
        assert_eq!(counts, [1, 1]);
        let message = due(&store, "a", 20);
        assert_eq!((message.task, message.created, message.attempts), (task, 20, 0));
        assert_eq!(message.id, due(&store, "ab", 20).id);
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(
            (&body["type"], &body["data"]["status"]),
            (&"task.finished".into(), &"failed".into())
        );
        assert_eq!(body["timestamp"], body["data"]["finished_at"]);
        store.outbox().delivered(&message).unwrap();
        assert_eq!(store.outbox().next("a", 99).unwrap(), NextMessage::Nothing);
        assert_eq!(store.outbox().waiting("ab").unwrap(), 1);
    }

    #[test]
    fn a_task_that_is_cut_short_is_announced_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), &["a"]);
        let collection = create(&store);
        let (canceled, deleted) = (enqueue(&store, &collection, 1), enqueue(&store, &collection, 1));
        collection
            .apply(Operation::CancelTask { task: canceled, now: 5 })
            .unwrap();
        store.delete_collection(collection.name()).unwrap();
        store.queue().collection_gone(deleted, collection.id(), 6).unwrap();
        store.queue().collection_gone(deleted, collection.id(), 7).unwrap();
        for task in [canceled, deleted] {
            let message = due(&store, "a", 9);
            let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            assert_eq!((message.task, &body["data"]["status"]), (task, &"canceled".into()));
            store.outbox().delivered(&message).unwrap();
        }
        assert_eq!(store.outbox().next("a", 99).unwrap(), NextMessage::Nothing);
    }

    #[test]
    fn what_was_not_delivered_waits_over_a_restart_behind_what_is_due_before() {
        let dir = tempfile::tempdir().unwrap();
        let first = {
            let store = open(dir.path(), &["a", "b"]);
            let collection = create(&store);
            for now in [10, 20] {
                let task = enqueue(&store, &collection, 1);
                give_up(&collection, task, &[0], now);
            }
            let first = due(&store, "a", 30);
            store.outbox().put_back("a", &first, 500).unwrap();
            first
        };
        let store = open(dir.path(), &["a"]);
        assert_eq!(store.outbox().waiting("b").unwrap(), 0, "nobody is left to be told");
        let second = due(&store, "a", 30);
        assert_ne!(second.id, first.id);
        store.outbox().delivered(&second).unwrap();
        assert_eq!(store.outbox().next("a", 499).unwrap(), NextMessage::Later(500));
        let again = due(&store, "a", 500);
        assert_eq!((again.id, again.attempts, again.created), (first.id, 1, 10));
        assert_eq!(store.outbox().give_up("a", 10).unwrap(), 0);
        assert_eq!(store.outbox().give_up("a", 11).unwrap(), 1);
        assert_eq!(store.outbox().waiting("a").unwrap(), 0);
    }
}
