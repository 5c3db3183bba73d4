//! Normalisation of rows: layer normalisation with or without an offset, and its simpler sister by the root mean square.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::rows::{is_ours, numbers, numbers_mut};
use crate::{
    cpu::{RowKernel, Simd, by_rows, kernels},
    weights::Weights,
};

/// Which normalisation a family uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NormKind {
    pub formula: Formula,
    /// Added to the variance, or to the mean square.
    pub eps: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Formula {
    /// (x - mean) / deviation * gamma + beta.
    Layer,
    /// The same without beta.
    LayerWithoutBias,
    /// x / root mean square * gamma.
    RootMeanSquare,
}

/// A normalisation with its weights.
pub(crate) struct Norm {
    kind: NormKind,
    /// `[2, width]`: gamma, beta; zeroes where there is none.
    stacked: Tensor,
}

impl Norm {
    /// The normalisation called `name` over rows of `width`.
    pub fn load(weights: &Weights, name: &str, width: usize, kind: NormKind) -> Result<Self> {
        let gamma = weights.get(&format!("{name}.weight"), width)?;
        let beta = match kind.formula {
            Formula::Layer => weights.get(&format!("{name}.bias"), width)?,
            Formula::LayerWithoutBias | Formula::RootMeanSquare => gamma.zeros_like()?,
        };
        Ok(Self {
            kind,
            stacked: Tensor::stack(&[gamma, beta], 0)?,
        })
    }

    /// `norm(x)`: x is `[n, width]`; on the CPU in place.
    pub fn over(&self, x: Tensor) -> Result<Tensor> {
        if !is_ours(&x) {
            return self.by_candle(&x);
        }
        x.inplace_op2(&self.stacked, &self.kind)?;
        Ok(x)
    }

    /// `norm(x)`: x is `[n, width]`, and stays as it is.
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        if !is_ours(x) {
            return self.by_candle(x);
        }
        self.over(x.copy()?)
    }

    fn by_candle(&self, x: &Tensor) -> Result<Tensor> {
        let (gamma, beta, eps) = (self.stacked.get(0)?, self.stacked.get(1)?, self.kind.eps as f32);
        match self.kind.formula {
            Formula::RootMeanSquare => candle_nn::ops::rms_norm(x, &gamma, eps),
            Formula::Layer | Formula::LayerWithoutBias => candle_nn::ops::layer_norm(x, &gamma, &beta, eps),
        }
    }
}

impl InplaceOp2 for NormKind {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, y_layout: &Layout, stacked: &CpuStorage, layout: &Layout) -> Result<()> {
        let stacked = numbers(stacked, layout)?;
        let (gamma, beta) = stacked.split_at(stacked.len() / 2);
        let kind = *self;
        by_rows(numbers_mut(y, y_layout)?, gamma.len(), &OfRows { kind, gamma, beta });
        Ok(())
    }
}

struct OfRows<'a> {
    kind: NormKind,
    gamma: &'a [f32],
    beta: &'a [f32],
}

impl RowKernel for OfRows<'_> {
    #[inline(always)]
    fn on_rows<S: Simd>(&self, _: usize, rows: &mut [f32]) {
        let Self { kind, gamma, beta } = *self;
        let eps = kind.eps as f32;
        for row in rows.chunks_exact_mut(gamma.len()) {
            match kind.formula {
                Formula::RootMeanSquare => kernels::rms_norm::<S>(row, gamma, eps),
                Formula::Layer | Formula::LayerWithoutBias => kernels::layer_norm::<S>(row, gamma, beta, eps),
            }
        }
    }
}
