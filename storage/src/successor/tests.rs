use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use twofold_types::{Distance, Document, EncoderParams, ModelId, PayloadSchemaType, Priority, TaskId, VectorParams};

use super::*;
use crate::operation::{Fingerprint, chunk_id};
use crate::{
    DocumentSelector, InvalidInput, NewPoint, Operation, Options, Outcome, QueuedDocument, Selector, WorkedOff,
};

const NOW: u64 = 1_700_000_000_000;

fn store(dir: &Path) -> Store {
    Store::open(Options::new(dir)).unwrap()
}

fn name() -> CollectionName {
    "a".parse().unwrap()
}

fn config(dimensions: usize) -> CollectionConfig {
    CollectionConfig {
        vectors: BTreeMap::from([(String::new(), VectorParams::new(dimensions, Distance::Dot))]),
        encoders: BTreeMap::from([(String::new(), EncoderParams::new(ModelId::new("m")))]),
        ..CollectionConfig::default()
    }
}

fn accept(store: &Store, collection: &Collection, id: &str, text: &str) -> TaskId {
    let document = Document {
        id: Some(id.to_owned()),
        text: text.to_owned(),
        metadata: None,
    };
    store
        .queue()
        .enqueue(collection, &[document], Priority::Normal, NOW)
        .unwrap()
}

/// What came of documents, as if a model had encoded them: a chunk each, without the white space around it.
fn encoded(collection: &Collection, documents: &[QueuedDocument]) -> Operation {
    let dimensions = collection.config().vectors[""].size;
    let documents = documents.iter().map(|queued| {
        let id = queued.document.id.clone().unwrap();
        let text = queued.document.text.trim();
        let start = queued.document.text.find(text).unwrap();
        let payload = json!({"document_id": id, "chunk": 0, "start": start, "end": start + text.len(), "text": text});
        let chunk = NewPoint {
            id: chunk_id(&id, 0),
            vectors: BTreeMap::from([(String::new(), vec![1.0; dimensions].into())]),
            payload: payload.as_object().unwrap().clone(),
        };
        let outcome = Outcome::Encoded {
            fingerprint: Fingerprint {
                text: [0; 16],
                metadata: [0; 16],
            },
            gaps: queued.document.text.replace(text, ""),
            chunks: vec![chunk],
        };
        WorkedOff {
            id,
            version: queued.version,
            outcome,
        }
    });
    Operation::Finish {
        documents: documents.collect(),
        now: NOW,
    }
}

/// Works off all that waits.
fn work_off(store: &Store) {
    let queue = store.queue();
    loop {
        let Some(waiting) = queue.waiting(100, NOW).pop() else {
            return;
        };
        let collection = store.by_id(waiting.id).unwrap();
        for task in waiting.tasks {
            let documents = queue.documents(task.task, task.from, task.left, usize::MAX).unwrap();
            queue.take_up(&documents);
            collection.apply(encoded(&collection, &documents)).unwrap();
            queue.committed([task.task], NOW).unwrap();
        }
    }
}

/// Sends all there is to be sent, a few documents at a time, and answers how many that were.
fn send(store: &Store, succession: &Succession) -> usize {
    let (mut sent, queue) = (0, store.queue());
    while let Some(portion) = succession.portion(2, 1 << 20).unwrap() {
        sent += portion.documents.len() + portion.gone.len();
        let successor = &succession.successor;
        queue
            .enqueue(successor, &portion.documents, Priority::Low, NOW)
            .unwrap();
        let gone = DocumentSelector::Ids(portion.gone.clone());
        successor.apply(Operation::DeleteDocuments(gone)).unwrap();
        succession.sent(portion).unwrap();
    }
    sent
}

/// A store with documents `0` to `4`, of which the successor has none yet.
fn begun(dir: &Path) -> (Store, Succession) {
    let store = store(dir);
    let source = store.create_collection(&name(), &config(1)).unwrap();
    for n in 0..5 {
        accept(&store, &source, &n.to_string(), &format!(" text {n}\n"));
    }
    work_off(&store);
    source
        .create_payload_index("chunk", PayloadSchemaType::Integer)
        .unwrap();
    store.begin_reembedding(&source, &config(2), NOW).unwrap();
    let succession = store.reembeddings().pop().unwrap();
    (store, succession)
}

fn texts(collection: &Collection) -> Vec<String> {
    let view = collection.view();
    let documents = collection.documents(None, 100, &[]).unwrap().0.into_iter();
    let text = |id: String| view.original(&id, &view.document(&id).unwrap().unwrap()).unwrap().text;
    documents.map(|document| text(document.id)).collect()
}

fn points(store: &Store) -> usize {
    store.rocks.snapshot().scan(Cf::Points, &[], &[]).count()
}

#[test]
fn a_successor_takes_the_place_of_its_source_with_all_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, succession) = begun(dir.path());
    let source = succession.source.clone();
    assert!(!store.switch(&succession, NOW).unwrap(), "nothing is copied yet");
    let portion = succession.portion(2, 1 << 20).unwrap().unwrap();
    // This changes after it was read, and has to be sent again.
    accept(&store, &source, "0", "\tother text 0");
    accept(&store, &source, "new", "new text");
    work_off(&store);
    source
        .apply(Operation::DeleteDocuments(DocumentSelector::Ids(vec!["3".to_owned()])))
        .unwrap();
    store
        .queue()
        .enqueue(&succession.successor, &portion.documents, Priority::Low, NOW)
        .unwrap();
    succession.sent(portion).unwrap();
    assert!(send(&store, &succession) >= 5);
    assert!(
        !store.switch(&succession, NOW).unwrap(),
        "documents wait for the successor"
    );
    work_off(&store);
    let expected = ["\tother text 0", " text 1\n", " text 2\n", " text 4\n", "new text"];
    assert_eq!(texts(&source), expected);
    assert_eq!(texts(&succession.successor), expected);

    // One document waits and one is in flight when it is switched.
    let queue = store.queue();
    let in_flight = accept(&store, &source, "5", "text 5");
    let window = queue.documents(in_flight, 0, 1, usize::MAX).unwrap();
    queue.take_up(&window);
    accept(&store, &source, "6", "text 6");
    queue.pause(&source).unwrap();
    source.create_payload_index("text", PayloadSchemaType::Keyword).unwrap();
    assert!(!store.switch(&succession, NOW).unwrap(), "a payload index is missing");
    succession.follow_payload_indexes().unwrap();
    let mirrored = source.changes(None, None, 1).unwrap();
    assert!(store.switch(&succession, NOW).unwrap());

    let now = store.collection(&name()).unwrap();
    // All vectors are others, so who mirrors the collection begins again.
    let gone = now.changes(Some(mirrored.next), Some(mirrored.epoch), 1);
    assert!(matches!(gone, Err(StorageError::ChangesGone(_))), "{gone:?}");
    assert_eq!((now.id(), now.config()), (succession.successor.id(), config(2)));
    assert_eq!(now.payload_indexes().unwrap()["text"].points, 5);
    assert_eq!(store.collections().len(), 1);
    assert!(queue.is_paused(&now));
    assert_eq!(queue.amount_of(&now).documents, 2);
    // Whoever still reads the source has all of it; whoever writes to it is told.
    assert_eq!(texts(&source), expected);
    assert!(store.reclaim().unwrap());
    let stale = source.apply(encoded(&source, &window));
    assert!(matches!(stale, Err(StorageError::Succeeded(_))), "{stale:?}");
    queue.collection_gone(in_flight, source.id(), NOW).unwrap();
    queue.resume(&now).unwrap();
    work_off(&store);
    assert_eq!(texts(&now)[5..], ["text 6", "new text"]);
    assert_eq!(texts(&now)[4], "text 5");
    now.apply(Operation::Delete(Selector::Ids(vec![chunk_id("1", 0)])))
        .unwrap();

    drop((source, succession));
    assert!(!store.reclaim().unwrap());
    assert_eq!(points(&store), 6);
    drop((now, store));
    let store = self::store(dir.path());
    let state = store.reembedding(&store.collection(&name()).unwrap()).unwrap().unwrap();
    assert!(matches!(state.stage, SuccessionStage::Done(NOW)));
    assert_eq!(points(&store), 6);
}

#[test]
fn a_start_goes_on_and_forgets_what_was_succeeded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, succession) = begun(dir.path());
    let portion = succession.portion(2, 1 << 20).unwrap().unwrap();
    store
        .queue()
        .enqueue(&succession.successor, &portion.documents, Priority::Low, NOW)
        .unwrap();
    succession.sent(portion).unwrap();
    succession
        .source
        .apply(Operation::DeleteDocuments(DocumentSelector::Ids(vec!["0".to_owned()])))
        .unwrap();
    drop((succession, store));

    let store = self::store(dir.path());
    assert_eq!(store.collections().len(), 1);
    let succession = store.reembeddings().pop().unwrap();
    let upsert = Operation::Upsert(Vec::new());
    assert!(matches!(
        succession.source.apply(upsert),
        Err(StorageError::PointsHeld(_))
    ));
    send(&store, &succession);
    work_off(&store);
    assert!(store.switch(&succession, NOW).unwrap());
    assert_eq!(points(&store), 8);
    drop((succession, store));

    let store = self::store(dir.path());
    assert_eq!((points(&store), store.collections().len()), (4, 1));
    assert_eq!(texts(&store.collection(&name()).unwrap()).len(), 4);
}

#[test]
fn a_document_that_the_successor_lacks_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, succession) = begun(dir.path());
    send(&store, &succession);
    work_off(&store);
    let ids = DocumentSelector::Ids(vec!["2".to_owned()]);
    succession.successor.apply(Operation::DeleteDocuments(ids)).unwrap();
    accept(&store, &succession.successor, "9", "of nobody");
    work_off(&store);
    assert!(!succession.compare().unwrap());
    assert!(!store.switch(&succession, NOW).unwrap());
    assert_eq!(send(&store, &succession), 2);
    work_off(&store);
    assert!(succession.compare().unwrap());
    assert!(store.switch(&succession, NOW).unwrap());
    assert_eq!(texts(&store.collection(&name()).unwrap()).len(), 5);
}

#[test]
fn what_is_canceled_or_deleted_leaves_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let (store, succession) = begun(dir.path());
    send(&store, &succession);
    work_off(&store);
    accept(&store, &succession.source, "0", "other");
    work_off(&store);
    let source = succession.source.clone();
    store.cancel_reembedding(&name(), NOW).unwrap();
    assert!(matches!(
        store.cancel_reembedding(&name(), NOW),
        Err(StorageError::NotReembedding(_))
    ));
    assert!(!store.switch(&succession, NOW).unwrap());
    assert_eq!(points(&store), 5);
    assert!(store.by_id(succession.successor.id()).is_none());
    source.apply(Operation::Upsert(Vec::new())).unwrap();
    let noted = |prefix: &[u8]| store.rocks.snapshot().scan(Cf::Meta, prefix, &[]).count();
    assert_eq!((noted(b"changed/"), noted(b"tail/")), (0, 1));

    store.begin_reembedding(&source, &config(3), NOW).unwrap();
    let again = store.begin_reembedding(&source, &config(4), NOW);
    assert!(matches!(again, Err(StorageError::Reembedding(_))));
    assert!(store.delete_collection(&name()).unwrap());
    let keys = |cf| store.rocks.snapshot().scan(cf, &[], &[]).count();
    assert_eq!((keys(Cf::Collections), keys(Cf::Points), noted(b"changed/")), (0, 0, 0));
    assert_eq!((keys(Cf::Changes), noted(b"tail/")), (0, 0));
    assert!(store.reembeddings().is_empty() && store.all_collections().is_empty());
}

#[test]
fn a_collection_with_what_cannot_be_made_again_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let source = store.create_collection(&name(), &config(1)).unwrap();
    accept(&store, &source, "0", "text");
    work_off(&store);
    let ready = |id: u64| NewPoint {
        id: id.into(),
        vectors: BTreeMap::new(),
        payload: json!({"document_id": "0", "chunk": 7, "text": "text"})
            .as_object()
            .unwrap()
            .clone(),
    };
    source.apply(Operation::Upsert(vec![ready(1), ready(2)])).unwrap();
    let refused = store.begin_reembedding(&source, &config(2), NOW).unwrap_err();
    let StorageError::Invalid(InvalidInput::Reembedding(reason)) = refused else {
        panic!("{refused}")
    };
    assert!(reason.starts_with("2 points"), "{reason}");
    source
        .apply(Operation::Delete(Selector::Ids(vec![1.into(), 2.into()])))
        .unwrap();
    store.begin_reembedding(&source, &config(2), NOW).unwrap();
}
