//! What a search has found so far.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use twofold_types::Distance;

use crate::arena::{Arena, QueryCode};
use crate::deadline::Watch;
use crate::kernel::nearness;
use crate::probe::{Effort, Neighbour};

/// Floats in the order of unsigned numbers.
pub(crate) fn ordered(x: f32) -> u32 {
    let bits = x.to_bits();
    bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000)
}

pub(crate) fn unordered(bits: u32) -> f32 {
    f32::from_bits(if bits & 0x8000_0000 != 0 {
        bits ^ 0x8000_0000
    } else {
        !bits
    })
}

fn key(worth: f32, offset: u32) -> u64 {
    // Equals are kept in the order of their offsets.
    u64::from(ordered(worth)) << 32 | u64::from(!offset)
}

fn offset_of(key: u64) -> u32 {
    !(key as u32)
}

fn worth_of(key: u64) -> f32 {
    unordered((key >> 32) as u32)
}

/// A number that so many of `numbers` reach, or few more; the lowest where there are few. `highest` is room for it.
pub(crate) fn about(count: usize, numbers: &[f32], highest: &mut Vec<f32>) -> f32 {
    let columns = 2 * count;
    if numbers.len() <= columns {
        return f32::NEG_INFINITY;
    }
    // As many columns are this high, and in few of them is more than one as high.
    highest.clear();
    highest.resize(columns, f32::NEG_INFINITY);
    for row in numbers.chunks(columns) {
        let columns = highest.iter_mut().zip(row);
        columns.for_each(|(highest, &number)| *highest = if number > *highest { number } else { *highest });
    }
    let (_, about, _) = highest.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    *about
}

/// Calls `visit` with the places of the numbers that are picked. They are looked at together, as most groups have none.
#[inline]
pub(crate) fn for_each_picked(numbers: &[f32], picked: impl Fn(f32) -> bool, mut visit: impl FnMut(usize)) {
    const TOGETHER: usize = 16;
    let mut look = |first: usize, numbers: &[f32]| {
        let places = (first..).zip(numbers).filter(|(_, number)| picked(**number));
        places.for_each(|(place, _)| visit(place));
    };
    let (groups, rest) = numbers.as_chunks::<TOGETHER>();
    for (group, numbers) in groups.iter().enumerate() {
        if numbers.iter().fold(false, |any, &number| any | picked(number)) {
            look(group * TOGETHER, numbers);
        }
    }
    look(groups.len() * TOGETHER, rest);
}

/// The `k` best of what is offered.
pub(crate) struct Best {
    heap: BinaryHeap<Reverse<u64>>,
    k: usize,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(k.min(4096) + 1),
            k,
        }
    }

    pub(crate) fn offer(&mut self, nearness: f32, offset: u32) {
        let key = key(nearness, offset);
        if self.heap.len() < self.k {
            self.heap.push(Reverse(key));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && key > worst.0
        {
            *worst = Reverse(key);
        }
    }

    /// The nearness below which nothing more is taken.
    pub(crate) fn worst(&self) -> f32 {
        match self.heap.peek() {
            Some(Reverse(key)) if self.is_full() => worth_of(*key),
            _ => f32::NEG_INFINITY,
        }
    }

    fn is_full(&self) -> bool {
        self.heap.len() == self.k
    }

    pub(crate) fn into_neighbours(self) -> Vec<Neighbour> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted
            .map(|Reverse(key)| Neighbour {
                offset: offset_of(key),
                nearness: worth_of(key),
            })
            .collect()
    }
}

/// Spreads the bits of a point offset.
#[derive(Default)]
struct OffsetHasher(u64);

impl Hasher for OffsetHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(byte.into()));
    }

    fn write_u32(&mut self, offset: u32) {
        self.0 = (self.0 ^ u64::from(offset)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
}

/// How many comparisons by byte code ahead memory is asked for.
const AHEAD: usize = 8;

/// Candidates on their way from estimates to full precision.
///
/// They come with what they may be worth, in batches. Those that may be among the wanted ones are compared by their byte
/// codes, which says almost exactly what they are worth, and so raises the threshold for all later ones. In the end the best
/// are compared in full precision.
pub(crate) struct Candidates<'a> {
    arena: &'a Arena,
    code: &'a QueryCode,
    k: usize,
    /// Those that are compared now, with what they may be worth.
    batch: Vec<(f32, u32)>,
    /// Of the columns in which worths are laid out to find the best of them.
    highest: Vec<f32>,
    /// What is near already: a vector may be found in both of its lists, or in the overlay.
    seen: HashSet<u32, BuildHasherDefault<OffsetHasher>>,
    /// The nearest by byte codes.
    best: Best,
    /// All that may be among the nearest in full precision.
    near: Vec<u64>,
}

impl<'a> Candidates<'a> {
    pub(crate) fn new(arena: &'a Arena, code: &'a QueryCode, k: usize) -> Self {
        let wanted = match arena.distance() {
            // Byte codes say little of the order by Manhattan beyond that by Euclid.
            Distance::Manhattan => 100 + 4 * k,
            _ => k,
        };
        Self {
            arena,
            code,
            k,
            batch: Vec::with_capacity(64),
            highest: Vec::new(),
            seen: HashSet::with_capacity_and_hasher(256, BuildHasherDefault::default()),
            best: Best::new(wanted),
            near: Vec::with_capacity(256),
        }
    }

    /// What is worth less than this is not among the wanted ones.
    #[inline]
    pub(crate) fn threshold(&self) -> f32 {
        self.best.worst()
    }

    /// Compares what may be among the wanted ones of candidates, given by what each may be worth; `counted` says its offset, or that
    /// it does not count.
    #[inline]
    pub(crate) fn offer(&mut self, worths: &[f32], counted: impl Fn(usize) -> Option<u32>, effort: &mut Effort) {
        // The likely best first: with the threshold that they leave, most others need not be compared.
        let likely = match self.best.is_full() {
            true => f32::NEG_INFINITY,
            false => about(2 * self.k, worths, &mut self.highest),
        };
        self.compare_those(worths, |worth| worth >= likely, &counted, effort);
        if likely > f32::NEG_INFINITY {
            self.compare_those(worths, |worth| worth < likely, &counted, effort);
        }
    }

    /// Compares the candidates that are picked by their worth, as long as they may be among the wanted ones.
    fn compare_those(
        &mut self,
        worths: &[f32],
        picked: impl Fn(f32) -> bool,
        counted: impl Fn(usize) -> Option<u32>,
        effort: &mut Effort,
    ) {
        let threshold = self.threshold();
        let picked = |worth: f32| picked(worth) & (worth > threshold);
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for_each_picked(worths, picked, |place| {
            if let Some(offset) = counted(place) {
                batch.push((worths[place], offset));
            }
        });
        let arena = self.arena;
        batch
            .iter()
            .take(AHEAD)
            .for_each(|&(_, offset)| arena.prefetch_code(offset));
        for (i, &(worth, offset)) in batch.iter().enumerate() {
            if let Some(&(ahead, offset)) = batch.get(i + AHEAD)
                && ahead > self.threshold()
            {
                arena.prefetch_code(offset);
            }
            if worth > self.threshold() {
                effort.bytes += 1;
                self.compare(offset);
            }
        }
        self.batch = batch;
    }

    /// Compares vectors of which nothing is known.
    pub(crate) fn compare_all(&mut self, offsets: &[u32], effort: &mut Effort) {
        let arena = self.arena;
        offsets
            .iter()
            .take(AHEAD)
            .for_each(|&offset| arena.prefetch_code(offset));
        let mut watch = Watch::every(8192);
        for (i, &offset) in offsets.iter().enumerate() {
            if watch.missed() {
                break;
            }
            if let Some(&ahead) = offsets.get(i + AHEAD) {
                arena.prefetch_code(ahead);
            }
            self.compare(offset);
        }
        effort.bytes += offsets.len();
    }

    fn compare(&mut self, offset: u32) {
        let estimate = self.arena.estimate(self.code, offset);
        if estimate + self.error(offset) >= self.threshold() && self.seen.insert(offset) {
            self.near.push(key(estimate, offset));
            self.best.offer(estimate, offset);
        }
    }

    /// By how much a byte code may be wrong.
    fn error(&self, offset: u32) -> f32 {
        const DEVIATIONS: f32 = 3.0;
        DEVIATIONS * self.arena.error(self.code, offset)
    }

    /// The nearest in full precision, nearest first. As many are compared as the errors of byte codes call for.
    pub(crate) fn nearest(mut self, query: &[f32], effort: &mut Effort) -> Vec<Neighbour> {
        /// How far ahead of the comparison memory is asked for.
        const AHEAD: usize = 4;
        let mut near = std::mem::take(&mut self.near);
        near.sort_unstable_by(|a, b| b.cmp(a));
        let nearness = nearness(self.arena.distance());
        let mut best = Best::new(self.k);
        near.iter()
            .take(AHEAD)
            .for_each(|&key| self.arena.prefetch_row(offset_of(key)));
        for (i, &key) in near.iter().enumerate() {
            let offset = offset_of(key);
            let most = worth_of(key) + self.error(offset);
            if most < self.threshold() || self.arena.nearness_of_estimate(self.code, most) < best.worst() {
                break;
            }
            if let Some(&ahead) = near.get(i + AHEAD) {
                self.arena.prefetch_row(offset_of(ahead));
            }
            effort.rows += 1;
            best.offer(nearness(query, self.arena.row(offset)), offset);
        }
        best.into_neighbours()
    }
}
