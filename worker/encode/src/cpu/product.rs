//! `y = x W + b` and what follows it, with weights that were packed once.
//!
//! W is cut into blocks of inputs and those into panels of a few vectors of columns, in the order in which they are read: a
//! panel of a block stays in a near cache while all rows pass by and the next one is asked for, and the rows, of which so
//! many are taken that they stay in the second cache, are read as they lie. The bias and the residual are where the sums
//! start; the activation is applied to a tile while it is still in the cache.

#![expect(unsafe_code, reason = "tiles are parts of rows that others write as well")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{
    bf16::Bf16Linear,
    instructions::{Instructions, Kernel, run},
    kernels,
    quantised::QuantisedLinear,
    scratch::Lines,
    simd::Simd,
    tile::{LINE, Operands, Target, tile},
};
use crate::network::Activation;

/// Rows that pass by a panel: with 384 numbers each they fill 144 KiB of the second cache.
const ROWS: usize = 96;

/// Lines of the next panel that a tile asks for at each step where there are but few tiles, for then weights are waited for.
const AT_ONCE: usize = 8;

/// A linear layer's weights and bias, packed for one instruction set.
pub(crate) struct Linear {
    instructions: Instructions,
    inputs: usize,
    outputs: usize,
    /// `[blocks][panels][inputs of a block][columns of a panel]`.
    panels: Lines,
    /// `[outputs]`, filled up to whole panels.
    bias: Lines,
}

/// What happens to the product and its bias; in this order, and all of it optional.
#[derive(Clone, Copy, Default)]
pub(crate) struct Then<'a> {
    /// `[n, outputs]`, added.
    pub residual: Option<&'a [f32]>,
    pub activation: Option<Activation>,
}

impl Linear {
    /// Packs `weight`, `[outputs, inputs]` as checkpoints have it, and `bias`, `[outputs]`.
    pub fn pack(weight: &[f32], bias: Option<&[f32]>, outputs: usize, instructions: Instructions) -> Self {
        let inputs = weight.len() / outputs.max(1);
        let [block, columns] = instructions.panel();
        let padded = outputs.next_multiple_of(columns);
        let mut panels = Lines::zeroes(inputs * padded);
        let numbers = panels.numbers_mut();
        for (first, len) in blocks(inputs, block) {
            for (output, weights) in weight.chunks_exact(inputs).enumerate() {
                let panel = first * padded + output / columns * columns * len;
                for (k, &weight) in weights[first..first + len].iter().enumerate() {
                    numbers[panel + k * columns + output % columns] = weight;
                }
            }
        }
        let mut padded_bias = Lines::zeroes(padded);
        if let Some(bias) = bias {
            padded_bias.numbers_mut()[..outputs].copy_from_slice(bias);
        }
        Self {
            instructions,
            inputs,
            outputs,
            panels,
            bias: padded_bias,
        }
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The same layer in whole numbers, for inputs whose root mean squares are `magnitudes`.
    pub fn quantised(&self, magnitudes: &[f32]) -> QuantisedLinear {
        let bias = &self.bias.numbers()[..self.outputs];
        QuantisedLinear::pack(
            &self.unpacked(),
            Some(bias),
            self.outputs,
            magnitudes,
            self.instructions,
        )
    }

    /// The same layer in bf16; itself where the processor has no products of it.
    pub fn in_bf16(self) -> Result<Bf16Linear, Self> {
        if !self.instructions.has_bf16() {
            return Err(self);
        }
        let bias = &self.bias.numbers()[..self.outputs];
        Ok(Bf16Linear::pack(
            &self.unpacked(),
            bias,
            self.outputs,
            self.instructions,
        ))
    }

    /// `[outputs, inputs]`, as it was packed.
    fn unpacked(&self) -> Vec<f32> {
        let [block, columns] = self.instructions.panel();
        let padded = self.outputs.next_multiple_of(columns);
        let mut weight = vec![0.0; self.outputs * self.inputs];
        for (first, len) in blocks(self.inputs, block) {
            for (output, weights) in weight.chunks_exact_mut(self.inputs.max(1)).enumerate() {
                let panel = first * padded + output / columns * columns * len;
                for (k, weight) in weights[first..first + len].iter_mut().enumerate() {
                    *weight = self.panels.numbers()[panel + k * columns + output % columns];
                }
            }
        }
        weight
    }

    /// `[n, inputs]` to `[n, outputs]`.
    pub fn forward(&self, x: &[f32], then: Then<'_>) -> Vec<f32> {
        let work = |x: &[f32], then: Then<'_>, y: &mut [MaybeUninit<f32>]| {
            run(
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

/// Calls `work` for blocks of rows of x and of what is made of it, `[n, inputs]` and `[n, outputs]`, shared among the threads of the
/// calling thread's pool.
///
/// # Safety
///
/// `work` writes every number of its rows.
pub(super) unsafe fn by_threads(
    [inputs, outputs]: [usize; 2],
    x: &[f32],
    then: Then<'_>,
    work: impl Fn(&[f32], Then<'_>, &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    let n = x.len() / inputs;
    assert_eq!(x.len(), n * inputs, "whole rows");
    assert!(
        then.residual.is_none_or(|residual| residual.len() == n * outputs),
        "a residual of the same shape"
    );
    let mut y = Vec::with_capacity(n * outputs);
    let unwritten = &mut y.spare_capacity_mut()[..n * outputs];
    if cfg!(debug_assertions) {
        unwritten.fill(MaybeUninit::new(f32::NAN));
    }
    let threads = rayon::current_num_threads();
    let rows = n.div_ceil(n.div_ceil(ROWS).next_multiple_of(threads).max(1)).max(6);
    let block = |(i, y): (usize, &mut [MaybeUninit<f32>])| {
        let then = Then {
            residual: then.residual.map(|residual| &residual[i * rows * outputs..][..y.len()]),
            ..then
        };
        work(&x[i * rows * inputs..][..y.len() / outputs * inputs], then, y);
    };
    if threads == 1 {
        unwritten.chunks_mut(rows * outputs).enumerate().for_each(block);
    } else {
        unwritten.par_chunks_mut(rows * outputs).enumerate().for_each(block);
    }
    // SAFETY: all of it was written.
    unsafe { y.set_len(n * outputs) };
    y
}

/// First input and number of inputs of each block, blocks being of about one size.
fn blocks(inputs: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = inputs.div_ceil(inputs.div_ceil(most).max(1)).max(1);
    (0..inputs)
        .step_by(size)
        .map(move |first| (first, size.min(inputs - first)))
}

/// The product for some rows.
struct Product<'a> {
    linear: &'a Linear,
    x: &'a [f32],
    then: Then<'a>,
    y: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { linear, x, then, y } = self;
        let (inputs, outputs) = (linear.inputs, linear.outputs);
        let columns = S::ROW * S::WIDTH;
        let padded = outputs.next_multiple_of(columns);
        let n = y.len() / outputs;
        let (panels, bias) = (linear.panels.numbers(), linear.bias.numbers());
        let few = n <= 4 * S::SUMS / S::ROW;
        let lines = if few { AT_ONCE } else { 1 };
        // The last panel may be wider than what is left of y: its tiles are computed here.
        let mut edge = [0.0f32; 24 * 16];
        for (block, len) in blocks(inputs, S::BLOCK) {
            for column in (0..padded).step_by(columns) {
                let panel = &panels[block * padded + column * len..][..columns * len];
                let width = columns.min(outputs - column);
                let (mut row, mut asked) = (0, 0);
                while row < n {
                    let rows = (n - row).div_ceil((n - row).div_ceil(S::SUMS / S::ROW));
                    let at = row * outputs + column;
                    let target = if width == columns {
                        (y[at..].as_mut_ptr().cast(), outputs)
                    } else {
                        (edge.as_mut_ptr(), columns)
                    };
                    let addend = match (block, then.residual) {
                        (0, residual) => residual.map(|residual| (residual[at..].as_ptr(), outputs)),
                        _ => Some((y[at..].as_ptr().cast(), outputs)),
                    };
                    let addend = match addend {
                        Some((from, _)) if width < columns => {
                            for r in 0..rows {
                                // SAFETY: `width` columns of every row are there, and `edge` is as large as a tile.
                                unsafe {
                                    let to = edge.as_mut_ptr().add(r * columns);
                                    std::ptr::copy(from.add(r * outputs), to, width);
                                }
                            }
                            Some((edge.as_ptr(), columns))
                        }
                        addend => addend,
                    };
                    let operands = Operands {
                        rows: x[row * inputs + block..].as_ptr(),
                        stride: inputs,
                        panel: panel.as_ptr(),
                        count: len,
                        ahead: panel.as_ptr().wrapping_add(panel.len() + asked),
                    };
                    asked = (asked + len / 4 * lines * LINE) % panel.len();
                    let to = Target {
                        y: target.0,
                        stride: target.1,
                        bias: (block == 0).then(|| bias[column..].as_ptr()),
                        addend,
                    };
                    // SAFETY: rows of x and y are there to the last, a panel and the padded bias have `ROW` vectors.
                    unsafe {
                        match (S::ROW, few) {
                            (2, false) => tile::<S, 2, 1>(rows, operands, to),
                            (2, true) => tile::<S, 2, AT_ONCE>(rows, operands, to),
                            (4, false) => tile::<S, 4, 1>(rows, operands, to),
                            (4, true) => tile::<S, 4, AT_ONCE>(rows, operands, to),
                            _ => unreachable!("a row has two or four vectors"),
                        }
                    }
                    for r in 0..rows {
                        let y = &mut y[at + r * outputs..][..width];
                        if width < columns {
                            y.write_copy_of_slice(&edge[r * columns..][..width]);
                        }
                        // SAFETY: the tile was written there.
                        let y = unsafe { y.assume_init_mut() };
                        if let Some(activation) = then.activation
                            && block + len == inputs
                        {
                            kernels::activate::<S>(y, activation);
                        }
                    }
                    row += rows;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::random;

    /// Compares the product of `n` rows with plain sums, for every set of instructions.
    fn assert_plain(n: usize, inputs: usize, outputs: usize, x: &[f32], weight: &[f32]) {
        let (bias, residual) = (random(outputs, 3), random(n * outputs, 4));
        for instructions in Instructions::supported() {
            let linear = Linear::pack(weight, Some(&bias), outputs, instructions);
            let then = Then {
                residual: Some(&residual),
                activation: Some(Activation::Relu),
            };
            let y = linear.forward(x, then);
            for (i, row) in x.chunks_exact(inputs).enumerate() {
                for (j, weights) in weight.chunks_exact(inputs).enumerate() {
                    let sum = |f: fn(f64, f64) -> f64| {
                        let pairs = row.iter().zip(weights);
                        pairs.map(|(&x, &w)| f(x.into(), w.into())).sum::<f64>()
                    };
                    let exact = sum(|x, w| x * w) + f64::from(bias[j]) + f64::from(residual[i * outputs + j]);
                    let allowed = 1e-5 * (1.0 + sum(|x, w| (x * w).abs()));
                    let ours = f64::from(y[i * outputs + j]);
                    assert!(
                        (ours - exact.max(0.0)).abs() <= allowed,
                        "{instructions:?} {n}x{inputs}x{outputs} at {i},{j}: {ours} {exact} {allowed}"
                    );
                }
            }
        }
    }

    #[test]
    fn products_of_any_shape_equal_plain_sums() {
        for (seed, n) in [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 23, 200].into_iter().enumerate() {
            let inputs = [1, 2, 3, 32, 255, 256, 257, 513, 600][seed % 9];
            for outputs in [1, 7, 8, 16, 33, 96] {
                let seed = seed as u64;
                assert_plain(
                    n,
                    inputs,
                    outputs,
                    &random(n * inputs, seed),
                    &random(outputs * inputs, seed + 100),
                );
            }
        }
    }

    #[test]
    fn weights_are_unpacked_as_they_were() {
        let (inputs, outputs) = (600, 33);
        let weight = random(inputs * outputs, 1);
        for instructions in Instructions::supported() {
            assert_eq!(Linear::pack(&weight, None, outputs, instructions).unpacked(), weight);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let (n, inputs, outputs) = (501, 70, 40);
        let (x, weight) = (random(n * inputs, 1), random(outputs * inputs, 2));
        let linear = Linear::pack(&weight, None, outputs, Instructions::chosen());
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| linear.forward(&x, Then::default()))
        });
        assert_eq!(one, three);
    }
}
