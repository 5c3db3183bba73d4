//! The gate of a feed-forward part. On the CPU it is one pass over memory, in loops that the compiler turns into vector
//! instructions; candle's own operations would take several passes and a new allocation each, and compute the error function
//! and the exponential one number at a time.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::{
    Activation,
    rows::{is_ours, numbers},
};
use crate::cpu::{RowKernel, Simd, by_rows, kernels};

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
        let activation = self.0;
        by_rows(&mut gated, width, &Gated { activation, width, y });
        Ok((CpuStorage::F32(gated), Shape::from((n, width))))
    }
}

struct Gated<'a> {
    activation: Activation,
    width: usize,
    y: &'a [f32],
}

impl RowKernel for Gated<'_> {
    #[inline(always)]
    fn on_rows<S: Simd>(&self, start: usize, rows: &mut [f32]) {
        let pairs = self.y[2 * start..].chunks_exact(2 * self.width);
        for (row, pair) in rows.chunks_exact_mut(self.width).zip(pairs) {
            let (a, b) = pair.split_at(self.width);
            row.copy_from_slice(a);
            kernels::activate::<S>(row, self.activation);
            kernels::multiply(row, b);
        }
    }
}
