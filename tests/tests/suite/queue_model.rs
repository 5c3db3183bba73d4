//! Every accepted document ends in exactly one way, whatever happens at the same time: random operations on a queue and on a
//! model of it say the same, also after reopening.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use serde_json::json;
use twofold_storage::{
    Collection, DOCUMENT_ID, DocumentSelector, DocumentState, Fetch, Fingerprint, METADATA, NewPoint, Operation,
    Options, Outcome, Store, TaskFilter, Version, WorkedOff, chunk_id,
};
use twofold_types::{CollectionConfig, Distance, Document, Payload, Priority, TaskId, TaskStatus, VectorParams};

use crate::support::name;

#[derive(Debug, Clone)]
enum Op {
    /// Documents by id, text and metadata.
    Accept(Vec<(u8, u8, u8)>, u8),
    /// Takes up to so many documents up; what comes of them in turn.
    TakeUp(u64, Vec<u8>),
    /// Commits what was taken up first.
    Commit,
    Delete(u8),
    Cancel(usize),
    RetryDead,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop::collection::vec((0u8..4, 0u8..3, 0u8..2), 1..5), 0u8..3).prop_map(|(docs, level)| Op::Accept(docs, level)),
        4 => (1u64..6, prop::collection::vec(0u8..5, 6)).prop_map(|(most, outcomes)| Op::TakeUp(most, outcomes)),
        4 => Just(Op::Commit),
        1 => (0u8..4).prop_map(Op::Delete),
        1 => (0usize..6).prop_map(Op::Cancel),
        1 => Just(Op::RetryDead),
        1 => Just(Op::Reopen),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Waiting,
    Stored,
    Superseded,
    Deleted,
    Dead,
    Canceled,
}

/// A document as the model knows it: its id, text and metadata.
type Content = (u8, u8, u8);

#[derive(Default)]
struct Model {
    accepted: BTreeMap<Version, (Content, Fate)>,
    tasks: Vec<TaskId>,
    /// Ids that were deleted after their newest version was accepted.
    deleted: Vec<u8>,
    stored: BTreeMap<u8, Content>,
    dead: BTreeMap<u8, Content>,
}

impl Model {
    fn accept(&mut self, task: TaskId, documents: impl IntoIterator<Item = Content>) {
        self.tasks.push(task);
        for (ordinal, content) in (0..).zip(documents) {
            self.accepted
                .insert(Version { task, ordinal }, (content, Fate::Waiting));
            self.deleted.retain(|id| *id != content.0);
            self.dead.remove(&content.0);
        }
    }

    fn finish(&mut self, version: Version, outcome: &Outcome) {
        let (content, fate) = self.accepted[&version];
        if fate != Fate::Waiting {
            return;
        }
        let newest = self.accepted.iter().rev().find(|(_, (other, _))| other.0 == content.0);
        let fate = match outcome {
            _ if self.deleted.contains(&content.0) => Fate::Deleted,
            _ if newest.is_some_and(|(newest, _)| *newest > version) => Fate::Superseded,
            Outcome::Encoded { .. } => Fate::Stored,
            // What it relied on may have been taken away meanwhile; then it goes back.
            Outcome::Unchanged { .. } if self.stored.get(&content.0).is_some_and(|stored| stored.1 == content.1) => {
                Fate::Stored
            }
            Outcome::Unchanged { .. } | Outcome::Overtaken | Outcome::Retry { .. } => return,
            Outcome::GivenUp { .. } => Fate::Dead,
        };
        self.accepted.insert(version, (content, fate));
        match fate {
            Fate::Stored => drop(self.stored.insert(content.0, content)),
            Fate::Dead => drop(self.dead.insert(content.0, content)),
            _ => {}
        }
    }

    fn count(&self, task: TaskId, fate: Fate) -> u64 {
        let own = self.accepted.iter().filter(|(version, _)| version.task == task);
        own.filter(|(_, (_, own))| *own == fate).count() as u64
    }
}

fn document((id, text, metadata): Content) -> Document {
    Document {
        id: Some(id.to_string()),
        text: text.to_string(),
        metadata: Some(Payload::from_iter([("m".to_owned(), json!(metadata))])),
    }
}

fn encoded(document: &Document, fingerprint: Fingerprint) -> Outcome {
    let id = document.id.clone().unwrap();
    // As many chunks as the text says.
    let chunks = (0..=document.text.parse().unwrap()).map(|ordinal| NewPoint {
        id: chunk_id(&id, ordinal),
        vectors: BTreeMap::from([(String::new(), vec![1.0].into())]),
        payload: Payload::from_iter([
            (DOCUMENT_ID.to_owned(), json!(id)),
            ("text".to_owned(), json!(document.text)),
            (METADATA.to_owned(), json!(document.metadata)),
        ]),
    });
    Outcome::Encoded {
        fingerprint,
        gaps: String::new(),
        chunks: chunks.collect(),
    }
}

fn take_up(store: &Store, collection: &Collection, most: u64, outcomes: &[u8]) -> Vec<WorkedOff> {
    let queue = store.queue();
    let mut taken = Vec::new();
    for waiting in queue.waiting(most, 0) {
        for task in waiting.tasks {
            let room = most - taken.len() as u64;
            taken.extend(
                queue
                    .retried(task.task, &task.due[..task.due.len().min(room as usize)])
                    .unwrap(),
            );
            let room = (most - taken.len() as u64).min(task.left);
            if room > 0 {
                taken.extend(queue.documents(task.task, task.from, room, usize::MAX).unwrap());
            }
        }
    }
    queue.take_up(&taken);
    let versions = taken
        .iter()
        .map(|taken| (taken.document.id.as_deref().unwrap(), taken.version));
    let states = collection.document_states(versions).unwrap();
    let worked_off = taken.into_iter().zip(states).enumerate().map(|(n, (taken, state))| {
        let document = taken.document;
        let fingerprint = Fingerprint {
            text: [document.text.parse().unwrap(); 16],
            metadata: [document.metadata.as_ref().unwrap()["m"].as_u64().unwrap() as u8; 16],
        };
        let attempts = taken.attempts + 1;
        let outcome = match (state, outcomes[n % outcomes.len()]) {
            (DocumentState::Overtaken, _) => Outcome::Overtaken,
            (DocumentState::Stored(stored), _) if stored.text == fingerprint.text => Outcome::Unchanged {
                fingerprint,
                metadata: document.metadata.clone(),
            },
            (_, 0) => Outcome::Retry {
                attempts,
                due: 0,
                error: "not now".to_owned(),
            },
            (_, 1) => Outcome::GivenUp {
                attempts,
                reason: "never".to_owned(),
            },
            _ => encoded(&document, fingerprint),
        };
        WorkedOff {
            id: document.id.unwrap(),
            version: taken.version,
            outcome,
        }
    });
    worked_off.collect()
}

fn commit(store: &Store, collection: &Collection, model: &mut Model, documents: Vec<WorkedOff>) {
    for document in &documents {
        model.finish(document.version, &document.outcome);
    }
    let tasks: Vec<TaskId> = documents.iter().map(|document| document.version.task).collect();
    collection.apply(Operation::Finish { documents, now: 0 }).unwrap();
    store.queue().committed(tasks, 0).unwrap();
}

fn apply(store: &Store, model: &mut Model, flying: &mut VecDeque<Vec<WorkedOff>>, op: &Op) {
    let collection = &store.collection(&name("c")).unwrap();
    match op {
        Op::Accept(contents, level) => {
            let documents: Vec<_> = contents.iter().copied().map(document).collect();
            let priority = [Priority::High, Priority::Normal, Priority::Low][usize::from(*level)];
            let task = store.queue().enqueue(collection, &documents, priority, 0).unwrap();
            model.accept(task, contents.iter().copied());
        }
        Op::TakeUp(most, outcomes) => flying.push_back(take_up(store, collection, *most, outcomes)),
        Op::Commit => {
            if let Some(documents) = flying.pop_front() {
                commit(store, collection, model, documents);
            }
        }
        Op::Delete(id) => {
            let selector = DocumentSelector::Ids(vec![id.to_string()]);
            collection.apply(Operation::DeleteDocuments(selector)).unwrap();
            model.deleted.push(*id);
            model.stored.remove(id);
            model.dead.remove(id);
        }
        Op::Cancel(nth) => {
            let Some(&task) = model.tasks.get(*nth) else { return };
            collection.apply(Operation::CancelTask { task, now: 0 }).unwrap();
            store.queue().committed([task], 0).unwrap();
            for (_, (_, fate)) in model.accepted.iter_mut().filter(|(version, _)| version.task == task) {
                if *fate == Fate::Waiting {
                    *fate = Fate::Canceled;
                }
            }
        }
        Op::RetryDead => {
            let (documents, tasks) = store.queue().retry_dead_letters(collection, None, 0).unwrap();
            assert_eq!(documents, model.dead.len() as u64);
            let dead: Vec<_> = model.dead.values().copied().collect();
            tasks.into_iter().for_each(|task| model.accept(task, dead.clone()));
        }
        Op::Reopen => unreachable!("the store is reopened by the caller"),
    }
}

fn check(store: &Store, model: &Model) {
    let collection = store.collection(&name("c")).unwrap();
    let queue = store.queue();
    for &id in &model.tasks {
        let task = queue.task(id, 0).unwrap();
        let count = |fate| model.count(id, fate);
        let counts = [
            task.documents_done,
            task.documents_superseded,
            task.documents_deleted,
            task.documents_failed,
            task.documents_canceled,
        ];
        let fates = [
            Fate::Stored,
            Fate::Superseded,
            Fate::Deleted,
            Fate::Dead,
            Fate::Canceled,
        ];
        assert_eq!(counts, fates.map(count), "{task:?}");
        assert_eq!(task.documents, counts.iter().sum::<u64>() + count(Fate::Waiting));
        assert_eq!(task.status.is_finished(), count(Fate::Waiting) == 0, "{task:?}");
        assert_eq!(task.status == TaskStatus::Canceled, count(Fate::Canceled) > 0);
    }
    let all = queue.tasks(&TaskFilter::default(), usize::MAX, 0).unwrap().0;
    assert_eq!(all.len(), model.tasks.len());
    let waiting = model
        .accepted
        .values()
        .filter(|(_, fate)| *fate == Fate::Waiting)
        .count();
    assert_eq!(queue.amount().documents, waiting as u64);

    let (listed, _) = collection.documents(None, usize::MAX, &[]).unwrap();
    let listed: Vec<u8> = listed.iter().map(|document| document.id.parse().unwrap()).collect();
    assert_eq!(listed, model.stored.keys().copied().collect::<Vec<_>>());
    let mut chunks = 0;
    for (id, (_, text, metadata)) in &model.stored {
        let stored = collection.document(&id.to_string()).unwrap().unwrap();
        assert_eq!(stored.chunks.len(), usize::from(*text) + 1);
        chunks += stored.chunks.len() as u64;
        for chunk in stored.chunks {
            let payload = chunk.payload.unwrap();
            assert_eq!(
                (&payload["text"], &payload[METADATA]["m"]),
                (&json!(text.to_string()), &json!(metadata))
            );
        }
    }
    let (points, _) = collection.scroll(None, 1_000, None, &Fetch::payload_only()).unwrap();
    assert_eq!(points.len() as u64, chunks, "there is a chunk without a document");
    let (dead, _) = collection.dead_letters(None, usize::MAX).unwrap();
    let dead = dead
        .iter()
        .map(|letter| (letter.document_id.parse().unwrap(), letter.text.parse().unwrap()));
    let expected = model.dead.iter().map(|(id, (_, text, _))| (*id, *text));
    assert_eq!(dead.collect::<Vec<(u8, u8)>>(), expected.collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_accepted_document_ends_in_exactly_one_way(ops in prop::collection::vec(op(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let options = || Options { min_free_disk_bytes: 0, ..Options::new(dir.path()) };
        let mut store = Store::open(options()).unwrap();
        let config = CollectionConfig {
            vectors: BTreeMap::from([(String::new(), VectorParams::new(1, Distance::Dot))]),
            ..CollectionConfig::default()
        };
        store.create_collection(&name("c"), &config).unwrap();
        let (mut model, mut flying) = (Model::default(), VecDeque::new());
        for op in &ops {
            if matches!(op, Op::Reopen) {
                drop(store);
                store = Store::open(options()).unwrap();
                flying.clear();
            } else {
                apply(&store, &mut model, &mut flying, op);
            }
            check(&store, &model);
        }
        // In the end nothing waits.
        let collection = store.collection(&name("c")).unwrap();
        while let Some(documents) = flying.pop_front() {
            commit(&store, &collection, &mut model, documents);
        }
        loop {
            let documents = take_up(&store, &collection, 100, &[4]);
            if documents.is_empty() {
                break;
            }
            commit(&store, &collection, &mut model, documents);
        }
        check(&store, &model);
        prop_assert_eq!(store.queue().amount().documents, 0);
    }
}
