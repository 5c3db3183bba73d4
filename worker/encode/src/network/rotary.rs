//! Rotary positions (Su et al. 2021, arXiv:2104.09864): before queries meet keys, pairs of their numbers are turned by
//! an angle that grows with the position, so that their product knows how far apart they are. A pair is a number of the
//! first half of a head with its counterpart in the second.

use candle_core::{CpuStorage, D, Device, InplaceOp3, Layout, Result, Tensor};

use super::rows::{is_ours, numbers, numbers_mut};
use crate::{
    cpu::{RowKernel, Simd, by_rows, kernels},
    weights::Weights,
};

/// The angles of every position, for heads of one width.
pub(super) struct Rotary {
    base: f64,
    /// `[positions, width / 2]` each.
    cos: Tensor,
    sin: Tensor,
}

/// The angles of a batch's tokens: `[n, width / 2]` each.
pub(super) struct Turns {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    pub fn new(base: f64, width: usize, positions: usize) -> Result<Self> {
        let half = width / 2;
        // In f32, as the networks were trained.
        let frequency = |i: usize| 1.0 / base.powf(2.0 * i as f64 / width as f64) as f32;
        let angles: Vec<f32> = (0..positions)
            .flat_map(|position| (0..half).map(move |i| position as f32 * frequency(i)))
            .collect();
        let angles = Tensor::from_vec(angles, (positions, half), &Device::Cpu)?;
        Ok(Self {
            base,
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }

    /// The same beside `weights`.
    pub fn beside(&self, weights: &Weights) -> Result<Self> {
        Ok(Self {
            base: self.base,
            cos: weights.beside(&self.cos)?,
            sin: weights.beside(&self.sin)?,
        })
    }

    pub fn base(&self) -> f64 {
        self.base
    }

    /// `positions` is `[n]`.
    pub fn at(&self, positions: &Tensor) -> Result<Turns> {
        Ok(Turns {
            cos: self.cos.index_select(positions, 0)?,
            sin: self.sin.index_select(positions, 0)?,
        })
    }
}

impl Turns {
    /// Turns the first `heads` heads of every row: x is `[n, more heads * width]`.
    pub fn apply(&self, x: Tensor, heads: usize, width: usize) -> Result<Tensor> {
        if !is_ours(&x) {
            return self.by_candle(&x, heads, width);
        }
        x.inplace_op3(&self.cos, &self.sin, &Turn { heads, width })?;
        Ok(x)
    }

    fn by_candle(&self, x: &Tensor, heads: usize, width: usize) -> Result<Tensor> {
        let (n, total) = x.dims2()?;
        let turned = x.narrow(1, 0, heads * width)?.reshape((n, heads, width))?;
        let [a, b] = [0, 1].map(|half| turned.narrow(D::Minus1, half * width / 2, width / 2));
        let (a, b, cos, sin) = (a?, b?, self.cos.unsqueeze(1)?, self.sin.unsqueeze(1)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        let turned = Tensor::cat(&[first, second], D::Minus1)?.reshape((n, heads * width))?;
        Tensor::cat(&[turned, x.narrow(1, heads * width, total - heads * width)?], 1)
    }
}

struct Turn {
    heads: usize,
    width: usize,
}

impl InplaceOp3 for Turn {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<()> {
        let (cos, sin) = (numbers(cos, cos_layout)?, numbers(sin, sin_layout)?);
        let (_, total) = x_layout.shape().dims2()?;
        let turn = self;
        by_rows(numbers_mut(x, x_layout)?, total, &Turned { turn, total, cos, sin });
        Ok(())
    }
}

struct Turned<'a> {
    turn: &'a Turn,
    /// Numbers of a row.
    total: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl RowKernel for Turned<'_> {
    #[inline(always)]
    fn on_rows<S: Simd>(&self, start: usize, rows: &mut [f32]) {
        let Turn { heads, width } = *self.turn;
        let half = width / 2;
        let angles = start / self.total * half;
        let angles = self.cos[angles..]
            .chunks_exact(half)
            .zip(self.sin[angles..].chunks_exact(half));
        for (row, (cos, sin)) in rows.chunks_exact_mut(self.total).zip(angles) {
            for head in row[..heads * width].chunks_exact_mut(width) {
                kernels::rotate(head, cos, sin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fused_rotation_equals_candles() {
        let (n, heads, width) = (50, 3, 10);
        let rotary = Rotary::new(10_000.0, width, 64).unwrap();
        let positions: Vec<u32> = (0..n).map(|i| (i * 7) % 64).collect();
        let turns = rotary.at(&Tensor::new(positions, &Device::Cpu).unwrap()).unwrap();
        let x = Tensor::randn(0f32, 1f32, (n as usize, (heads + 2) * width), &Device::Cpu).unwrap();
        let theirs = turns.by_candle(&x, heads, width).unwrap();
        let ours = turns.apply(x, heads, width).unwrap();
        let difference = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);
    }
}
