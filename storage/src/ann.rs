//! The one file that knows arroy and LMDB: an ANN index of one vector of a collection.
//!
//! An index is a follower of the collection: it lives in a directory of its own (a *generation*), says up to which write
//! it has followed, and may be thrown away at any time. It only proposes candidates; whether they are alive and how near
//! they are is decided by the arena.

#![expect(
    unsafe_code,
    reason = "LMDB maps a file that nobody else may change: the data directory is locked by RocksDB"
)]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arroy::{Distance as ArroyDistance, Reader, Writer, distances};
use heed::types::{Str, U64};
use heed::{CommitOrAbort, Env, EnvOpenOptions, WithoutTls};
use rand::SeedableRng;
use rand::rngs::StdRng;
use roaring::RoaringBitmap;
use twofold_types::Distance;

use crate::arena::Arena;
use crate::error::{Result, StorageError};
use crate::key::{PointOffset, SeqNo};

/// Trees of the forest: more of them find more and cost more disk and build time.
const TREES: usize = 48;

/// Nodes visited for a default search, as a share of the points, and never less than [`MIN_VISITED`].
///
/// Chosen with `make recall` for recall@10 of 0.95 on 50-dimensional word vectors, the hardest of its sets.
const VISITED_SHARE: f64 = 0.05;
const MIN_VISITED: usize = 4_000;

/// Nodes visited per unit of the caller's accuracy knob.
const VISITED_PER_EF: usize = 64;

const APPLIED: &str = "applied";

type Counters = heed::Database<'static, Str, U64<heed::byteorder::BigEndian>>;

/// What an index proposes for a query.
pub(crate) struct Proposal {
    /// The write up to which the index had followed; later ones are not in it.
    pub(crate) applied: SeqNo,
    /// Candidates, in no order.
    pub(crate) offsets: RoaringBitmap,
}

/// What a search asks of an index.
pub(crate) struct Probe<'a> {
    pub(crate) query: &'a [f32],
    /// How many points are wanted.
    pub(crate) k: usize,
    /// The caller's accuracy knob.
    pub(crate) ef: Option<usize>,
    /// The only points that count.
    pub(crate) candidates: Option<&'a RoaringBitmap>,
}

/// An index over one vector of a collection.
pub(crate) trait VectorIndex: Send + Sync {
    /// The write up to which it has followed.
    fn applied(&self) -> Result<SeqNo>;

    /// How many vectors it holds.
    fn len(&self) -> Result<u64>;

    /// Follows to `seq`: every offset of `changed` gets the vector that the arena has for it, or none. Either all of it is
    /// durable afterwards or nothing has changed.
    fn apply(&self, changed: &RoaringBitmap, arena: &Arena, seq: SeqNo, cancel: &AtomicBool) -> Result<Outcome>;

    /// Proposes candidates.
    fn search(&self, probe: &Probe<'_>) -> Result<Proposal>;

    /// Gives the files up and deletes them.
    fn destroy(self: Box<Self>);
}

/// How an attempt to follow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has followed.
    Done,
    /// It was cancelled.
    Cancelled,
    /// Its space is used up: a new generation is needed.
    Full,
}

/// Opens the index in a directory, or begins an empty one there that has room for about `capacity` vectors.
pub(crate) fn open(dir: &Path, distance: Distance, dimensions: usize, capacity: u64) -> Result<Box<dyn VectorIndex>> {
    Ok(match distance {
        Distance::Cosine => Box::new(ArroyIndex::<distances::Cosine>::open(dir, dimensions, capacity)?),
        Distance::Dot => Box::new(ArroyIndex::<distances::DotProduct>::open(dir, dimensions, capacity)?),
        Distance::Euclid => Box::new(ArroyIndex::<distances::Euclidean>::open(dir, dimensions, capacity)?),
        Distance::Manhattan => Box::new(ArroyIndex::<distances::Manhattan>::open(dir, dimensions, capacity)?),
    })
}

struct ArroyIndex<D: ArroyDistance> {
    dir: PathBuf,
    env: Env<WithoutTls>,
    vectors: arroy::Database<'static, D>,
    counters: Counters,
    dimensions: usize,
}

impl From<heed::Error> for StorageError {
    fn from(error: heed::Error) -> Self {
        Self::Index(error.to_string())
    }
}

impl From<arroy::Error> for StorageError {
    fn from(error: arroy::Error) -> Self {
        Self::Index(error.to_string())
    }
}

impl<D: ArroyDistance> ArroyIndex<D> {
    fn open(dir: &Path, dimensions: usize, capacity: u64) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|source| StorageError::Io {
            path: dir.to_owned(),
            source,
        })?;
        // The map only reserves address space. Vectors, the trees over them and the copy that a commit makes of what it
        // changes; an index that outgrows it is built again with more room.
        let vector_bytes = capacity.max(16_384) * (dimensions as u64 * 4 + 64 * TREES as u64);
        let on_disk = std::fs::metadata(dir.join("data.mdb")).map_or(0, |file| file.len());
        let map_size = (vector_bytes * 8).max(on_disk * 2).next_multiple_of(1 << 30) as usize;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_size).max_dbs(2).max_readers(1024);
        // SAFETY: the file is changed through this environment alone (see the head of this file).
        let env = unsafe { options.open(dir)? };
        let wtxn = env.write_txn()?;
        let (vectors, counters) = env
            .create_databases_and_commit(wtxn, |databases, wtxn| -> heed::Result<_> {
                let vectors = databases.create_database(wtxn, Some("vectors"))?;
                let counters = databases.create_database(wtxn, Some("counters"))?;
                Ok(CommitOrAbort::<_, ()>::Commit((vectors, counters)))
            })?
            .unwrap_commit();
        Ok(Self {
            dir: dir.to_owned(),
            env,
            vectors,
            counters,
            dimensions,
        })
    }

    fn follow(
        &self,
        changed: &RoaringBitmap,
        arena: &Arena,
        seq: SeqNo,
        cancel: &AtomicBool,
    ) -> Result<(), arroy::Error> {
        let mut wtxn = self.env.write_txn()?;
        let mut writer = Writer::<D>::new(self.vectors, 0, self.dimensions);
        writer.set_tmpdir(&self.dir);
        for offset in changed {
            match arena.get(PointOffset(offset)) {
                Some(vector) => writer.add_item(&mut wtxn, offset, vector)?,
                None => {
                    writer.del_item(&mut wtxn, offset)?;
                }
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(arroy::Error::BuildCancelled);
            }
        }
        let mut rng = StdRng::seed_from_u64(seq.0);
        writer
            .builder(&mut rng)
            .n_trees(TREES)
            .cancel(|| cancel.load(Ordering::Relaxed))
            .build(&mut wtxn)?;
        self.counters.put(&mut wtxn, APPLIED, &seq.0)?;
        fail::fail_point!("index::before_commit");
        wtxn.commit()?;
        fail::fail_point!("index::after_commit");
        Ok(())
    }
}

impl<D: ArroyDistance> VectorIndex for ArroyIndex<D> {
    fn applied(&self) -> Result<SeqNo> {
        let rtxn = self.env.read_txn()?;
        Ok(SeqNo(self.counters.get(&rtxn, APPLIED)?.unwrap_or(0)))
    }

    fn len(&self) -> Result<u64> {
        let rtxn = self.env.read_txn()?;
        match Reader::<D>::open(&rtxn, 0, self.vectors) {
            Ok(reader) => Ok(reader.n_items()),
            Err(arroy::Error::MissingMetadata(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn apply(&self, changed: &RoaringBitmap, arena: &Arena, seq: SeqNo, cancel: &AtomicBool) -> Result<Outcome> {
        match self.follow(changed, arena, seq, cancel) {
            Ok(()) => Ok(Outcome::Done),
            Err(arroy::Error::BuildCancelled) => Ok(Outcome::Cancelled),
            Err(arroy::Error::DatabaseFull | arroy::Error::Heed(heed::Error::Mdb(heed::MdbError::MapFull))) => {
                Ok(Outcome::Full)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn search(&self, probe: &Probe<'_>) -> Result<Proposal> {
        let rtxn = self.env.read_txn()?;
        let applied = SeqNo(self.counters.get(&rtxn, APPLIED)?.unwrap_or(0));
        let reader = Reader::<D>::open(&rtxn, 0, self.vectors)?;
        let visited = match probe.ef {
            Some(ef) => ef.saturating_mul(VISITED_PER_EF),
            None => ((reader.n_items() as f64 * VISITED_SHARE) as usize).max(MIN_VISITED),
        };
        let mut query = reader.nns(probe.k);
        query.search_k(NonZeroUsize::new(visited.max(probe.k * 8)).unwrap_or(NonZeroUsize::MIN));
        if let Some(candidates) = probe.candidates {
            query.candidates(candidates);
        }
        let found = query.by_vector(&rtxn, probe.query)?;
        Ok(Proposal {
            applied,
            offsets: found.into_iter().map(|(offset, _)| offset).collect(),
        })
    }

    fn destroy(self: Box<Self>) {
        let Self { dir, env, .. } = *self;
        // Without the wait LMDB still has the files open.
        if env.prepare_for_closing().wait_timeout(Duration::from_secs(60)) {
            remove(&dir);
        } else {
            tracing::warn!(dir = %dir.display(), "an index generation is still being read and is deleted at the next start");
        }
    }
}

/// Deletes a generation that nobody reads.
pub(crate) fn remove(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "an index generation could not be deleted");
        }
        _ => {}
    }
}
