//! Attention of packed texts, straight from the matrix of queries, keys and values.
//!
//! Head by head the keys are transposed and the values copied into panels. Then some queries at a time meet a block of
//! keys, so that their scores stay in the cache; from block to block the sums are carried on as Milakov and Gimelshein do
//! (arXiv:1805.02867), which is why a text may be of any length.

#![expect(unsafe_code, reason = "tiles are computed on pointers")]

use rayon::prelude::*;

use super::{
    instructions::{Instructions, Kernel, run},
    kernels,
    scratch::Scratch,
    simd::Simd,
    tile::{Operands, Target, tile},
};

/// Keys whose scores are held at a time: with 24 queries they fill 48 KiB.
const KEYS: usize = 512;

/// Tiles of queries that share a pass over the keys.
const TILES: usize = 4;

/// Queries of a tile: two vectors of keys, or of values, to a row.
const fn rows<S: Simd>() -> usize {
    S::SUMS / 2
}

/// Less than any score, and finite: the difference of two of them is a number.
const LEAST: f32 = -1e30;

/// The shape of a layer's attention. Queries, keys and values lie side by side in a row:
/// `[heads * width | key_heads * width | key_heads * width]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub heads: usize,
    /// Several heads may share their keys and values; a divisor of `heads`.
    pub key_heads: usize,
    pub width: usize,
    /// What the product of query and key is multiplied by.
    pub scale: f32,
    /// `None` where a token sees all of its text and does not mind distances.
    pub distances: Option<Distances<'a>>,
}

/// What scores owe to the distance `key - query`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distances<'a> {
    /// `[heads, 2 * positions - 1]`, or `[1, 2 * positions - 1]` where all heads have the same: column `positions - 1 + d`
    /// is added to the scaled score of the key d tokens behind the query. No text has more than `positions` tokens.
    pub table: &'a [f32],
    pub positions: usize,
    /// The distances beyond which the table holds nothing but masks, so that nothing need be computed. A query is always
    /// within reach of itself.
    pub lowest: isize,
    pub highest: isize,
}

impl Attention<'_> {
    /// Writes all of `attended`, `[n, heads * width]`. `lengths` are those of the texts, n in all, and `seen` how many tokens of
    /// each, from its first on, are keys: those behind them attend and are not attended to. Texts, and parts of long
    /// ones, are shared among the threads of the calling thread's pool.
    pub fn forward(
        &self,
        qkv: &[f32],
        lengths: &[usize],
        seen: &[usize],
        attended: &mut [f32],
        instructions: Instructions,
    ) {
        let n: usize = lengths.iter().sum();
        let (row, hidden) = (self.row(), self.heads * self.width);
        assert_eq!(
            (qkv.len(), attended.len()),
            (n * row, n * hidden),
            "[n, q + k + v] to [n, q]"
        );
        let threads = rayon::current_num_threads();
        let part = if threads == 1 { usize::MAX } else { 4 * TILES * 6 };
        let mut pieces = Vec::with_capacity(lengths.len());
        let (mut qkv, mut attended) = (qkv, attended);
        for (&len, &seen) in lengths.iter().zip(seen) {
            let (text, of_text);
            (text, qkv) = qkv.split_at(len * row);
            (of_text, attended) = attended.split_at_mut(len * hidden);
            for (i, attended) in of_text.chunks_mut(part.min(len.max(1)) * hidden).enumerate() {
                let first = i * part.min(len);
                pieces.push(Piece {
                    attention: self,
                    qkv: text,
                    seen,
                    first,
                    attended,
                });
            }
        }
        if threads == 1 {
            pieces.into_iter().for_each(|piece| run(instructions, piece));
        } else {
            pieces.into_par_iter().for_each(|piece| run(instructions, piece));
        }
    }

    fn row(&self) -> usize {
        (self.heads + 2 * self.key_heads) * self.width
    }

    /// The keys that any of the queries sees.
    #[inline(always)]
    fn seen(&self, query: usize, queries: usize, len: usize) -> (usize, usize) {
        match self.distances {
            None => (0, len),
            Some(Distances { lowest, highest, .. }) => (
                query.saturating_add_signed(lowest),
                (query + queries).saturating_add_signed(highest).min(len),
            ),
        }
    }

    /// Adds to the scores of a query with the keys from `key` on what they owe to their distances; returns what is still to
    /// be multiplied.
    #[inline(always)]
    fn place<S: Simd>(&self, head: usize, query: usize, key: usize, scores: &mut [f32]) -> f32 {
        let Some(Distances { table, positions, .. }) = self.distances else {
            return self.scale;
        };
        let columns = 2 * positions - 1;
        // The same for all heads where the table has one row.
        let row = head % (table.len() / columns) * columns;
        kernels::scale_add::<S>(scores, self.scale, &table[row + positions - 1 + key - query..]);
        1.0
    }
}

/// Some queries of a text.
struct Piece<'a> {
    attention: &'a Attention<'a>,
    /// All rows of the text.
    qkv: &'a [f32],
    /// How many of them are keys.
    seen: usize,
    /// Which query is the first.
    first: usize,
    /// `[queries, heads * width]`.
    attended: &'a mut [f32],
}

impl Kernel for Piece<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Attention {
            heads,
            key_heads,
            width,
            ..
        } = *self.attention;
        let mut scratch = Scratch::take();
        let group = heads / key_heads;
        let queries = self.attended.len() / (heads * width);
        let mut pass = Pass {
            attention: self.attention,
            qkv: self.qkv,
            seen: self.seen,
            scratch: &mut scratch,
        };
        for key_head in 0..key_heads {
            // SAFETY: the caller's.
            unsafe { pass.pack::<S>(key_head) };
            for head in key_head * group..(key_head + 1) * group {
                for from in (0..queries).step_by(TILES * rows::<S>()) {
                    let count = (queries - from).min(TILES * rows::<S>());
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
    attention: &'a Attention<'a>,
    qkv: &'a [f32],
    seen: usize,
    scratch: &'a mut Scratch,
}

impl Pass<'_> {
    /// Keys into `[panels of keys][width][columns]`, values into `[panels of width][keys][columns]`.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn pack<S: Simd>(&mut self, key_head: usize) {
        let Attention {
            heads,
            key_heads,
            width,
            ..
        } = *self.attention;
        let (row, columns) = (self.attention.row(), 2 * S::WIDTH);
        let len = self.qkv.len() / row;
        let keys = self.scratch.keys.at_least(len.next_multiple_of(columns) * width);
        let key = (heads + key_head) * width;
        for (panel, rows) in keys
            .chunks_exact_mut(columns * width)
            .zip(self.qkv.chunks(columns * row))
        {
            for (column, row) in rows.chunks_exact(row).enumerate() {
                for (k, &x) in row[key..key + width].iter().enumerate() {
                    panel[k * columns + column] = x;
                }
            }
        }
        let values = self.scratch.values.at_least(len * width.next_multiple_of(columns));
        let value = (heads + key_heads + key_head) * width;
        for (first, panel) in (0..width)
            .step_by(columns)
            .zip(values.chunks_exact_mut(len.max(1) * columns))
        {
            let count = columns.min(width - first);
            for (to, row) in panel.chunks_exact_mut(columns).zip(self.qkv.chunks_exact(row)) {
                let from = &row[value + first..][..count];
                if count == columns {
                    // SAFETY: the caller's; both are two vectors long.
                    unsafe { S::copy_two(from.as_ptr(), to.as_mut_ptr()) };
                } else {
                    to[..count].copy_from_slice(from);
                }
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
        let buffer = self.scratch.scores.at_least(TILES * rows::<S>() * (KEYS + wide));
        let (scores, sums) = buffer.split_at_mut(TILES * rows::<S>() * KEYS);
        let (keys, values) = (self.scratch.keys.numbers(), self.scratch.values.numbers());
        let mut totals = [Total { max: LEAST, sum: 0.0 }; TILES * 12];

        let (first, end) = self.attention.seen(query, queries, self.seen.min(len));
        let mut block = first / columns * columns;
        let mut started = false;
        while block < end {
            let count = KEYS.min(end - block);
            let tiles = |from: &mut usize| {
                let left = queries - *from;
                let rows = left.div_ceil(left.div_ceil(rows::<S>()).max(1));
                *from += rows;
                (*from - rows, rows)
            };
            for column in (0..count).step_by(columns) {
                let mut from = 0;
                while from < queries {
                    let (top, rows) = tiles(&mut from);
                    let operands = Operands {
                        rows: self.qkv[(query + top) * row + head * width..].as_ptr(),
                        stride: row,
                        panel: keys[(block + column) * width..][..columns * width].as_ptr(),
                        count: width,
                        ahead: std::ptr::null(),
                    };
                    let y = scores[top * KEYS + column..].as_mut_ptr();
                    let to = Target {
                        y,
                        stride: KEYS,
                        bias: None,
                        addend: None,
                    };
                    // SAFETY: the queries are rows of the text; a row of scores has room for whole panels.
                    unsafe { tile::<S, 2, 0>(rows, operands, to) };
                }
            }
            for (i, total) in totals[..queries].iter_mut().enumerate() {
                let scores = &mut scores[i * KEYS..][..count.next_multiple_of(columns)];
                let scale = self.attention.place::<S>(head, query + i, block, &mut scores[..count]);
                scores[count..].fill(LEAST);
                let max = kernels::larger(total.max, kernels::max::<S>(scores));
                let mut sum = kernels::exponentials::<S>(scores, scale, max);
                if started {
                    let carried = kernels::exponential::<S>(scale * (total.max - max));
                    sum += total.sum * carried;
                    kernels::scale(&mut sums[i * wide..][..wide], carried);
                }
                *total = Total { max, sum };
            }
            for column in (0..wide).step_by(columns) {
                let mut from = 0;
                while from < queries {
                    let (top, rows) = tiles(&mut from);
                    let operands = Operands {
                        rows: scores[top * KEYS..].as_ptr(),
                        stride: KEYS,
                        panel: values[column * len + block * columns..][..count * columns].as_ptr(),
                        count,
                        ahead: std::ptr::null(),
                    };
                    let y = sums[top * wide + column..].as_mut_ptr();
                    let addend = started.then_some((y.cast_const(), wide));
                    let to = Target {
                        y,
                        stride: wide,
                        bias: None,
                        addend,
                    };
                    // SAFETY: `sums` has a row of whole panels for every query.
                    unsafe { tile::<S, 2, 0>(rows, operands, to) };
                }
            }
            started = true;
            block += count;
        }
        for ((row, sums), total) in attended
            .chunks_exact_mut(heads * width)
            .zip(sums.chunks_exact(wide))
            .zip(totals)
        {
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

#[cfg(test)]
mod tests;
