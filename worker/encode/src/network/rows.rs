//! Numbers in candle's storage, for the steps that work on rows of them on the CPU.

use candle_core::{CpuStorage, DType, Layout, Result, Tensor, bail};

/// Whether our own operations take it: f32 on the CPU. All else is left to candle's.
pub(super) fn is_ours(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

pub(super) fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(all), Some((start, end))) => Ok(&all[start..end]),
        _ => bail!("a contiguous f32 tensor is needed"),
    }
}

pub(super) fn numbers_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(all), Some((start, end))) => Ok(&mut all[start..end]),
        _ => bail!("a contiguous f32 tensor is needed"),
    }
}
