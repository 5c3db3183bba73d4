//! Similarities of two vectors, with the widest instructions that the processor has.
//!
//! Each kernel is one portable loop over independent lanes. It is compiled several times for different instruction
//! sets, and which of them runs is decided by what the processor reports.

#![expect(
    unsafe_code,
    reason = "functions compiled for an instruction set are called after the processor was asked for it"
)]

use twofold_types::Distance;

/// Independent sums, enough to fill two registers of the widest instruction set.
const LANES: usize = 32;

macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident, |$a:ident, $b:ident, $sum:ident| $step:expr) => {
        $(#[$doc])*
        pub(crate) fn $name(a: &[f32], b: &[f32]) -> f32 {
            #[inline(always)]
            fn body(a: &[f32], b: &[f32]) -> f32 {
                let mut sums = [0.0f32; LANES];
                let (a_chunks, a_rest) = a.as_chunks::<LANES>();
                let (b_chunks, b_rest) = b.as_chunks::<LANES>();
                for (a, b) in a_chunks.iter().zip(b_chunks) {
                    for lane in 0..LANES {
                        let ($a, $b, $sum) = (a[lane], b[lane], sums[lane]);
                        sums[lane] = $step;
                    }
                }
                let mut total: f32 = sums.iter().sum();
                for (&$a, &$b) in a_rest.iter().zip(b_rest) {
                    let $sum = total;
                    total = $step;
                }
                total
            }

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512(a: &[f32], b: &[f32]) -> f32 {
                    body(a, b)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2(a: &[f32], b: &[f32]) -> f32 {
                    body(a, b)
                }
                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has AVX-512F.
                    return unsafe { avx512(a, b) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the processor has AVX2 and FMA.
                    return unsafe { avx2(a, b) };
                }
            }
            body(a, b)
        }
    };
}

kernel!(
    /// Sum of products.
    dot, |a, b, sum| a * b + sum
);
kernel!(
    /// Sum of squared differences.
    squared_euclid, |a, b, sum| (a - b) * (a - b) + sum
);
kernel!(
    /// Sum of absolute differences.
    manhattan, |a, b, sum| (a - b).abs() + sum
);

/// How near two vectors are; higher is nearer for every distance. Vectors of Cosine are normalised already.
pub(crate) fn nearness(distance: Distance) -> fn(&[f32], &[f32]) -> f32 {
    match distance {
        Distance::Cosine | Distance::Dot => dot,
        Distance::Euclid => |a, b| -squared_euclid(a, b),
        Distance::Manhattan => |a, b| -manhattan(a, b),
    }
}

/// The score that is answered for a nearness.
pub(crate) fn score(distance: Distance, nearness: f32) -> f32 {
    match distance {
        Distance::Cosine | Distance::Dot => nearness,
        Distance::Euclid => (-nearness).max(0.0).sqrt(),
        Distance::Manhattan => -nearness,
    }
}

/// Scales a vector to length 1; one of length 0 stays as it is.
pub(crate) fn normalise(vector: &mut [f32]) {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 && (length - 1.0).abs() > f32::EPSILON {
        vector.iter_mut().for_each(|component| *component /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(fast: f32, exact: f64) -> bool {
        (f64::from(fast) - exact).abs() <= 1e-4 * (1.0 + exact.abs())
    }

    proptest! {
        #[test]
        fn kernels_equal_plain_sums(pairs in proptest::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 0..300)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let sum = |f: fn(f64, f64) -> f64| a.iter().zip(&b).map(|(&a, &b)| f(a.into(), b.into())).sum::<f64>();
            prop_assert!(close(dot(&a, &b), sum(|a, b| a * b)));
            prop_assert!(close(squared_euclid(&a, &b), sum(|a, b| (a - b) * (a - b))));
            prop_assert!(close(manhattan(&a, &b), sum(|a, b| (a - b).abs())));
        }
    }

    #[test]
    fn a_normalised_vector_has_length_one_and_zero_stays() {
        let mut vector = vec![3.0, 4.0];
        normalise(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zero = vec![0.0; 4];
        normalise(&mut zero);
        assert_eq!(zero, [0.0; 4]);
    }

    #[test]
    fn nearer_is_higher_and_scores_are_the_plain_measures() {
        for distance in [Distance::Cosine, Distance::Dot, Distance::Euclid, Distance::Manhattan] {
            let near = nearness(distance);
            assert!(
                near(&[1.0, 0.0], &[0.8, 0.6]) > near(&[1.0, 0.0], &[0.0, 1.0]),
                "{distance:?}"
            );
        }
        assert_eq!(
            score(Distance::Euclid, nearness(Distance::Euclid)(&[0.0, 0.0], &[3.0, 4.0])),
            5.0
        );
        assert_eq!(
            score(
                Distance::Manhattan,
                nearness(Distance::Manhattan)(&[0.0, 0.0], &[3.0, 4.0])
            ),
            7.0
        );
    }
}
