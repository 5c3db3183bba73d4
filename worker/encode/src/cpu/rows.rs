//! Work on rows of numbers in place, compiled once for every instruction set as a [`Kernel`] is.

use rayon::prelude::*;

use super::{
    instructions::{Instructions, Kernel, run},
    simd::Simd,
};

/// Numbers per task when a pool has more than one thread.
const TASK: usize = 1 << 15;

/// What is done to every row. Functions that implement it, and all that they call, have to be `#[inline(always)]`.
pub(crate) trait RowKernel: Sync {
    /// Works on some whole rows; `start` is where they begin among all numbers.
    fn on_rows<S: Simd>(&self, start: usize, rows: &mut [f32]);
}

/// Does the work on all rows of `width` numbers, shared among the threads of the calling thread's pool.
pub(crate) fn by_rows(all: &mut [f32], width: usize, work: &impl RowKernel) {
    let piece = (TASK / width.max(1)).max(1) * width.max(1);
    let instructions = Instructions::chosen();
    all.par_chunks_mut(piece)
        .enumerate()
        .for_each(|(i, rows)| on_rows(instructions, work, i * piece, rows));
}

/// Does the work on these rows with `instructions`, which come from [`Instructions::supported`].
pub(super) fn on_rows(instructions: Instructions, work: &impl RowKernel, start: usize, rows: &mut [f32]) {
    run(instructions, OnRows { work, start, rows });
}

struct OnRows<'a, W> {
    work: &'a W,
    start: usize,
    rows: &'a mut [f32],
}

#[expect(unsafe_code, reason = "a kernel is compiled for instructions that `run` has checked")]
impl<W: RowKernel> Kernel for OnRows<'_, W> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        self.work.on_rows::<S>(self.start, self.rows);
    }
}
