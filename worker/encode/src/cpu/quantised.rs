//! `y = x W + b` in whole numbers of 8 bits: weights with a scale for every output, inputs with a scale and a least value
//! for every row, found as the row passes by.
//!
//! Some inputs are much larger than others in every row, and would take the steps of a row's scale from the others. So every
//! input is divided by a factor, and its weights multiplied by it, which takes from one what it gives the other (SmoothQuant,
//! Xiao et al. 2022, arXiv:2211.10438).
//!
//! AVX2 adds two products up in 16 bits, and widening every such sum costs as much as making it. Here four share a sum: a
//! row has [`LEVELS`] instead of 256, and a weight's scale is so large that the sums cannot leave 16 bits. Weights are
//! rarely all large and of one sign, so that costs little of their 8 bits. Sets that add up in 32 bits take the same weights
//! and give the same numbers.

#![expect(unsafe_code, reason = "tiles are computed on pointers")]

use std::mem::MaybeUninit;

use super::{
    instructions::{Instructions, IntegerKernel, run_integers},
    integers::{Integers, quads},
    kernels,
    product::{Then, by_threads},
    scratch::{Bytes, Lines, Scratch},
    simd::Simd,
};

/// The largest quantised input.
const LEVELS: u8 = 200;

/// The most that weights of one sign in a quad may add up to, before each of them is rounded.
const SIDE: f32 = (i16::MAX / LEVELS as i16) as f32 - 2.0;

/// Inputs that are multiplied in one go.
const GROUP: usize = 8;

/// A linear layer's weights and bias, quantised and packed for one instruction set.
pub(crate) struct QuantisedLinear {
    instructions: Instructions,
    inputs: usize,
    outputs: usize,
    /// `[inputs]`: what inputs are multiplied by.
    factors: Vec<f32>,
    /// `[panels][groups][first four, second four][columns of a panel][4]`.
    panels: Bytes,
    /// `[outputs]` each, filled up to whole panels: an output's scale, the sum of its weights, its bias.
    scales: Lines,
    sums: Lines,
    bias: Lines,
}

/// A row's inputs are `low + scale * quantised`.
#[derive(Clone, Copy)]
pub(super) struct Range {
    low: f32,
    scale: f32,
}

impl QuantisedLinear {
    /// Quantises `weight`, `[outputs, inputs]`, for inputs whose root mean squares are `magnitudes`.
    pub fn pack(
        weight: &[f32],
        bias: Option<&[f32]>,
        outputs: usize,
        magnitudes: &[f32],
        instructions: Instructions,
    ) -> Self {
        let inputs = magnitudes.len();
        assert_eq!(weight.len(), outputs * inputs, "[outputs, inputs]");
        let smoothing = smoothing(weight, magnitudes);
        let columns = instructions.columns();
        let (groups, padded) = (inputs.div_ceil(GROUP), outputs.next_multiple_of(columns));
        let mut panels = Bytes::zeroes(groups * GROUP * padded);
        let [mut scales, mut sums, mut padded_bias] = [(); 3].map(|()| Lines::zeroes(padded));
        let mut row = vec![0.0; groups * GROUP];
        for (output, weights) in weight.chunks_exact(inputs.max(1)).enumerate() {
            for ((to, weight), factor) in row.iter_mut().zip(weights).zip(&smoothing) {
                *to = weight * factor;
            }
            let scale = scale(&row);
            let panel = output / columns * columns * groups * GROUP;
            let mut sum = 0;
            for (k, weight) in row.iter().enumerate() {
                let weight = (weight / scale).round() as i8;
                sum += i32::from(weight);
                let four = panel + (k / 4 * columns + output % columns) * 4;
                panels.signed_mut()[four + k % 4] = weight;
            }
            scales.numbers_mut()[output] = scale;
            sums.numbers_mut()[output] = scale * sum as f32;
        }
        if let Some(bias) = bias {
            padded_bias.numbers_mut()[..outputs].copy_from_slice(bias);
        }
        Self {
            instructions,
            inputs,
            outputs,
            factors: smoothing.into_iter().map(f32::recip).collect(),
            panels,
            scales,
            sums,
            bias: padded_bias,
        }
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// As [`Linear::forward`](super::Linear::forward).
    pub fn forward(&self, x: &[f32], then: Then<'_>) -> Vec<f32> {
        let work = |x: &[f32], then: Then<'_>, y: &mut [MaybeUninit<f32>]| {
            run_integers(
                self.instructions,
                Product {
                    linear: self,
                    x,
                    then,
                    y,
                },
            );
        };
        // SAFETY: a product writes all of y.
        unsafe { by_threads([self.inputs, self.outputs], x, then, work) }
    }
}

/// What every input is divided by and its weights are multiplied by: the geometric mean of what would make all inputs, and
/// of what would make all weights, of one size.
fn smoothing(weight: &[f32], magnitudes: &[f32]) -> Vec<f32> {
    let mut largest = vec![0.0f32; magnitudes.len()];
    for row in weight.chunks_exact(magnitudes.len().max(1)) {
        for (largest, weight) in largest.iter_mut().zip(row) {
            *largest = largest.max(weight.abs());
        }
    }
    let factor = |(magnitude, largest): (&f32, f32)| ((magnitude + 1e-6) / (largest + 1e-6)).sqrt();
    magnitudes.iter().zip(largest).map(factor).collect()
}

/// The step from one quantised weight of a row to the next.
fn scale(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
    let side =
        |group: &[f32], quad: [usize; 4], sign: f32| quad.iter().map(|&i| (sign * group[i]).max(0.0)).sum::<f32>();
    let sides = row.chunks_exact(GROUP).flat_map(|group| {
        let of = move |quad| [side(group, quad, 1.0), side(group, quad, -1.0)];
        quads().into_iter().flat_map(of)
    });
    let side = sides.fold(0.0f32, f32::max);
    (largest / 127.0).max(side / SIDE).max(f32::MIN_POSITIVE)
}

/// The product for some rows.
struct Product<'a> {
    linear: &'a QuantisedLinear,
    x: &'a [f32],
    then: Then<'a>,
    y: &'a mut [MaybeUninit<f32>],
}

impl IntegerKernel for Product<'_> {
    #[inline(always)]
    unsafe fn run<I: Integers>(self) {
        let Self { linear, x, then, y } = self;
        let QuantisedLinear { inputs, outputs, .. } = *linear;
        let stride = inputs.next_multiple_of(GROUP);
        let n = y.len() / outputs;
        let mut scratch = Scratch::take();
        scratch.ranges.clear();
        let quantised = scratch.quantised.at_least(n * stride);
        let smoothed = &mut scratch.row.at_least(inputs)[..inputs];
        for (row, to) in x.chunks_exact(inputs).zip(quantised.chunks_exact_mut(stride)) {
            // SAFETY: the caller's.
            let range = unsafe { quantise::<I::Floats>(row, &linear.factors, smoothed, to) };
            scratch.ranges.push(range);
        }
        let columns = 2 * I::Floats::WIDTH;
        // As large as the largest tile.
        let mut tile = [0.0f32; 8 * 32];
        for column in (0..outputs).step_by(columns) {
            let panel = &linear.panels.signed()[column * stride..][..columns * stride];
            let width = columns.min(outputs - column);
            let mut row = 0;
            while row < n {
                let rows = (n - row).div_ceil((n - row).div_ceil(I::ROWS));
                let tile = &mut tile[..rows * columns];
                let quantised = &quantised[row * stride..][..rows * stride];
                let ranges = &scratch.ranges[row..][..rows];
                // SAFETY: the caller's; rows, panel and tile are as long as their slices say.
                unsafe { compute::<I>(linear, column, panel, quantised, ranges, tile) };
                let at = row * outputs + column;
                if let Some(residual) = then.residual {
                    for (r, tile) in tile.chunks_exact_mut(columns).enumerate() {
                        kernels::add(tile, &residual[at + r * outputs..][..width]);
                    }
                }
                if let Some(activation) = then.activation {
                    kernels::activate::<I::Floats>(tile, activation);
                }
                for (r, tile) in tile.chunks_exact(columns).enumerate() {
                    let y = &mut y[at + r * outputs..][..width];
                    if width == columns {
                        // SAFETY: the caller's; both are two vectors long.
                        unsafe { I::Floats::copy_two(tile.as_ptr(), y.as_mut_ptr().cast()) };
                    } else {
                        y.write_copy_of_slice(&tile[..width]);
                    }
                }
                row += rows;
            }
        }
        scratch.give_back();
    }
}

/// Quantises a row to `to`; `smoothed` is for the row with its factors.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn quantise<S: Simd>(row: &[f32], factors: &[f32], smoothed: &mut [f32], to: &mut [u8]) -> Range {
    // Adding 2^23 rounds to an integer, which then is the lowest bits of the sum.
    const ROUND: f32 = 8_388_608.0;
    // SAFETY: the caller's.
    let (low, high) = unsafe { products::<S>(row, factors, smoothed) };
    let levels = f32::from(LEVELS);
    let scale = (high - low) / levels;
    let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
    for (to, x) in to.iter_mut().zip(smoothed) {
        let level = (*x - low) * inverse;
        let level = if level < levels { level } else { levels };
        *to = (level + ROUND).to_bits() as u8;
    }
    Range { low, scale }
}

/// Writes `a * b`; returns the least and the largest of these numbers.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn products<S: Simd>(a: &[f32], b: &[f32], to: &mut [f32]) -> (f32, f32) {
    assert!(a.len() == to.len() && b.len() == to.len());
    let whole = to.len() / S::WIDTH * S::WIDTH;
    // SAFETY: the caller's; vectors end where the rows do, or before.
    let (mut least, mut largest) = unsafe {
        let [mut low, mut high] = [f32::INFINITY, f32::NEG_INFINITY].map(|x| S::splat(x));
        for k in (0..whole).step_by(S::WIDTH) {
            let x = S::multiply(S::load(a.as_ptr().add(k)), S::load(b.as_ptr().add(k)));
            S::store(to.as_mut_ptr().add(k), x);
            (low, high) = (S::min(low, x), S::max(high, x));
        }
        (S::across(low, kernels::smaller), S::across(high, kernels::larger))
    };
    for ((to, a), b) in to.iter_mut().zip(a).zip(b).skip(whole) {
        *to = a * b;
        (least, largest) = (kernels::smaller(least, *to), kernels::larger(largest, *to));
    }
    (least, largest)
}

/// Computes some rows of a panel, with the bias.
///
/// # Safety
/// The processor has the instructions of `I`.
#[inline(always)]
unsafe fn compute<I: Integers>(
    linear: &QuantisedLinear,
    column: usize,
    panel: &[i8],
    quantised: &[u8],
    ranges: &[Range],
    tile: &mut [f32],
) {
    // SAFETY: the caller's.
    unsafe {
        match ranges.len() {
            1 => rows_of::<I, 1>(linear, column, panel, quantised, ranges, tile),
            2 => rows_of::<I, 2>(linear, column, panel, quantised, ranges, tile),
            3 => rows_of::<I, 3>(linear, column, panel, quantised, ranges, tile),
            4 => rows_of::<I, 4>(linear, column, panel, quantised, ranges, tile),
            // A set with tiles of four rows never gets here, and the compiler knows.
            _ if I::ROWS == 4 => unreachable!("a tile has one to four rows"),
            5 => rows_of::<I, 5>(linear, column, panel, quantised, ranges, tile),
            6 => rows_of::<I, 6>(linear, column, panel, quantised, ranges, tile),
            7 => rows_of::<I, 7>(linear, column, panel, quantised, ranges, tile),
            8 => rows_of::<I, 8>(linear, column, panel, quantised, ranges, tile),
            _ => unreachable!("a tile has one to eight rows"),
        }
    }
}

/// # Safety
/// See [`compute`].
#[inline(always)]
unsafe fn rows_of<I: Integers, const R: usize>(
    linear: &QuantisedLinear,
    column: usize,
    panel: &[i8],
    quantised: &[u8],
    ranges: &[Range],
    tile: &mut [f32],
) {
    let (width, stride) = (I::Floats::WIDTH, quantised.len() / R);
    let [scales, weights, bias] =
        [&linear.scales, &linear.sums, &linear.bias].map(|lines| lines.numbers()[column..][..2 * width].as_ptr());
    assert!(panel.len() == 2 * width * stride && ranges.len() == R && tile.len() == R * 2 * width);
    // SAFETY: the caller's; rows, panel and tile are as long as just asserted.
    unsafe {
        let mut sums = [[I::zeroes(); 2]; R];
        let (rows, panel) = (quantised.as_ptr(), panel.as_ptr());
        for k in (0..stride).step_by(GROUP) {
            let group = panel.add(k * 2 * width);
            for line in (0..2 * width * GROUP).step_by(64) {
                I::Floats::prefetch(group.wrapping_add(2 * width * stride + line).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = rows.add(r * stride + k);
                for (v, sums) in sums.iter_mut().enumerate() {
                    let (first, second) = (group.add(v * 4 * width), group.add((2 + v) * 4 * width));
                    *sums = I::multiply_add(row, first, second, *sums);
                }
            }
        }
        for (r, (sums, range)) in sums.into_iter().zip(ranges).enumerate() {
            let (low, scale) = (I::Floats::splat(range.low), I::Floats::splat(range.scale));
            for (v, sums) in sums.into_iter().enumerate() {
                let load = |from: *const f32| I::Floats::load(from.add(v * width));
                let start = I::Floats::multiply_add(low, load(weights), load(bias));
                let step = I::Floats::multiply(scale, load(scales));
                let y = I::Floats::multiply_add(I::to_floats(sums), step, start);
                I::Floats::store(tile.as_mut_ptr().add((r * 2 + v) * width), y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Activation;

    /// Numbers of which every seventh is ten times larger.
    fn uneven(len: usize, seed: u64) -> Vec<f32> {
        let mut numbers = crate::cpu::random(len, seed);
        numbers.iter_mut().step_by(7).for_each(|x| *x *= 10.0);
        numbers
    }

    fn magnitudes(x: &[f32], inputs: usize) -> Vec<f32> {
        let mut squares = vec![0.0; inputs];
        for row in x.chunks_exact(inputs) {
            squares.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x);
        }
        let n = (x.len() / inputs) as f32;
        squares.into_iter().map(|sum: f32| (sum / n).sqrt()).collect()
    }

    #[test]
    fn products_of_any_shape_are_near_plain_sums_and_the_same_in_every_set() {
        for (seed, n) in [1, 2, 3, 4, 5, 6, 7, 8, 9, 23].into_iter().enumerate() {
            let inputs = [1, 3, 32, 255, 384][seed % 5];
            for outputs in [7, 16, 33] {
                let (x, weight) = (uneven(n * inputs, seed as u64), uneven(outputs * inputs, 77));
                let (bias, residual) = (uneven(outputs, 3), uneven(n * outputs, 4));
                let mut by_set: Vec<Vec<f32>> = Vec::new();
                for instructions in Instructions::supported() {
                    let magnitudes = magnitudes(&x, inputs);
                    let linear = QuantisedLinear::pack(&weight, Some(&bias), outputs, &magnitudes, instructions);
                    let then = Then {
                        residual: Some(&residual),
                        activation: Some(Activation::Relu),
                    };
                    let y = linear.forward(&x, then);
                    by_set.push(y);
                }
                for (i, row) in x.chunks_exact(inputs).enumerate() {
                    for (j, weights) in weight.chunks_exact(inputs).enumerate() {
                        let product: f32 = row.iter().zip(weights).map(|(x, w)| x * w).sum();
                        let length = |numbers: &[f32]| numbers.iter().map(|x| x * x).sum::<f32>().sqrt();
                        let exact = (product + bias[j] + residual[i * outputs + j]).max(0.0);
                        let allowed = 0.04 * length(row) * length(weights) + 1e-4;
                        for y in &by_set {
                            let (ours, first) = (y[i * outputs + j], by_set[0][i * outputs + j]);
                            assert!(
                                (ours - exact).abs() <= allowed,
                                "{n}x{inputs}x{outputs}: {ours} {exact} {allowed}"
                            );
                            assert!((ours - first).abs() <= 1e-5 * (1.0 + allowed / 0.04), "{ours} {first}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn four_products_of_the_largest_weights_and_inputs_stay_in_sixteen_bits() {
        let inputs = 64;
        // All weights equal: the largest sums that there are. One input is less, so that the others are at the top.
        let weight = vec![0.3; inputs];
        let mut x = vec![1.0; inputs];
        x[0] = 0.0;
        for instructions in Instructions::supported() {
            let linear = QuantisedLinear::pack(&weight, None, 1, &vec![1.0; inputs], instructions);
            let y = linear.forward(&x, Then::default());
            let exact = 0.3 * (inputs - 1) as f32;
            assert!(
                (y[0] - exact).abs() < 0.02 * exact,
                "{instructions:?}: {} {exact}",
                y[0]
            );
        }
    }

    #[test]
    fn rows_of_one_number_and_zeroes_are_exact() {
        let weight = uneven(3 * 20, 1);
        for instructions in Instructions::supported() {
            let linear = QuantisedLinear::pack(&weight, Some(&[1.0, 2.0, 3.0]), 3, &[0.0; 20], instructions);
            let y = linear.forward(&[0.0; 20], Then::default());
            assert_eq!(y, [1.0, 2.0, 3.0]);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let (n, inputs, outputs) = (501, 70, 40);
        let (x, weight) = (uneven(n * inputs, 1), uneven(outputs * inputs, 2));
        let linear = QuantisedLinear::pack(&weight, None, outputs, &magnitudes(&x, inputs), Instructions::chosen());
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| linear.forward(&x, Then::default()))
        });
        assert_eq!(one, three);
    }
}
