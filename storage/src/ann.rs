//! The one file that knows arroy and LMDB: an index on disk of one vector of a collection.
//!
//! It lives in a directory of its own (a *generation*). It only proposes candidates; whether they are alive and how near
//! they are is decided by the arena.

#![expect(
    unsafe_code,
    reason = "LMDB maps a file that nobody else may change: the data directory is locked by RocksDB"
)]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arroy::distances::Cosine;
use arroy::{Reader, Writer};
use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, Env, EnvOpenOptions, RoTxn, WithoutTls};
use rand::SeedableRng;
use rand::rngs::StdRng;
use roaring::RoaringBitmap;
use twofold_types::Distance;
use twofold_vector::{Arena, Bitmap, Effort, Neighbour};

use crate::error::{Result, StorageError};
use crate::index::{Ask, Cancel, Estimate, Followed, VectorIndex};
use crate::key::SeqNo;
use crate::lift::Lift;

/// Trees of the forest: more of them find more and cost more disk and build time.
const TREES: usize = 48;

/// Vectors compared for a default search, as a share of the points, and never less than [`MIN_VISITED`].
///
/// Chosen with `make recall` for recall@10 of 0.95 and some to spare on its hardest set.
const VISITED_SHARE: f64 = 0.04;
const MIN_VISITED: usize = 4_000;

/// One point in this many may have changed before an index follows.
const LAG_SHARE: u64 = 10;

/// Candidates proposed for each point that is wanted: the order among lifted vectors is not quite the order of the
/// distance.
const PROPOSED_PER_WANTED: usize = 16;

/// Bytes that a build may take beside the index itself.
const BUILD_MEMORY: usize = 2 << 30;

const APPLIED: &str = "applied";
const LIFT: &str = "lift";

/// Opens the index in a directory.
pub(crate) fn open(dir: &Path, dimensions: usize) -> Result<Arc<dyn VectorIndex>> {
    let (env, vectors, facts) = open_env(dir, 0)?;
    let lift = {
        let rtxn = env.read_txn()?;
        let bytes = facts.get(&rtxn, LIFT)?;
        bytes.and_then(|bytes| Lift::from_bytes(bytes, dimensions))
    };
    let lift = lift.ok_or_else(|| StorageError::Index("it was never built".to_owned()))?;
    Ok(Arc::new(ArroyIndex {
        dir: dir.to_owned(),
        discarded: AtomicBool::new(false),
        env,
        vectors,
        facts,
        lift,
    }))
}

/// Begins an empty index in a directory, made for vectors like those of `arena` and with room for about `capacity` of them.
pub(crate) fn create(dir: &Path, distance: Distance, arena: &Arena, capacity: u64) -> Result<Arc<dyn VectorIndex>> {
    // The map only reserves address space: for vectors, the trees over them, and what a commit copies before it lets go
    // of the old. An index that outgrows it is built again with more room.
    let vector_bytes = capacity.max(16_384) * (arena.dimensions() as u64 * 4 + 64 * TREES as u64);
    let (env, vectors, facts) = open_env(dir, vector_bytes * 8)?;
    Ok(Arc::new(ArroyIndex {
        dir: dir.to_owned(),
        discarded: AtomicBool::new(false),
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
    discarded: AtomicBool,
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
    fn follow(&self, changed: &Bitmap, arena: &Arena, seq: SeqNo, cancel: Cancel<'_>) -> Result<(), arroy::Error> {
        let mut wtxn = self.env.write_txn()?;
        let mut writer = Writer::<Cosine>::new(self.vectors, 0, self.lift.dimensions());
        writer.set_tmpdir(&self.dir);
        for offset in changed.iter() {
            match arena.get(offset) {
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
    fn kind(&self) -> &'static str {
        "arroy"
    }

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

    fn allowed_lag(&self, present: u64, _: u64) -> u64 {
        // Every build walks the keys of all trees.
        present / LAG_SHARE
    }

    fn is_outgrown(&self, _: bool) -> bool {
        false
    }

    fn follow(self: Arc<Self>, changed: &Bitmap, arena: &Arena, seq: SeqNo, cancel: Cancel<'_>) -> Result<Followed> {
        match ArroyIndex::follow(&self, changed, arena, seq, cancel) {
            Ok(()) => Ok(Followed::Done(self)),
            Err(arroy::Error::BuildCancelled) => Ok(Followed::Cancelled),
            Err(arroy::Error::DatabaseFull | arroy::Error::Heed(heed::Error::Mdb(heed::MdbError::MapFull))) => {
                Ok(Followed::Full)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn estimate(&self, matching: u64, present: u64, _: usize, _: f32) -> Estimate {
        // Where less than half of the points count, arroy itself compares every one of them, from its own file.
        let visited = (present as f64 * VISITED_SHARE).max(MIN_VISITED as f64);
        let per_visited = 4.0;
        Estimate {
            index: if matching * 2 <= present {
                f64::MAX
            } else {
                visited * per_visited
            },
            scan: matching as f64,
        }
    }

    fn search(&self, ask: &Ask<'_>) -> Result<(Vec<Neighbour>, Effort)> {
        let rtxn = self.env.read_txn()?;
        let applied = self.applied_in(&rtxn)?;
        let reader = Reader::<Cosine>::open(&rtxn, 0, self.vectors)?;
        let usual = ((reader.n_items() as f64 * VISITED_SHARE) as usize).max(MIN_VISITED);
        let visited = (usual as f32 * ask.effort * ask.effort) as usize;
        let proposed = ask.k.saturating_mul(PROPOSED_PER_WANTED);
        let mut query = reader.nns(proposed);
        query.search_k(NonZeroUsize::new(visited.max(proposed)).unwrap_or(NonZeroUsize::MIN));
        let candidates = RoaringBitmap::from_sorted_iter(ask.mask.iter()).expect("a bitmap is in order");
        query.candidates(&candidates);
        let found = query.by_vector(&rtxn, &self.lift.query(ask.query))?;
        let mut proposals: Bitmap = found.into_iter().map(|(offset, _)| offset).collect();
        proposals |= &ask.state.touched_since(applied);
        proposals &= ask.mask;
        Ok(twofold_vector::exact(ask.arena(), ask.query, ask.k, &proposals))
    }

    fn discard(&self) {
        self.discarded.store(true, Ordering::Relaxed);
    }
}

impl Drop for ArroyIndex {
    fn drop(&mut self) {
        if !self.discarded.load(Ordering::Relaxed) {
            return;
        }
        // Nobody reads it any more, and a generation is never opened again: its files go with the environment.
        remove(&self.dir);
    }
}

/// Deletes files that nobody reads: a generation or a checkpoint.
pub(crate) fn remove(path: &Path) {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a file of an index could not be deleted");
        }
        _ => {}
    }
}
