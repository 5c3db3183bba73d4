//! The vectors of a collection, addressed by point offset: in full precision, and as byte codes.
//!
//! A byte code is the vector after the common [rotation](crate::rotation), each component as a whole number of steps, with
//! a step for every vector. It depends on the vector alone, so it never has to be made again when an index is trained.

use std::ops::Range;
use std::sync::{Arc, Weak};

use memmap2::Mmap;
use twofold_types::Distance;

use crate::bitmap::Bitmap;
use crate::file::MappedRows;
use crate::kernel::{BIAS, kernels, prefetch};
use crate::rotation::Rotation;

/// Vectors of a block. A write copies the blocks it touches while readers hold the old ones, so they are small.
pub(crate) const BLOCK: usize = 128;

/// Numbers that belong to a byte code.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct CodeFactors {
    /// What one step is worth.
    pub(crate) step: f32,
    /// Half of the squared length of the vector.
    pub(crate) half_norm: f32,
}

/// Full-precision rows of a block, on the heap or in a file that is mapped.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    Heap(Vec<f32>),
    Mapped { file: Arc<Mmap>, start: usize, len: usize },
}

impl Rows {
    pub(crate) fn as_slice(&self) -> &[f32] {
        match self {
            Self::Heap(rows) => rows,
            Self::Mapped { file, start, len } => bytemuck::cast_slice(&file[*start..*start + len * size_of::<f32>()]),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Block {
    rows: Rows,
    codes: Vec<u8>,
    factors: Vec<CodeFactors>,
}

impl Block {
    fn empty() -> Self {
        Self {
            rows: Rows::Heap(Vec::new()),
            codes: Vec::new(),
            factors: Vec::new(),
        }
    }

    pub(crate) fn from_parts(rows: Rows, codes: Vec<u8>, factors: Vec<CodeFactors>) -> Self {
        Self { rows, codes, factors }
    }

    pub(crate) fn rows(&self) -> &[f32] {
        self.rows.as_slice()
    }

    pub(crate) fn codes(&self) -> &[u8] {
        &self.codes
    }

    pub(crate) fn factors(&self) -> &[CodeFactors] {
        &self.factors
    }

    fn heap_bytes(&self) -> HeapBytes {
        HeapBytes {
            rows: match &self.rows {
                Rows::Heap(rows) => rows.capacity() * size_of::<f32>(),
                Rows::Mapped { .. } => 0,
            },
            codes: self.codes.capacity() + self.factors.capacity() * size_of::<CodeFactors>(),
        }
    }
}

/// What an arena holds on the heap, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeapBytes {
    /// Rows in full precision; what is mapped from a checkpoint does not count.
    pub rows: usize,
    /// Byte codes.
    pub codes: usize,
}

/// Which blocks an arena had at some time. They are known again as long as they have not changed, and are not kept.
#[derive(Debug)]
pub struct BlockIds(Vec<Weak<Block>>);

/// The vectors of a collection. Cloning shares the blocks.
#[derive(Debug, Clone)]
pub struct Arena {
    dimensions: usize,
    distance: Distance,
    /// None where no byte codes are kept.
    rotation: Option<Arc<Rotation>>,
    blocks: Vec<Arc<Block>>,
    present: Bitmap,
}

/// A query vector as byte codes meet it.
#[derive(Debug)]
pub(crate) struct QueryCode {
    pub(crate) rotated: Vec<f32>,
    /// Steps.
    pub(crate) bytes: Vec<i8>,
    /// The same with the bias of stored codes, to meet signed ones.
    pub(crate) biased: Vec<u8>,
    pub(crate) step: f32,
    /// What the bias of stored codes adds to a product.
    excess: i32,
    /// What the query was multiplied by before it was coded, and its squared length after that.
    factor: f32,
    squared: f32,
}

impl QueryCode {
    /// Codes a query that is first multiplied by `factor`.
    pub(crate) fn new(rotation: &Rotation, vector: &[f32], factor: f32) -> Self {
        let mut rotated = vec![0.0; rotation.size()];
        rotation.apply(vector, &mut rotated);
        rotated.iter_mut().for_each(|component| *component *= factor);
        let mut bytes = vec![0; rotated.len()];
        let step = quantise(&rotated, &mut bytes);
        let excess = BIAS * bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>();
        Self {
            biased: bytes.iter().map(|&byte| bias(byte)).collect(),
            squared: kernels().dot(&rotated, &rotated),
            factor,
            rotated,
            bytes,
            step,
            excess,
        }
    }
}

pub(crate) fn bias(byte: i8) -> u8 {
    (byte as u8) ^ 0x80
}

/// Writes the steps of each component and says what a step is worth.
pub(crate) fn quantise(components: &[f32], bytes: &mut [i8]) -> f32 {
    // Of numbers that are not negative, the largest has the largest bits.
    let most = components.iter().map(|x| x.abs().to_bits()).max();
    let most = f32::from_bits(most.unwrap_or(0)).max(f32::MIN_POSITIVE);
    let factor = (127.0 / most).min(f32::MAX);
    kernels().quantise(components, factor, bytes);
    1.0 / factor
}

impl Arena {
    /// An arena without vectors. With `codes`, byte codes are kept beside them.
    pub fn new(dimensions: usize, distance: Distance, codes: bool) -> Self {
        Self {
            dimensions,
            distance,
            rotation: codes.then(|| Rotation::shared(dimensions, 0)),
            blocks: Vec::new(),
            present: Bitmap::new(),
        }
    }

    pub(crate) fn from_blocks(empty: &Self, blocks: Vec<Arc<Block>>, present: Bitmap) -> Self {
        Self {
            blocks,
            present,
            ..empty.clone()
        }
    }

    /// Components of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How its vectors are compared.
    pub fn distance(&self) -> Distance {
        self.distance
    }

    /// Whether byte codes are kept.
    pub fn has_codes(&self) -> bool {
        self.rotation.is_some()
    }

    pub(crate) fn rotation(&self) -> Option<&Arc<Rotation>> {
        self.rotation.as_ref()
    }

    pub(crate) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// The offsets that have a vector.
    pub fn present(&self) -> &Bitmap {
        &self.present
    }

    /// What it holds on the heap.
    pub fn heap_bytes(&self) -> HeapBytes {
        self.blocks.iter().fold(HeapBytes::default(), |sum, block| {
            let HeapBytes { rows, codes } = block.heap_bytes();
            HeapBytes {
                rows: sum.rows + rows,
                codes: sum.codes + codes,
            }
        })
    }

    /// The numbers of its blocks, as [`map_rows`](Self::map_rows) and [`drop_codes`](Self::drop_codes) take them.
    pub fn block_numbers(&self) -> Range<usize> {
        0..self.blocks.len()
    }

    /// The vector at an offset.
    pub fn get(&self, offset: u32) -> Option<&[f32]> {
        self.present.contains(offset).then(|| self.row(offset))
    }

    /// The row at an offset that is known to be present.
    pub(crate) fn row(&self, offset: u32) -> &[f32] {
        let (block, row) = (offset as usize / BLOCK, offset as usize % BLOCK);
        &self.blocks[block].rows()[row * self.dimensions..(row + 1) * self.dimensions]
    }

    /// The byte code at an offset that is known to be present.
    pub(crate) fn code(&self, offset: u32) -> (&[u8], CodeFactors) {
        let (block, row) = (offset as usize / BLOCK, offset as usize % BLOCK);
        let block = &self.blocks[block];
        let size = self.rotation.as_ref().map_or(0, |rotation| rotation.size());
        (&block.codes[row * size..(row + 1) * size], block.factors[row])
    }

    /// Asks for the byte code at an offset to be fetched.
    pub(crate) fn prefetch_code(&self, offset: u32) {
        let (block, row) = (offset as usize / BLOCK, offset as usize % BLOCK);
        let (code, _) = self.code(offset);
        prefetch(code);
        prefetch(&self.blocks[block].factors[row..=row]);
    }

    pub(crate) fn prefetch_row(&self, offset: u32) {
        prefetch(self.row(offset));
    }

    /// How near the query is by the byte code at an offset; in the order of nearness, but not on its scale.
    pub(crate) fn estimate(&self, query: &QueryCode, offset: u32) -> f32 {
        let (code, factors) = self.code(offset);
        let product = kernels().dot_bytes(code, &query.bytes, query.excess) as f32 * (factors.step * query.step);
        match self.distance {
            Distance::Cosine | Distance::Dot => product,
            Distance::Euclid | Distance::Manhattan => product - factors.half_norm,
        }
    }

    /// The standard deviation of the error of an estimate: both codes are off by up to half a step in each component.
    pub(crate) fn error(&self, query: &QueryCode, offset: u32) -> f32 {
        let (_, factors) = self.code(offset);
        let (mine, theirs) = (
            factors.step * factors.step * query.squared,
            query.step * query.step * factors.half_norm * 2.0,
        );
        ((mine + theirs) / 12.0).sqrt()
    }

    /// The nearness of a vector that is estimated without error. For Manhattan there is no such; the highest is returned.
    pub(crate) fn nearness_of_estimate(&self, query: &QueryCode, estimate: f32) -> f32 {
        match self.distance {
            Distance::Cosine | Distance::Dot => estimate / query.factor,
            Distance::Euclid => 2.0 * estimate - query.squared,
            Distance::Manhattan => f32::INFINITY,
        }
    }

    /// Calls `visit` with every vector of `offsets` that is present, in ascending order.
    pub fn scan(&self, offsets: &Bitmap, mut visit: impl FnMut(u32, &[f32])) {
        offsets.for_each(|offset| {
            if self.present.contains(offset) {
                visit(offset, self.row(offset));
            }
        });
    }

    /// Puts a vector of the right number of dimensions.
    pub fn set(&mut self, offset: u32, vector: &[f32]) {
        debug_assert_eq!(
            vector.len(),
            self.dimensions,
            "vectors are checked before they are applied"
        );
        let (block, row) = (offset as usize / BLOCK, offset as usize % BLOCK);
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, || Arc::new(Block::empty()));
        }
        let block = Arc::make_mut(&mut self.blocks[block]);
        if let Rows::Mapped { .. } = block.rows {
            block.rows = Rows::Heap(block.rows.as_slice().to_vec());
        }
        let Rows::Heap(rows) = &mut block.rows else {
            unreachable!("mapped rows were copied to the heap")
        };
        put(rows, row, vector);
        if let Some(rotation) = &self.rotation {
            let mut rotated = vec![0.0; rotation.size()];
            rotation.apply(vector, &mut rotated);
            let mut bytes = vec![0; rotated.len()];
            let factors = CodeFactors {
                step: quantise(&rotated, &mut bytes),
                half_norm: kernels().dot(vector, vector) / 2.0,
            };
            let code: Vec<u8> = bytes.into_iter().map(bias).collect();
            put(&mut block.codes, row, &code);
            put(&mut block.factors, row, &[factors]);
        }
        self.present.insert(offset);
    }

    /// Its blocks as they are now.
    pub fn block_ids(&self) -> BlockIds {
        BlockIds(self.blocks.iter().map(Arc::downgrade).collect())
    }

    /// Lets the rows of some blocks go from the heap: those that are still as they were written are read from the checkpoint
    /// from now on.
    pub fn map_rows(&mut self, written: &BlockIds, stored: &MappedRows, blocks: Range<usize>) {
        for number in blocks {
            let same = written.0.get(number).zip(self.blocks.get_mut(number));
            if let Some((_, mine)) = same.filter(|(written, mine)| written.as_ptr() == Arc::as_ptr(mine)) {
                *mine = Arc::new(Block {
                    rows: stored.block(number),
                    codes: mine.codes.clone(),
                    factors: mine.factors.clone(),
                });
            }
        }
    }

    /// Keeps no byte codes from now on, and lets those of some blocks go. The others are not read any more either: they go
    /// with later calls.
    pub fn drop_codes(&mut self, blocks: Range<usize>) {
        self.rotation = None;
        for block in &mut self.blocks[blocks] {
            if !block.codes.is_empty() {
                *block = Arc::new(Block {
                    rows: block.rows.clone(),
                    ..Block::empty()
                });
            }
        }
    }

    /// Forgets a vector, and a block's memory with the last vector in it.
    pub fn remove(&mut self, offset: u32) {
        if !self.present.remove(offset) {
            return;
        }
        let block = offset as usize / BLOCK;
        let first = (block * BLOCK) as u32;
        if !self.present.intersects(first..=first + (BLOCK as u32 - 1)) {
            self.blocks[block] = Arc::new(Block::empty());
        }
    }
}

/// Writes row `row` of as many elements as `value` has, growing the rows as needed.
fn put<T: bytemuck::Zeroable + Copy>(rows: &mut Vec<T>, row: usize, value: &[T]) {
    let end = (row + 1) * value.len();
    if rows.len() < end {
        rows.resize(end, T::zeroed());
    }
    rows[end - value.len()..end].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let mut arena = Arena::new(2, Distance::Dot, true);
        arena.set(300, &[1.0, 2.0]);
        arena.set(301, &[3.0, 4.0]);
        let before = arena.clone();
        arena.set(300, &[9.0, 9.0]);
        arena.remove(301);
        assert_eq!(before.get(300), Some([1.0, 2.0].as_slice()));
        assert_eq!(before.get(301), Some([3.0, 4.0].as_slice()));
        assert_eq!(arena.get(300), Some([9.0, 9.0].as_slice()));
        assert_eq!(arena.get(301), None);
        assert_eq!(arena.get(0), None);
    }

    #[test]
    fn a_scan_visits_what_is_present_in_order() {
        let mut arena = Arena::new(1, Distance::Dot, false);
        for offset in [1, 128, 5000] {
            arena.set(offset, &[offset as f32]);
        }
        arena.remove(128);
        let mut seen = Vec::new();
        arena.scan(&[0, 1, 128, 5000].into_iter().collect(), |offset, row| {
            seen.push((offset, row[0]))
        });
        assert_eq!(seen, [(1, 1.0), (5000, 5000.0)]);
    }

    #[test]
    fn byte_codes_estimate_products_within_a_percent() {
        for (distance, dimensions) in [(Distance::Dot, 64), (Distance::Euclid, 100)] {
            let mut arena = Arena::new(dimensions, distance, true);
            let vector = |seed: usize| -> Vec<f32> {
                (0..dimensions)
                    .map(|i| ((i * 31 + seed * 17) % 23) as f32 / 23.0 - 0.4)
                    .collect()
            };
            for offset in 0..200 {
                arena.set(offset, &vector(offset as usize));
            }
            let query = vector(1000);
            let code = QueryCode::new(arena.rotation().unwrap(), &query, 1.0);
            let length = kernels().dot(&query, &query).sqrt();
            for offset in 0..200 {
                let row = arena.row(offset);
                let norm = kernels().dot(row, row);
                let exact = kernels().dot(row, &query) - if distance == Distance::Euclid { norm / 2.0 } else { 0.0 };
                let error = (arena.estimate(&code, offset) - exact).abs();
                assert!(error < 0.01 * length * norm.sqrt(), "{offset}: {error}");
            }
        }
    }

    #[test]
    fn vectors_without_direction_or_of_extreme_length_are_coded() {
        let mut arena = Arena::new(3, Distance::Dot, true);
        arena.set(0, &[0.0; 3]);
        arena.set(1, &[f32::MAX / 8.0, 0.0, 0.0]);
        arena.set(2, &[f32::MIN_POSITIVE, 0.0, 0.0]);
        let query = QueryCode::new(arena.rotation().unwrap(), &[0.0; 3], 1.0);
        assert_eq!(arena.estimate(&query, 0), 0.0);
        assert_eq!(arena.estimate(&query, 2), 0.0);
    }
}
