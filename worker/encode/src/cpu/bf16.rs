//! `y = x W + b` with x and W rounded to bf16, f32 with the first 8 of its 24 significant bits, and sums in f32.
//!
//! Weights are packed once, and rows as they come, in the order in which tile registers are filled ([`super::amx`]).

#![expect(unsafe_code, reason = "tiles are computed on pointers")]

use std::mem::MaybeUninit;

use super::{
    instructions::{Bf16Kernel, Instructions, run_bf16},
    kernels,
    product::{Then, by_threads},
    scratch::{Halves, Lines, Scratch},
    simd::Simd,
};

/// Columns of a panel of packed weights.
pub(super) const COLUMNS: usize = 32;

/// Inputs are filled up with zeroes to a multiple of this.
pub(super) const STEP: usize = 32;

/// The largest tile.
const TILE: usize = 32 * COLUMNS;

/// How a set of instructions multiplies rows by a panel. A value of it stands for whatever state of the processor it needs.
pub(super) trait Tiles {
    /// Rows that meet a panel at a time.
    const ROWS: usize;

    /// # Safety
    /// The processor has the instructions.
    unsafe fn new() -> Self;

    /// Writes the products of `rows` rows, at most `ROWS`, with a panel to `tile`, `[ROWS, COLUMNS]`. `x` is
    /// `[steps, ROWS, STEP]` with one step at least. The panel behind it is asked for meanwhile where there are few rows.
    ///
    /// # Safety
    /// The processor has the instructions; `x` and `tile` have room for `ROWS` rows, whatever is in those beyond `rows`.
    unsafe fn multiply(&self, rows: usize, x: *const u16, panel: *const u16, steps: usize, tile: *mut f32);
}

/// A linear layer's weights in bf16, and its bias.
pub(crate) struct Bf16Linear {
    instructions: Instructions,
    inputs: usize,
    outputs: usize,
    /// `[panels][pairs of inputs][COLUMNS][2]`
    panels: Halves,
    /// `[outputs]`, filled up to whole panels.
    bias: Lines,
}

impl Bf16Linear {
    /// Packs `weight`, `[outputs, inputs]`, and `bias`, `[outputs]`, for instructions that multiply bf16.
    pub fn pack(weight: &[f32], bias: &[f32], outputs: usize, instructions: Instructions) -> Self {
        assert!(instructions.has_bf16(), "{instructions:?} has no products of bf16");
        let inputs = weight.len() / outputs.max(1);
        let (stride, padded) = (inputs.next_multiple_of(STEP), outputs.next_multiple_of(COLUMNS));
        let mut panels = Halves::zeroes(stride * padded);
        let halves = panels.halves_mut();
        for (output, weights) in weight.chunks_exact(inputs.max(1)).enumerate() {
            let panel = output / COLUMNS * COLUMNS * stride;
            for (k, &weight) in weights.iter().enumerate() {
                halves[panel + (k / 2 * COLUMNS + output % COLUMNS) * 2 + k % 2] = rounded(weight);
            }
        }
        let mut padded_bias = Lines::zeroes(padded);
        padded_bias.numbers_mut()[..outputs].copy_from_slice(bias);
        Self {
            instructions,
            inputs,
            outputs,
            panels,
            bias: padded_bias,
        }
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// As [`Linear::forward`](super::Linear::forward).
    pub fn forward(&self, x: &[f32], then: Then<'_>) -> Vec<f32> {
        let work = |x: &[f32], then: Then<'_>, y: &mut [MaybeUninit<f32>]| {
            run_bf16(
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

/// The nearest bf16, to even where two are.
#[inline(always)]
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The product for some rows.
struct Product<'a> {
    linear: &'a Bf16Linear,
    x: &'a [f32],
    then: Then<'a>,
    y: &'a mut [MaybeUninit<f32>],
}

impl Bf16Kernel for Product<'_> {
    #[inline(always)]
    unsafe fn run<T: Tiles, S: Simd>(self) {
        let Self { linear, x, then, y } = self;
        let Bf16Linear { inputs, outputs, .. } = *linear;
        let stride = inputs.next_multiple_of(STEP);
        let n = y.len() / outputs;
        let mut scratch = Scratch::take();
        let halves = scratch.halves.at_least(n.next_multiple_of(T::ROWS) * stride);
        for (rows, block) in x
            .chunks(T::ROWS * inputs)
            .zip(halves.chunks_exact_mut(T::ROWS * stride))
        {
            for (r, row) in rows.chunks_exact(inputs).enumerate() {
                let steps = block.as_chunks_mut::<STEP>().0.iter_mut().skip(r).step_by(T::ROWS);
                let (whole, rest) = row.as_chunks::<STEP>();
                let mut padded = [0.0; STEP];
                padded[..rest.len()].copy_from_slice(rest);
                for (to, from) in steps.zip(whole.iter().chain([&padded])) {
                    *to = from.map(rounded);
                }
            }
        }
        let mut tile = Tile([0.0; TILE]);
        // SAFETY: the caller's.
        let tiles = unsafe { T::new() };
        for column in (0..outputs).step_by(COLUMNS) {
            let panel = &linear.panels.halves()[column * stride..][..COLUMNS * stride];
            let bias = &linear.bias.numbers()[column..][..COLUMNS];
            let width = COLUMNS.min(outputs - column);
            for row in (0..n).step_by(T::ROWS) {
                let rows = (n - row).min(T::ROWS);
                let x = &halves[row * stride..][..T::ROWS * stride];
                // SAFETY: the caller's; there is room for as many rows as a tile has in all three.
                unsafe {
                    tiles.multiply(rows, x.as_ptr(), panel.as_ptr(), stride / STEP, tile.0.as_mut_ptr());
                }
                let tile = &mut tile.0[..rows * COLUMNS];
                let at = row * outputs + column;
                // SAFETY: the caller's.
                unsafe {
                    add::<S>(
                        tile,
                        bias,
                        then.residual.map(|residual| &residual[at..]),
                        outputs,
                        width,
                    )
                };
                if let Some(activation) = then.activation {
                    kernels::activate::<S>(tile, activation);
                }
                for (r, tile) in tile.as_chunks::<COLUMNS>().0.iter().enumerate() {
                    let y = &mut y[at + r * outputs..][..width];
                    if width == COLUMNS {
                        // SAFETY: the caller's; both are two vectors long.
                        unsafe { S::copy_two(tile.as_ptr(), y.as_mut_ptr().cast()) };
                    } else {
                        y.write_copy_of_slice(&tile[..width]);
                    }
                }
            }
        }
        drop(tiles);
        scratch.give_back();
    }
}

/// A tile in memory, where no vector of it is in two cache lines.
#[repr(C, align(64))]
struct Tile([f32; TILE]);

/// Adds the bias to every row of a tile, and `width` columns of a residual that begins where the tile does.
///
/// # Safety
/// The processor has the instructions of `S`, two vectors of which are as long as a row.
#[inline(always)]
unsafe fn add<S: Simd>(tile: &mut [f32], bias: &[f32], residual: Option<&[f32]>, outputs: usize, width: usize) {
    assert!(2 * S::WIDTH == COLUMNS && bias.len() == COLUMNS);
    // SAFETY: the caller's; rows and bias are two vectors long.
    unsafe {
        let bias = [S::load(bias.as_ptr()), S::load(bias.as_ptr().add(S::WIDTH))];
        for (r, tile) in tile.as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
            let halves = [tile.as_mut_ptr(), tile.as_mut_ptr().add(S::WIDTH)];
            let mut sums = [S::add(S::load(halves[0]), bias[0]), S::add(S::load(halves[1]), bias[1])];
            if let Some(residual) = residual {
                let residual = &residual[r * outputs..][..width];
                if width == COLUMNS {
                    sums[0] = S::add(sums[0], S::load(residual.as_ptr()));
                    sums[1] = S::add(sums[1], S::load(residual.as_ptr().add(S::WIDTH)));
                } else {
                    let mut padded = [0.0; COLUMNS];
                    padded[..width].copy_from_slice(residual);
                    sums[0] = S::add(sums[0], S::load(padded.as_ptr()));
                    sums[1] = S::add(sums[1], S::load(padded.as_ptr().add(S::WIDTH)));
                }
            }
            S::store(halves[0], sums[0]);
            S::store(halves[1], sums[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cpu::random, network::Activation};

    fn widened(x: f32) -> f64 {
        f64::from(f32::from_bits(u32::from(rounded(x)) << 16))
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_to_even_between_two() {
        for (x, nearest) in [
            (1.0, 1.0),
            (-0.0, -0.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (1.0 + 1.1 / 256.0, 1.0 + 2.0 / 256.0),
            (-3.0e38, -3.0e38f32),
        ] {
            let ours = widened(x);
            assert!(
                (ours - f64::from(nearest)).abs() <= f64::from(nearest.abs()) / 512.0,
                "{x}: {ours}"
            );
        }
        assert_eq!(rounded(1.0 + 1.0 / 256.0), 0x3f80);
        assert_eq!(rounded(1.0 + 3.0 / 256.0), 0x3f82);
    }

    #[test]
    fn products_of_any_shape_equal_plain_sums_of_rounded_numbers() {
        let sets = Instructions::supported();
        for instructions in sets.into_iter().filter(|set| set.has_bf16()) {
            for (seed, n) in [1, 2, 3, 4, 7, 12, 13, 16, 17, 31, 32, 33, 48, 200]
                .into_iter()
                .enumerate()
            {
                let inputs = [1, 2, 3, 32, 33, 256, 600][seed % 7];
                for outputs in [1, 7, 32, 33, 96] {
                    let (x, weight) = (random(n * inputs, seed as u64), random(outputs * inputs, 100));
                    let (bias, residual) = (random(outputs, 3), random(n * outputs, 4));
                    let linear = Bf16Linear::pack(&weight, &bias, outputs, instructions);
                    let then = Then {
                        residual: Some(&residual),
                        activation: Some(Activation::Relu),
                    };
                    let y = linear.forward(&x, then);
                    for (i, row) in x.chunks_exact(inputs).enumerate() {
                        for (j, weights) in weight.chunks_exact(inputs).enumerate() {
                            let product: f64 = row.iter().zip(weights).map(|(&x, &w)| widened(x) * widened(w)).sum();
                            let exact = product + f64::from(bias[j]) + f64::from(residual[i * outputs + j]);
                            let ours = f64::from(y[i * outputs + j]);
                            let allowed = 1e-5 * (1.0 + inputs as f64);
                            assert!(
                                (ours - exact.max(0.0)).abs() <= allowed,
                                "{instructions:?} {n}x{inputs}x{outputs} at {i},{j}: {ours} {exact}"
                            );
                        }
                    }
                }
            }
        }
    }
}
