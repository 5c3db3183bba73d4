//! The gate of a feed-forward part. On the CPU it is one pass over memory, in loops that the compiler turns into vector
//! instructions; candle's own operations would take several passes and a new allocation each, and compute the error function
//! and the exponential one number at a time.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::{
    Activation,
    rows::{by_rows, is_ours, numbers},
};
use crate::cpu::kernels;

/// `activation(a) * b`, where y is `[n, 2 width]`, a and b side by side: `[n, width]`.
pub(super) fn gate(y: &Tensor, activation: Activation) -> Result<Tensor> {
    if !is_ours(y) {
        let width = y.dim(D::Minus1)? / 2;
        return activation.by_candle(&y.narrow(D::Minus1, 0, width)?)? * y.narrow(D::Minus1, width, width)?;
    }
    y.apply_op1_no_bwd(&Gate(activation))
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
