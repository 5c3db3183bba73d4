//! What happens between the matrix products. On the CPU each step is one pass over memory, in place, in loops that the
//! compiler turns into vector instructions; candle's own operations would take several passes and a new allocation each,
//! and compute the error function and the exponential one number at a time. On other devices they are candle's.

use candle_core::{CpuStorage, CustomOp1, D, InplaceOp2, Layout, Result, Shape, Tensor, bail};

use super::{
    Activation,
    rows::{by_rows, numbers, numbers_mut},
};
use crate::network::kernels;

/// `y + bias`: y is `[n, width]`, bias `[width]`.
pub(crate) fn bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let Some(bias) = bias else { return Ok(y) };
    if !y.device().is_cpu() {
        return y.broadcast_add(bias);
    }
    y.inplace_op2(bias, &Bias(None))?;
    Ok(y)
}

/// `activation(y + bias)`: y is `[n, width]`, bias `[width]`.
pub(crate) fn bias_activation(y: Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    match bias {
        Some(bias) if y.device().is_cpu() => {
            y.inplace_op2(bias, &Bias(Some(activation)))?;
            Ok(y)
        }
        bias => activation.by_candle(&self::bias(y, bias)?),
    }
}

/// `activation(a) * b`, where y + bias is `[n, 2 width]`, a and b side by side: `[n, width]`.
pub(crate) fn gate(y: Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    let y = self::bias(y, bias)?;
    if !y.device().is_cpu() {
        let width = y.dim(D::Minus1)? / 2;
        return activation.by_candle(&y.narrow(D::Minus1, 0, width)?)? * y.narrow(D::Minus1, width, width)?;
    }
    y.apply_op1_no_bwd(&Gate(activation))
}

/// `y + bias + residual`: y and residual are `[n, width]`.
pub(crate) fn residual(y: Tensor, bias: Option<&Tensor>, residual: &Tensor) -> Result<Tensor> {
    let y = self::bias(y, bias)?;
    if !y.device().is_cpu() {
        return y + residual;
    }
    y.inplace_op2(residual, &Add)?;
    Ok(y)
}

/// Adds a bias to every row, then applies the activation.
struct Bias(Option<Activation>);

impl InplaceOp2 for Bias {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, y_layout: &Layout, bias: &CpuStorage, bias_layout: &Layout) -> Result<()> {
        let bias = numbers(bias, bias_layout)?;
        by_rows(numbers_mut(y, y_layout)?, bias.len(), |_, rows| {
            for row in rows.chunks_exact_mut(bias.len()) {
                kernels::add(row, bias);
            }
            if let Some(activation) = self.0 {
                activation.of_row(rows);
            }
        });
        Ok(())
    }
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, y_layout: &Layout, other: &CpuStorage, other_layout: &Layout) -> Result<()> {
        let (y, other) = (numbers_mut(y, y_layout)?, numbers(other, other_layout)?);
        if other.len() != y.len() {
            bail!("a residual of {} numbers for {}", other.len(), y.len());
        }
        by_rows(y, 1, |start, piece| kernels::add(piece, &other[start..]));
        Ok(())
    }
}

struct Gate(Activation);

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, y: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = numbers(y, layout)?;
        let (n, both) = layout.shape().dims2()?;
        let width = both / 2;
        let mut gated = vec![0.0; n * width];
        by_rows(&mut gated, width, |start, rows| {
            let pairs = y[2 * start..].chunks_exact(both);
            for (row, pair) in rows.chunks_exact_mut(width).zip(pairs) {
                let (a, b) = pair.split_at(width);
                row.copy_from_slice(a);
                self.0.of_row(row);
                kernels::multiply(row, b);
            }
        });
        Ok((CpuStorage::F32(gated), Shape::from((n, width))))
    }
}
