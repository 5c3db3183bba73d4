//! Multivectors in memory: several vectors a point, compared by MaxSim.

use std::sync::Arc;

use twofold_types::Distance;

use crate::bitmap::Bitmap;
use crate::deadline::Watch;
use crate::kernel::nearness;
use crate::pool::Best;
use crate::probe::{Effort, Neighbour};

/// Points of a block; writers copy the blocks of pointers that they touch.
const BLOCK: usize = 128;

/// The rows of one point, one after another.
type Rows = Arc<[f32]>;

/// The multivectors of a collection by point offset. Clones share blocks until one of them changes.
#[derive(Debug, Clone)]
pub struct MultiArena {
    dimensions: usize,
    distance: Distance,
    blocks: Vec<Arc<[Option<Rows>; BLOCK]>>,
    present: Bitmap,
    components: usize,
}

impl MultiArena {
    /// An empty one for vectors of so many dimensions.
    pub fn new(dimensions: usize, distance: Distance) -> Self {
        Self {
            dimensions,
            distance,
            blocks: Vec::new(),
            present: Bitmap::new(),
            components: 0,
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

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.components * size_of::<f32>() + self.blocks.len() * size_of::<[Option<Rows>; BLOCK]>()
    }

    /// The vectors of a point, one after another.
    pub fn get(&self, offset: u32) -> Option<&[f32]> {
        let offset = offset as usize;
        self.blocks.get(offset / BLOCK)?[offset % BLOCK].as_deref()
    }

    /// Puts the vectors of a point in, `[n, dimensions]`.
    pub fn set(&mut self, offset: u32, rows: &[f32]) {
        let place = offset as usize;
        if place / BLOCK >= self.blocks.len() {
            let empty = Arc::new([const { None }; BLOCK]);
            self.blocks.resize(place / BLOCK + 1, empty);
        }
        self.components += rows.len();
        let old = Arc::make_mut(&mut self.blocks[place / BLOCK])[place % BLOCK].replace(rows.into());
        self.components -= old.map_or(0, |old| old.len());
        self.present.insert(offset);
    }

    /// Takes the vectors of a point out.
    pub fn remove(&mut self, offset: u32) {
        if self.present.remove(offset) {
            let place = offset as usize;
            let old = Arc::make_mut(&mut self.blocks[place / BLOCK])[place % BLOCK].take();
            self.components -= old.map_or(0, |old| old.len());
        }
    }

    /// MaxSim of two multivectors: for each vector of the query, how near the nearest vector of the point is, added up.
    pub fn nearness(&self, query: &[f32], rows: &[f32]) -> f32 {
        max_sim(self.distance, self.dimensions, query, rows)
    }

    /// The nearest of `mask` by MaxSim, every one compared.
    pub fn exact(&self, query: &[f32], k: usize, mask: &Bitmap) -> (Vec<Neighbour>, Effort) {
        let mut effort = Effort::default();
        let mut best = Best::new(k);
        if k > 0 {
            let mut watch = Watch::every(16);
            mask.for_each(|offset| {
                if let Some(rows) = self.get(offset)
                    && !watch.missed()
                {
                    effort.rows += rows.len() / self.dimensions;
                    best.offer(self.nearness(query, rows), offset);
                }
            });
        }
        (best.into_neighbours(), effort)
    }
}

/// MaxSim of two multivectors, rows of so many dimensions one after another.
pub fn max_sim(distance: Distance, dimensions: usize, query: &[f32], rows: &[f32]) -> f32 {
    let near = nearness(distance);
    let nearest = |q: &[f32]| {
        let rows = rows.chunks_exact(dimensions);
        rows.map(|row| near(q, row)).fold(f32::NEG_INFINITY, f32::max)
    };
    query.chunks_exact(dimensions).map(nearest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_vector_counts_with_its_nearest() {
        let mut arena = MultiArena::new(2, Distance::Dot);
        arena.set(200, &[1.0, 0.0, 0.0, 1.0]);
        arena.set(3, &[2.0, 0.0]);
        arena.set(4, &[9.0, 9.0]);
        let published = arena.clone();
        arena.remove(4);
        let mask = arena.present().clone();
        let (found, effort) = arena.exact(&[1.0, 0.0, 0.0, 3.0], 5, &mask);
        let found: Vec<_> = found.iter().map(|n| (n.offset, n.nearness)).collect();
        assert_eq!(found, [(200, 4.0), (3, 2.0)]);
        assert_eq!(effort.rows, 3);
        assert_eq!(published.get(4), Some(&[9.0, 9.0][..]));
        arena.set(3, &[0.0; 6]);
        assert_eq!(arena.get(3).unwrap().len(), 6);
        assert_eq!(arena.heap_bytes() - 2 * size_of::<[Option<Rows>; BLOCK]>(), 40);
    }
}
