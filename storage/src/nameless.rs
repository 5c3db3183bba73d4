//! Collections that are found under no name: one that is being restored has none yet, one that was succeeded and is still read has none
//! any more. What is below the number of one is deleted when it is given up, or at the next start.

use crate::ann;
use crate::collection::index_dir;
use crate::error::Result;
use crate::key::CollectionId;
use crate::options::Options;
use crate::rocks::{Cf, Rocks};

/// What the keys of such collections begin with, in the family `meta`.
pub(crate) const NAMELESS: &[u8] = b"restoring/";

/// Where it is noted that a collection has no name.
pub(crate) fn nameless_key(id: CollectionId) -> Vec<u8> {
    [NAMELESS, &id.key()].concat()
}

/// Deletes all that a crash has left of such collections.
pub(crate) fn forget_all(rocks: &Rocks, options: &Options) -> Result<()> {
    let snapshot = rocks.snapshot();
    let ids = snapshot.scan(Cf::Meta, NAMELESS, &[]).filter_map(|entry| {
        entry
            .map(|(key, _)| CollectionId::from_key(&key[NAMELESS.len()..]))
            .transpose()
    });
    for id in ids.collect::<Result<Vec<_>>>()? {
        forget(rocks, id)?;
        ann::remove(&index_dir(options, id));
    }
    Ok(())
}

/// Deletes all that RocksDB holds of such a collection.
pub(crate) fn forget(rocks: &Rocks, id: CollectionId) -> Result<()> {
    let mut batch = rocks.batch();
    batch.delete_collection(id);
    batch.delete(Cf::Meta, &nameless_key(id));
    rocks.write(batch)?;
    rocks.sync()
}
