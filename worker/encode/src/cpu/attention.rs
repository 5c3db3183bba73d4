//! Attention of packed texts, straight from the matrix of queries, keys and values.
//!
//! Head by head the keys are transposed and the values copied into panels. Then some queries at a time meet a block of
//! keys, so that their scores stay in the cache; from block to block the sums are carried on as Milakov and Gimelshein do
//! (arXiv:1805.02867), which is why a text may be of any length.

#![expect(unsafe_code, reason = "tiles are computed on pointers")]

use rayon::prelude::*;

use super::{
    instructions::{Instructions, Kernel, run},
    rows,
    scratch::Scratch,
    simd::Simd,
    tile::{Floats, Format, Operands, Scales, Target},
};

/// Keys whose scores are held at a time: with 24 queries they fill 48 KiB.
const KEYS: usize = 512;

/// Tiles of queries that share a pass over the keys.
const TILES: usize = 4;

/// The score of a key that a query does not see. Finite, so that a block of nothing else gives no NaN.
const MASKED: f32 = -1e30;

/// The shape of a layer's attention. Queries, keys and values lie side by side in a row:
/// `[heads * width | kv_heads * width | kv_heads * width]`.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub heads: usize,
    /// Several heads may share their keys and values; a divisor of `heads`.
    pub kv_heads: usize,
    pub width: usize,
    /// What the product of query and key is multiplied by.
    pub scale: f32,
    /// `None` where a token sees all of its text, wherever it stands.
    pub positions: Option<Positions>,
}

/// What scores owe to where key and query stand. It depends on `key - query` alone: so do causal masks, windows, relative
/// position biases and ALiBi.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Positions {
    /// A query sees the keys at `lowest..=highest` from itself, and so always itself.
    pub lowest: isize,
    pub highest: isize,
    /// `[heads, 2 * reach + 1]`: added to the scaled score at `key - query + reach`. Texts have at most `reach + 1` tokens.
    pub bias: Option<Vec<f32>>,
}

impl Attention {
    /// Writes all of `attended`, `[n, heads * width]`. `lengths` are those of the texts, n in all. Texts, and parts of long
    /// ones, are shared among the threads of the calling thread's pool.
    pub fn forward(&self, qkv: &[f32], lengths: &[usize], attended: &mut [f32], instructions: Instructions) {
        let n: usize = lengths.iter().sum();
        let (row, hidden) = (self.row(), self.heads * self.width);
        assert_eq!((qkv.len(), attended.len()), (n * row, n * hidden), "[n, q + k + v] to [n, q]");
        let threads = rayon::current_num_threads();
        let part = if threads == 1 { usize::MAX } else { 4 * TILES * 6 };
        let mut pieces = Vec::with_capacity(lengths.len());
        let (mut qkv, mut attended) = (qkv, attended);
        for &len in lengths {
            let (text, of_text);
            (text, qkv) = qkv.split_at(len * row);
            (of_text, attended) = attended.split_at_mut(len * hidden);
            for (i, attended) in of_text.chunks_mut(part.min(len.max(1)) * hidden).enumerate() {
                let first = i * part.min(len);
                pieces.push(Piece { attention: self, qkv: text, first, attended });
            }
        }
        if threads == 1 {
            pieces.into_iter().for_each(|piece| run(instructions, piece));
        } else {
            pieces.into_par_iter().for_each(|piece| run(instructions, piece));
        }
    }

    fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.width
    }

    /// The keys that any of the queries sees.
    #[inline(always)]
    fn seen(&self, query: usize, queries: usize, len: usize) -> (usize, usize) {
        match &self.positions {
            None => (0, len),
            Some(positions) => (
                query.saturating_add_signed(positions.lowest),
                (query + queries).saturating_add_signed(positions.highest).min(len),
            ),
        }
    }

    /// Applies what the scores of a query with the keys from `block` on owe to their places; returns what is still to be
    /// multiplied.
    #[inline(always)]
    fn place(&self, head: usize, query: usize, block: usize, scores: &mut [f32]) -> f32 {
        let scale = self.scale;
        let Some(positions) = &self.positions else {
            return scale;
        };
        rows::multiply(scores, scale);
        if let Some(bias) = &positions.bias {
            let table = bias.len() / self.heads;
            let at = head * table + table / 2 + block - query;
            rows::add(scores, &bias[at..]);
        }
        let place = |offset: isize| (query.saturating_add_signed(offset)).saturating_sub(block).min(scores.len());
        let (low, high) = (place(positions.lowest), place(positions.highest.saturating_add(1)));
        scores[..low].fill(MASKED);
        scores[high..].fill(MASKED);
        1.0
    }
}

/// Some queries of a text.
struct Piece<'a> {
    attention: &'a Attention,
    /// All rows of the text.
    qkv: &'a [f32],
    /// Which query is the first.
    first: usize,
    /// `[queries, heads * width]`.
    attended: &'a mut [f32],
}

impl Kernel for Piece<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Attention { heads, kv_heads, width, .. } = *self.attention;
        let mut scratch = Scratch::take();
        let group = heads / kv_heads;
        let queries = self.attended.len() / (heads * width);
        let mut pass = Pass { attention: self.attention, qkv: self.qkv, scratch: &mut scratch };
        for kv_head in 0..kv_heads {
            pass.pack::<S>(kv_head);
            for head in kv_head * group..(kv_head + 1) * group {
                for from in (0..queries).step_by(TILES * S::ROWS) {
                    let count = (queries - from).min(TILES * S::ROWS);
                    let to = &mut self.attended[from * heads * width..][..count * heads * width];
                    // SAFETY: the caller's.
                    unsafe { pass.attend::<S>(head, self.first + from, to) };
                }
            }
        }
        scratch.give_back();
    }
}

struct Pass<'a> {
    attention: &'a Attention,
    qkv: &'a [f32],
    scratch: &'a mut Scratch,
}

impl Pass<'_> {
    /// Keys into `[panels of keys][width][columns]`, values into `[panels of width][keys][columns]`.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, kv_head: usize) {
        let Attention { heads, kv_heads, width, .. } = *self.attention;
        let (row, columns) = (self.attention.row(), 2 * S::WIDTH);
        let len = self.qkv.len() / row;
        let keys = self.scratch.keys.at_least::<f32>(len.next_multiple_of(columns) * width);
        let key = (heads + kv_head) * width;
        for (panel, rows) in keys.chunks_exact_mut(columns * width).zip(self.qkv.chunks(columns * row)) {
            for (column, row) in rows.chunks_exact(row).enumerate() {
                for (k, &x) in row[key..key + width].iter().enumerate() {
                    panel[k * columns + column] = x;
                }
            }
        }
        let values = self.scratch.values.at_least::<f32>(len * width.next_multiple_of(columns));
        let value = (heads + kv_heads + kv_head) * width;
        for (first, panel) in (0..width).step_by(columns).zip(values.chunks_exact_mut(len.max(1) * columns)) {
            let count = columns.min(width - first);
            for (to, row) in panel.chunks_exact_mut(columns).zip(self.qkv.chunks_exact(row)) {
                to[..count].copy_from_slice(&row[value + first..][..count]);
            }
        }
    }

    /// The queries from `query` on, at most `TILES` tiles of them, to `[queries, heads * width]`.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn attend<S: Simd>(&mut self, head: usize, query: usize, attended: &mut [f32]) {
        let Attention { heads, width, .. } = *self.attention;
        let (row, columns) = (self.attention.row(), 2 * S::WIDTH);
        let (len, queries) = (self.qkv.len() / row, attended.len() / (heads * width));
        let wide = width.next_multiple_of(columns);
        let buffer = self.scratch.scores.at_least::<f32>(TILES * S::ROWS * (KEYS + wide));
        let (scores, sums) = buffer.split_at_mut(TILES * S::ROWS * KEYS);
        let (keys, values) = (self.scratch.keys.words::<f32>(), self.scratch.values.words::<f32>());
        let mut totals = [Total { max: MASKED, sum: 0.0 }; TILES * 12];
        let scales = Scales { rows: std::ptr::null(), columns: std::ptr::null() };

        let (first, end) = self.attention.seen(query, queries, len);
        let mut block = first / columns * columns;
        let mut started = false;
        while block < end {
            let count = KEYS.min(end - block);
            let tiles = |from: &mut usize| {
                let left = queries - *from;
                let rows = left.div_ceil(left.div_ceil(S::ROWS).max(1));
                *from += rows;
                (*from - rows, rows)
            };
            for column in (0..count).step_by(columns) {
                let mut from = 0;
                while from < queries {
                    let (tile, rows) = tiles(&mut from);
                    let operands = Operands {
                        rows: self.qkv[(query + tile) * row + head * width..].as_ptr(),
                        stride: row,
                        panel: keys[(block + column) * width..][..columns * width].as_ptr(),
                        words: width,
                    };
                    let y = scores[tile * KEYS + column..].as_mut_ptr();
                    let to = Target { y, stride: KEYS, bias: None, addend: None };
                    // SAFETY: the queries are rows of the text; a row of scores has room for whole panels.
                    unsafe { Floats::tile::<S>(rows, operands, scales, to) };
                }
            }
            for (i, total) in totals[..queries].iter_mut().enumerate() {
                let scores = &mut scores[i * KEYS..][..count];
                let scale = self.attention.place(head, query + i, block, scores);
                let max = rows::larger(total.max, rows::max(scores));
                let sum = rows::exponentials::<S>(scores, scale, max);
                let carried = rows::exponential::<S>(scale * (total.max - max));
                *total = Total { max, sum: total.sum * carried + sum };
                if started {
                    rows::multiply(&mut sums[i * wide..][..wide], carried);
                }
            }
            for column in (0..wide).step_by(columns) {
                let mut from = 0;
                while from < queries {
                    let (tile, rows) = tiles(&mut from);
                    let operands = Operands {
                        rows: scores[tile * KEYS..].as_ptr(),
                        stride: KEYS,
                        panel: values[column * len + block * columns..][..count * columns].as_ptr(),
                        words: count,
                    };
                    let y = sums[tile * wide + column..].as_mut_ptr();
                    let addend = started.then_some((y.cast_const(), wide));
                    let to = Target { y, stride: wide, bias: None, addend };
                    // SAFETY: `sums` has a row of whole panels for every query.
                    unsafe { Floats::tile::<S>(rows, operands, scales, to) };
                }
            }
            started = true;
            block += count;
        }
        for ((row, sums), total) in attended.chunks_exact_mut(heads * width).zip(sums.chunks_exact(wide)).zip(totals) {
            let inverse = 1.0 / total.sum;
            for (to, sum) in row[head * width..][..width].iter_mut().zip(sums) {
                *to = sum * inverse;
            }
        }
    }
}

/// The largest score of a query so far, and the sum of the exponentials relative to it.
#[derive(Clone, Copy)]
struct Total {
    max: f32,
    sum: f32,
}
