use std::collections::BTreeMap;
use std::sync::Arc;

use twofold_types::api::{WithPayload, WithVector};
use twofold_types::{
    CollectionConfig, Distance, Embedding, PayloadSchemaType, SparseVector, SparseVectorParams, VectorParams,
};

use super::*;
use crate::nameless::NAMELESS;
use crate::{Fetch, NewPoint, Operation, Options, Selector};

pub(super) fn store(dir: &Path) -> Store {
    Store::open(Options::new(dir)).unwrap()
}

pub(super) fn name(name: &str) -> CollectionName {
    name.parse().unwrap()
}

pub(super) fn point(id: u64, word: &str) -> NewPoint {
    let payload = serde_json::json!({ "word": word });
    NewPoint {
        id: id.into(),
        vectors: BTreeMap::from([
            (String::new(), Embedding::Dense(vec![id as f32, 1.0])),
            (
                "tokens".to_owned(),
                Embedding::Multi(vec![vec![1.0, 0.0]; 1 + id as usize % 3]),
            ),
            (
                "words".to_owned(),
                Embedding::Sparse(SparseVector::new(vec![1, 7 + id as u32], vec![0.5, 2.0]).unwrap()),
            ),
        ]),
        payload: payload.as_object().unwrap().clone(),
    }
}

/// A collection of `count` points with a payload index.
pub(super) fn filled(store: &Store, named: &str, count: u64) -> Arc<Collection> {
    let config = CollectionConfig {
        vectors: BTreeMap::from([(String::new(), VectorParams::new(2, Distance::Euclid))]),
        sparse_vectors: BTreeMap::from([("words".to_owned(), SparseVectorParams::default())]),
        multivectors: BTreeMap::from([("tokens".to_owned(), VectorParams::new(2, Distance::Dot))]),
        ..CollectionConfig::default()
    };
    let collection = store.create_collection(&name(named), &config).unwrap();
    let points = (0..count).map(|id: u64| point(id, if id.is_multiple_of(2) { "even" } else { "odd" }));
    collection.apply(Operation::Upsert(points.collect())).unwrap();
    collection
        .create_payload_index("word", PayloadSchemaType::Keyword)
        .unwrap();
    collection
}

pub(super) fn all(collection: &Collection) -> Vec<twofold_types::Record> {
    let fetch = Fetch::new(WithPayload::Bool(true), WithVector::Bool(true)).unwrap();
    collection.scroll(None, 10_000, None, &fetch).unwrap().0
}

#[test]
fn a_snapshot_holds_what_was_there_when_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = filled(&store, "a", 500);
    let before = all(&collection);
    let made = store.create_snapshot(&name("a"), 1_700_000_000_000).unwrap();
    assert_eq!(made.name, "a-2023-11-14-22-13-20.snapshot");
    collection
        .apply(Operation::Delete(Selector::Ids(vec![3.into()])))
        .unwrap();
    collection.apply(Operation::Upsert(vec![point(1000, "new")])).unwrap();
    let path = store.snapshot_path(&name("a"), &made.name).unwrap();
    for target in ["b", "a"] {
        store
            .restore_snapshot(&name(target), &path, made.checksum.as_deref())
            .unwrap();
        let restored = store.collection(&name(target)).unwrap();
        assert_eq!(all(&restored), before);
        assert_eq!(restored.payload_indexes().unwrap().len(), 1);
    }
    assert!(matches!(
        collection.apply(Operation::Upsert(vec![point(1, "late")])),
        Err(StorageError::CollectionNotFound(_))
    ));
    // And after a start.
    drop((collection, store));
    let store = self::store(dir.path());
    assert_eq!(all(&store.collection(&name("a")).unwrap()), before);
    assert_eq!(store.snapshots(&name("a")).unwrap(), [made]);
}

#[test]
fn a_snapshot_that_cannot_be_restored_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = filled(&store, "a", 200);
    let before = all(&collection);
    let made = store.create_snapshot(&name("a"), 0).unwrap();
    let path = store.snapshot_path(&name("a"), &made.name).unwrap();
    let whole = fs::read(&path).unwrap();
    let broken = dir.path().join("broken");
    for bytes in [
        &whole[..whole.len() - 5],
        &whole[..whole.len() / 2],
        b"something else",
        b"",
    ] {
        fs::write(&broken, bytes).unwrap();
        let error = store.restore_snapshot(&name("a"), &broken, None).unwrap_err();
        assert!(
            matches!(error, StorageError::Invalid(InvalidInput::Snapshot(_))),
            "{error}"
        );
    }
    let error = store.restore_snapshot(&name("a"), &path, Some("00")).unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert_eq!(all(&collection), before);
    collection
        .apply(Operation::Upsert(vec![point(7, "still there")]))
        .unwrap();
    // Nothing is left of the attempts.
    let keys = |cf| store.rocks.snapshot().scan(cf, &[], &[]).count();
    assert_eq!((keys(Cf::Collections), keys(Cf::Points)), (1, 200));
    assert_eq!(store.rocks.snapshot().scan(Cf::Meta, NAMELESS, &[]).count(), 0);
}

#[test]
fn what_a_crash_left_of_a_restore_is_deleted_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    filled(&store, "a", 100);
    let made = store.create_snapshot(&name("a"), 0).unwrap();
    let path = store.snapshot_path(&name("a"), &made.name).unwrap();
    let reserve = |id, batch: &mut crate::rocks::Batch<'_>| batch.put(Cf::Meta, &nameless_key(id), &[]);
    let id = store.reserve_collection(reserve).unwrap();
    store.copy_in(id, &path).unwrap();
    let received = store.partial_dir().unwrap().join("half");
    fs::write(&received, "x").unwrap();
    drop(store);
    let store = self::store(dir.path());
    assert_eq!(store.rocks.snapshot().scan(Cf::Points, &[], &[]).count(), 100);
    assert_eq!(store.rocks.snapshot().scan(Cf::Meta, NAMELESS, &[]).count(), 0);
    assert_eq!(store.collections().len(), 1);
    assert!(!received.exists());
}

#[test]
fn an_alias_stands_for_its_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let collection = filled(&store, "a", 10);
    let alias = serde_json::json!({"create_alias": {"collection_name": "a", "alias_name": "alias"}});
    store.change_aliases(&[serde_json::from_value(alias).unwrap()]).unwrap();
    let made = store.create_snapshot(&name("alias"), 0).unwrap();
    assert_eq!(store.snapshots(&name("a")).unwrap(), std::slice::from_ref(&made));
    collection
        .apply(Operation::Delete(Selector::Ids(vec![3.into()])))
        .unwrap();
    let path = store.snapshot_path(&name("alias"), &made.name).unwrap();
    store.restore_snapshot(&name("alias"), &path, None).unwrap();
    assert_eq!(all(&store.collection(&name("a")).unwrap()).len(), 10);
    assert_eq!((store.collections().len(), store.aliases(None).len()), (1, 1));
}

#[test]
fn names_lead_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    filled(&store, "a", 1);
    let made = store.create_snapshot(&name("a"), 0).unwrap();
    let again = store.create_snapshot(&name("a"), 0).unwrap();
    assert_ne!(made.name, again.name);
    fs::write(dir.path().join("secret.snapshot"), "x").unwrap();
    for outside in ["../secret.snapshot", "..\\secret.snapshot", "", "secret"] {
        assert!(store.snapshot_path(&name("a"), outside).is_err(), "{outside}");
    }
    let location = |path: &Path| format!("file://{}", path.display());
    assert!(
        store
            .locate_snapshot(&name("b"), &location(&dir.path().join("secret.snapshot")))
            .is_err()
    );
    let inside = store.snapshot_path(&name("a"), &made.name).unwrap();
    assert!(store.locate_snapshot(&name("b"), &location(&inside)).is_ok());
    assert!(
        store
            .locate_snapshot(&name("b"), "http://example.org/x.snapshot")
            .is_err()
    );
    store.delete_snapshot(&name("a"), &made.name).unwrap();
    assert_eq!(store.snapshots(&name("a")).unwrap(), [again]);
}
