//! Normalisation of every head's query and key by its root mean square (Qwen3).

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result, Tensor};

use super::rows::{is_ours, numbers, numbers_mut};
use crate::{
    cpu::{RowKernel, Simd, by_rows, kernels},
    weights::Weights,
};

pub(super) struct HeadNorms {
    /// Heads of queries, then of keys.
    heads: [usize; 2],
    eps: f32,
    /// `[heads + key heads, width]`: each head's gamma.
    gammas: Tensor,
}

impl HeadNorms {
    pub fn load(weights: &Weights, names: [String; 2], heads: [usize; 2], width: usize, eps: f64) -> Result<Self> {
        let gamma = |i: usize| {
            let gamma = weights.get(&format!("{}.weight", names[i]), width)?;
            gamma.unsqueeze(0)?.broadcast_as((heads[i], width))
        };
        Ok(Self {
            heads,
            eps: eps as f32,
            gammas: Tensor::cat(&[gamma(0)?, gamma(1)?], 0)?,
        })
    }

    /// qkv is `[n, (heads + 2 key heads) * width]`; values stay as they are.
    pub fn apply(&self, qkv: Tensor) -> Result<Tensor> {
        if !is_ours(&qkv) {
            return self.by_candle(&qkv);
        }
        qkv.inplace_op2(&self.gammas, self)?;
        Ok(qkv)
    }

    fn by_candle(&self, qkv: &Tensor) -> Result<Tensor> {
        let (n, total) = qkv.dims2()?;
        let (heads, width) = self.gammas.dims2()?;
        let normed = qkv.narrow(1, 0, heads * width)?.reshape((n, heads, width))?;
        // Squares may be beyond what 16 bits hold.
        let wide = normed.to_dtype(DType::F32)?;
        let square = wide.sqr()?.mean_keepdim(2)?;
        let normed = wide
            .broadcast_div(&(square + f64::from(self.eps))?.sqrt()?)?
            .to_dtype(normed.dtype())?
            .broadcast_mul(&self.gammas)?
            .reshape((n, heads * width))?;
        Tensor::cat(&[normed, qkv.narrow(1, heads * width, total - heads * width)?], 1)
    }
}

impl InplaceOp2 for HeadNorms {
    fn name(&self) -> &'static str {
        "head-norm"
    }

    fn cpu_fwd(&self, qkv: &mut CpuStorage, layout: &Layout, gammas: &CpuStorage, of_gammas: &Layout) -> Result<()> {
        let gammas = numbers(gammas, of_gammas)?;
        let width = gammas.len() / (self.heads[0] + self.heads[1]);
        let (_, total) = layout.shape().dims2()?;
        let eps = self.eps;
        let norms = OfHeads {
            total,
            width,
            gammas,
            eps,
        };
        by_rows(numbers_mut(qkv, layout)?, total, &norms);
        Ok(())
    }
}

struct OfHeads<'a> {
    /// Numbers of a row, values included.
    total: usize,
    /// Numbers of a head.
    width: usize,
    gammas: &'a [f32],
    eps: f32,
}

impl RowKernel for OfHeads<'_> {
    #[inline(always)]
    fn on_rows<S: Simd>(&self, _: usize, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.total) {
            let gammas = self.gammas.chunks_exact(self.width);
            for (head, gamma) in row.chunks_exact_mut(self.width).zip(gammas) {
                kernels::rms_norm::<S>(head, gamma, self.eps);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_fused_norm_equals_candles_and_leaves_values_alone() {
        let norms = HeadNorms {
            heads: [4, 2],
            eps: 1e-6,
            gammas: Tensor::randn(1f32, 0.5f32, (6, 10), &Device::Cpu).unwrap(),
        };
        let qkv = Tensor::randn(0f32, 2f32, (9, 80), &Device::Cpu).unwrap();
        let values = qkv.narrow(1, 60, 20).unwrap().to_vec2::<f32>().unwrap();
        let theirs = norms.by_candle(&qkv).unwrap();
        let ours = norms.apply(qkv).unwrap();
        assert_eq!(ours.narrow(1, 60, 20).unwrap().to_vec2::<f32>().unwrap(), values);
        let difference = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
    }
}
