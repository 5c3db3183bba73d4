//! 1-bit codes by offset: what a filter leaves of the vectors is compared by these first.
//!
//! A sketch is the code that a vector would have in a list around the mean of all vectors ([`crate::list`]), with its two
//! factors in one row of whole cache lines. That is a sixth of a byte code to fetch, and fetching is what comparing scattered
//! vectors costs.

use std::sync::Arc;

use crate::kernel::{ScanQuery, kernels, prefetch};
use crate::list::Entry;

/// Rows that are shared between clones until one of them changes.
const CHUNK: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// The sketches of an index.
#[derive(Debug, Clone)]
pub(crate) struct Sketches {
    /// Bytes of a code.
    size: usize,
    /// Lines of a row: the code, and the scale and the addend in the last eight bytes.
    lines: usize,
    /// `[CHUNK, lines]` each
    chunks: Vec<Arc<Vec<Line>>>,
}

impl Sketches {
    /// No sketches yet, of so many bits each.
    pub(crate) fn new(bits: usize) -> Self {
        Self {
            size: bits / 8,
            lines: (bits / 8 + 8).div_ceil(64),
            chunks: Vec::new(),
        }
    }

    fn row(&self, offset: u32) -> Option<&[u8]> {
        let chunk = self.chunks.get(offset as usize / CHUNK)?;
        let row = offset as usize % CHUNK;
        Some(bytemuck::cast_slice(&chunk[row * self.lines..(row + 1) * self.lines]))
    }

    /// Asks for the sketch of an offset to be fetched.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32) {
        if let Some(row) = self.row(offset) {
            prefetch(row);
        }
    }

    pub(crate) fn set(&mut self, entry: &Entry) {
        self.put(entry.offset, &entry.bits, entry.scale, entry.add);
    }

    /// From here on the offset is estimated to be infinitely far.
    pub(crate) fn remove(&mut self, offset: u32) {
        self.put(offset, &[], 0.0, f32::NEG_INFINITY);
    }

    fn put(&mut self, offset: u32, bits: &[u8], scale: f32, add: f32) {
        let (chunk, row) = (offset as usize / CHUNK, offset as usize % CHUNK);
        let lines = self.lines;
        if self.chunks.len() <= chunk {
            let mut far = vec![Line([0; 64]); lines];
            write(&mut far, &[], 0.0, f32::NEG_INFINITY);
            let far = Arc::new(far.repeat(CHUNK));
            self.chunks.resize(chunk + 1, far);
        }
        let chunk = Arc::make_mut(&mut self.chunks[chunk]);
        write(&mut chunk[row * lines..(row + 1) * lines], bits, scale, add);
    }

    /// What the vector at an offset may be worth beside the mean, if the estimate is wrong by so many scales of the code. The
    /// query is what it has beyond the mean, in planes.
    #[inline]
    pub(crate) fn estimate(&self, query: &ScanQuery, margin: f32, offset: u32) -> f32 {
        let Some(row) = self.row(offset) else {
            return f32::NEG_INFINITY;
        };
        let (rest, factors) = row.split_last_chunk::<8>().expect("a row has a line at least");
        let [scale, add] = bytemuck::cast::<_, [f32; 2]>(*factors);
        scale * (kernels().product(query, &rest[..self.size]) + margin) + add
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.chunks.len() * CHUNK * self.lines * size_of::<Line>()
    }
}

fn write(row: &mut [Line], bits: &[u8], scale: f32, add: f32) {
    let row: &mut [u8] = bytemuck::cast_slice_mut(row);
    row[..bits.len()].copy_from_slice(bits);
    let (_, factors) = row.split_last_chunk_mut::<8>().expect("a row has a line at least");
    *factors = bytemuck::cast([scale, add]);
}
