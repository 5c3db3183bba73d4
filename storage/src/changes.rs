//! The tail of changes: ids of what each write has changed, kept for a while for those who mirror a collection.
//!
//! A record is part of the write's own batch. Records are forgotten by later writes, an eighth of what may be kept at once.

use bincode::{Decode, Encode};
use twofold_types::PointId;
use twofold_types::api::{Change, ChangedDocuments, ChangedPoints, ChangesPage};
use twofold_vector::Watch;
use uuid::Uuid;

use crate::collection::Collection;
use crate::error::{InvalidInput, Result, StorageError, check_deadline};
use crate::key::{CollectionId, SeqNo, seq_of_log_key, tail_key};
use crate::options::Options;
use crate::record::{DiskPointId, DiskRecord};
use crate::rocks::{Batch, Cf, Rocks, Snapshot};
use crate::view::View;
use crate::write::Write;

/// Ids of a page at most, unless a single write has more.
const PAGE_IDS: usize = 100_000;

/// Changes that are not kept any more, so that a mirror has to begin again.
#[derive(Debug, thiserror::Error)]
pub enum ChangesGone {
    /// They were forgotten.
    #[error(
        "changes after write {since} are not kept any more: the smallest `since` is {oldest} now (`--change-writes`, `--change-bytes`). \
         Begin the mirror again: ask without `since`, copy the collection by a listing or a snapshot, and go on from that answer's `next`"
    )]
    Forgotten {
        /// The last write that the mirror knows.
        since: u64,
        /// The smallest number that can be asked for.
        oldest: u64,
    },
    /// The collection is not the one that was mirrored.
    #[error(
        "the collection was made anew, restored or re-embedded: its changes are those of `epoch` {epoch}, not of {asked}. Begin the mirror again: ask \
         without `since`, copy the collection by a listing or a snapshot, and go on from that answer's `next`"
    )]
    Replaced {
        /// The epoch that the mirror knows.
        asked: Uuid,
        /// That of the collection.
        epoch: Uuid,
    },
    /// There was no such write yet.
    #[error(
        "there was no write {since} yet, the last one is {last}: the collection is another one, or an older state of it. Begin the mirror \
         again: ask without `since`, copy the collection by a listing or a snapshot, and go on from that answer's `next`"
    )]
    Ahead {
        /// The last write that the mirror knows.
        since: u64,
        /// The last write of the collection.
        last: u64,
    },
}

/// What a write has changed.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct ChangeRecord {
    /// Bytes of all records before this one, forgotten ones included.
    before: u64,
    upserted: Vec<DiskPointId>,
    deleted: Vec<DiskPointId>,
    documents_upserted: Vec<String>,
    documents_deleted: Vec<String>,
}

impl DiskRecord for ChangeRecord {
    const WHAT: &'static str = "change record";
}

impl ChangeRecord {
    fn ids(&self) -> usize {
        self.upserted.len() + self.deleted.len() + self.documents_upserted.len() + self.documents_deleted.len()
    }

    fn answer(self, seq: SeqNo) -> Change {
        let ids = |ids: Vec<DiskPointId>| ids.into_iter().map(PointId::from).collect();
        Change {
            operation_id: seq.0,
            points: ChangedPoints {
                upserted: ids(self.upserted),
                deleted: ids(self.deleted),
            },
            documents: ChangedDocuments {
                upserted: self.documents_upserted,
                deleted: self.documents_deleted,
            },
        }
    }
}

/// Which tail of changes a collection has, and how far back it goes.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
struct TailRecord {
    epoch: [u8; 16],
    /// The last write that is not in it.
    floor: u64,
}

impl DiskRecord for TailRecord {
    const WHAT: &'static str = "record of the tail of changes";
}

impl TailRecord {
    fn get(snapshot: &Snapshot<'_>, id: CollectionId) -> Result<Option<Self>> {
        let bytes = snapshot.get(Cf::Meta, &tail_key(id))?;
        bytes.map(|bytes| Self::from_bytes(&bytes)).transpose()
    }
}

/// What the writer of a collection knows of the tail.
#[derive(Debug, Clone)]
pub(crate) struct ChangeLog {
    /// The most that is kept.
    writes: u64,
    bytes: u64,
    tail: TailRecord,
    /// Bytes of all records that there have been, and of those that are forgotten.
    total: u64,
    forgotten: u64,
}

impl ChangeLog {
    /// The tail of a collection whose last write is `seq`; a new one, from there on, where it has none. None where none is to be kept.
    pub(crate) fn open(rocks: &Rocks, id: CollectionId, seq: SeqNo, options: &Options) -> Result<Option<Self>> {
        let snapshot = rocks.snapshot();
        let found = TailRecord::get(&snapshot, id)?;
        if options.change_writes == 0 || options.change_bytes == 0 {
            if found.is_some() {
                let mut batch = rocks.batch();
                batch.delete(Cf::Meta, &tail_key(id));
                batch.delete_prefix(Cf::Changes, &id.key());
                rocks.write(batch)?;
            }
            return Ok(None);
        }
        let tail = match found {
            Some(tail) => tail,
            None => {
                let tail = TailRecord {
                    epoch: Uuid::new_v4().into_bytes(),
                    floor: seq.0,
                };
                let mut batch = rocks.batch();
                batch.put(Cf::Meta, &tail_key(id), &tail.to_bytes());
                rocks.write(batch)?;
                tail
            }
        };
        let oldest = snapshot.scan(Cf::Changes, &id.key(), &[]).next().transpose()?;
        let newest = snapshot.scan_back(Cf::Changes, &id.log_key(SeqNo(u64::MAX))).next();
        let newest = newest.transpose()?.filter(|(key, _)| key.starts_with(&id.key()));
        let (mut total, mut forgotten) = (0, 0);
        if let (Some((_, oldest)), Some((_, newest))) = (oldest, newest) {
            total = ChangeRecord::from_bytes(&newest)?.before + newest.len() as u64;
            forgotten = ChangeRecord::from_bytes(&oldest)?.before;
        }
        Ok(Some(Self {
            writes: options.change_writes,
            bytes: options.change_bytes,
            tail,
            total,
            forgotten,
        }))
    }

    /// Makes room for the next write, where there is none.
    pub(crate) fn trim(&mut self, view: &View<'_>, batch: &mut Batch<'_>) -> Result<()> {
        let (id, seq) = (view.collection, view.state.seq.0);
        if seq.saturating_sub(self.tail.floor) < self.writes && self.total - self.forgotten < self.bytes {
            return Ok(());
        }
        let keep_writes = self.writes - (self.writes / 8).max(1);
        let keep_bytes = self.bytes - (self.bytes / 8).max(1);
        let floor = seq.saturating_sub(keep_writes);
        let (mut last, mut forgotten) = (floor.max(self.tail.floor), self.total);
        let from = id.log_key(SeqNo(self.tail.floor).next());
        for entry in view.snapshot.scan(Cf::Changes, &id.key(), &from) {
            let (key, value) = entry?;
            let seq = seq_of_key(&key)?.0;
            let before = ChangeRecord::from_bytes(&value)?.before;
            if seq > floor && self.total - before <= keep_bytes {
                forgotten = before;
                break;
            }
            last = last.max(seq);
        }
        self.forgotten = forgotten;
        self.tail.floor = last;
        batch.delete_range(
            Cf::Changes,
            &id.log_key(SeqNo(0)),
            &id.log_key(SeqNo(self.tail.floor).next()),
        );
        batch.put(Cf::Meta, &tail_key(id), &self.tail.to_bytes());
        Ok(())
    }
}

impl Write<'_> {
    /// Adds what the operation has changed to the tail of changes.
    pub(crate) fn log_changes(&mut self, log: &mut ChangeLog) {
        let mut record = ChangeRecord {
            before: log.total,
            upserted: Vec::new(),
            deleted: Vec::new(),
            documents_upserted: Vec::new(),
            documents_deleted: Vec::new(),
        };
        let written = self.points.values().flatten();
        let mut upserted: Vec<PointId> = written.map(|point| point.id()).collect();
        let gone = self.ids.iter().filter(|(_, offset)| offset.is_none());
        let mut deleted: Vec<PointId> = gone.map(|(&id, _)| id).collect();
        upserted.sort_unstable();
        deleted.sort_unstable();
        record.upserted.extend(upserted.into_iter().map(DiskPointId::from));
        record.deleted.extend(deleted.into_iter().map(DiskPointId::from));
        for (id, stored) in &self.documents.stored {
            match stored {
                Some(_) => record.documents_upserted.push(id.clone()),
                None => record.documents_deleted.push(id.clone()),
            }
        }
        record.documents_upserted.sort_unstable();
        record.documents_deleted.sort_unstable();
        if record.ids() > 0 {
            let value = record.to_bytes();
            log.total += value.len() as u64;
            self.batch
                .put(Cf::Changes, &self.view.collection.log_key(self.seq), &value);
        }
    }
}

impl Collection {
    /// What writes after `since` have changed, in their order: `limit` writes at most, and about 100,000 ids unless a single write has
    /// more. Without `since`, nothing yet but where to begin. What is answered is durable. `epoch` is that of an earlier answer.
    ///
    /// # Errors
    /// [`StorageError::ChangesGone`] where a mirror has to begin again.
    pub fn changes(&self, since: Option<u64>, epoch: Option<Uuid>, limit: usize) -> Result<ChangesPage> {
        let view = self.view();
        let tail = TailRecord::get(&view.snapshot, self.id)?.ok_or(InvalidInput::NoChanges)?;
        let (own, last) = (Uuid::from_bytes(tail.epoch), view.state.seq.0);
        let known = since;
        let since = since.unwrap_or(last);
        let gone = match epoch.filter(|asked| *asked != own) {
            Some(asked) => Some(ChangesGone::Replaced { asked, epoch: own }),
            None if since > last => Some(ChangesGone::Ahead { since, last }),
            None if since < tail.floor => Some(ChangesGone::Forgotten {
                since,
                oldest: tail.floor,
            }),
            None => None,
        };
        if let Some(gone) = gone {
            return Err(gone.into());
        }
        let (mut changes, mut next, mut ids) = (Vec::new(), last, 0);
        if since < last {
            let mut watch = Watch::every(64);
            let from = self.id.log_key(SeqNo(since).next());
            let mut entries = view.snapshot.scan(Cf::Changes, &self.id.key(), &from).peekable();
            while let Some(entry) = entries.next() {
                if watch.missed() {
                    check_deadline()?;
                }
                let (key, value) = entry?;
                let (seq, record) = (seq_of_key(&key)?, ChangeRecord::from_bytes(&value)?);
                ids += record.ids();
                changes.push(record.answer(seq));
                if (changes.len() >= limit || ids >= PAGE_IDS) && entries.peek().is_some() {
                    next = seq.0;
                    break;
                }
            }
        }
        // A mirror must not know what a failure of power may take back.
        if known != Some(next) {
            self.rocks.sync()?;
        }
        Ok(ChangesPage {
            epoch: own,
            changes,
            next,
            last,
        })
    }
}

fn seq_of_key(key: &[u8]) -> Result<SeqNo> {
    seq_of_log_key(key).ok_or_else(|| StorageError::Corrupt {
        what: "key of a change record",
        reason: format!("it is {} bytes long", key.len()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use twofold_types::{CollectionConfig, CollectionName, Distance, Payload, VectorParams};

    use super::*;
    use crate::{NewPoint, Operation, Selector, Store};

    fn open(dir: &Path, change_writes: u64, change_bytes: u64) -> Store {
        Store::open(Options {
            change_writes,
            change_bytes,
            ..Options::new(dir)
        })
        .unwrap()
    }

    fn name() -> CollectionName {
        "c".parse().unwrap()
    }

    fn create(store: &Store) -> Arc<Collection> {
        let config = CollectionConfig {
            vectors: BTreeMap::from([(String::new(), VectorParams::new(1, Distance::Dot))]),
            ..CollectionConfig::default()
        };
        store.create_collection(&name(), &config).unwrap()
    }

    fn put(collection: &Collection, ids: impl IntoIterator<Item = u64>) {
        let points = ids.into_iter().map(|id| NewPoint {
            id: id.into(),
            vectors: BTreeMap::from([(String::new(), vec![1.0].into())]),
            payload: Payload::new(),
        });
        collection.apply(Operation::Upsert(points.collect())).unwrap();
    }

    /// The writes of a page.
    fn writes(page: &ChangesPage) -> Vec<u64> {
        page.changes.iter().map(|change| change.operation_id).collect()
    }

    fn refusal(collection: &Collection, since: u64) -> ChangesGone {
        match collection.changes(Some(since), None, 10) {
            Err(StorageError::ChangesGone(gone)) => gone,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn changes_are_told_in_order_page_by_page() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 100, 1 << 20);
        let collection = create(&store);
        let begin = collection.changes(None, None, 10).unwrap();
        assert_eq!((begin.changes.len(), begin.next), (0, 0));
        put(&collection, [7, 3]);
        let delete = |ids: &[u64]| {
            let ids = ids.iter().map(|&id| id.into()).collect();
            collection.apply(Operation::Delete(Selector::Ids(ids))).unwrap();
        };
        delete(&[3, 99]);
        delete(&[99]);
        let first = collection.changes(Some(0), Some(begin.epoch), 1).unwrap();
        assert_eq!(first.changes[0].points.upserted, [3.into(), 7.into()]);
        assert_eq!((writes(&first), first.next, first.last), (vec![1], 1, 3));
        let second = collection.changes(Some(first.next), Some(begin.epoch), 1).unwrap();
        assert_eq!(second.changes[0].points.deleted, [3.into()]);
        assert!(second.changes[0].points.upserted.is_empty());
        // The third write changed nothing, so nothing is left after the second.
        assert_eq!((writes(&second), second.next), (vec![2], 3));
        assert!(matches!(
            refusal(&collection, 4),
            ChangesGone::Ahead { since: 4, last: 3 }
        ));
    }

    #[test]
    fn no_more_writes_are_kept_than_may_be() {
        for kept in [1, 2, 20] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path(), kept, 1 << 20);
            let collection = create(&store);
            for id in 1..=100 {
                put(&collection, [id]);
                let oldest = match id > kept {
                    true => match refusal(&collection, 0) {
                        ChangesGone::Forgotten { oldest, .. } => oldest,
                        other => panic!("{other}"),
                    },
                    false => 0,
                };
                let left = writes(&collection.changes(Some(oldest), None, 1_000).unwrap());
                assert_eq!(left, (oldest + 1..=id).collect::<Vec<_>>());
                let few = (kept - kept / 8).min(id) as usize;
                assert!((few..=kept as usize).contains(&left.len()), "{kept}: {left:?}");
            }
        }
    }

    #[test]
    fn no_more_bytes_are_kept_than_may_be_but_for_the_last_write() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), 1_000, 400);
        let mut collection = create(&store);
        let epoch = collection.changes(None, None, 1).unwrap().epoch;
        for round in 1..=60 {
            put(&collection, round..round + 10);
            if round == 40 {
                drop((collection, store));
                store = open(dir.path(), 1_000, 400);
                collection = store.collection(&name()).unwrap();
            }
        }
        let ChangesGone::Forgotten { oldest, .. } = refusal(&collection, 0) else {
            panic!("all is kept")
        };
        // Ten ids and what is around them are some 30 bytes.
        assert!((45..=52).contains(&oldest), "{oldest}");
        let left = collection.changes(Some(oldest), Some(epoch), 100).unwrap();
        assert_eq!(writes(&left), (oldest + 1..=60).collect::<Vec<_>>());
        put(&collection, 0..1_000);
        put(&collection, [5]);
        assert!(matches!(
            refusal(&collection, 60),
            ChangesGone::Forgotten { oldest: 61, .. }
        ));
        assert_eq!(writes(&collection.changes(Some(61), None, 10).unwrap()), [62]);
    }

    #[test]
    fn who_mirrored_what_was_replaced_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 100, 1 << 20);
        let collection = create(&store);
        put(&collection, [1]);
        let epoch = collection.changes(None, None, 1).unwrap().epoch;
        let snapshot = store.create_snapshot(&name(), 0).unwrap();
        let path = store.snapshot_path(&name(), &snapshot.name).unwrap();
        store.restore_snapshot(&name(), &path, None).unwrap();
        let replaced = |collection: &Collection| match collection.changes(Some(1), Some(epoch), 1) {
            Err(StorageError::ChangesGone(ChangesGone::Replaced { asked, .. })) => asked == epoch,
            _ => false,
        };
        let restored = store.collection(&name()).unwrap();
        assert!(replaced(&restored));
        // What came before it was restored is in the snapshot only.
        assert!(matches!(
            refusal(&restored, 0),
            ChangesGone::Forgotten { oldest: 1, .. }
        ));
        store.delete_collection(&name()).unwrap();
        let again = create(&store);
        put(&again, [1]);
        assert!(replaced(&again));
        assert_eq!(again.changes(Some(0), None, 1).unwrap().changes.len(), 1);
    }

    #[test]
    fn what_was_not_kept_for_a_while_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        let epoch = {
            let collection = create(&open(dir.path(), 100, 1 << 20));
            put(&collection, [1]);
            collection.changes(None, None, 1).unwrap().epoch
        };
        {
            let collection = open(dir.path(), 0, 1 << 20).collection(&name()).unwrap();
            put(&collection, [2]);
            let error = collection.changes(Some(1), None, 1).unwrap_err();
            assert!(
                matches!(error, StorageError::Invalid(InvalidInput::NoChanges)),
                "{error}"
            );
        }
        let collection = open(dir.path(), 100, 1 << 20).collection(&name()).unwrap();
        assert!(collection.changes(Some(1), Some(epoch), 1).is_err());
        let begin = collection.changes(None, None, 1).unwrap();
        put(&collection, [3]);
        let next = collection.changes(Some(begin.next), Some(begin.epoch), 1).unwrap();
        assert_eq!(next.changes[0].points.upserted, [3.into()]);
    }
}
