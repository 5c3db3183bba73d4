//! The softmax of attention scores, together with what is done to them before.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor};

use super::{
    kernels,
    offsets::Offsets,
    rows::{by_rows, numbers, numbers_mut},
};

/// The softmax of `scale * scores + offsets` over the last dimension, in place on the CPU: scores is
/// `[heads, queries, keys]`, and the offsets come with the position of the first query and of the first key.
pub(super) fn softmax(scores: Tensor, scale: f64, offsets: Option<(&Offsets, usize, usize)>) -> Result<Tensor> {
    let scale = scale as f32;
    match offsets {
        None => scores.inplace_op1(&Scaled(scale))?,
        Some((offsets, query, key)) => {
            let first = offsets.column(query, key);
            scores.inplace_op2(offsets.table(), &Shifted { scale, first })?;
        }
    }
    Ok(scores)
}

struct Scaled(f32);

impl InplaceOp1 for Scaled {
    fn name(&self) -> &'static str {
        "scaled-softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let width = layout.dims().last().copied().unwrap_or(1);
        by_rows(numbers_mut(scores, layout)?, width, |_, rows| {
            rows.chunks_exact_mut(width)
                .for_each(|row| kernels::softmax(row, self.0));
        });
        Ok(())
    }
}

struct Shifted {
    scale: f32,
    /// The offsets' column of the first query and the first key.
    first: usize,
}

impl InplaceOp2 for Shifted {
    fn name(&self) -> &'static str {
        "shifted-softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, layout: &Layout, table: &CpuStorage, of_table: &Layout) -> Result<()> {
        let (_, queries, keys) = layout.shape().dims3()?;
        let (heads, columns) = of_table.shape().dims2()?;
        let table = numbers(table, of_table)?;
        by_rows(numbers_mut(scores, layout)?, keys, |start, rows| {
            for (i, row) in rows.chunks_exact_mut(keys).enumerate() {
                let (head, query) = ((start / keys + i) / queries, (start / keys + i) % queries);
                // The same for all heads where the table has one row.
                let offsets = &table[(head % heads) * columns..][self.first - query..];
                kernels::scale_add(row, self.scale, offsets);
                kernels::softmax(row, 1.0);
            }
        });
        Ok(())
    }
}
