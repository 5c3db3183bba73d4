//! MaxSim: the nearest vector of a point to each of sixteen vectors of a query, and the same by bytes of a table.
//!
//! The vectors of the query lie across the lanes, so that nothing is added up across a register, and several vectors of the point
//! are gone through at once, so that each load of the query serves all of them.

use twofold_types::Distance;

use super::Lanes;

/// Bytes of a row of a table that are handled together, one for each vector of the query.
pub(crate) const BYTES: usize = 32;

/// A part of a row of a table.
pub(crate) type TableRow = [u8; BYTES];

/// Raises each lane of `best` to how near the nearest of `rows` is to that lane's vector of the query; `[dimensions]` lanes and
/// `[n, dimensions]`.
#[inline(always)]
pub(super) fn raise_body<const ROWS: usize>(
    distance: Distance,
    query: &[Lanes],
    rows: &[f32],
    best: &mut Lanes,
    add_product: impl Fn(f32, f32, f32) -> f32 + Copy,
) {
    match distance {
        Distance::Cosine | Distance::Dot => raise_by::<ROWS>(query, rows, best, add_product),
        Distance::Euclid => raise_by::<ROWS>(query, rows, best, |q, x, sum| add_product(q - x, x - q, sum)),
        Distance::Manhattan => raise_by::<ROWS>(query, rows, best, |q, x, sum| sum - (q - x).abs()),
    }
}

#[inline(always)]
fn raise_by<const ROWS: usize>(
    query: &[Lanes],
    rows: &[f32],
    best: &mut Lanes,
    step: impl Fn(f32, f32, f32) -> f32 + Copy,
) {
    let tiles = rows.chunks_exact(ROWS * query.len());
    let rest = tiles.remainder().chunks_exact(query.len());
    tiles.for_each(|rows| raise_tile::<ROWS>(query, rows, best, step));
    rest.for_each(|row| raise_tile::<1>(query, row, best, step));
}

#[inline(always)]
fn raise_tile<const ROWS: usize>(
    query: &[Lanes],
    rows: &[f32],
    best: &mut Lanes,
    step: impl Fn(f32, f32, f32) -> f32 + Copy,
) {
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &rows[row * query.len()..(row + 1) * query.len()]);
    let mut sums = [Lanes::ZERO.0; ROWS];
    for (component, lanes) in query.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let x = row[component];
            for (sum, q) in sums.iter_mut().zip(lanes.0) {
                *sum = step(q, x, *sum);
            }
        }
    }
    for sums in sums {
        for (best, sum) in best.0.iter_mut().zip(sums) {
            *best = if sum > *best { sum } else { *best };
        }
    }
}

/// The sum over all vectors of the query of the largest byte that a point's codes have for it. A row of the table, one for each
/// code, is `width` parts.
#[inline(always)]
pub(super) fn sum_largest_body(table: &[TableRow], width: usize, codes: &[u16]) -> u32 {
    let mut sum = 0;
    for part in 0..width {
        let mut largest = [0u8; BYTES];
        for &code in codes {
            for (largest, &byte) in largest.iter_mut().zip(&table[usize::from(code) * width + part]) {
                *largest = (*largest).max(byte);
            }
        }
        sum += largest.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    }
    sum
}

/// Products and sums in one instruction; as many rows as registers hold.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use super::*;

    #[target_feature(enable = "avx2,fma")]
    pub(in super::super) fn raise(distance: Distance, query: &[Lanes], rows: &[f32], best: &mut Lanes) {
        raise_body::<4>(distance, query, rows, best, |q, x, sum| q.mul_add(x, sum));
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
    pub(in super::super) fn raise(distance: Distance, query: &[Lanes], rows: &[f32], best: &mut Lanes) {
        raise_body::<8>(distance, query, rows, best, |q, x, sum| q.mul_add(x, sum));
    }
}
