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
use std::time::Duration;

use arroy::distances::Cosine;
use arroy::{Reader, Writer};
use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, Env, EnvOpenOptions, RoTxn, WithoutTls};
use rand::SeedableRng;
use rand::rngs::StdRng;
use roaring::RoaringBitmap;
use twofold_types::Distance;

use crate::arena::Arena;
use crate::error::{Result, StorageError};
use crate::key::{PointOffset, SeqNo};
use crate::lift::Lift;

/// Trees of the forest: more of them find more and cost more disk and build time.
const TREES: usize = 48;

/// Vectors compared for a default search, as a share of the points, and never less than [`MIN_VISITED`].
///
/// Chosen with `make recall` for recall@10 of 0.95 and some to spare on its hardest set.
const VISITED_SHARE: f64 = 0.04;
const MIN_VISITED: usize = 4_000;

/// Vectors compared per unit of the caller's accuracy knob.
const VISITED_PER_EF: usize = 64;

/// Candidates proposed for each point that is wanted: the order among lifted vectors is not quite the order of the
/// distance.
const PROPOSED_PER_WANTED: usize = 16;

/// Bytes that a build may take beside the index itself.
const BUILD_MEMORY: usize = 2 << 30;

const APPLIED: &str = "applied";
const LIFT: &str = "lift";

/// What an index proposes for a query.
pub(crate) struct Proposal {
    /// The write up to which the index had followed; later ones are not in it.
    pub(crate) applied: SeqNo,
    /// Candidates, in no order.
    pub(crate) offsets: RoaringBitmap,
}

/// Says whether a long computation is to be given up.
pub(crate) type Cancel<'a> = &'a (dyn Fn() -> bool + Sync);

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
    fn apply(&self, changed: &RoaringBitmap, arena: &Arena, seq: SeqNo, cancel: Cancel<'_>) -> Result<Outcome>;

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

/// Opens the index in a directory.
pub(crate) fn open(dir: &Path, dimensions: usize) -> Result<Box<dyn VectorIndex>> {
    let (env, vectors, facts) = open_env(dir, 0)?;
    let lift = {
        let rtxn = env.read_txn()?;
        let bytes = facts.get(&rtxn, LIFT)?;
        bytes.and_then(|bytes| Lift::from_bytes(bytes, dimensions))
    };
    let lift = lift.ok_or_else(|| StorageError::Index("it was never built".to_owned()))?;
    Ok(Box::new(ArroyIndex {
        dir: dir.to_owned(),
        env,
        vectors,
        facts,
        lift,
    }))
}

/// Begins an empty index in a directory, made for vectors like those of `arena` and with room for about `capacity` of them.
pub(crate) fn create(dir: &Path, distance: Distance, arena: &Arena, capacity: u64) -> Result<Box<dyn VectorIndex>> {
    // The map only reserves address space: for vectors, the trees over them, and what a commit copies before it lets go
    // of the old. An index that outgrows it is built again with more room.
    let vector_bytes = capacity.max(16_384) * (arena.dimensions() as u64 * 4 + 64 * TREES as u64);
    let (env, vectors, facts) = open_env(dir, vector_bytes * 8)?;
    Ok(Box::new(ArroyIndex {
        dir: dir.to_owned(),
        env,
        vectors,
        facts,
        lift: Lift::for_arena(distance, arena),
    }))
}

type Vectors = arroy::Database<'static, Cosine>;
type Facts = heed::Database<'static, Str, Bytes>;

fn open_env(dir: &Path, map_size: u64) -> Result<(Env<WithoutTls>, Vectors, Facts)> {
    std::fs::create_dir_all(dir).map_err(|source| StorageError::Io {
        path: dir.to_owned(),
        source,
    })?;
    let on_disk = std::fs::metadata(dir.join("data.mdb")).map_or(0, |file| file.len());
    let map_size = map_size.max(on_disk * 4).next_multiple_of(1 << 30) as usize;
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_size.max(1 << 30)).max_dbs(2).max_readers(1024);
    // SAFETY: the file is changed through this environment alone (see the head of this file).
    let env = unsafe { options.open(dir)? };
    let wtxn = env.write_txn()?;
    let (vectors, facts) = env
        .create_databases_and_commit(wtxn, |databases, wtxn| -> heed::Result<_> {
            let vectors = databases.create_database(wtxn, Some("vectors"))?;
            let facts = databases.create_database(wtxn, Some("facts"))?;
            Ok(CommitOrAbort::<_, ()>::Commit((vectors, facts)))
        })?
        .unwrap_commit();
    Ok((env, vectors, facts))
}

/// arroy's trees are cut by planes through the origin whatever its distance, which suits vectors that differ in direction.
/// So vectors are lifted to where direction is what tells them apart, and the distance is always Cosine.
struct ArroyIndex {
    dir: PathBuf,
    env: Env<WithoutTls>,
    vectors: Vectors,
    facts: Facts,
    lift: Lift,
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

impl ArroyIndex {
    fn follow(
        &self,
        changed: &RoaringBitmap,
        arena: &Arena,
        seq: SeqNo,
        cancel: Cancel<'_>,
    ) -> Result<(), arroy::Error> {
        let mut wtxn = self.env.write_txn()?;
        let mut writer = Writer::<Cosine>::new(self.vectors, 0, self.lift.dimensions());
        writer.set_tmpdir(&self.dir);
        for offset in changed {
            match arena.get(PointOffset(offset)) {
                Some(vector) => writer.add_item(&mut wtxn, offset, &self.lift.point(vector))?,
                None => {
                    writer.del_item(&mut wtxn, offset)?;
                }
            }
            if cancel() {
                return Err(arroy::Error::BuildCancelled);
            }
        }
        let mut rng = StdRng::seed_from_u64(seq.0);
        let mut builder = writer.builder(&mut rng);
        builder.n_trees(TREES).available_memory(BUILD_MEMORY).cancel(cancel);
        builder.build(&mut wtxn)?;
        self.facts.put(&mut wtxn, LIFT, &self.lift.to_bytes())?;
        self.facts.put(&mut wtxn, APPLIED, &seq.0.to_be_bytes())?;
        fail::fail_point!("index::before_commit");
        wtxn.commit()?;
        fail::fail_point!("index::after_commit");
        Ok(())
    }

    fn applied_in(&self, rtxn: &RoTxn<'_, WithoutTls>) -> Result<SeqNo> {
        let bytes = self.facts.get(rtxn, APPLIED)?.and_then(|bytes| bytes.try_into().ok());
        Ok(SeqNo(bytes.map_or(0, u64::from_be_bytes)))
    }
}

impl VectorIndex for ArroyIndex {
    fn applied(&self) -> Result<SeqNo> {
        self.applied_in(&self.env.read_txn()?)
    }

    fn len(&self) -> Result<u64> {
        let rtxn = self.env.read_txn()?;
        match Reader::<Cosine>::open(&rtxn, 0, self.vectors) {
            Ok(reader) => Ok(reader.n_items()),
            Err(arroy::Error::MissingMetadata(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn apply(&self, changed: &RoaringBitmap, arena: &Arena, seq: SeqNo, cancel: Cancel<'_>) -> Result<Outcome> {
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
        let applied = self.applied_in(&rtxn)?;
        let reader = Reader::<Cosine>::open(&rtxn, 0, self.vectors)?;
        let visited = match probe.ef {
            Some(ef) => ef.saturating_mul(VISITED_PER_EF),
            None => ((reader.n_items() as f64 * VISITED_SHARE) as usize).max(MIN_VISITED),
        };
        let proposed = probe.k.saturating_mul(PROPOSED_PER_WANTED);
        let mut query = reader.nns(proposed);
        query.search_k(NonZeroUsize::new(visited.max(proposed)).unwrap_or(NonZeroUsize::MIN));
        if let Some(candidates) = probe.candidates {
            query.candidates(candidates);
        }
        let lifted = self.lift.query(probe.query);
        let found = query.by_vector(&rtxn, &lifted)?;
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
