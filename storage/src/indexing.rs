//! How indexes follow their collection: when to build, follow and save, and the trimming of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use twofold_types::VectorParams;
use twofold_vector::{Arena, Checkpoint, Ivf, read_checkpoint, write_checkpoint};

use crate::ann;
use crate::collection::{Collection, index_dir};
use crate::error::{Result, StorageError};
use crate::index::{Cancel, Followed, MemoryIndex, VectorIndex};
use crate::key::SeqNo;
use crate::options::Options;
use crate::record::VectorRecord;
use crate::rocks::Cf;
use crate::state::State;

/// A checkpoint is written again when one vector in this many has changed since the last, and as many more as the options say.
pub(crate) const SAVED_SHARE: u64 = 5;

/// A collection is at rest when it was not written to for so long.
const REST: Duration = Duration::from_secs(2);

const CHECKPOINT: &str = "vectors-";

/// What of one vector's index is not in the state: its place on disk. The indexer alone changes it.
pub(crate) struct IndexSlot {
    dir: PathBuf,
    on_disk: bool,
    /// A search failed on it: it answers nothing any more and is built again.
    pub(crate) broken: AtomicBool,
    next_generation: AtomicU32,
    /// The write that the checkpoint follows; 0 without one.
    saved: AtomicU64,
    /// What [`State::touched`] was at the checkpoint.
    saved_touched: AtomicU64,
}

/// What was found of one vector's index at open.
pub(crate) struct Restored {
    pub(crate) slot: IndexSlot,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) index: Option<Arc<dyn VectorIndex>>,
}

/// What an index needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Follow what has changed.
    Follow,
    /// Be built anew.
    Build,
    /// Be saved.
    Save,
}

/// Numbers that decide what an index needs.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// Vectors there are.
    present: u64,
    /// Vectors from which on an index is worth its while.
    threshold: u64,
    /// Offsets that changed since the index followed, and how many may; none without an index.
    pending: Option<(u64, u64)>,
    /// It failed, or its data has become different.
    unfit: bool,
    /// Offsets that changed since the checkpoint, and how many may besides a share.
    unsaved: u64,
    unsaved_least: u64,
}

fn need(standing: Standing) -> Need {
    let small = standing.present <= standing.threshold;
    match standing.pending {
        None if !small => Need::Build,
        Some(_) if standing.unfit && !small => Need::Build,
        Some((pending, allowed)) if pending > allowed => Need::Follow,
        Some(_) if standing.unsaved > standing.present / SAVED_SHARE + standing.unsaved_least => Need::Save,
        _ => Need::Nothing,
    }
}

/// An arena for one vector, as its parameters call for: vectors on disk have no codes in memory.
pub(crate) fn empty_arena(params: &VectorParams) -> Arena {
    Arena::new(params.size, params.distance, !params.on_disk.unwrap_or(false))
}

impl IndexSlot {
    /// Opens what the record and the files name and deletes all else. What cannot be used is made again later.
    pub(crate) fn open(dir: PathBuf, record: &VectorRecord, params: &VectorParams, last: SeqNo) -> Restored {
        let on_disk = params.on_disk.unwrap_or(false);
        let mut files: Vec<(SeqNo, PathBuf)> = Vec::new();
        let generation = record
            .generation
            .filter(|_| on_disk)
            .map(|generation| generation.to_string());
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            match name.strip_prefix(CHECKPOINT).and_then(|seq| seq.parse().ok()) {
                // One that is ahead has followed writes that were lost with an unsynced log.
                Some(seq) if SeqNo(seq) <= last => files.push((SeqNo(seq), entry.path())),
                _ if generation.as_deref() == Some(name.as_str()) => {}
                _ => ann::remove(&entry.path()),
            }
        }
        files.sort_unstable_by_key(|(seq, _)| *seq);
        let mut checkpoint = None;
        while let Some((_, path)) = files.pop() {
            if checkpoint.is_none() {
                match read_checkpoint(&path, &empty_arena(params), on_disk) {
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
            Some(checkpoint) if !on_disk => checkpoint.index.take().map(|ivf| {
                let applied = SeqNo(saved);
                Arc::new(MemoryIndex { ivf, applied }) as Arc<dyn VectorIndex>
            }),
            _ => generation.and_then(|generation| open_generation(&dir.join(generation), params, last)),
        };
        let slot = Self {
            dir,
            on_disk,
            broken: AtomicBool::new(false),
            next_generation: AtomicU32::new(record.next_generation),
            saved: AtomicU64::new(saved),
            saved_touched: AtomicU64::new(0),
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

    fn checkpoint_path(&self, seq: SeqNo) -> PathBuf {
        self.dir.join(format!("{CHECKPOINT}{}", seq.0))
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
        let threshold = if self.on_disk {
            options.exact_scan_components / arena.dimensions() as u64
        } else {
            options.index_threshold
        };
        Standing {
            present,
            threshold,
            pending,
            unfit: outgrown || self.broken.load(Ordering::Relaxed),
            unsaved: match self.saved() {
                Some(_) => state.touched - self.saved_touched.load(Ordering::Relaxed),
                None => u64::MAX,
            },
            unsaved_least: options.checkpoint_changes,
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
    /// Lets every index follow as far as it needs to. Called by the indexer thread alone; writes and searches go on
    /// meanwhile. Stops early, with nothing lost, when `cancel` becomes true.
    pub fn update_indexes(&self, cancel: &AtomicBool) -> Result<()> {
        let cancel = &|| cancel.load(Ordering::Relaxed) || self.dropped.load(Ordering::Relaxed);
        for (number, slot) in self.indexes.iter().enumerate() {
            while !cancel() {
                let state = self.state();
                match need(slot.standing(&state, number, &self.options)) {
                    Need::Nothing => break,
                    Need::Follow => self.follow_index(number, &state, cancel)?,
                    Need::Build if slot.on_disk => self.build_on_disk(slot, number, cancel)?,
                    Need::Build => self.build_in_memory(slot, number, cancel)?,
                    Need::Save => self.save(slot, number)?,
                }
                self.trim_log()?;
            }
        }
        self.save_columns(cancel)
    }

    /// Whether an index is behind or missing.
    pub fn is_indexing(&self) -> bool {
        let state = self.state();
        let slots = self.indexes.iter().enumerate();
        let mut needs = slots.map(|(number, slot)| need(slot.standing(&state, number, &self.options)));
        needs.any(|need| need != Need::Nothing)
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

    /// Trains a new index beside the one that answers, which follows meanwhile.
    fn build_in_memory(&self, slot: &IndexSlot, number: usize, cancel: Cancel<'_>) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(20);
        let state = self.begin_build()?;
        let arena = &state.arenas[number];
        let threads = rayon::current_num_threads();
        tracing::info!(collection = %self.name(), vector = number, points = arena.present().len(), "training an index");
        let built = std::thread::scope(|scope| {
            let training = std::thread::Builder::new().name("train".to_owned());
            let training = training.spawn_scoped(scope, || Ivf::build(arena, threads, &|| cancel()));
            let training = training.map_err(|error| StorageError::Index(error.to_string()))?;
            while !training.is_finished() {
                let now = self.state();
                let lag = slot.standing(&now, number, &self.options).pending;
                if lag.is_some_and(|(pending, allowed)| pending > allowed) {
                    self.follow_index(number, &now, cancel)?;
                } else {
                    std::thread::sleep(PAUSE);
                }
            }
            training
                .join()
                .map_err(|_| StorageError::Index("training panicked".to_owned()))
        });
        self.end_build();
        if let Some(ivf) = built? {
            let applied = state.seq;
            self.put_index(number, Some(Arc::new(MemoryIndex { ivf, applied })))?;
            slot.broken.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Builds a new generation beside the one that answers, then puts it in its place.
    fn build_on_disk(&self, slot: &IndexSlot, number: usize, cancel: Cancel<'_>) -> Result<()> {
        let state = self.begin_build()?;
        let built = self.build_generation(slot, number, &state, cancel);
        self.end_build();
        let Some((generation, index)) = built? else {
            return Ok(());
        };
        let mut writer = self.lock_writer().inspect_err(|_| index.discard())?;
        let mut record = writer.record.clone();
        record.vectors[number].generation = Some(generation);
        record.vectors[number].next_generation = generation + 1;
        self.alter(&mut writer, record)?;
        fail::fail_point!("index::after_flip");
        let mut state = State::clone(&self.state());
        let old = state.indexes[number].replace(index);
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

    /// Writes a checkpoint. Vectors on disk are read from it from then on.
    fn save(&self, slot: &IndexSlot, number: usize) -> Result<()> {
        let state = self.state();
        let arena = &state.arenas[number];
        let index = state.indexes[number]
            .as_ref()
            .and_then(|index| index.in_memory().map(|ivf| (ivf, index)));
        let seq = match &index {
            Some((_, index)) => index.applied()?,
            None => state.seq,
        };
        let path = slot.checkpoint_path(seq);
        let failed = |source: std::io::Error| StorageError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&slot.dir).map_err(failed)?;
        write_checkpoint(&path, arena, index.map(|(ivf, _)| ivf), seq.0).map_err(failed)?;
        fail::fail_point!("index::after_checkpoint");
        slot.saved_touched.store(state.touched, Ordering::Relaxed);
        let old = slot.saved.swap(seq.0, Ordering::Relaxed);
        if old != 0 && old != seq.0 {
            ann::remove(&slot.checkpoint_path(SeqNo(old)));
        }
        if slot.on_disk {
            let stored = read_checkpoint(&path, &empty_arena(&state.params(number)), true)
                .map_err(|error| StorageError::Index(error.to_string()))?;
            let writer = self.lock_writer()?;
            let mut now = State::clone(&self.state());
            now.arenas[number].adopt(arena, &stored.arena);
            self.publish_in_memory(now);
            drop(writer);
        }
        Ok(())
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

    /// Takes the collection out of use: operations fail from now on, indexes and their files are given up.
    pub(crate) fn close_for_drop(&self) {
        self.dropped.store(true, Ordering::Relaxed);
        // Waits for the operation that is being applied; the next one sees the flag.
        drop(self.writer.lock());
        for index in self.state().indexes.iter().flatten() {
            index.discard();
        }
        ann::remove(&index_dir(&self.options, self.id));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_built_when_it_pays_follows_when_it_lags_and_is_saved_when_much_has_changed() {
        let standing = Standing {
            present: 1_000,
            threshold: 1_000,
            pending: None,
            unfit: false,
            unsaved: u64::MAX,
            unsaved_least: 100,
        };
        assert_eq!(need(standing), Need::Nothing);
        let large = Standing {
            threshold: 999,
            ..standing
        };
        assert_eq!(need(large), Need::Build);
        let saved = Standing {
            pending: Some((100, 100)),
            unsaved: 0,
            ..large
        };
        assert_eq!(need(saved), Need::Nothing);
        assert_eq!(
            need(Standing {
                pending: Some((101, 100)),
                ..saved
            }),
            Need::Follow
        );
        assert_eq!(need(Standing { unfit: true, ..saved }), Need::Build);
        assert_eq!(need(Standing { unsaved: 301, ..saved }), Need::Save);
        assert_eq!(need(Standing { unsaved: 300, ..saved }), Need::Nothing);
    }
}
