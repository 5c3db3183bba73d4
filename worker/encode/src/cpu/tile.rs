//! The innermost loop of every matrix product: a tile of R rows by two vectors of columns, whose sums stay in registers.

#![expect(unsafe_code, reason = "the innermost loop works on pointers")]

use super::simd::Simd;

/// What a tile is computed of.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// First number of the first row, and numbers from row to row.
    pub rows: *const f32,
    pub stride: usize,
    /// `[count, 2 * WIDTH]`.
    pub panel: *const f32,
    /// Numbers of a row that take part.
    pub count: usize,
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

/// Computes `rows` rows, at most `S::ROWS`, of two vectors each.
///
/// # Safety
/// The processor has the instructions of `S`, and all that the operands and the target describe is there.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd>(rows: usize, operands: Operands, target: Target) {
    // SAFETY: the caller's.
    unsafe {
        match rows {
            1 => rows_of::<S, 1>(operands, target),
            2 => rows_of::<S, 2>(operands, target),
            3 => rows_of::<S, 3>(operands, target),
            4 => rows_of::<S, 4>(operands, target),
            5 => rows_of::<S, 5>(operands, target),
            6 => rows_of::<S, 6>(operands, target),
            // A set with tiles of six rows never gets here, and the compiler knows.
            _ if S::ROWS == 6 => unreachable!("a tile has one to six rows"),
            7 => rows_of::<S, 7>(operands, target),
            8 => rows_of::<S, 8>(operands, target),
            9 => rows_of::<S, 9>(operands, target),
            10 => rows_of::<S, 10>(operands, target),
            11 => rows_of::<S, 11>(operands, target),
            12 => rows_of::<S, 12>(operands, target),
            _ => unreachable!("a tile has one to twelve rows"),
        }
    }
}

/// # Safety
/// See [`tile`].
#[inline(always)]
unsafe fn rows_of<S: Simd, const R: usize>(operands: Operands, target: Target) {
    let Operands {
        rows,
        stride,
        panel,
        count,
    } = operands;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = start::<S, R>(target);
        let mut k = 0;
        // Four numbers at a time, so that the addresses of the rows are computed once for four.
        while k + 4 <= count {
            for k in k..k + 4 {
                step::<S, R>(&mut sums, rows.add(k), stride, panel.add(k * 2 * S::WIDTH));
            }
            k += 4;
        }
        while k < count {
            step::<S, R>(&mut sums, rows.add(k), stride, panel.add(k * 2 * S::WIDTH));
            k += 1;
        }
        for (r, sums) in sums.into_iter().enumerate() {
            S::store(target.y.add(r * target.stride), sums[0]);
            S::store(target.y.add(r * target.stride + S::WIDTH), sums[1]);
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
