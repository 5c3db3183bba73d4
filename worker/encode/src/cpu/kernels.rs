//! The arithmetic on rows of f32: loops without calls or branches, which the compiler turns into the vector instructions of
//! the set that they are compiled for. Only where numbers of a row come together are the vectors named, for what it makes of
//! such sums is as often vectors of two.
//!
//! SAFETY of all blocks: the processor has the instructions of `S`. Functions get it from a kernel that [`run`] has called, and
//! outside of this module nobody can name another.
//!
//! [`run`]: super::instructions::run

#![expect(unsafe_code, reason = "rows are folded vector by vector")]

use super::simd::Simd;
use crate::network::Activation;

#[inline(always)]
pub(crate) fn activate<S: Simd>(row: &mut [f32], activation: Activation) {
    match activation {
        Activation::Gelu => row.iter_mut().for_each(|x| *x = gelu::<S>(*x)),
        Activation::GeluTanh => row.iter_mut().for_each(|x| *x = gelu_tanh::<S>(*x)),
        Activation::Relu => row.iter_mut().for_each(|x| *x = x.max(0.0)),
        Activation::Silu => row.iter_mut().for_each(|x| *x = silu::<S>(*x)),
        Activation::Tanh => row.iter_mut().for_each(|x| *x = tanh::<S>(*x)),
    }
}

#[inline(always)]
pub(super) fn scale(row: &mut [f32], factor: f32) {
    for x in row {
        *x *= factor;
    }
}

#[inline(always)]
pub(super) fn max<S: Simd>(row: &[f32]) -> f32 {
    unsafe {
        let max = |a, b| S::max(a, b);
        S::across(fold::<S>(row, f32::NEG_INFINITY, max, max), larger)
    }
}

#[inline(always)]
pub(crate) fn add(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x += y;
    }
}

/// `factor * row + other`.
#[inline(always)]
pub(super) fn scale_add<S: Simd>(row: &mut [f32], factor: f32, other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x = S::fused(*x, factor, *y);
    }
}

#[inline(always)]
pub(crate) fn multiply(row: &mut [f32], other: &[f32]) {
    for (x, y) in row.iter_mut().zip(other) {
        *x *= y;
    }
}

/// Turns the pairs (head[i], head[i + half]) by the angles whose cosines and sines are given, `half` of each.
#[inline(always)]
pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// e^x, for x up to 87; below -87 it is that of -87.
#[inline(always)]
pub(super) fn exponential<S: Simd>(x: f32) -> f32 {
    exp::<S>(x.max(-87.0))
}

/// `exp(scale * (x - max))` for every x of the row; returns their sum.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(row: &mut [f32], scale: f32, max: f32) -> f32 {
    for x in row.iter_mut() {
        *x = exponential::<S>(scale * (*x - max));
    }
    sum::<S>(row)
}

/// `(row - mean) / sqrt(variance + eps) * gamma + beta`.
#[inline(always)]
pub(crate) fn layer_norm<S: Simd>(row: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    let width = row.len() as f32;
    let mean = sum::<S>(row) / width;
    for x in row.iter_mut() {
        *x -= mean;
    }
    let variance = squares::<S>(row) / width;
    let inverse = 1.0 / (variance + eps).sqrt();
    for ((x, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
        *x = S::fused(*x * inverse, *gamma, *beta);
    }
}

/// `row / sqrt(mean square + eps) * gamma`.
#[inline(always)]
pub(crate) fn rms_norm<S: Simd>(row: &mut [f32], gamma: &[f32], eps: f32) {
    let inverse = 1.0 / (squares::<S>(row) / row.len() as f32 + eps).sqrt();
    for (x, gamma) in row.iter_mut().zip(gamma) {
        *x = *x * inverse * gamma;
    }
}

#[inline(always)]
fn sum<S: Simd>(row: &[f32]) -> f32 {
    unsafe {
        let add = |a, b| S::add(a, b);
        S::across(fold::<S>(row, 0.0, add, add), |a, b| a + b)
    }
}

/// The sum of the squares.
#[inline(always)]
fn squares<S: Simd>(row: &[f32]) -> f32 {
    unsafe {
        let square = |sum, x| S::multiply_add(x, x, sum);
        S::across(fold::<S>(row, 0.0, square, |a, b| S::add(a, b)), |a, b| a + b)
    }
}

/// Folds `step` over the vectors of the row, in two sums which `merge` brings together. A row that ends within vectors goes
/// on with `neutral`, with which the sums begin.
#[inline(always)]
fn fold<S: Simd>(
    row: &[f32],
    neutral: f32,
    step: impl Fn(S::Floats, S::Floats) -> S::Floats,
    merge: impl Fn(S::Floats, S::Floats) -> S::Floats,
) -> S::Floats {
    let mut end = [neutral; 2 * 16];
    let pairs = row.chunks_exact(2 * S::WIDTH);
    let rest = pairs.remainder();
    end[..rest.len()].copy_from_slice(rest);
    let end = (!rest.is_empty()).then_some(&end[..]);
    // Two vectors are in every pair, and in the end.
    unsafe {
        let (mut even, mut odd) = (S::splat(neutral), S::splat(neutral));
        for pair in pairs.chain(end) {
            even = step(even, S::load(pair.as_ptr()));
            odd = step(odd, S::load(pair.as_ptr().add(S::WIDTH)));
        }
        merge(even, odd)
    }
}

#[inline(always)]
pub(super) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// Unlike [`f32::max`] one instruction: there are no NaNs to look after.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// x Φ(x), Φ the normal distribution's cumulative function.
#[inline(always)]
fn gelu<S: Simd>(x: f32) -> f32 {
    let half = 0.5 * x;
    S::fused(half, erf::<S>(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

/// GELU by Hendrycks and Gimpel's tanh formula (arXiv:1606.08415), as tanh(u) = 1 - 2 / (1 + e^2u).
#[inline(always)]
fn gelu_tanh<S: Simd>(x: f32) -> f32 {
    const SQRT_2_BY_PI: f32 = 0.797_884_6;
    let u = SQRT_2_BY_PI * S::fused(0.044715 * x * x, x, x);
    x - x / (1.0 + exp::<S>((2.0 * u).clamp(-87.0, 87.0)))
}

/// x / (1 + e^-x).
#[inline(always)]
fn silu<S: Simd>(x: f32) -> f32 {
    x / (1.0 + exp::<S>((-x).clamp(-87.0, 87.0)))
}

/// tanh x, as 1 - 2 / (1 + e^2x).
#[inline(always)]
fn tanh<S: Simd>(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp::<S>((2.0 * x).clamp(-87.0, 87.0)))
}

/// e^x for x in -87..=87, to 3e-7 relative: 2^n times a polynomial on the rest, |r| <= ln(2)/2 (Cephes, `expf`).
#[inline(always)]
fn exp<S: Simd>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then is the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    let shifted = S::fused(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = S::fused(n, 2.121_944_4e-4, S::fused(n, -0.693_359_4, x));
    let p = 1.987_569_2e-4;
    let p = S::fused(p, r, 1.398_199_9e-3);
    let p = S::fused(p, r, 8.333_452e-3);
    let p = S::fused(p, r, 4.166_579_6e-2);
    let p = S::fused(p, r, 1.666_666_5e-1);
    let p = S::fused(p, r, 5e-1);
    let p = S::fused(p, r * r, r + 1.0);
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// The error function to 5e-7 absolute: a rational function of odd degree on -4..=4, beyond which f32 knows only 1
/// (the coefficients of Eigen, `generic_fast_erf_float`).
#[inline(always)]
fn erf<S: Simd>(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let y = x * x;
    let p = -2.726_142_3e-10;
    let p = S::fused(p, y, 2.770_681_4e-8);
    let p = S::fused(p, y, -2.101_024_e-6);
    let p = S::fused(p, y, -5.692_506_4e-5);
    let p = S::fused(p, y, -7.349_906_3e-4);
    let p = S::fused(p, y, -2.954_6e-3);
    let p = S::fused(p, y, -1.609_603_3e-2);
    let q = -1.456_607_2e-5;
    let q = S::fused(q, y, -2.133_740_6e-4);
    let q = S::fused(q, y, -1.682_827e-3);
    let q = S::fused(q, y, -7.373_329_2e-3);
    let q = S::fused(q, y, -1.426_473_9e-2);
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::instructions::Instructions;
    use crate::cpu::rows::{RowKernel, on_rows};
    use candle_core::{Device, Tensor};

    fn grid(from: f32, to: f32) -> Vec<f32> {
        (0..=20_000).map(|i| from + (to - from) * i as f32 / 20_000.0).collect()
    }

    #[track_caller]
    fn close(ours: &[f32], theirs: &Tensor, tolerance: f32) {
        for (i, (a, b)) in ours
            .iter()
            .zip(theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .enumerate()
        {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{i}: {a} {b}");
        }
    }

    /// What is done to every row of some width.
    #[derive(Clone, Copy)]
    enum Step<'a> {
        Activate(Activation),
        Exponential,
        Softmax(f32),
        LayerNorm(&'a [f32], &'a [f32]),
        RmsNorm(&'a [f32]),
    }

    /// The step, and the width of its rows.
    struct Applied<'a>(Step<'a>, usize);

    impl RowKernel for Applied<'_> {
        #[inline(always)]
        fn on_rows<S: Simd>(&self, _: usize, rows: &mut [f32]) {
            for row in rows.chunks_exact_mut(self.1) {
                match self.0 {
                    Step::Activate(activation) => activate::<S>(row, activation),
                    Step::Exponential => row.iter_mut().for_each(|x| *x = exponential::<S>(*x)),
                    Step::Softmax(factor) => {
                        let total = exponentials::<S>(row, factor, max::<S>(row));
                        scale(row, 1.0 / total);
                    }
                    Step::LayerNorm(gamma, beta) => layer_norm::<S>(row, gamma, beta, 1e-5),
                    Step::RmsNorm(gamma) => rms_norm::<S>(row, gamma, 1e-5),
                }
            }
        }
    }

    fn applied(set: Instructions, step: Step, rows: &[f32], width: usize) -> Vec<f32> {
        let mut rows = rows.to_vec();
        on_rows(set, &Applied(step, width), 0, &mut rows);
        rows
    }

    #[test]
    fn activations_equal_candles() {
        let xs = grid(-12.0, 12.0);
        let tensor = Tensor::new(&xs[..], &Device::Cpu).unwrap();
        for set in Instructions::supported() {
            for activation in [
                Activation::Gelu,
                Activation::GeluTanh,
                Activation::Relu,
                Activation::Silu,
                Activation::Tanh,
            ] {
                let ours = applied(set, Step::Activate(activation), &xs, xs.len());
                close(&ours, &activation.by_candle(&tensor).unwrap(), 1e-6);
            }
        }
    }

    #[test]
    fn exponentials_keep_their_relative_error() {
        let xs = grid(-87.0, 87.0);
        for set in Instructions::supported() {
            for (ours, x) in applied(set, Step::Exponential, &xs, xs.len()).iter().zip(&xs) {
                let expected = f64::from(*x).exp();
                assert!((f64::from(*ours) / expected - 1.0).abs() < 4e-7, "{x}");
            }
        }
    }

    #[test]
    fn rows_of_any_width_equal_candles() {
        for (set, width) in Instructions::supported()
            .into_iter()
            .flat_map(|set| [1, 5, 16, 33, 384].map(|width| (set, width)))
        {
            let rows = Tensor::randn(1f32, 20f32, (3, width), &Device::Cpu).unwrap();
            let [gamma, beta] = [0.5f32, -2.0].map(|x| Tensor::randn(x, 1f32, width, &Device::Cpu).unwrap());
            let numbers = rows.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let (g, b) = (gamma.to_vec1().unwrap(), beta.to_vec1().unwrap());

            let theirs = candle_nn::ops::softmax_last_dim(&(&rows * 0.3).unwrap()).unwrap();
            close(&applied(set, Step::Softmax(0.3), &numbers, width), &theirs, 1e-6);

            let theirs = candle_nn::ops::layer_norm_slow(&rows, &gamma, &beta, 1e-5).unwrap();
            close(&applied(set, Step::LayerNorm(&g, &b), &numbers, width), &theirs, 1e-4);

            let theirs = candle_nn::ops::rms_norm_slow(&rows, &gamma, 1e-5).unwrap();
            close(&applied(set, Step::RmsNorm(&g), &numbers, width), &theirs, 1e-5);
        }
    }
}
