//! The innermost loop of every matrix product: a tile of R rows by two vectors of columns, whose sums stay in registers.

#![expect(unsafe_code, reason = "the innermost loop works on pointers")]

use super::{scratch::Word, simd::Simd};

/// What a tile is computed of. `W` is the word in which numbers are held: an f32, or a pair of i16 as an i32.
#[derive(Clone, Copy)]
pub(super) struct Operands<W> {
    /// First word of the first row, and words from row to row.
    pub rows: *const W,
    pub stride: usize,
    /// `[words, 2 * WIDTH]`.
    pub panel: *const W,
    /// Words of a row that take part.
    pub words: usize,
}

/// Where a tile goes to: `y = start + rows * panel`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// First number of the first row, and numbers from row to row.
    pub y: *mut f32,
    pub stride: usize,
    /// Added to every row: two vectors.
    pub bias: Option<*const f32>,
    /// Added to row after row: the first row, and numbers from row to row.
    pub addend: Option<(*const f32, usize)>,
}

/// How numbers are held in words, and so how they are multiplied.
pub(super) trait Format {
    type Word: Word;

    /// Rows of a full tile.
    fn most_rows<S: Simd>() -> usize;

    /// Computes `rows` rows, at most [`most_rows`](Self::most_rows), of two vectors each.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and all that the operands and the target describe is there.
    #[inline(always)]
    unsafe fn tile<S: Simd>(rows: usize, operands: Operands<Self::Word>, scales: Scales, target: Target) {
        // SAFETY: the caller's.
        unsafe {
            match rows {
                1 => Self::rows::<S, 1>(operands, scales, target),
                2 => Self::rows::<S, 2>(operands, scales, target),
                3 => Self::rows::<S, 3>(operands, scales, target),
                4 => Self::rows::<S, 4>(operands, scales, target),
                5 => Self::rows::<S, 5>(operands, scales, target),
                6 => Self::rows::<S, 6>(operands, scales, target),
                // A set with tiles of six rows never gets here, and the compiler knows.
                _ if S::ROWS == 6 => unreachable!("a tile has one to six rows"),
                7 => Self::rows::<S, 7>(operands, scales, target),
                8 => Self::rows::<S, 8>(operands, scales, target),
                9 => Self::rows::<S, 9>(operands, scales, target),
                10 => Self::rows::<S, 10>(operands, scales, target),
                11 => Self::rows::<S, 11>(operands, scales, target),
                12 => Self::rows::<S, 12>(operands, scales, target),
                _ => unreachable!("a tile has one to twelve rows"),
            }
        }
    }

    /// # Safety
    /// See [`tile`](Self::tile).
    unsafe fn rows<S: Simd, const R: usize>(operands: Operands<Self::Word>, scales: Scales, target: Target);
}

/// What whole numbers are multiplied by to be what they stand for: one factor for each row, one for each column.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    pub rows: *const f32,
    pub columns: *const f32,
}

/// A word is an f32. There are no scales.
pub(super) struct Floats;

impl Format for Floats {
    type Word = f32;

    #[inline(always)]
    fn most_rows<S: Simd>() -> usize {
        S::ROWS
    }

    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize>(operands: Operands<f32>, _: Scales, target: Target) {
        let Operands {
            rows,
            stride,
            panel,
            words,
        } = operands;
        // SAFETY: the caller's.
        unsafe {
            let mut sums = start::<S, R>(target);
            let mut k = 0;
            // Four words at a time, so that the addresses of the rows are computed once for four. (Pairs need one register
            // more; with four words the compiler runs out of them.)
            while k + 4 <= words {
                for k in k..k + 4 {
                    step::<S, R>(&mut sums, rows.add(k), stride, panel.add(k * 2 * S::WIDTH));
                }
                k += 4;
            }
            while k < words {
                step::<S, R>(&mut sums, rows.add(k), stride, panel.add(k * 2 * S::WIDTH));
                k += 1;
            }
            for (r, sums) in sums.into_iter().enumerate() {
                S::store(target.y.add(r * target.stride), sums[0]);
                S::store(target.y.add(r * target.stride + S::WIDTH), sums[1]);
            }
        }
    }
}

#[inline(always)]
unsafe fn step<S: Simd, const R: usize>(
    sums: &mut [[S::Floats; 2]; R],
    rows: *const f32,
    stride: usize,
    columns: *const f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let columns = [S::load(columns), S::load(columns.add(S::WIDTH))];
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = S::splat(*rows.add(r * stride));
            sums[0] = S::multiply_add(x, columns[0], sums[0]);
            sums[1] = S::multiply_add(x, columns[1], sums[1]);
        }
    }
}

/// A word is a pair of i16, next to each other in a row. The caller sees to it that sums stay within an i32.
pub(super) struct Pairs;

impl Format for Pairs {
    type Word = i32;

    #[inline(always)]
    fn most_rows<S: Simd>() -> usize {
        S::ROWS_OF_PAIRS
    }

    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize>(operands: Operands<i32>, scales: Scales, target: Target) {
        let Operands {
            rows,
            stride,
            panel,
            words,
        } = operands;
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[S::zero_ints(); 2]; R];
            for k in 0..words {
                let columns = panel.add(k * 2 * S::WIDTH);
                let columns = [S::load_ints(columns), S::load_ints(columns.add(S::WIDTH))];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat_int(*rows.add(r * stride + k));
                    sums[0] = S::add_products_of_pairs(sums[0], x, columns[0]);
                    sums[1] = S::add_products_of_pairs(sums[1], x, columns[1]);
                }
            }
            let start = start::<S, R>(target);
            for (r, (sums, start)) in sums.into_iter().zip(start).enumerate() {
                let row = S::splat(*scales.rows.add(r));
                for half in 0..2 {
                    let at = half * S::WIDTH;
                    let value = S::multiply(
                        S::to_floats(sums[half]),
                        S::multiply(row, S::load(scales.columns.add(at))),
                    );
                    S::store(target.y.add(r * target.stride + at), S::add(value, start[half]));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn start<S: Simd, const R: usize>(target: Target) -> [[S::Floats; 2]; R] {
    // SAFETY: the caller's.
    unsafe {
        let bias = match target.bias {
            Some(bias) => [S::load(bias), S::load(bias.add(S::WIDTH))],
            None => [S::splat(0.0); 2],
        };
        let mut start = [bias; R];
        if let Some((addend, stride)) = target.addend {
            for (r, start) in start.iter_mut().enumerate() {
                start[0] = S::add(start[0], S::load(addend.add(r * stride)));
                start[1] = S::add(start[1], S::load(addend.add(r * stride + S::WIDTH)));
            }
        }
        start
    }
}
