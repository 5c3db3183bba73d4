//! Rows of numbers in candle's storage, for the steps that work on them in place on the CPU.

use candle_core::{CpuStorage, DType, Layout, Result, Tensor, bail};
use rayon::prelude::*;

/// Numbers per task when a pool has more than one thread.
const TASK: usize = 1 << 15;

/// Whether our own operations take it: f32 on the CPU. All else is left to candle's.
pub(super) fn is_ours(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// Calls `work(start, rows)` for pieces of whole rows; `start` is where a piece begins in `all`.
pub(super) fn by_rows(all: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let piece = (TASK / width.max(1)).max(1) * width.max(1);
    all.par_chunks_mut(piece)
        .enumerate()
        .for_each(|(i, rows)| work(i * piece, rows));
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
