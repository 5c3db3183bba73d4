//! How indexes follow their collection, and the trimming of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use twofold_types::VectorParams;
use twofold_vector::{Arena, Checkpoint, Ivf, MultiArena, read_checkpoint};

use crate::ann;
use crate::checkpoint::checkpoint_seq;
use crate::collection::{Collection, index_dir};
use crate::error::{Result, StorageError};
use crate::index::{Cancel, Followed, MemoryIndex, VectorIndex};
use crate::key::SeqNo;
use crate::need::{Need, Standing, need};
use crate::options::Options;
use crate::placement::Placement;
use crate::record::VectorRecord;
use crate::rocks::Cf;
use crate::state::State;

/// How often an index does what it needs before others have their turn: one that is written to without a pause always needs
/// something.
const ROUNDS: usize = 8;

/// A collection is at rest when it was not written to for so long.
const REST: Duration = Duration::from_secs(2);

/// What of one vector's index is not in the state: its place on disk. The indexer alone changes it.
pub(crate) struct IndexSlot {
    pub(crate) dir: PathBuf,
    /// A search failed on it: it answers nothing any more and is built again.
    pub(crate) broken: AtomicBool,
    next_generation: AtomicU32,
    /// The write that the checkpoint follows; 0 without one.
    pub(crate) saved: AtomicU64,
    /// What [`State::touched`] was at the checkpoint.
    pub(crate) saved_touched: AtomicU64,
    /// The index was trained after the checkpoint.
    pub(crate) retrained: AtomicBool,
}

/// What was found of one vector's index at open.
pub(crate) struct Restored {
    pub(crate) slot: IndexSlot,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) index: Option<Arc<dyn VectorIndex>>,
}

/// An arena for one vector.
pub(crate) fn empty_arena(params: &VectorParams, placement: Placement) -> Arena {
    Arena::new(params.size, params.distance, placement.has_codes())
}

/// Vectors from which on an index is worth its while.
pub(crate) fn threshold(placement: Placement, arena: &Arena, options: &Options) -> u64 {
    match placement.has_codes() {
        true => options.index_threshold,
        false => options.exact_scan_components / arena.dimensions() as u64,
    }
}

impl IndexSlot {
    /// Opens what the record and the files name and deletes all else. What cannot be used is made again later.
    pub(crate) fn open(dir: PathBuf, record: &VectorRecord, params: &VectorParams, last: SeqNo) -> Restored {
        let placement = record.placement;
        let mut files: Vec<(SeqNo, PathBuf)> = Vec::new();
        let generation = record
            .generation
            .filter(|_| !placement.has_codes())
            .map(|generation| generation.to_string());
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            match checkpoint_seq(&name) {
                // One that is ahead has followed writes that were lost with an unsynced log.
                Some(seq) if seq <= last => files.push((seq, entry.path())),
                _ if generation.as_deref() == Some(name.as_str()) => {}
                _ => ann::remove(&entry.path()),
            }
        }
        files.sort_unstable_by_key(|(seq, _)| *seq);
        let mut checkpoint = None;
        while let Some((_, path)) = files.pop() {
            if checkpoint.is_none() {
                match read_checkpoint(&path, &empty_arena(params, placement), placement.is_mapped()) {
                    Ok(read) => {
                        checkpoint = Some(read);
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "a checkpoint cannot be used: vectors are read from their records");
                    }
                }
            }
            ann::remove(&path);
        }
        let saved = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.seq);
        let index = match &mut checkpoint {
            Some(checkpoint) if placement.has_codes() => checkpoint.index.take().map(|ivf| {
                let applied = SeqNo(saved);
                Arc::new(MemoryIndex { ivf, applied }) as Arc<dyn VectorIndex>
            }),
            _ => generation.and_then(|generation| open_generation(&dir.join(generation), params, last)),
        };
        let slot = Self {
            dir,
            broken: AtomicBool::new(false),
            next_generation: AtomicU32::new(record.next_generation),
            saved: AtomicU64::new(saved),
            saved_touched: AtomicU64::new(0),
            retrained: AtomicBool::new(false),
        };
        Restored {
            slot,
            checkpoint,
            index,
        }
    }

    /// The write that the checkpoint follows.
    pub(crate) fn saved(&self) -> Option<SeqNo> {
        match self.saved.load(Ordering::Relaxed) {
            0 => None,
            seq => Some(SeqNo(seq)),
        }
    }

    fn standing(&self, state: &State, number: usize, options: &Options) -> Standing {
        let arena = &state.arenas[number];
        let present = arena.present().len();
        let pending = state.indexes[number].as_ref().and_then(|index| {
            let touched = state.touched_since(index.applied().ok()?).len();
            Some((touched, index.allowed_lag(present, options.index_lag)))
        });
        let at_rest = state.written.elapsed() > REST;
        let outgrown = state.indexes[number]
            .as_ref()
            .is_some_and(|index| index.is_outgrown(at_rest));
        let placement = state.schema.placements[number];
        Standing {
            present,
            threshold: threshold(placement, arena, options),
            pending,
            unfit: outgrown || self.broken.load(Ordering::Relaxed),
            mapped: placement.is_mapped(),
            unsaved: match self.saved() {
                Some(_) => state.touched - self.saved_touched.load(Ordering::Relaxed),
                None if pending.is_none() => present,
                None => u64::MAX,
            },
            unsaved_least: options.checkpoint_changes,
            retrained: self.retrained.load(Ordering::Relaxed),
            at_rest,
        }
    }
}

fn open_generation(dir: &Path, params: &VectorParams, last: SeqNo) -> Option<Arc<dyn VectorIndex>> {
    let opened = ann::open(dir, params.size).and_then(|index| Ok((index.applied()?, index)));
    match opened {
        Ok((applied, index)) if applied <= last && applied > SeqNo::default() => return Some(index),
        Ok((applied, index)) => {
            tracing::warn!(dir = %dir.display(), ?applied, ?last, "an index does not fit its collection and is built again");
            index.discard();
        }
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "an index cannot be opened and is built again");
            ann::remove(dir);
        }
    }
    None
}

impl Collection {
    /// Lets every index follow as far as it needs to; where there is no end to that, others have their turn first. Called by the indexer thread alone; writes and searches go on
    /// meanwhile. Stops early, with nothing lost, when `cancel` becomes true.
    pub fn update_indexes(&self, cancel: &AtomicBool) -> Result<()> {
        let cancel = &|| self.is_cancelled(cancel);
        for (number, slot) in self.indexes.iter().enumerate() {
            for _ in 0..ROUNDS {
                if cancel() {
                    return Ok(());
                }
                let state = self.state();
                match need(slot.standing(&state, number, &self.options)) {
                    Need::Nothing => break,
                    Need::Follow => self.follow_index(number, &state, cancel)?,
                    Need::Build if !state.schema.placements[number].has_codes() => {
                        self.build_on_disk(slot, number, cancel)?
                    }
                    Need::Build => self.build_in_memory(slot, number, cancel)?,
                    Need::Save => self.save(number)?,
                }
                self.trim_log()?;
            }
        }
        self.compact_sparse(cancel)?;
        self.train_multis(cancel)?;
        self.make_unions(cancel);
        self.save_columns(cancel)
    }

    /// Trains the first stage of searches in multivectors where it is missing or outgrown.
    fn train_multis(&self, cancel: Cancel<'_>) -> Result<()> {
        for number in 0..self.state().multis.len() {
            let state = self.state();
            let multis = &state.multis[number];
            if !multis.is_outgrown() {
                continue;
            }
            tracing::info!(collection = %self.name(), vector = number, vectors = multis.vectors(), "training centroids of a multivector");
            let Some(mut trained) = multis.train(rayon::current_num_threads(), &|| cancel()) else {
                return Ok(());
            };
            // Writers wait only for what comes after this.
            trained.follow(&self.state().multis[number]);
            let writer = self.lock_writer()?;
            let mut state = State::clone(&self.state());
            state.multis[number].adopt(trained);
            self.publish_in_memory(state);
            drop(writer);
        }
        Ok(())
    }

    /// Merges segments of sparse vectors that no write has merged.
    fn compact_sparse(&self, cancel: Cancel<'_>) -> Result<()> {
        for number in 0..self.state().sparse.len() {
            while !cancel()
                && let Some(compaction) = self.state().sparse[number].compact()
            {
                let writer = self.lock_writer()?;
                let mut state = State::clone(&self.state());
                state.sparse[number].replace(compaction);
                self.publish_in_memory(state);
                drop(writer);
            }
        }
        Ok(())
    }

    pub(crate) fn is_cancelled(&self, cancel: &AtomicBool) -> bool {
        cancel.load(Ordering::Relaxed) || self.dropped.load(Ordering::Relaxed)
    }

    /// Whether an index is behind or missing.
    pub fn is_indexing(&self) -> bool {
        let state = self.state();
        let slots = self.indexes.iter().enumerate();
        let mut needs = slots.map(|(number, slot)| need(slot.standing(&state, number, &self.options)));
        needs.any(|need| need != Need::Nothing) || state.multis.iter().any(MultiArena::is_outgrown)
    }

    fn follow_index(&self, number: usize, state: &State, cancel: Cancel<'_>) -> Result<()> {
        let Some(index) = state.indexes[number].clone() else {
            return Ok(());
        };
        let changed = state.touched_since(index.applied()?);
        match index.follow(&changed, &state.arenas[number], state.seq, cancel) {
            Ok(Followed::Done(index)) => self.put_index(number, Some(index)),
            Ok(Followed::Cancelled) => Ok(()),
            Ok(Followed::Full) => self.build_on_disk(&self.indexes[number], number, cancel),
            Err(error) => {
                tracing::warn!(collection = %self.name(), %error, "an index cannot follow and is built again");
                self.put_index(number, None)
            }
        }
    }

    /// Publishes an index with the state there is, and forgets what all indexes have followed.
    fn put_index(&self, number: usize, index: Option<Arc<dyn VectorIndex>>) -> Result<()> {
        let writer = self.lock_writer()?;
        let mut state = State::clone(&self.state());
        state.indexes[number] = index;
        state.trim_tail(writer.hold);
        self.publish_in_memory(state);
        drop(writer);
        Ok(())
    }

    /// From here on every write is logged, and none of the log is forgotten, so that an index that is built on the returned
    /// state can follow what comes after it.
    pub(crate) fn begin_build(&self) -> Result<Arc<State>> {
        let mut writer = self.lock_writer()?;
        writer.log = true;
        let state = self.state();
        writer.hold = Some(state.seq);
        Ok(state)
    }

    pub(crate) fn end_build(&self) {
        self.writer.lock().hold = None;
    }

    /// Builds in a thread of its own. An index in memory that answers meanwhile follows.
    fn build_beside<T: Send>(
        &self,
        slot: &IndexSlot,
        number: usize,
        cancel: Cancel<'_>,
        build: impl FnOnce() -> T + Send,
    ) -> Result<T> {
        const PAUSE: Duration = Duration::from_millis(20);
        std::thread::scope(|scope| {
            let building = std::thread::Builder::new().name("train".to_owned());
            let building = building.spawn_scoped(scope, build);
            let building = building.map_err(|error| StorageError::Index(error.to_string()))?;
            while !building.is_finished() {
                let now = self.state();
                let index = now.indexes[number].as_ref();
                let lag = slot.standing(&now, number, &self.options).pending;
                if index.is_some_and(|index| index.in_memory().is_some())
                    && lag.is_some_and(|(pending, allowed)| pending > allowed)
                {
                    self.follow_index(number, &now, cancel)?;
                } else {
                    std::thread::sleep(PAUSE);
                }
            }
            building
                .join()
                .map_err(|_| StorageError::Index("building panicked".to_owned()))
        })
    }

    /// Trains a new index beside the one that answers.
    fn build_in_memory(&self, slot: &IndexSlot, number: usize, cancel: Cancel<'_>) -> Result<()> {
        let state = self.begin_build()?;
        let arena = &state.arenas[number];
        let threads = rayon::current_num_threads();
        tracing::info!(collection = %self.name(), vector = number, points = arena.present().len(), "training an index");
        let built = self.build_beside(slot, number, cancel, || Ivf::build(arena, threads, &|| cancel()));
        self.end_build();
        if let Some(ivf) = built? {
            let applied = state.seq;
            self.put_index(number, Some(Arc::new(MemoryIndex { ivf, applied })))?;
            slot.retrained.store(true, Ordering::Relaxed);
            slot.broken.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Builds a new generation beside the one that answers, then puts it in its place.
    pub(crate) fn build_on_disk(&self, slot: &IndexSlot, number: usize, cancel: Cancel<'_>) -> Result<()> {
        let state = self.begin_build()?;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads());
        let built = threads
            .build()
            .map_err(|error| StorageError::Index(error.to_string()))
            .and_then(|threads| {
                let build = || threads.install(|| self.build_generation(slot, number, &state, cancel));
                self.build_beside(slot, number, cancel, build)?
            });
        self.end_build();
        match built? {
            Some(built) => self.put_on_disk(slot, number, Some(built)),
            None => Ok(()),
        }
    }

    /// From here on vectors are on disk, with this generation of their index.
    pub(crate) fn put_on_disk(
        &self,
        slot: &IndexSlot,
        number: usize,
        built: Option<(u32, Arc<dyn VectorIndex>)>,
    ) -> Result<()> {
        let (generation, index) = built.unzip();
        let mut writer = self
            .lock_writer()
            .inspect_err(|_| index.iter().for_each(|index| index.discard()))?;
        let mut record = writer.record.clone();
        let vector = &mut record.vectors[number];
        vector.placement = Placement::Disk;
        vector.generation = generation;
        if let Some(generation) = generation {
            vector.next_generation = generation + 1;
        }
        self.alter(&mut writer, record)?;
        fail::fail_point!("index::after_flip");
        let mut state = State::clone(&self.state());
        let old = std::mem::replace(&mut state.indexes[number], index);
        state.trim_tail(writer.hold);
        self.publish_in_memory(state);
        slot.broken.store(false, Ordering::Relaxed);
        drop(writer);
        if let Some(old) = old {
            old.discard();
        }
        Ok(())
    }

    fn build_generation(
        &self,
        slot: &IndexSlot,
        number: usize,
        state: &State,
        cancel: Cancel<'_>,
    ) -> Result<Option<(u32, Arc<dyn VectorIndex>)>> {
        let arena = &state.arenas[number];
        let mut capacity = arena.present().len() * 2;
        loop {
            let generation = slot.next_generation.fetch_add(1, Ordering::Relaxed);
            let dir = slot.dir.join(generation.to_string());
            let index = ann::create(&dir, arena.distance(), arena, capacity)?;
            tracing::info!(collection = %self.name(), vector = number, generation, points = arena.present().len(), "building an index on disk");
            match index.clone().follow(arena.present(), arena, state.seq, cancel) {
                Ok(Followed::Done(_)) => return Ok(Some((generation, index))),
                Ok(Followed::Cancelled) => {
                    index.discard();
                    return Ok(None);
                }
                Ok(Followed::Full) => {
                    index.discard();
                    capacity *= 2;
                }
                Err(error) => {
                    index.discard();
                    return Err(error);
                }
            }
        }
    }

    /// Forgets the part of the log that every checkpoint and every index has followed; all of it where there is none. A
    /// checkpoint that is written next begins where its index is now.
    pub(crate) fn trim_log(&self) -> Result<()> {
        let writer = self.writer.lock();
        let state = self.state();
        let slots = self.indexes.iter().zip(&state.indexes);
        let needed = slots.flat_map(|(slot, index)| {
            let applied = index.as_ref().map(|index| index.applied().unwrap_or_default());
            [slot.saved(), applied, writer.hold]
        });
        let columns = self.columns.saved(&state.schema);
        let followed = needed.flatten().chain(columns).min().unwrap_or(state.seq);
        let mut batch = self.rocks.batch();
        batch.delete_range(
            Cf::IndexLog,
            &self.id.log_key(SeqNo(0)),
            &self.id.log_key(followed.next()),
        );
        self.rocks.write(batch)?;
        drop(writer);
        Ok(())
    }

    /// Takes the collection out of use in one step with what `write` does: operations fail from then on, indexes and their files are
    /// given up. If `write` fails, nothing has changed.
    pub(crate) fn drop_with(&self, write: impl FnOnce() -> Result<()>) -> Result<()> {
        // No operation is being applied meanwhile, and the next one sees the flag.
        let writer = self.writer.lock();
        write()?;
        self.dropped.store(true, Ordering::Relaxed);
        drop(writer);
        for index in self.state().indexes.iter().flatten() {
            index.discard();
        }
        ann::remove(&index_dir(&self.options, self.id));
        Ok(())
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many points were changed by writes that the slowest index has yet to follow; one that was changed twice counts twice.
    pub fn index_lag(&self) -> u64 {
        self.state().tail.iter().map(|entry| entry.offsets.len()).sum()
    }

    /// How many vectors the indexes hold.
    pub fn indexed_vectors(&self) -> u64 {
        let state = self.state();
        state
            .indexes
            .iter()
            .flatten()
            .map(|index| index.len().unwrap_or(0))
            .sum()
    }
}
