//! Multivectors in memory: several vectors a point, compared by MaxSim.
//!
//! Large collections are searched in two stages: [`Coarse`] says roughly how near every point is, and the best are compared
//! vector by vector. Small ones, small filters and exact searches compare every point.

mod coarse;
mod max_sim;
mod rows;

use std::sync::Arc;

use twofold_types::Distance;

use crate::bitmap::Bitmap;
use crate::deadline::Watch;
use crate::ivf::Cancel;
use crate::pool::Best;
use crate::probe::{Effort, Neighbour};

use coarse::Coarse;
use rows::Rows;

pub use coarse::Trained;
pub use max_sim::MaxSim;
pub use rows::round_to_half;

/// Points of a block; writers copy the blocks of pointers that they touch.
const BLOCK: usize = 128;

/// The vectors of points next to each other.
type Block = [Option<Rows>; BLOCK];

/// How many points are compared vector by vector: per square root of the number of points at the usual effort, and at least for each
/// that is wanted.
const CANDIDATES_PER_ROOT: f32 = 16.0;
const CANDIDATES_PER_WANTED: usize = 8;

/// Vectors of a query that the first stage looks at, evenly spread where there are more.
const MOST_ROUGH: usize = 256;

/// A mask that leaves no more points than so many times those that would be compared in the end is compared as a whole.
const WORTH_WHILE: u64 = 2;

/// The multivectors of a collection by point offset. Clones share blocks until one of them changes.
#[derive(Debug, Clone)]
pub struct MultiArena {
    dimensions: usize,
    distance: Distance,
    /// Whether components have 16 bits.
    halves: bool,
    blocks: Vec<Arc<Block>>,
    present: Bitmap,
    components: usize,
    coarse: Option<Coarse>,
}

impl MultiArena {
    /// An empty one for vectors of so many dimensions; with `halves`, components have 16 bits, and what is put in is rounded to
    /// that.
    pub fn new(dimensions: usize, distance: Distance, halves: bool) -> Self {
        Self {
            dimensions,
            distance,
            halves,
            blocks: Vec::new(),
            present: Bitmap::new(),
            components: 0,
            coarse: None,
        }
    }

    /// The dimensions of each vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How two vectors are compared.
    pub fn distance(&self) -> Distance {
        self.distance
    }

    /// The offsets that have vectors.
    pub fn present(&self) -> &Bitmap {
        &self.present
    }

    /// How many vectors all points have together.
    pub fn vectors(&self) -> usize {
        self.components / self.dimensions
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let component = if self.halves { 2 } else { 4 };
        let coarse = self.coarse.as_ref().map_or(0, Coarse::heap_bytes);
        self.components * component + self.blocks.len() * size_of::<Block>() + coarse
    }

    fn rows(&self, offset: u32) -> Option<&Rows> {
        let offset = offset as usize;
        self.blocks.get(offset / BLOCK)?[offset % BLOCK].as_ref()
    }

    /// The vectors of a point, one after another.
    pub fn get(&self, offset: u32) -> Option<Vec<f32>> {
        self.rows(offset).map(|rows| rows.in_full(&mut Vec::new()).to_vec())
    }

    /// Calls `visit` with the vectors of every point of `offsets` that has any, one after another, until the deadline.
    pub fn scan(&self, offsets: &Bitmap, mut visit: impl FnMut(u32, &[f32])) {
        let mut full = Vec::new();
        let mut watch = Watch::every(16);
        offsets.for_each(|offset| {
            if let Some(rows) = self.rows(offset)
                && !watch.missed()
            {
                visit(offset, rows.in_full(&mut full));
            }
        });
    }

    /// Puts the vectors of a point in, `[n, dimensions]`.
    pub fn set(&mut self, offset: u32, rows: &[f32]) {
        let place = offset as usize;
        if place / BLOCK >= self.blocks.len() {
            let empty = Arc::new([const { None }; BLOCK]);
            self.blocks.resize(place / BLOCK + 1, empty);
        }
        self.components += rows.len();
        let new = Some(Rows::new(rows, self.halves));
        let old = std::mem::replace(&mut Arc::make_mut(&mut self.blocks[place / BLOCK])[place % BLOCK], new);
        self.components -= old.map_or(0, |old| old.len());
        self.present.insert(offset);
        if let Some(coarse) = &mut self.coarse {
            coarse.set(offset, rows);
        }
    }

    /// Takes the vectors of a point out.
    pub fn remove(&mut self, offset: u32) {
        if self.present.remove(offset) {
            let place = offset as usize;
            let old = Arc::make_mut(&mut self.blocks[place / BLOCK])[place % BLOCK].take();
            self.components -= old.map_or(0, |old| old.len());
            if let Some(coarse) = &mut self.coarse {
                coarse.set(offset, &[]);
            }
        }
    }

    /// The nearest of `mask` by MaxSim, every one compared.
    pub fn exact(&self, query: &[f32], k: usize, mask: &Bitmap) -> (Vec<Neighbour>, Effort) {
        let query = MaxSim::new(self.distance, self.dimensions, query);
        let mut effort = Effort::default();
        let neighbours = self.best(&query, k, mask, &mut effort);
        (neighbours, effort)
    }

    /// The nearest of `mask` in two stages; none where comparing every one is as quick. `effort` is relative to the usual one,
    /// which is 1: more compares more points vector by vector.
    pub fn search(&self, query: &[f32], k: usize, mask: &Bitmap, effort: f32) -> Option<(Vec<Neighbour>, Effort)> {
        let candidates = (CANDIDATES_PER_ROOT * (self.present.len() as f32).sqrt() * effort) as usize;
        let candidates = candidates.max(k.saturating_mul(CANDIDATES_PER_WANTED));
        let coarse = self.coarse.as_ref()?;
        if mask.len() <= WORTH_WHILE * candidates as u64 {
            return None;
        }
        let stride = (query.len() / self.dimensions).div_ceil(MOST_ROUGH);
        let rough = query.chunks_exact(self.dimensions).step_by(stride).flatten();
        let rough = MaxSim::new(self.distance, self.dimensions, &rough.copied().collect::<Vec<f32>>());
        let query = MaxSim::new(self.distance, self.dimensions, query);
        let mut effort = Effort::default();
        let candidates = coarse.best(&rough, candidates, mask, &mut effort);
        Some((self.best(&query, k, &candidates, &mut effort), effort))
    }

    fn best(&self, query: &MaxSim, k: usize, mask: &Bitmap, effort: &mut Effort) -> Vec<Neighbour> {
        let mut best = Best::new(k);
        if k > 0 {
            self.scan(mask, |offset, rows| {
                effort.rows += rows.len() / self.dimensions;
                best.offer(query.nearness(rows), offset);
            });
        }
        best.into_neighbours()
    }

    /// Whether the first stage is missing, or was trained on so much less or so much else that it should be trained anew.
    pub fn is_outgrown(&self) -> bool {
        coarse::is_outgrown(self.coarse.as_ref(), self.vectors())
    }

    /// Trains the first stage by so many threads; none if it was cancelled. It takes seconds, and becomes part of this or a later
    /// state of the arena by [`adopt`](Self::adopt).
    pub fn train(&self, threads: usize, cancel: Cancel<'_>) -> Option<Trained> {
        Trained::new(self, threads, cancel)
    }

    /// From here on searches use this first stage. What has changed since it was trained, or last followed, is followed first.
    pub fn adopt(&mut self, mut trained: Trained) {
        trained.follow(self);
        self.coarse = Some(trained.into_coarse());
    }
}

/// MaxSim of two multivectors, rows of so many dimensions one after another: for each vector of the query, how near the nearest
/// vector of the other is, added up.
pub fn max_sim(distance: Distance, dimensions: usize, query: &[f32], rows: &[f32]) -> f32 {
    MaxSim::new(distance, dimensions, query).nearness(rows)
}

#[cfg(test)]
mod tests;
