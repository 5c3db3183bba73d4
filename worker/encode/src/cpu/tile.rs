//! The innermost loop of every matrix product: a tile of R rows by C vectors of columns, whose sums stay in registers.

#![expect(unsafe_code, reason = "the innermost loop works on pointers")]

use super::simd::Simd;

/// Numbers in a line of a cache.
pub(super) const LINE: usize = 16;

/// What a tile is computed of.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// First number of the first row, and numbers from row to row.
    pub rows: *const f32,
    pub stride: usize,
    /// `[count, C * WIDTH]`.
    pub panel: *const f32,
    /// Numbers of a row that take part.
    pub count: usize,
    /// Where memory begins that is asked for meanwhile, A lines for every four of these numbers.
    pub ahead: *const f32,
}

/// Where a tile goes to: `y = start + rows * panel`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// First number of the first row, and numbers from row to row.
    pub y: *mut f32,
    pub stride: usize,
    /// Added to every row: C vectors.
    pub bias: Option<*const f32>,
    /// Added to row after row: the first row, and numbers from row to row.
    pub addend: Option<(*const f32, usize)>,
}

/// Computes `rows` rows, at most `S::SUMS / C`, of C vectors each.
///
/// # Safety
/// The processor has the instructions of `S`, and all that the operands and the target describe is there.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const C: usize, const A: usize>(rows: usize, operands: Operands, target: Target) {
    // SAFETY: the caller's.
    unsafe {
        match rows {
            1 => rows_of::<S, 1, C, A>(operands, target),
            2 => rows_of::<S, 2, C, A>(operands, target),
            3 => rows_of::<S, 3, C, A>(operands, target),
            4 => rows_of::<S, 4, C, A>(operands, target),
            5 => rows_of::<S, 5, C, A>(operands, target),
            6 => rows_of::<S, 6, C, A>(operands, target),
            // Tiles of six rows never get here, and the compiler knows.
            _ if S::SUMS / C == 6 => unreachable!("a tile has one to six rows"),
            7 => rows_of::<S, 7, C, A>(operands, target),
            8 => rows_of::<S, 8, C, A>(operands, target),
            9 => rows_of::<S, 9, C, A>(operands, target),
            10 => rows_of::<S, 10, C, A>(operands, target),
            11 => rows_of::<S, 11, C, A>(operands, target),
            12 => rows_of::<S, 12, C, A>(operands, target),
            _ => unreachable!("a tile has one to twelve rows"),
        }
    }
}

/// # Safety
/// See [`tile`].
#[inline(always)]
unsafe fn rows_of<S: Simd, const R: usize, const C: usize, const A: usize>(operands: Operands, target: Target) {
    let Operands {
        rows,
        stride,
        panel,
        count,
        ahead,
    } = operands;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = start::<S, R, C>(target);
        let mut k = 0;
        // Four numbers at a time, so that the addresses of the rows are computed once for four.
        while k + 4 <= count {
            for line in 0..A {
                S::prefetch(ahead.wrapping_add((k / 4 * A + line) * LINE));
            }
            for k in k..k + 4 {
                step::<S, R, C>(&mut sums, rows.add(k), stride, panel.add(k * C * S::WIDTH));
            }
            k += 4;
        }
        while k < count {
            step::<S, R, C>(&mut sums, rows.add(k), stride, panel.add(k * C * S::WIDTH));
            k += 1;
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                S::store(target.y.add(r * target.stride + c * S::WIDTH), sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn step<S: Simd, const R: usize, const C: usize>(
    sums: &mut [[S::Floats; C]; R],
    rows: *const f32,
    stride: usize,
    columns: *const f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let columns = vectors::<S, C>(columns);
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = S::splat(*rows.add(r * stride));
            for (sum, &columns) in sums.iter_mut().zip(&columns) {
                *sum = S::multiply_add(x, columns, *sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn start<S: Simd, const R: usize, const C: usize>(target: Target) -> [[S::Floats; C]; R] {
    // SAFETY: the caller's.
    unsafe {
        let bias = match target.bias {
            Some(bias) => vectors::<S, C>(bias),
            None => [S::splat(0.0); C],
        };
        let mut start = [bias; R];
        if let Some((addend, stride)) = target.addend {
            for (r, start) in start.iter_mut().enumerate() {
                let addend = vectors::<S, C>(addend.add(r * stride));
                for (start, addend) in start.iter_mut().zip(addend) {
                    *start = S::add(*start, addend);
                }
            }
        }
        start
    }
}

#[inline(always)]
unsafe fn vectors<S: Simd, const C: usize>(from: *const f32) -> [S::Floats; C] {
    // SAFETY: the caller's.
    unsafe {
        let mut vectors = [S::splat(0.0); C];
        for (c, vector) in vectors.iter_mut().enumerate() {
            *vector = S::load(from.add(c * S::WIDTH));
        }
        vectors
    }
}
