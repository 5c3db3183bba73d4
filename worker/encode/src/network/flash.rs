//! Flash attention (Dao 2023, arXiv:2307.08691) by candle's kernels: packed texts as they are, no scores in memory.

use candle_core::{DType, Result, Tensor};
use candle_flash_attn::flash_attn_varlen_windowed;

use super::{
    attention::Attention,
    offsets::{Offsets, Reach},
    packed::{Packed, ranges},
};

/// Numbers of a head, at most.
const WIDEST: usize = 256;

impl Attention {
    /// Whether the kernels can do it: numbers of 16 bits on a GPU, every token seen, and no offsets but those of the reach.
    pub(super) fn is_flash(&self, qkv: &Tensor, batch: &Packed) -> bool {
        let has_type = qkv.device().is_cuda() && matches!(qkv.dtype(), DType::F16 | DType::BF16);
        let has_width = self.width.is_multiple_of(8) && self.width <= WIDEST;
        // One row for several heads says which keys are seen, and nothing else.
        let is_biased = |offsets: &Offsets| self.heads == 1 || offsets.table().dims()[0] > 1;
        has_type && has_width && !self.offsets.as_ref().is_some_and(is_biased) && batch.seen == batch.lengths
    }

    /// The same as [`padded`](Self::padded).
    pub(super) fn by_flash(&self, qkv: &Tensor, batch: &Packed) -> Result<Tensor> {
        let n = qkv.dim(0)?;
        let qkv = qkv.reshape((n, (), self.width))?;
        let q = qkv.narrow(1, 0, self.heads)?;
        let k = qkv.narrow(1, self.heads, self.key_heads)?;
        let v = qkv.narrow(1, self.heads + self.key_heads, self.key_heads)?;
        // Where each text starts, and where the last one ends.
        let starts = ranges(&batch.lengths).map(|(start, _)| start as u32);
        let starts: Vec<u32> = starts.chain([n as u32]).collect();
        let [starts] = batch.uploads.send([&starts], qkv.device())?;
        let longest = batch.lengths.iter().copied().max().unwrap_or(0);
        let (left, right) = match self.reach {
            Reach::All => (None, None),
            Reach::Before => (None, Some(0)),
            Reach::Around(most) => (Some(most), Some(most)),
        };
        let scale = self.scale() as f32;
        flash_attn_varlen_windowed(&q, &k, &v, &starts, &starts, longest, longest, scale, left, right)?
            .reshape((n, self.heads * self.width))
    }
}
