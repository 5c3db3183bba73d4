//! The first stage of a search in multivectors: how near points roughly are, by codes of their vectors.
//!
//! A code is the number of the centroid that is nearest to a vector. A query is compared with every centroid once, and then each of
//! its vectors takes the best of what a point's codes say: centroid interaction, as in PLAID (Santhanam et al., 2022,
//! arXiv:2205.09707). What a centroid is worth to a vector of the query is rounded to a byte, so that a point takes a register's
//! load and comparison for each of its codes.

use std::sync::Arc;

use crate::arena::{bias, quantise};
use crate::bitmap::Bitmap;
use crate::centroids::{Centroids, Row, in_parallel};
use crate::deadline::Watch;
use crate::ivf::Cancel;
use crate::kernel::{BYTES, TableRow, kernels};
use crate::pool::Best;
use crate::probe::Effort;

use super::{BLOCK, Block, MaxSim, MultiArena};

/// Up to this many vectors of all points together, every point is compared vector by vector.
const FLAT_VECTORS: usize = 1 << 15;

/// Centroids per square root of the number of vectors, and at most.
const CENTROIDS_PER_ROOT: f64 = 4.0;
const MOST_CENTROIDS: usize = 1 << 15;

/// Vectors that a centroid is trained on.
const VECTORS_PER_CENTROID: usize = 40;

/// The centroids are trained again when there are this many times the vectors that they were trained on, or as many were written.
const OUTGROWN: usize = 4;

/// Blocks that a thread codes before it is asked whether that is still wanted.
const BLOCKS_A_THREAD: usize = 16;

/// What the number of components of a code's query comes in multiples of.
const SIZE_STEP: usize = 32;

/// The codes of a collection.
#[derive(Debug, Clone)]
pub(super) struct Coarse {
    dimensions: usize,
    centroids: Arc<Centroids>,
    blocks: Vec<Arc<Codes>>,
    /// Vectors there were at the training, and vectors that came since.
    trained_on: usize,
    came: usize,
}

/// The codes of the points of a block, one after another, and where those of each point end.
#[derive(Debug, Clone)]
struct Codes {
    codes: Vec<u16>,
    ends: [u32; BLOCK],
}

impl Codes {
    const EMPTY: Self = Self {
        codes: Vec::new(),
        ends: [0; BLOCK],
    };

    fn range(&self, place: usize) -> std::ops::Range<usize> {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        start as usize..self.ends[place] as usize
    }

    fn set(&mut self, place: usize, codes: &[u16]) {
        let range = self.range(place);
        let (old, new) = (range.len() as u32, codes.len() as u32);
        self.codes.splice(range, codes.iter().copied());
        self.ends[place..].iter_mut().for_each(|end| *end = *end - old + new);
    }
}

/// A first stage that is not in use yet, and what it knows.
#[derive(Debug)]
pub struct Trained {
    coarse: Coarse,
    /// The arena's blocks as they were coded.
    coded: Vec<Arc<Block>>,
}

/// Vectors in the form that centroids are compared with.
struct Quantised {
    size: usize,
    /// `[n, size]`
    codes: Vec<u8>,
    steps: Vec<f32>,
}

impl Quantised {
    /// Of vectors of so many dimensions.
    fn new(dimensions: usize) -> Self {
        Self {
            size: dimensions.next_multiple_of(SIZE_STEP),
            codes: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn push(&mut self, vector: &[f32]) {
        let mut bytes = vec![0; self.size];
        self.steps.push(quantise(vector, &mut bytes[..vector.len()]));
        self.codes.extend(bytes.into_iter().map(bias));
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let rows = self.codes.chunks_exact(self.size).zip(&self.steps);
        rows.map(|(code, &step)| Row { code, step, lift: 0.0 }).collect()
    }
}

pub(super) fn is_outgrown(coarse: Option<&Coarse>, vectors: usize) -> bool {
    vectors > FLAT_VECTORS
        && coarse.is_none_or(|coarse| vectors.max(coarse.came) > OUTGROWN * coarse.trained_on.max(FLAT_VECTORS))
}

impl Trained {
    pub(super) fn new(arena: &MultiArena, threads: usize, cancel: Cancel<'_>) -> Option<Self> {
        let vectors = arena.vectors();
        let wanted = ((CENTROIDS_PER_ROOT * (vectors as f64).sqrt()) as usize).clamp(1, MOST_CENTROIDS);
        let stride = (vectors / (wanted * VECTORS_PER_CENTROID)).max(1);
        let mut sample = Quantised::new(arena.dimensions);
        let mut number = 0;
        arena.scan(&arena.present, |_, rows| {
            for row in rows.chunks_exact(arena.dimensions) {
                if number % stride == 0 {
                    sample.push(row);
                }
                number += 1;
            }
        });
        let centroids = Centroids::train(sample.size, wanted, &sample.rows(), threads, cancel);
        let mut coarse = Coarse {
            dimensions: arena.dimensions,
            centroids: Arc::new(centroids),
            blocks: Vec::new(),
            trained_on: vectors,
            came: 0,
        };
        let code = |blocks: &[Arc<Block>]| blocks.iter().map(|block| coarse.code_block(block)).collect();
        let mut blocks = Vec::with_capacity(arena.blocks.len());
        for part in arena.blocks.chunks(threads * BLOCKS_A_THREAD) {
            if cancel() {
                return None;
            }
            blocks.extend(in_parallel(part, threads, threads, code));
        }
        coarse.blocks = blocks;
        Some(Self {
            coarse,
            coded: arena.blocks.clone(),
        })
    }

    /// Codes what has changed since; every writer waits meanwhile if this is done by [`MultiArena::adopt`] alone.
    pub fn follow(&mut self, arena: &MultiArena) {
        let mut full = Vec::new();
        self.coded.resize(arena.blocks.len(), Arc::new([const { None }; BLOCK]));
        for (number, (coded, block)) in self.coded.iter_mut().zip(&arena.blocks).enumerate() {
            if Arc::ptr_eq(coded, block) {
                continue;
            }
            for (place, (old, new)) in coded.iter().zip(block.iter()).enumerate() {
                let offset = (number * BLOCK + place) as u32;
                match (old, new) {
                    (None, None) => {}
                    (Some(old), Some(new)) if old.is(new) => {}
                    (_, None) => self.coarse.set(offset, &[]),
                    (_, Some(new)) => self.coarse.set(offset, new.in_full(&mut full)),
                }
            }
            *coded = block.clone();
        }
    }

    pub(super) fn into_coarse(self) -> Coarse {
        self.coarse
    }
}

impl Coarse {
    /// Codes, and a few numbers a centroid and a block.
    pub(super) fn heap_bytes(&self) -> usize {
        let codes: usize = self.blocks.iter().map(|block| block.codes.capacity() * 2).sum();
        codes + self.blocks.len() * size_of::<Codes>() + self.centroids.heap_bytes()
    }

    fn codes(&self, rows: &[f32]) -> Vec<u16> {
        let mut quantised = Quantised::new(self.dimensions);
        rows.chunks_exact(self.dimensions).for_each(|row| quantised.push(row));
        let nearest = self.centroids.assign(&quantised.rows(), 1);
        nearest.into_iter().map(|centroid| centroid as u16).collect()
    }

    fn code_block(&self, block: &Block) -> Arc<Codes> {
        let mut codes = Codes::EMPTY;
        let mut full = Vec::new();
        for (place, rows) in block.iter().enumerate() {
            if let Some(rows) = rows {
                codes.set(place, &self.codes(rows.in_full(&mut full)));
            }
        }
        codes.codes.shrink_to_fit();
        Arc::new(codes)
    }

    /// Puts the vectors of a point in, `[n, dimensions]`, in place of those that it had.
    pub(super) fn set(&mut self, offset: u32, rows: &[f32]) {
        let (block, place) = (offset as usize / BLOCK, offset as usize % BLOCK);
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, || Arc::new(Codes::EMPTY));
        }
        let codes = self.codes(rows);
        self.came += codes.len();
        Arc::make_mut(&mut self.blocks[block]).set(place, &codes);
    }

    /// What every centroid is worth to every vector of the query, a byte each, `[centroids, width * 32]`. A step is worth the same
    /// everywhere, and zero is the least that any centroid is worth to that vector: the same for all points, so that it does not count.
    fn table(&self, query: &MaxSim) -> (Vec<TableRow>, usize) {
        let vectors = query.vectors();
        let width = vectors.div_ceil(BYTES);
        let mut worth = Vec::with_capacity(self.centroids.len() * vectors);
        for centroid in 0..self.centroids.len() {
            worth.extend(query.nearest(&self.centroids.get(centroid).0[..self.dimensions]));
        }
        let mut least = vec![f32::INFINITY; vectors];
        let mut most = vec![f32::NEG_INFINITY; vectors];
        for worth in worth.chunks_exact(vectors) {
            for ((least, most), &worth) in least.iter_mut().zip(&mut most).zip(worth) {
                *least = least.min(worth);
                *most = most.max(worth);
            }
        }
        let ranges = least.iter().zip(&most).map(|(least, most)| most - least);
        let step = ranges.fold(f32::MIN_POSITIVE, f32::max) / f32::from(u8::MAX);
        let mut table = vec![[0; BYTES]; self.centroids.len() * width];
        for (rows, worth) in table.chunks_exact_mut(width).zip(worth.chunks_exact(vectors)) {
            let bytes = rows.as_flattened_mut().iter_mut();
            for (byte, (worth, least)) in bytes.zip(worth.iter().zip(&least)) {
                *byte = ((worth - least) / step).round() as u8;
            }
        }
        (table, width)
    }

    /// The nearest of `mask` by their codes.
    pub(super) fn best(&self, query: &MaxSim, k: usize, mask: &Bitmap, effort: &mut Effort) -> Bitmap {
        let (table, width) = self.table(query);
        effort.lists += self.centroids.len();
        let mut best = Best::new(k);
        let mut watch = Watch::every(4096);
        mask.for_each(|offset| {
            let (block, place) = (offset as usize / BLOCK, offset as usize % BLOCK);
            if let Some(block) = self.blocks.get(block)
                && !watch.missed()
            {
                let codes = &block.codes[block.range(place)];
                effort.codes += codes.len();
                best.offer(kernels().sum_largest(&table, width, codes) as f32, offset);
            }
        });
        let mut offsets: Vec<u32> = best.into_neighbours().iter().map(|found| found.offset).collect();
        offsets.sort_unstable();
        offsets.into_iter().collect()
    }
}
