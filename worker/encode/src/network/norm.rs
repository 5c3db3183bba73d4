//! Normalisation of rows: layer normalisation with or without an offset, and its simpler sister by the root mean square.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};

use super::{
    kernels,
    rows::{by_rows, numbers, numbers_mut},
};
use crate::weights::Weights;

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

/// A normalisation with its weights, and what is added before it.
pub(crate) struct Norm {
    kind: NormKind,
    /// `[3, width]`: the bias of the matrix product before it, gamma, beta; zeroes where there is none.
    stacked: Tensor,
}

impl Norm {
    /// The normalisation called `name` over rows of `width`; `bias` is that of the matrix product before it, `[width]`.
    pub fn load(weights: &Weights, name: &str, width: usize, kind: NormKind, bias: Option<&Tensor>) -> Result<Self> {
        let gamma = weights.get(&format!("{name}.weight"), width)?;
        let none = gamma.zeros_like()?;
        let beta = match kind.formula {
            Formula::Layer => weights.get(&format!("{name}.bias"), width)?,
            Formula::LayerWithoutBias | Formula::RootMeanSquare => none.clone(),
        };
        Ok(Self {
            kind,
            stacked: Tensor::stack(&[bias.unwrap_or(&none), &gamma, &beta], 0)?,
        })
    }

    /// `norm(y + bias + residual)`: y and residual are `[n, width]`.
    pub fn after(&self, y: Tensor, residual: &Tensor) -> Result<Tensor> {
        if !y.device().is_cpu() {
            return self.by_candle(&(y.broadcast_add(&self.stacked.get(0)?)? + residual)?);
        }
        y.inplace_op3(residual, &self.stacked, &self.kind)?;
        Ok(y)
    }

    /// `norm(x)`: x is `[n, width]`, and stays as it is.
    pub fn of(&self, x: &Tensor) -> Result<Tensor> {
        if !x.device().is_cpu() {
            return self.by_candle(x);
        }
        let y = x.copy()?;
        y.inplace_op2(&self.stacked, &self.kind)?;
        Ok(y)
    }

    fn by_candle(&self, x: &Tensor) -> Result<Tensor> {
        let (gamma, beta, eps) = (self.stacked.get(1)?, self.stacked.get(2)?, self.kind.eps as f32);
        match self.kind.formula {
            Formula::RootMeanSquare => candle_nn::ops::rms_norm(x, &gamma, eps),
            Formula::Layer | Formula::LayerWithoutBias => candle_nn::ops::layer_norm(x, &gamma, &beta, eps),
        }
    }
}

impl NormKind {
    fn of_row(self, row: &mut [f32], gamma: &[f32], beta: &[f32]) {
        match self.formula {
            Formula::RootMeanSquare => kernels::rms_norm(row, gamma, self.eps as f32),
            Formula::Layer | Formula::LayerWithoutBias => kernels::layer_norm(row, gamma, beta, self.eps as f32),
        }
    }
}

impl InplaceOp2 for NormKind {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, y_layout: &Layout, stacked: &CpuStorage, layout: &Layout) -> Result<()> {
        let [_, gamma, beta] = thirds(numbers(stacked, layout)?);
        by_rows(numbers_mut(y, y_layout)?, gamma.len(), |_, rows| {
            for row in rows.chunks_exact_mut(gamma.len()) {
                self.of_row(row, gamma, beta);
            }
        });
        Ok(())
    }
}

impl InplaceOp3 for NormKind {
    fn name(&self) -> &'static str {
        "bias-residual-norm"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        stacked: &CpuStorage,
        stacked_layout: &Layout,
    ) -> Result<()> {
        let y = numbers_mut(y, y_layout)?;
        let residual = numbers(residual, residual_layout)?;
        let [bias, gamma, beta] = thirds(numbers(stacked, stacked_layout)?);
        if residual.len() != y.len() {
            bail!("a residual of {} numbers for {}", residual.len(), y.len());
        }
        by_rows(y, bias.len(), |start, rows| {
            let residual = residual[start..].chunks_exact(bias.len());
            for (row, residual) in rows.chunks_exact_mut(bias.len()).zip(residual) {
                kernels::add(row, bias);
                kernels::add(row, residual);
                self.of_row(row, gamma, beta);
            }
        });
        Ok(())
    }
}

fn thirds(stacked: &[f32]) -> [&[f32]; 3] {
    let width = stacked.len() / 3;
    [0, 1, 2].map(|i| &stacked[i * width..(i + 1) * width])
}
