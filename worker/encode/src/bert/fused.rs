//! What happens between the matrix products. On the CPU each step is one pass over memory, in place, in loops that the
//! compiler turns into vector instructions; candle's own operations would take several passes and a new allocation each,
//! and compute the error function and the exponential one number at a time. On other devices they are candle's.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};
use candle_nn::LayerNorm;
use rayon::prelude::*;

use super::{config::Activation, kernels};

/// Numbers per task when a pool has more than one thread.
const TASK: usize = 1 << 15;

/// `y + bias`: y is `[n, width]`, bias `[width]`.
pub(super) fn bias(y: Tensor, bias: &Tensor) -> Result<Tensor> {
    if !y.device().is_cpu() {
        return y.broadcast_add(bias);
    }
    y.inplace_op2(bias, &Bias(|_| {}))?;
    Ok(y)
}

/// `activation(y + bias)`: y is `[n, width]`, bias `[width]`.
pub(super) fn bias_activation(y: Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    if !y.device().is_cpu() {
        let y = y.broadcast_add(bias)?;
        return match activation {
            Activation::Gelu => y.gelu_erf(),
            Activation::GeluTanh => y.gelu(),
            Activation::Relu => y.relu(),
        };
    }
    match activation {
        Activation::Gelu => y.inplace_op2(bias, &Bias(kernels::gelu))?,
        Activation::GeluTanh => y.inplace_op2(bias, &Bias(kernels::gelu_tanh))?,
        Activation::Relu => y.inplace_op2(bias, &Bias(kernels::relu))?,
    }
    Ok(y)
}

/// The softmax of `scale * scores` over the last dimension.
pub(super) fn softmax(scores: Tensor, scale: f64) -> Result<Tensor> {
    if !scores.device().is_cpu() {
        return candle_nn::ops::softmax_last_dim(&(scores * scale)?);
    }
    scores.inplace_op1(&Softmax { scale: scale as f32 })?;
    Ok(scores)
}

/// The end of a block: the bias of the matrix product before it, the residual around it, layer normalisation.
pub(super) struct Norm {
    bias: Tensor,
    norm: LayerNorm,
    /// `[3, width]`: bias, gamma, beta.
    stacked: Tensor,
}

impl Norm {
    /// `bias` is that of the preceding matrix product, `[width]`.
    pub fn new(bias: &Tensor, norm: LayerNorm) -> Result<Self> {
        let Some(beta) = norm.bias() else {
            bail!("layer normalisation without a bias")
        };
        let stacked = Tensor::stack(&[bias, norm.weight(), beta], 0)?;
        Ok(Self {
            bias: bias.clone(),
            norm,
            stacked,
        })
    }

    /// `norm(y + bias + residual)`: y and residual are `[n, width]`.
    pub fn after(&self, y: Tensor, residual: &Tensor) -> Result<Tensor> {
        if !y.device().is_cpu() {
            return candle_core::Module::forward(&self.norm, &(y.broadcast_add(&self.bias)? + residual)?);
        }
        y.inplace_op3(
            residual,
            &self.stacked,
            &BiasResidualNorm {
                eps: self.norm.eps() as f32,
            },
        )?;
        Ok(y)
    }
}

/// Adds a bias to every row, then applies a function to the row.
struct Bias<F: Fn(&mut [f32])>(F);

impl<F: Fn(&mut [f32]) + Sync> InplaceOp2 for Bias<F> {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, y_layout: &Layout, bias: &CpuStorage, bias_layout: &Layout) -> Result<()> {
        let bias = numbers(bias, bias_layout)?;
        by_rows(numbers_mut(y, y_layout)?, bias.len(), |_, rows| {
            for row in rows.chunks_exact_mut(bias.len()) {
                kernels::add(row, bias);
            }
            self.0(rows);
        });
        Ok(())
    }
}

struct Softmax {
    scale: f32,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "scaled-softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let width = layout.dims().last().copied().unwrap_or(1);
        by_rows(numbers_mut(scores, layout)?, width, |_, rows| {
            rows.chunks_exact_mut(width)
                .for_each(|row| kernels::softmax(row, self.scale));
        });
        Ok(())
    }
}

struct BiasResidualNorm {
    eps: f32,
}

impl InplaceOp3 for BiasResidualNorm {
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
        let stacked = numbers(stacked, stacked_layout)?;
        let width = stacked.len() / 3;
        let (bias, scale) = stacked.split_at(width);
        let (gamma, beta) = scale.split_at(width);
        if residual.len() != y.len() {
            bail!("a residual of {} numbers for {}", residual.len(), y.len());
        }
        by_rows(y, width, |start, rows| {
            let residual = residual[start..].chunks_exact(width);
            for (row, residual) in rows.chunks_exact_mut(width).zip(residual) {
                kernels::add(row, bias);
                kernels::add(row, residual);
                kernels::layer_norm(row, gamma, beta, self.eps);
            }
        });
        Ok(())
    }
}

/// Calls `work(start, rows)` for pieces of whole rows; `start` is where a piece begins in `all`.
fn by_rows(all: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let piece = (TASK / width.max(1)).max(1) * width.max(1);
    all.par_chunks_mut(piece)
        .enumerate()
        .for_each(|(i, rows)| work(i * piece, rows));
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(all), Some((start, end))) => Ok(&all[start..end]),
        _ => bail!("a contiguous f32 tensor is needed"),
    }
}

fn numbers_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(all), Some((start, end))) => Ok(&mut all[start..end]),
        _ => bail!("a contiguous f32 tensor is needed"),
    }
}
