//! What a component says, spread over all: random signs and the fast Walsh-Hadamard transform, without its scale.

use std::ops::Range;

/// Multiplies by signs; then transforms the components of a window, a power of two and at least sixteen.
#[inline(always)]
pub(super) fn transform_body(x: &mut [f32], signs: &[f32], window: Range<usize>) {
    x.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
    let x = &mut x[window];
    // Within eight neighbours at once: pairs, pairs of pairs, halves.
    for x in x.as_chunks_mut::<8>().0 {
        let [a, b, c, d, e, f, g, h] = *x;
        let (a, b, c, d, e, f, g, h) = (a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h);
        let (a, b, c, d, e, f, g, h) = (a + c, b + d, a - c, b - d, e + g, f + h, e - g, f - h);
        *x = [a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h];
    }
    combine(x, 8);
}

/// The steps of the transform from those on that combine components so far apart.
#[inline(always)]
fn combine(x: &mut [f32], mut half: usize) {
    // Two steps in one pass over memory.
    while 4 * half <= x.len() {
        for four in x.chunks_exact_mut(4 * half) {
            let (first, second) = four.split_at_mut(2 * half);
            let ((a, b), (c, d)) = (first.split_at_mut(half), second.split_at_mut(half));
            for i in 0..half {
                let (sum, other) = (a[i] + b[i], c[i] + d[i]);
                let (difference, another) = (a[i] - b[i], c[i] - d[i]);
                (a[i], b[i]) = (sum + other, difference + another);
                (c[i], d[i]) = (sum - other, difference - another);
            }
        }
        half *= 4;
    }
    if half < x.len() {
        let (low, high) = x.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            (*low, *high) = (*low + *high, *low - *high);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use std::arch::x86_64::*;

    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
    pub(in super::super) fn transform(x: &mut [f32], signs: &[f32], window: Range<usize>) {
        x.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
        let x = &mut x[window];
        // Of two that are combined, the one with the lower number gets the sum, and the other what that has less the other.
        let signs = [0x5555, 0x3333, 0x0f0f, 0x00ff].map(|lower| signs_of(lower));
        for x in x.as_chunks_mut::<16>().0 {
            // SAFETY: there are sixteen components.
            unsafe {
                let mut y = _mm512_loadu_ps(x.as_ptr());
                y = _mm512_fmadd_ps(y, signs[0], _mm512_permute_ps::<0b10_11_00_01>(y));
                y = _mm512_fmadd_ps(y, signs[1], _mm512_permute_ps::<0b01_00_11_10>(y));
                y = _mm512_fmadd_ps(y, signs[2], _mm512_shuffle_f32x4::<0b10_11_00_01>(y, y));
                y = _mm512_fmadd_ps(y, signs[3], _mm512_shuffle_f32x4::<0b01_00_11_10>(y, y));
                _mm512_storeu_ps(x.as_mut_ptr(), y);
            }
        }
        combine(x, 16);
    }

    /// One in the lanes of a mask, and minus one in the others.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn signs_of(lanes: u16) -> __m512 {
        _mm512_mask_blend_ps(lanes, _mm512_set1_ps(-1.0), _mm512_set1_ps(1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::kernel::supported;

    proptest! {
        #[test]
        fn a_window_is_multiplied_by_the_matrix_of_the_transform(
            x in proptest::collection::vec(-1.0f32..1.0, 192), power in 4u32..8, first in 0usize..65, flipped in any::<u64>(),
        ) {
            let window = first..first + (1 << power);
            let signs: Vec<f32> = (0..x.len()).map(|i| if flipped >> (i % 64) & 1 == 1 { -1.0 } else { 1.0 }).collect();
            let signed: Vec<f64> = x.iter().zip(&signs).map(|(x, sign)| f64::from(x * sign)).collect();
            let transformed = |row: usize| -> f64 {
                let columns = signed[window.clone()].iter().enumerate();
                columns.map(|(column, x)| if (row & column).count_ones() % 2 == 1 { -x } else { *x }).sum()
            };
            for set in supported() {
                let mut ours = x.clone();
                set.transform(&mut ours, &signs, window.clone());
                for (place, &y) in ours.iter().enumerate() {
                    let inside = window.contains(&place);
                    let expected = if inside { transformed(place - first) } else { signed[place] };
                    prop_assert!((f64::from(y) - expected).abs() < 1e-4, "{} {place}", set.name);
                }
            }
        }
    }
}
