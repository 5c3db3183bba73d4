//! The sum of the rows of a text, row by row: candle's own goes through every number by itself and asks where it is.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::rows::{is_ours, numbers};
use crate::cpu::kernels;

/// `[n, width]` to `[width]`.
pub(crate) fn sum_of_rows(x: &Tensor) -> Result<Tensor> {
    if is_ours(x) {
        x.apply_op1_no_bwd(&SumOfRows)
    } else {
        x.sum(0)
    }
}

struct SumOfRows;

impl CustomOp1 for SumOfRows {
    fn name(&self) -> &'static str {
        "sum-of-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let mut sum = vec![0.0; width];
        for row in numbers(x, layout)?.chunks_exact(width.max(1)) {
            kernels::add(&mut sum, row);
        }
        Ok((CpuStorage::F32(sum), Shape::from(width)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn it_equals_candles_also_of_a_part() {
        let x = Tensor::randn(0f32, 1f32, (9, 33), &Device::Cpu).unwrap();
        for (start, len) in [(0, 9), (2, 5), (8, 1)] {
            let part = x.narrow(0, start, len).unwrap();
            let difference = (sum_of_rows(&part).unwrap() - part.sum(0).unwrap()).unwrap();
            let difference = difference.abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
        }
    }
}
