//! Self-attention over packed texts. A token attends to the tokens of its own text only.

use candle_core::{Result, Tensor};

use super::{fused, network::ranges};

/// A layer's attention: heads x width is the hidden size.
pub(super) struct Attention {
    heads: usize,
    width: usize,
}

/// Added to the score of a padded key: e^-30000 is 0, and the number fits f16, unlike f32's minimum.
const MASKED: f32 = -30_000.0;

impl Attention {
    pub fn new(heads: usize, hidden: usize) -> Self {
        Self {
            heads,
            width: hidden / heads,
        }
    }

    /// `[n, 3 hidden]`, queries, keys and values side by side, to `[n, hidden]`.
    ///
    /// On the CPU a matrix product takes its operands as they lie, so text after text costs neither padding nor copies.
    /// On a GPU a thousand small kernels would cost more than padding does.
    pub fn forward(&self, qkv: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let attended = if qkv.device().is_cpu() {
            self.by_text(qkv, lengths)
        } else {
            self.padded(qkv, lengths)
        }?;
        attended.reshape((qkv.dim(0)?, self.heads * self.width))
    }

    fn scale(&self) -> f64 {
        1.0 / (self.width as f64).sqrt()
    }

    /// `[n, heads, width]`.
    fn by_text(&self, qkv: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let qkv = qkv.reshape((qkv.dim(0)?, 3 * self.heads, self.width))?;
        let attended: Vec<Tensor> = ranges(lengths)
            .map(|(start, len)| {
                let text = qkv.narrow(0, start, len)?.transpose(0, 1)?;
                let [q, k, v] = [0, 1, 2].map(|i| text.narrow(0, i * self.heads, self.heads));
                let weights = fused::softmax(q?.matmul(&k?.t()?)?, self.scale())?;
                weights.matmul(&v?)?.transpose(0, 1)
            })
            .collect::<Result<_>>()?;
        Tensor::cat(&attended, 0)
    }

    /// `[n, heads, width]`, by way of `[texts, heads, longest, width]` with a mask.
    fn padded(&self, qkv: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (texts, longest) = (lengths.len(), lengths.iter().copied().max().unwrap_or(0));
        let mut padded = Vec::with_capacity(texts * longest);
        let mut packed = Vec::with_capacity(qkv.dim(0)?);
        let mut mask = Vec::with_capacity(texts * longest);
        for (text, (start, len)) in ranges(lengths).enumerate() {
            // Padding repeats the first row: which one does not matter, the mask hides it.
            padded.extend((0..longest).map(|i| if i < len { start + i } else { 0 } as u32));
            packed.extend((0..len).map(|i| (text * longest + i) as u32));
            mask.extend((0..longest).map(|i| if i < len { 0.0 } else { MASKED }));
        }
        let device = qkv.device();
        let mask = Tensor::from_vec(mask, (texts, 1, 1, longest), device)?.to_dtype(qkv.dtype())?;
        let qkv = qkv
            .index_select(&Tensor::new(padded, device)?, 0)?
            .reshape((texts, longest, 3 * self.heads, self.width))?
            .transpose(1, 2)?;
        let [q, k, v] = [0, 1, 2].map(|i| qkv.narrow(1, i * self.heads, self.heads)?.contiguous());
        let scores = (q?.matmul(&k?.t()?)? * self.scale())?.broadcast_add(&mask)?;
        candle_nn::ops::softmax_last_dim(&scores)?
            .matmul(&v?)?
            .transpose(1, 2)?
            .reshape((texts * longest, self.heads, self.width))?
            .index_select(&Tensor::new(packed, device)?, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn padded_with_a_mask_equals_text_by_text() {
        let lengths = [7, 1, 12, 3];
        let n: usize = lengths.iter().sum();
        let attention = Attention::new(4, 32);
        let qkv = Tensor::randn(0f32, 3f32, (n, 96), &Device::Cpu).unwrap();
        let by_text = attention.by_text(&qkv, &lengths).unwrap();
        let padded = attention.padded(&qkv, &lengths).unwrap();
        assert_eq!(by_text.dims(), padded.dims());
        let difference = (by_text - padded).unwrap().abs().unwrap().max_all().unwrap();
        let difference = difference.to_dtype(DType::F32).unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-5, "{difference}");
    }
}
