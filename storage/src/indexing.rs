//! How ANN indexes follow their collection: when to build, generations, and the trimming of the log.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::RwLock;
use twofold_types::VectorParams;

use crate::ann::{self, Cancel, Outcome, Probe, Proposal, VectorIndex};
use crate::collection::{Collection, index_dir};
use crate::error::Result;
use crate::key::SeqNo;
use crate::record::VectorRecord;
use crate::rocks::Cf;
use crate::state::State;

/// The place of one vector's ANN index. The indexer alone changes what is in it.
pub(crate) struct IndexSlot {
    dir: PathBuf,
    current: RwLock<Option<Box<dyn VectorIndex>>>,
    /// A search failed on it: it answers nothing any more and is built again.
    broken: AtomicBool,
    next_generation: AtomicU32,
}

/// What an index needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Follow what has changed.
    Follow,
    /// Be built, in a new generation.
    Build,
}

/// Numbers that decide what an index needs.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// Vectors there are.
    present: u64,
    dimensions: u64,
    /// Offsets that changed since the index followed; none without an index.
    pending: Option<u64>,
    broken: bool,
}

fn need(standing: Standing, exact_scan_components: u64, lag: f64) -> Need {
    let small = standing.present * standing.dimensions <= exact_scan_components;
    match standing.pending {
        _ if standing.broken && !small => Need::Build,
        None if !small => Need::Build,
        Some(pending) if pending as f64 > standing.present as f64 * lag => Need::Follow,
        _ => Need::Nothing,
    }
}

impl IndexSlot {
    /// Opens the generation that the record names and deletes all others. What cannot be used is built again later.
    pub(crate) fn open(dir: PathBuf, record: &VectorRecord, params: &VectorParams, last: SeqNo) -> Self {
        let current = record.generation.and_then(|generation| {
            let opened = ann::open(&dir.join(generation.to_string()), params.size)
                .and_then(|index| Ok((index.applied()?, index)));
            match opened {
                // An index that is ahead has followed writes that were lost with an unsynced log.
                Ok((applied, index)) if applied <= last && applied > SeqNo::default() => Some(index),
                Ok((applied, index)) => {
                    tracing::warn!(dir = %dir.display(), ?applied, ?last, "an ANN index does not fit its collection and is built again");
                    index.destroy();
                    None
                }
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "an ANN index cannot be opened and is built again");
                    None
                }
            }
        });
        let keep = current
            .as_ref()
            .and(record.generation)
            .map(|generation| generation.to_string());
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if keep.as_deref() != entry.file_name().to_str() {
                ann::remove(&entry.path());
            }
        }
        Self {
            dir,
            current: RwLock::new(current),
            broken: AtomicBool::new(false),
            next_generation: AtomicU32::new(record.next_generation),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.current.read().is_some()
    }

    /// Asks the index; none where there is none that can answer.
    pub(crate) fn search(&self, probe: &Probe<'_>) -> Option<Proposal> {
        if self.broken.load(Ordering::Relaxed) {
            return None;
        }
        let current = self.current.read();
        match current.as_ref()?.search(probe) {
            Ok(proposal) => Some(proposal),
            Err(error) => {
                tracing::error!(dir = %self.dir.display(), %error, "an ANN index failed: answers are exact until it is built again");
                self.broken.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    fn applied(&self) -> Option<SeqNo> {
        self.current.read().as_ref().and_then(|index| index.applied().ok())
    }

    pub(crate) fn len(&self) -> u64 {
        self.current
            .read()
            .as_ref()
            .and_then(|index| index.len().ok())
            .unwrap_or(0)
    }

    fn standing(&self, state: &State, number: usize) -> Standing {
        let arena = &state.arenas[number];
        Standing {
            present: arena.present().len(),
            dimensions: arena.dimensions() as u64,
            pending: self.applied().map(|applied| state.touched_since(applied).len()),
            broken: self.broken.load(Ordering::Relaxed),
        }
    }

    /// Gives up the index and its files.
    pub(crate) fn clear(&self) {
        if let Some(index) = self.current.write().take() {
            index.destroy();
        }
        ann::remove(&self.dir);
    }
}

impl Collection {
    /// Lets every ANN index follow as far as it needs to. Called by the indexer thread alone; writes and searches go on
    /// meanwhile. Stops early, with nothing lost, when `cancel` becomes true.
    pub fn update_indexes(&self, cancel: &AtomicBool) -> Result<()> {
        let cancel = &|| cancel.load(Ordering::Relaxed) || self.dropped.load(Ordering::Relaxed);
        for (number, slot) in self.indexes.iter().enumerate() {
            while !cancel() {
                let state = self.state();
                match need(
                    slot.standing(&state, number),
                    self.options.exact_scan_components,
                    self.options.index_lag,
                ) {
                    Need::Nothing => break,
                    Need::Follow => self.follow_index(slot, number, &state, cancel)?,
                    Need::Build => self.build_index(slot, number, cancel)?,
                }
                self.trim_log()?;
            }
        }
        Ok(())
    }

    /// Whether an index is behind or missing.
    pub fn is_indexing(&self) -> bool {
        let state = self.state();
        let options = &self.options;
        self.indexes.iter().enumerate().any(|(number, slot)| {
            need(
                slot.standing(&state, number),
                options.exact_scan_components,
                options.index_lag,
            ) != Need::Nothing
        })
    }

    fn follow_index(&self, slot: &IndexSlot, number: usize, state: &State, cancel: Cancel<'_>) -> Result<()> {
        let outcome = {
            let current = slot.current.read();
            let Some(index) = current.as_ref() else { return Ok(()) };
            let changed = state.touched_since(index.applied()?);
            index.apply(&changed, &state.arenas[number], state.seq, cancel)
        };
        match outcome {
            Ok(Outcome::Done | Outcome::Cancelled) => Ok(()),
            Ok(Outcome::Full) => self.build_index(slot, number, cancel),
            Err(error) => {
                tracing::warn!(dir = %slot.dir.display(), %error, "an ANN index cannot follow and is built again");
                self.build_index(slot, number, cancel)
            }
        }
    }

    /// Builds a new generation beside the one that answers, then puts it in its place.
    fn build_index(&self, slot: &IndexSlot, number: usize, cancel: Cancel<'_>) -> Result<()> {
        let state = {
            // From here on every write is logged, so that the new index misses nothing of what comes after this state.
            let mut writer = self.lock_writer()?;
            writer.log = true;
            self.state()
        };
        let (name, params) = state
            .schema
            .config
            .vectors
            .iter()
            .nth(number)
            .expect("a vector number counts the configured vectors");
        let arena = &state.arenas[number];
        let mut capacity = arena.present().len() * 2;
        let (generation, index) = loop {
            let generation = slot.next_generation.fetch_add(1, Ordering::Relaxed);
            let index = ann::create(&generation_dir(&slot.dir, generation), params.distance, arena, capacity)?;
            tracing::info!(collection = %self.name(), vector = name, generation, points = arena.present().len(), "building an ANN index");
            match index.apply(arena.present(), arena, state.seq, cancel) {
                Ok(Outcome::Done) => break (generation, index),
                Ok(Outcome::Cancelled) => {
                    index.destroy();
                    return Ok(());
                }
                Ok(Outcome::Full) => {
                    index.destroy();
                    capacity *= 2;
                }
                Err(error) => {
                    index.destroy();
                    return Err(error);
                }
            }
        };
        let mut writer = self
            .lock_writer()
            .inspect_err(|_| ann::remove(&generation_dir(&slot.dir, generation)))?;
        let mut record = writer.record.clone();
        record.vectors[number].generation = Some(generation);
        record.vectors[number].next_generation = generation + 1;
        self.alter(&mut writer, record)?;
        fail::fail_point!("index::after_flip");
        let old = slot.current.write().replace(index);
        slot.broken.store(false, Ordering::Relaxed);
        drop(writer);
        if let Some(old) = old {
            old.destroy();
        }
        Ok(())
    }

    /// Forgets the part of the log that every index has followed; all of it where there is no index.
    pub(crate) fn trim_log(&self) -> Result<()> {
        let writer = self.writer.lock();
        let slowest = self.indexes.iter().filter_map(IndexSlot::applied).min();
        let last = self.state().seq;
        let followed = slowest.unwrap_or(last);
        let mut state = State::clone(&self.state());
        state.tail.retain(|entry| entry.seq > followed);
        let mut batch = self.rocks.batch();
        batch.delete_range(
            Cf::IndexLog,
            &self.id.log_key(SeqNo(0)),
            &self.id.log_key(followed.next()),
        );
        self.publish(batch, state)?;
        drop(writer);
        Ok(())
    }

    /// Takes the collection out of use: operations fail from now on, indexes and their files are given up.
    pub(crate) fn close_for_drop(&self) {
        self.dropped.store(true, Ordering::Relaxed);
        // Waits for the operation that is being applied; the next one sees the flag.
        drop(self.writer.lock());
        self.indexes.iter().for_each(IndexSlot::clear);
        ann::remove(&index_dir(&self.options, self.id));
    }

    /// How many vectors the ANN indexes hold.
    pub fn indexed_vectors(&self) -> u64 {
        self.indexes.iter().map(IndexSlot::len).sum()
    }
}

fn generation_dir(dir: &Path, generation: u32) -> PathBuf {
    dir.join(generation.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_built_when_scans_become_slow_and_follows_when_it_lags() {
        let standing = Standing {
            present: 1_000,
            dimensions: 10,
            pending: None,
            broken: false,
        };
        assert_eq!(need(standing, 10_000, 0.1), Need::Nothing);
        assert_eq!(need(standing, 9_999, 0.1), Need::Build);
        assert_eq!(
            need(
                Standing {
                    pending: Some(100),
                    ..standing
                },
                9_999,
                0.1
            ),
            Need::Nothing
        );
        assert_eq!(
            need(
                Standing {
                    pending: Some(101),
                    ..standing
                },
                9_999,
                0.1
            ),
            Need::Follow
        );
        assert_eq!(
            need(
                Standing {
                    pending: Some(0),
                    broken: true,
                    ..standing
                },
                9_999,
                0.1
            ),
            Need::Build
        );
    }
}
