//! Keys on disk: big-endian, so that RocksDB's byte order is the order of the numbers.

use twofold_types::PointId;

/// The number of a collection in its data directory, never given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CollectionId(pub u32);

/// The dense number of a point within its collection: row of the arena, item of the ANN index, element of the bitmaps.
/// It never leaves the node, and is not given to another point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PointOffset(pub(crate) u32);

/// The number of a write within its collection; writes are applied in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SeqNo(pub u64);

impl SeqNo {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl CollectionId {
    pub(crate) fn key(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        Some(Self(u32::from_be_bytes(key.try_into().ok()?)))
    }

    /// Where the collection's counters are among those of the data directory.
    pub(crate) fn counter_key(self) -> Vec<u8> {
        [b"counters/".as_slice(), &self.key()].concat()
    }

    /// Integers before UUIDs, each in its own order.
    pub(crate) fn id_key(self, id: PointId) -> Vec<u8> {
        let mut key = Vec::with_capacity(21);
        key.extend(self.key());
        match id {
            PointId::Num(num) => {
                key.push(0);
                key.extend(num.to_be_bytes());
            }
            PointId::Uuid(uuid) => {
                key.push(1);
                key.extend(uuid.as_bytes());
            }
        }
        key
    }

    pub(crate) fn point_key(self, offset: PointOffset) -> [u8; 8] {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&self.key());
        key[4..].copy_from_slice(&offset.0.to_be_bytes());
        key
    }

    pub(crate) fn vector_prefix(self, vector: u16) -> [u8; 6] {
        let mut key = [0; 6];
        key[..4].copy_from_slice(&self.key());
        key[4..].copy_from_slice(&vector.to_be_bytes());
        key
    }

    pub(crate) fn vector_key(self, vector: u16, offset: PointOffset) -> [u8; 10] {
        let mut key = [0; 10];
        key[..6].copy_from_slice(&self.vector_prefix(vector));
        key[6..].copy_from_slice(&offset.0.to_be_bytes());
        key
    }

    pub(crate) fn field_prefix(self, field: u16) -> [u8; 6] {
        self.vector_prefix(field)
    }

    pub(crate) fn document_key(self, id: &str) -> Vec<u8> {
        [&self.key(), id.as_bytes()].concat()
    }

    /// Of the index log, and of the changes.
    pub(crate) fn log_key(self, seq: SeqNo) -> [u8; 12] {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&self.key());
        key[4..].copy_from_slice(&seq.0.to_be_bytes());
        key
    }
}

impl PointOffset {
    /// The offset at the end of a key of points, vectors or postings.
    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        Some(Self(u32::from_be_bytes(*key.last_chunk()?)))
    }
}

/// The sequence number at the end of a key of the index log or of the changes.
pub(crate) fn seq_of_log_key(key: &[u8]) -> Option<SeqNo> {
    Some(SeqNo(u64::from_be_bytes(*key.last_chunk()?)))
}

/// The document's id in a key of documents, of those that wait, or of dead letters.
pub(crate) fn document_of_key(key: &[u8]) -> String {
    String::from_utf8_lossy(key.get(4..).unwrap_or_default()).into_owned()
}

/// Where it is noted how far back the changes of a collection are kept.
pub(crate) fn tail_key(collection: CollectionId) -> Vec<u8> {
    [TAIL, &collection.key()].concat()
}

/// What the keys of these begin with.
pub(crate) const TAIL: &[u8] = b"tail/";

/// Where it is noted that a collection's documents wait until it is resumed.
pub(crate) fn paused_key(collection: CollectionId) -> Vec<u8> {
    [PAUSED, &collection.key()].concat()
}

/// What the keys of paused collections begin with.
pub(crate) const PAUSED: &[u8] = b"paused/";

/// Where it is noted how the re-embedding of a collection goes, or went.
pub(crate) fn reembedding_key(collection: CollectionId) -> Vec<u8> {
    [REEMBEDDING, &collection.key()].concat()
}

/// What the keys of collections begin with that are or were re-embedded.
pub(crate) const REEMBEDDING: &[u8] = b"reembedding/";

/// Where it is noted that a document has changed and its collection's successor has yet to follow.
pub(crate) fn changed_key(collection: CollectionId, document: &str) -> Vec<u8> {
    [&changed_prefix(collection), document.as_bytes()].concat()
}

/// What the keys of a collection's changed documents begin with.
pub(crate) fn changed_prefix(collection: CollectionId) -> Vec<u8> {
    [b"changed/".as_slice(), &collection.key()].concat()
}

pub(crate) fn task_key(task: twofold_types::TaskId) -> [u8; 8] {
    task.0.to_be_bytes()
}

pub(crate) fn task_body_key(task: twofold_types::TaskId, ordinal: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&task.0.to_be_bytes());
    key[8..].copy_from_slice(&ordinal.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn keys_sort_as_their_numbers_do() {
        let (low, high) = (CollectionId(1), CollectionId(256));
        assert!(low.key() < high.key());
        assert!(low.point_key(PointOffset(255)) < low.point_key(PointOffset(256)));
        assert!(low.vector_key(0, PointOffset(u32::MAX)) < low.vector_key(1, PointOffset(0)));
        assert!(low.log_key(SeqNo(255)) < low.log_key(SeqNo(256)));
        let ids = [
            PointId::Num(1),
            PointId::Num(u64::MAX),
            Uuid::nil().into(),
            Uuid::max().into(),
        ];
        assert!(ids.windows(2).all(|pair| low.id_key(pair[0]) < low.id_key(pair[1])));
        assert!(low.id_key(ids[3]) < high.id_key(ids[0]));
    }

    #[test]
    fn offsets_and_numbers_are_read_back_from_keys() {
        let key = CollectionId(7).vector_key(3, PointOffset(0x0102_0304));
        assert_eq!(PointOffset::from_key(&key), Some(PointOffset(0x0102_0304)));
        assert_eq!(seq_of_log_key(&CollectionId(7).log_key(SeqNo(9))), Some(SeqNo(9)));
        assert_eq!(CollectionId::from_key(&CollectionId(7).key()), Some(CollectionId(7)));
    }
}
