//! `y = x W + b` and what follows it, with weights that were packed once.
//!
//! W is cut into blocks of inputs and those into panels of two vectors of columns, in the order in which they are read: a
//! panel of a block stays in the first cache while all rows pass by, and the rows, of which so many are taken that they
//! stay in the second one, are read as they lie. The bias and the residual are where the sums start; the activation is
//! applied to a tile while it is still in the cache.

#![expect(unsafe_code, reason = "tiles are parts of rows that others write as well")]

use rayon::prelude::*;

use super::{
    instructions::{Instructions, Kernel, run},
    kernels,
    scratch::{Lines, Scratch},
    simd::Simd,
    tile::{Floats, Format, Operands, Pairs, Scales, Target},
};
use crate::{Precision, network::Activation};

/// Words of a block of inputs: a panel of it and a tile's rows fill most of a first cache of 32 KiB.
const BLOCK: usize = 256;

/// Rows that pass by a panel: with 256 words each they fill half of a second cache of 512 KiB.
const ROWS: usize = 168;

/// Largest absolute value of a quantised input.
const LARGEST_INPUT: f32 = 8191.0;

/// A linear layer's weights and bias, packed for one instruction set.
pub(crate) struct Linear {
    instructions: Instructions,
    precision: Precision,
    inputs: usize,
    outputs: usize,
    /// `[blocks][panels][words of a block][columns of a panel]`.
    panels: Lines,
    /// `[outputs]`, filled up to whole panels.
    bias: Lines,
    /// With [`Precision::Int16`] what a column's whole numbers are multiplied by; `[outputs]`, filled up.
    scales: Lines,
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
    pub fn pack(
        weight: &[f32],
        bias: Option<&[f32]>,
        outputs: usize,
        precision: Precision,
        instructions: Instructions,
    ) -> Self {
        let inputs = weight.len() / outputs.max(1);
        let columns = instructions.columns();
        let padded = outputs.next_multiple_of(columns);
        let mut linear = Self {
            instructions,
            precision,
            inputs,
            outputs,
            panels: Lines::default(),
            bias: filled(bias.unwrap_or(&[]).iter().copied(), padded),
            scales: Lines::default(),
        };
        let words = linear.words();
        let mut panels = Lines::zeroes(words * padded);
        match precision {
            Precision::F32 => linear.place(panels.words_mut(), |output, word| weight[output * inputs + word]),
            Precision::Int16 => {
                let scales: Vec<f32> = weight.chunks_exact(inputs).map(scale_of_weights).collect();
                let quantised = |output: usize, input: usize| match weight[output * inputs..][..inputs].get(input) {
                    Some(weight) if scales[output] > 0.0 => (weight / scales[output]).round_ties_even() as i16,
                    _ => 0,
                };
                linear.place(panels.words_mut(), |output, word| {
                    pair(quantised(output, 2 * word), quantised(output, 2 * word + 1))
                });
                linear.scales = filled(scales.into_iter(), padded);
            }
        }
        linear.panels = panels;
        linear
    }

    /// Puts every word of every output where tiles look for it.
    fn place<W>(&self, panels: &mut [W], word: impl Fn(usize, usize) -> W) {
        let columns = self.instructions.columns();
        let padded = self.outputs.next_multiple_of(columns);
        for (first, len) in blocks(self.words()) {
            for output in 0..self.outputs {
                let panel = first * padded + output / columns * columns * len;
                for k in 0..len {
                    panels[panel + k * columns + output % columns] = word(output, first + k);
                }
            }
        }
    }

    /// Words that a row of inputs is held in.
    fn words(&self) -> usize {
        match self.precision {
            Precision::F32 => self.inputs,
            Precision::Int16 => self.inputs.div_ceil(2),
        }
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// `x` is `[n, inputs]`; writes all of `y`, `[n, outputs]`. Blocks of rows are shared among the threads of the calling
    /// thread's pool.
    pub fn forward(&self, x: &[f32], then: Then<'_>, y: &mut [f32]) {
        let n = y.len() / self.outputs;
        assert_eq!(
            (x.len(), y.len()),
            (n * self.inputs, n * self.outputs),
            "[n, inputs] to [n, outputs]"
        );
        assert!(
            then.residual.is_none_or(|residual| residual.len() == y.len()),
            "a residual of the same shape"
        );
        let threads = rayon::current_num_threads();
        let rows = n.div_ceil(n.div_ceil(ROWS).next_multiple_of(threads).max(1)).max(6);
        let work = |(i, y): (usize, &mut [f32])| {
            let then = Then {
                residual: then
                    .residual
                    .map(|residual| &residual[i * rows * self.outputs..][..y.len()]),
                ..then
            };
            let x = &x[i * rows * self.inputs..][..y.len() / self.outputs * self.inputs];
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
        if threads == 1 {
            y.chunks_mut(rows * self.outputs).enumerate().for_each(work);
        } else {
            y.par_chunks_mut(rows * self.outputs).enumerate().for_each(work);
        }
    }
}

/// First word and number of words of each block, blocks being of about one size.
fn blocks(words: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = words.div_ceil(words.div_ceil(BLOCK).max(1)).max(1);
    (0..words)
        .step_by(size)
        .map(move |first| (first, size.min(words - first)))
}

fn filled(numbers: impl Iterator<Item = f32>, len: usize) -> Lines {
    let mut lines = Lines::zeroes(len);
    lines
        .words_mut()
        .iter_mut()
        .zip(numbers)
        .for_each(|(to, number)| *to = number);
    lines
}

fn pair(first: i16, second: i16) -> i32 {
    i32::from(first as u16) | i32::from(second) << 16
}

/// The smallest scale with which a column's weights are i16, and no sum over a block of inputs leaves i32.
fn scale_of_weights(weights: &[f32]) -> f32 {
    let largest = weights.iter().fold(0.0f32, |max, w| max.max(w.abs()));
    // Blocks of inputs begin at even ones and have at most 2 * BLOCK.
    let sum = blocks(weights.len().div_ceil(2))
        .map(|(first, len)| {
            let end = (2 * (first + len)).min(weights.len());
            weights[2 * first..end].iter().map(|w| w.abs()).sum::<f32>()
        })
        .fold(0.0f32, f32::max);
    // Rounding may add a half to each.
    let room = i32::MAX as f32 / LARGEST_INPUT - BLOCK as f32;
    (largest / f32::from(i16::MAX)).max(sum / room)
}

/// The product for some rows.
struct Product<'a> {
    linear: &'a Linear,
    x: &'a [f32],
    then: Then<'a>,
    y: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // SAFETY: the caller's; `forward` has checked the shapes.
        unsafe {
            match self.linear.precision {
                Precision::F32 => self.tiles::<S, Floats>(self.x, self.linear.inputs, &[]),
                Precision::Int16 => {
                    let mut scratch = Scratch::take();
                    let (n, words) = (self.y.len() / self.linear.outputs, self.linear.words());
                    let quantised = scratch.rows.at_least(n * words);
                    let scales = scratch.scales.at_least(n);
                    let rows = self.x.chunks_exact(self.linear.inputs);
                    for ((row, scale), to) in rows.zip(&mut *scales).zip(quantised.chunks_exact_mut(words)) {
                        *scale = quantise(row, to);
                    }
                    self.tiles::<S, Pairs>(quantised, words, scales);
                    scratch.give_back();
                }
            }
        }
    }
}

impl Product<'_> {
    /// # Safety
    /// The processor has the instructions of `S`, x holds `stride` words for each row of y and, if its numbers are not
    /// floats, `scales` one number.
    #[inline(always)]
    unsafe fn tiles<S: Simd, F: Format>(&mut self, x: &[F::Word], stride: usize, scales: &[f32]) {
        let Self { linear, then, y, .. } = self;
        let (outputs, words) = (linear.outputs, linear.words());
        let columns = 2 * S::WIDTH;
        let padded = outputs.next_multiple_of(columns);
        let n = y.len() / outputs;
        let (panels, bias, column_scales) = (linear.panels.words(), linear.bias.words(), linear.scales.words::<f32>());
        // The last panel may be wider than what is left of y: its tiles are computed here.
        let mut edge = [0.0f32; 12 * 32];
        for (block, len) in blocks(words) {
            for column in (0..padded).step_by(columns) {
                let panel = &panels[block * padded + column * len..][..columns * len];
                let width = columns.min(outputs - column);
                let mut row = 0;
                while row < n {
                    let rows = (n - row).div_ceil((n - row).div_ceil(F::most_rows::<S>()));
                    let at = row * outputs + column;
                    let target = if width == columns {
                        (y[at..].as_mut_ptr(), outputs)
                    } else {
                        (edge.as_mut_ptr(), columns)
                    };
                    let addend = match (block, then.residual) {
                        (0, residual) => residual.map(|residual| (residual[at..].as_ptr(), outputs)),
                        _ => Some((y[at..].as_ptr(), outputs)),
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
                        rows: x[row * stride + block..].as_ptr(),
                        stride,
                        panel: panel.as_ptr(),
                        words: len,
                    };
                    let scales = Scales {
                        rows: scales.as_ptr().wrapping_add(row),
                        columns: column_scales.as_ptr().wrapping_add(column),
                    };
                    let to = Target {
                        y: target.0,
                        stride: target.1,
                        bias: (block == 0).then(|| bias[column..].as_ptr()),
                        addend,
                    };
                    // SAFETY: rows of x and y are there to the last, a panel and the padded bias have two vectors.
                    unsafe { F::tile::<S>(rows, operands, scales, to) };
                    for r in 0..rows {
                        let y = &mut y[at + r * outputs..][..width];
                        if width < columns {
                            y.copy_from_slice(&edge[r * columns..][..width]);
                        }
                        if let Some(activation) = then.activation
                            && block + len == words
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

/// Fills `words` with the row's pairs and returns what to multiply them by.
#[inline(always)]
fn quantise(row: &[f32], words: &mut [i32]) -> f32 {
    let largest = kernels::max_abs(row);
    let factor = if largest > 0.0 { LARGEST_INPUT / largest } else { 0.0 };
    // Adding 1.5 * 2^23 rounds to an integer, which then is the lowest bits of the sum.
    let round = |x: f32| (x * factor + 12_582_912.0).to_bits();
    let (pairs, rest) = row.as_chunks::<2>();
    for (word, [first, second]) in words.iter_mut().zip(pairs) {
        *word = (round(*first) & 0xffff | round(*second) << 16) as i32;
    }
    if let ([last], Some(word)) = (rest, words.last_mut()) {
        *word = (round(*last) & 0xffff) as i32;
    }
    largest / LARGEST_INPUT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in -1..1, others for every seed.
    fn random(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(&mut next).take(len).collect()
    }

    /// Compares the product of `n` rows with plain sums, for every set of instructions and precision.
    fn assert_plain(n: usize, inputs: usize, outputs: usize, x: &[f32], weight: &[f32]) {
        let (bias, residual) = (random(outputs, 3), random(n * outputs, 4));
        for (instructions, precision) in Instructions::supported()
            .into_iter()
            .flat_map(|set| [Precision::F32, Precision::Int16].map(|precision| (set, precision)))
        {
            let linear = Linear::pack(weight, Some(&bias), outputs, precision, instructions);
            let then = Then {
                residual: Some(&residual),
                activation: Some(Activation::Relu),
            };
            let mut y = vec![f32::NAN; n * outputs];
            linear.forward(x, then, &mut y);
            for (i, row) in x.chunks_exact(inputs).enumerate() {
                let largest = row.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                for (j, weights) in weight.chunks_exact(inputs).enumerate() {
                    let sum = |f: fn(f64, f64) -> f64| {
                        let pairs = row.iter().zip(weights);
                        pairs.map(|(&x, &w)| f(x.into(), w.into())).sum::<f64>()
                    };
                    let exact = sum(|x, w| x * w) + f64::from(bias[j]) + f64::from(residual[i * outputs + j]);
                    // What rounding to whole numbers may do, by half a step in every factor; and what f32 may do.
                    let steps = match precision {
                        Precision::F32 => [0.0; 2],
                        Precision::Int16 => [largest / LARGEST_INPUT, scale_of_weights(weights)].map(f64::from),
                    };
                    let allowed = 0.51 * (steps[0] * sum(|_, w| w.abs()) + steps[1] * sum(|x, _| x.abs()))
                        + 1e-5 * (1.0 + sum(|x, w| (x * w).abs()));
                    let ours = f64::from(y[i * outputs + j]);
                    assert!(
                        (ours - exact.max(0.0)).abs() <= allowed,
                        "{instructions:?} {precision:?} {n}x{inputs}x{outputs} at {i},{j}: {ours} {exact} {allowed}"
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
    fn the_largest_sums_of_whole_numbers_stay_in_range() {
        for inputs in [2 * BLOCK, 4 * BLOCK + 2] {
            for sign in [1.0, -1.0] {
                assert_plain(5, inputs, 3, &vec![1.0; 5 * inputs], &vec![sign; 3 * inputs]);
            }
        }
    }

    #[test]
    fn zeroes_stay_zeroes() {
        assert_plain(2, 10, 8, &[0.0; 20], &random(80, 1));
        assert_plain(2, 10, 8, &random(20, 1), &[0.0; 80]);
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let (n, inputs, outputs) = (501, 70, 40);
        let (x, weight) = (random(n * inputs, 1), random(outputs * inputs, 2));
        for precision in [Precision::F32, Precision::Int16] {
            let linear = Linear::pack(&weight, None, outputs, precision, Instructions::chosen());
            let [one, three] = [1, 3].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut y = vec![f32::NAN; n * outputs];
                pool.install(|| linear.forward(&x, Then::default(), &mut y));
                y
            });
            assert_eq!(one, three);
        }
    }
}
