//! The vectors of a collection in memory, addressed by point offset.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::key::PointOffset;

/// Vectors of a block. A write copies the blocks it touches while readers hold the old ones, so they are small.
const BLOCK: usize = 128;

/// Full-precision vectors `[n, dimensions]` in blocks of contiguous memory. Cloning shares the blocks.
#[derive(Debug, Clone)]
pub(crate) struct Arena {
    dimensions: usize,
    blocks: Vec<Arc<Vec<f32>>>,
    present: RoaringBitmap,
}

impl Arena {
    pub(crate) fn new(dimensions: usize) -> Self {
        Self {
            dimensions,
            blocks: Vec::new(),
            present: RoaringBitmap::new(),
        }
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The offsets that have a vector.
    pub(crate) fn present(&self) -> &RoaringBitmap {
        &self.present
    }

    /// The vector at an offset.
    pub(crate) fn get(&self, offset: PointOffset) -> Option<&[f32]> {
        self.present.contains(offset.0).then(|| self.row(offset.0))
    }

    /// The row at an offset that is known to be present.
    fn row(&self, offset: u32) -> &[f32] {
        let (block, row) = (offset as usize / BLOCK, offset as usize % BLOCK);
        &self.blocks[block][row * self.dimensions..(row + 1) * self.dimensions]
    }

    /// Calls `visit` with every vector of `offsets` that is present, in ascending order.
    pub(crate) fn scan(&self, offsets: &RoaringBitmap, mut visit: impl FnMut(u32, &[f32])) {
        for offset in offsets & &self.present {
            visit(offset, self.row(offset));
        }
    }

    pub(crate) fn set(&mut self, offset: PointOffset, vector: &[f32]) {
        debug_assert_eq!(
            vector.len(),
            self.dimensions,
            "vectors are checked before they are applied"
        );
        let (block, row) = (offset.0 as usize / BLOCK, offset.0 as usize % BLOCK);
        while self.blocks.len() <= block {
            self.blocks.push(Arc::new(Vec::new()));
        }
        let block = Arc::make_mut(&mut self.blocks[block]);
        let end = (row + 1) * self.dimensions;
        if block.len() < end {
            block.resize(end, 0.0);
        }
        block[end - self.dimensions..end].copy_from_slice(vector);
        self.present.insert(offset.0);
    }

    /// Forgets a vector, and a block's memory with the last vector in it.
    pub(crate) fn remove(&mut self, offset: PointOffset) {
        if !self.present.remove(offset.0) {
            return;
        }
        let block = offset.0 as usize / BLOCK;
        let first = (block * BLOCK) as u32;
        if self.present.range_cardinality(first..first + BLOCK as u32) == 0 {
            self.blocks[block] = Arc::new(Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let mut arena = Arena::new(2);
        arena.set(PointOffset(300), &[1.0, 2.0]);
        arena.set(PointOffset(301), &[3.0, 4.0]);
        let before = arena.clone();
        arena.set(PointOffset(300), &[9.0, 9.0]);
        arena.remove(PointOffset(301));
        assert_eq!(before.get(PointOffset(300)), Some([1.0, 2.0].as_slice()));
        assert_eq!(before.get(PointOffset(301)), Some([3.0, 4.0].as_slice()));
        assert_eq!(arena.get(PointOffset(300)), Some([9.0, 9.0].as_slice()));
        assert_eq!(arena.get(PointOffset(301)), None);
        assert_eq!(arena.get(PointOffset(0)), None);
    }

    #[test]
    fn a_scan_visits_what_is_present_in_order() {
        let mut arena = Arena::new(1);
        for offset in [1, 128, 5000] {
            arena.set(PointOffset(offset), &[offset as f32]);
        }
        arena.remove(PointOffset(128));
        let mut seen = Vec::new();
        arena.scan(&RoaringBitmap::from([0, 1, 128, 5000]), |offset, row| {
            seen.push((offset, row[0]))
        });
        assert_eq!(seen, [(1, 1.0), (5000, 5000.0)]);
    }
}
