//! Checkpoints of vectors: one file of an arena and its index in memory, which rows may be mapped from.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::Ordering;

use twofold_vector::{Arena, MappedRows, write_checkpoint};

use crate::ann;
use crate::collection::Collection;
use crate::error::{Result, StorageError};
use crate::key::SeqNo;
use crate::state::State;

/// What the names of checkpoints begin with; the write follows.
const CHECKPOINT: &str = "vectors-";

/// The write that a file is the checkpoint of; none for other files.
pub(crate) fn checkpoint_seq(name: &str) -> Option<SeqNo> {
    name.strip_prefix(CHECKPOINT)?.parse().ok().map(SeqNo)
}

/// Bytes of the largest checkpoint in a directory; 0 without one.
pub(crate) fn checkpoint_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let checkpoints = entries.filter(|entry| entry.file_name().to_str().and_then(checkpoint_seq).is_some());
    let bytes = checkpoints.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    bytes.max().unwrap_or(0)
}

impl Collection {
    /// Writes a checkpoint. Rows that are not kept in memory are read from it from then on.
    pub(crate) fn save(&self, number: usize) -> Result<()> {
        let slot = &self.indexes[number];
        let state = {
            let mut writer = self.lock_writer()?;
            // The checkpoint has to be told what changes after it.
            writer.log = true;
            self.state()
        };
        let arena = &state.arenas[number];
        let index = state.indexes[number]
            .as_ref()
            .and_then(|index| index.in_memory().map(|ivf| (ivf, index)));
        let seq = match &index {
            Some((_, index)) => index.applied()?,
            None => state.seq,
        };
        let path = slot.dir.join(format!("{CHECKPOINT}{}", seq.0));
        let failed = |source: std::io::Error| StorageError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&slot.dir).map_err(failed)?;
        write_checkpoint(&path, arena, index.map(|(ivf, _)| ivf), seq.0).map_err(failed)?;
        fail::fail_point!("index::after_checkpoint");
        slot.saved_touched.store(state.touched, Ordering::Relaxed);
        slot.retrained.store(false, Ordering::Relaxed);
        let old = slot.saved.swap(seq.0, Ordering::Relaxed);
        if old != 0 && old != seq.0 {
            ann::remove(&slot.dir.join(format!("{CHECKPOINT}{old}")));
        }
        if state.schema.placements[number].is_mapped() {
            let stored = MappedRows::open(&path, arena.dimensions());
            let stored = stored.map_err(|error| StorageError::Index(error.to_string()))?;
            let written = arena.block_ids();
            // What is not in use any more is to go at once.
            drop(state);
            self.change_arena(number, |arena, blocks| arena.map_rows(&written, &stored, blocks))?;
        }
        Ok(())
    }

    /// Changes how an arena is kept, so many blocks at a time that writers wait little and memory is free as early as can be.
    pub(crate) fn change_arena(&self, number: usize, mut change: impl FnMut(&mut Arena, Range<usize>)) -> Result<()> {
        const BLOCKS: usize = 512;
        let mut first = 0;
        loop {
            let writer = self.lock_writer()?;
            let mut state = State::clone(&self.state());
            let arena = &mut state.arenas[number];
            let blocks = arena.block_numbers().end;
            let end = blocks.min(first + BLOCKS);
            change(arena, first..end);
            state.trim_tail(writer.hold);
            self.publish_in_memory(state);
            drop(writer);
            fail::fail_point!("placement::between_blocks");
            if end == blocks {
                return Ok(());
            }
            first = end;
        }
    }
}
