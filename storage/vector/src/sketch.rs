//! 1-bit codes by offset: what a filter leaves of the vectors is compared by these first.
//!
//! A sketch is the code that a vector would have in a list around the mean of all vectors ([`crate::list`]), with its two
//! factors in one row of whole cache lines. That is a sixth of a byte code to fetch, and fetching is what comparing scattered
//! vectors costs.

use std::sync::Arc;

use crate::bitmap::Bitmap;
use crate::kernel::{SLICE, ScanQuery, kernels};
use crate::list::{Entry, List};

/// Rows that are shared between clones until one of them changes.
const CHUNK: usize = 256;

/// Rows that are looked up at once.
const BATCH: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// The sketches of an index.
#[derive(Debug, Clone)]
pub(crate) struct Sketches {
    /// Lines of a row: the code, and the scale and the addend in the last eight bytes.
    lines: usize,
    /// `[CHUNK, lines]` each
    chunks: Vec<Arc<[Line]>>,
}

impl Sketches {
    /// No sketches yet, of so many bits each.
    pub(crate) fn new(bits: usize) -> Self {
        Self {
            lines: (bits / 8 + 8).div_ceil(64),
            chunks: Vec::new(),
        }
    }

    /// No offset from here on has a sketch.
    fn end(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    fn row(&self, offset: u32) -> &[u8] {
        let (chunk, row) = (offset as usize / CHUNK, offset as usize % CHUNK);
        bytemuck::cast_slice(&self.chunks[chunk][row * self.lines..(row + 1) * self.lines])
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
            self.chunks.resize(chunk + 1, far.repeat(CHUNK).into());
        }
        let chunk = Arc::make_mut(&mut self.chunks[chunk]);
        write(&mut chunk[row * lines..(row + 1) * lines], bits, scale, add);
    }

    /// Calls `visit` with a batch of offsets, which ascend, after the other and what the vectors there may be worth, if the mean is
    /// worth `base` and estimates are wrong by so many scales of their codes. The query is what it has beyond the mean, in planes.
    pub(crate) fn estimate(
        &self,
        query: &ScanQuery,
        base: f32,
        margin: f32,
        offsets: &[u32],
        mut visit: impl FnMut(&[u32], &[f32]),
    ) {
        let held = offsets.partition_point(|&offset| offset < self.end());
        let (mut rows, mut estimates) = (Vec::with_capacity(BATCH), [0.0; BATCH]);
        for offsets in offsets[..held].chunks(BATCH) {
            rows.clear();
            rows.extend(offsets.iter().map(|&offset| self.row(offset)));
            let estimates = &mut estimates[..rows.len()];
            kernels().products(query, &rows, estimates);
            for (estimate, row) in estimates.iter_mut().zip(&rows) {
                let [scale, add] = factors(row);
                *estimate = base + scale * (*estimate + margin) + add;
            }
            visit(offsets, estimates);
        }
    }

    /// Adds the sketches of a mask to a list.
    pub(crate) fn add_to(&self, list: &mut List, mask: &Bitmap) {
        let size = list.slices() * SLICE / 8;
        mask.for_each(|offset| {
            if offset < self.end() {
                let row = self.row(offset);
                let [scale, add] = factors(row);
                list.push(&Entry {
                    offset,
                    bits: row[..size].to_vec(),
                    scale,
                    add,
                    squared: 0.0,
                });
            }
        });
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.chunks.len() * CHUNK * self.lines * size_of::<Line>()
    }
}

/// The scale and the addend of a row.
fn factors(row: &[u8]) -> [f32; 2] {
    bytemuck::cast(*row.last_chunk::<8>().expect("a row has a line at least"))
}

fn write(row: &mut [Line], bits: &[u8], scale: f32, add: f32) {
    let row: &mut [u8] = bytemuck::cast_slice_mut(row);
    row[..bits.len()].copy_from_slice(bits);
    let (_, factors) = row.split_last_chunk_mut::<8>().expect("a row has a line at least");
    *factors = bytemuck::cast([scale, add]);
}

#[cfg(test)]
mod tests {
    use twofold_types::Distance;

    use crate::arena::Arena;
    use crate::bitmap::Bitmap;
    use crate::exact::exact;
    use crate::ivf::Ivf;
    use crate::probe::Probe;

    /// Vectors around forty directions, always the same.
    fn vector(number: u32, dimensions: usize, distance: Distance) -> Vec<f32> {
        let mut state = u64::from(number) + 1;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        uniform();
        let mut vector: Vec<f32> = (0..dimensions)
            .map(|i| uniform() + ((i as u32 * (number % 40 + 3)) % 17) as f32 / 17.0)
            .collect();
        if distance == Distance::Cosine {
            crate::kernel::normalise(&mut vector);
        }
        vector
    }

    /// Says how much a gather finds of what is nearest to forty queries, from sketches or a copy of them: the lesser. With a quarter
    /// of the effort, clearly fewer are compared further.
    fn recall(index: &Ivf, arena: &Arena, mask: &Bitmap, overlay: &Bitmap) -> f64 {
        let (mut hits, mut wanted) = ([0, 0], 0);
        let (mut usual, mut least) = (0, 0);
        let unfollowed = overlay.intersection_len(mask) as usize;
        for query in 0..40 {
            let query = vector(1_000_000 + query, arena.dimensions(), arena.distance());
            let (truth, _) = exact(arena, &query, 10, mask);
            let probe = Probe {
                k: 10,
                mask,
                overlay,
                effort: 1.0,
            };
            let ways = [
                index.gather_within(arena, &query, probe, None),
                index.gather(arena, &query, probe),
            ];
            for ((found, effort), hits) in ways.into_iter().zip(&mut hits) {
                assert_eq!(effort.codes as u64, mask.len(), "sketches were not used");
                assert!(effort.bytes < effort.codes / 2 + overlay.len() as usize, "{effort:?}");
                *hits += found.iter().filter(|near| truth.contains(near)).count();
                usual += effort.bytes - unfollowed;
            }
            let probe = Probe { effort: 0.25, ..probe };
            for (_, effort) in [
                index.gather_within(arena, &query, probe, None),
                index.gather(arena, &query, probe),
            ] {
                least += effort.bytes - unfollowed;
            }
            wanted += truth.len();
        }
        assert!(least * 4 < usual * 3, "{least} instead of {usual}");
        hits[0].min(hits[1]) as f64 / wanted as f64
    }

    #[test]
    fn sketches_find_what_a_filter_leaves_and_follow_every_change() {
        const DIMENSIONS: usize = 300;
        for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid] {
            let mut arena = Arena::new(DIMENSIONS, distance, true);
            (0..3_000).for_each(|offset| arena.set(offset, &vector(offset, DIMENSIONS, distance)));
            let index = Ivf::build(&arena, 1, &|| false).unwrap();
            let nothing = Bitmap::new();
            let half: Bitmap = (0..3_000).step_by(2).collect();
            assert!(recall(&index, &arena, &half, &nothing) >= 0.98, "{distance:?}");

            // Vectors that the index has not followed come from the overlay, gone ones are masked.
            let mut changed = Bitmap::new();
            for offset in (0..3_000).step_by(3) {
                arena.set(offset, &vector(offset + 50_000, DIMENSIONS, distance));
                changed.insert(offset);
            }
            (3_000..3_300).for_each(|offset| {
                arena.set(offset, &vector(offset, DIMENSIONS, distance));
                changed.insert(offset);
            });
            (0..30).for_each(|offset| {
                arena.remove(offset);
                changed.insert(offset);
            });
            let mask: Bitmap = (30..3_300).step_by(2).collect();
            assert!(
                recall(&index, &arena, &mask, &changed) >= 0.98,
                "{distance:?} before following"
            );
            let index = index.follow(&arena, &changed, 1, &|| false);
            assert!(
                recall(&index, &arena, &mask, &nothing) >= 0.98,
                "{distance:?} after following"
            );
        }
    }

    #[test]
    fn short_vectors_are_copied_where_a_mask_comes_again() {
        const DIMENSIONS: usize = 50;
        for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan] {
            let mut arena = Arena::new(DIMENSIONS, distance, true);
            (0..3_000).for_each(|offset| arena.set(offset, &vector(offset, DIMENSIONS, distance)));
            let index = Ivf::build(&arena, 1, &|| false).unwrap();
            let (half, nothing): (Bitmap, Bitmap) = ((0..3_000).step_by(2).collect(), Bitmap::new());
            let mut hits = 0;
            for number in 0..40 {
                let query = vector(1_000_000 + number, DIMENSIONS, distance);
                let (truth, _) = exact(&arena, &query, 10, &half);
                let probe = Probe {
                    k: 10,
                    mask: &half,
                    overlay: &nothing,
                    effort: 1.0,
                };
                let (found, effort) = index.gather(&arena, &query, probe);
                let codes = if number == 0 { 0 } else { half.len() };
                assert_eq!(effort.codes as u64, codes, "{distance:?}");
                hits += found.iter().filter(|near| truth.contains(near)).count();
            }
            assert!(hits >= 392, "{distance:?}: {hits} of 400");
        }
    }
}
