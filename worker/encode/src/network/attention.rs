//! Self-attention over packed texts. A token attends to the tokens of its own text only.

use candle_core::{D, Result, Tensor};

use super::{
    offsets::{Offsets, Reach},
    packed::{Packed, Padding, ranges},
    softmax::softmax,
};

/// Queries that are compared with their keys at a time: a long text needs memory for so many rows of scores, not for as
/// many as it has tokens, and what is out of reach of a whole block is never computed.
const BLOCK: usize = 256;

/// A layer's attention.
pub(super) struct Attention {
    /// Heads of queries, and of keys and values: each of the latter serves `heads / key_heads` of the former.
    pub heads: usize,
    pub key_heads: usize,
    /// Numbers of a head.
    pub width: usize,
    pub reach: Reach,
    /// Present where scores depend on distance or not all keys are seen.
    pub offsets: Option<Offsets>,
}

impl Attention {
    /// Queries, keys and values side by side, `[n, (heads + 2 key_heads) * width]`, to `[n, heads * width]`.
    ///
    /// On the CPU a matrix product takes its operands as they lie, so text after text costs neither padding nor copies.
    /// On a GPU a thousand small kernels would cost more than padding does.
    pub fn forward(&self, qkv: &Tensor, batch: &Packed) -> Result<Tensor> {
        let n = qkv.dim(0)?;
        let qkv = qkv.reshape((n, self.heads + 2 * self.key_heads, self.width))?;
        let attended = match &batch.padding {
            None => self.by_text(&qkv, &batch.lengths),
            Some(padding) => self.padded(&qkv, batch.lengths.len(), padding),
        }?;
        attended.reshape((n, self.heads * self.width))
    }

    fn scale(&self) -> f64 {
        1.0 / (self.width as f64).sqrt()
    }

    /// Queries, keys and values out of the dimension that holds the heads, keys and values as often as queries.
    fn parts(&self, qkv: &Tensor, dim: usize) -> Result<[Tensor; 3]> {
        let q = qkv.narrow(dim, 0, self.heads)?;
        let k = qkv.narrow(dim, self.heads, self.key_heads)?;
        let v = qkv.narrow(dim, self.heads + self.key_heads, self.key_heads)?;
        Ok([q, self.repeated(k, dim)?, self.repeated(v, dim)?])
    }

    fn repeated(&self, x: Tensor, dim: usize) -> Result<Tensor> {
        if self.heads == self.key_heads {
            return Ok(x);
        }
        let mut each = x.dims().to_vec();
        each.insert(dim + 1, self.heads / self.key_heads);
        x.unsqueeze(dim + 1)?.broadcast_as(each)?.flatten(dim, dim + 1)
    }

    /// `[n, heads, width]`.
    fn by_text(&self, qkv: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let mut attended = Vec::new();
        for (start, len) in ranges(lengths) {
            self.of_text(&qkv.narrow(0, start, len)?, &mut attended)?;
        }
        Tensor::cat(&attended, 0)
    }

    /// One text: appends what its queries gathered, block after block, `[queries, heads, width]` each.
    fn of_text(&self, qkv: &Tensor, attended: &mut Vec<Tensor>) -> Result<()> {
        let len = qkv.dim(0)?;
        let [q, k, v] = self.parts(&qkv.transpose(0, 1)?, 0)?;
        for start in (0..len).step_by(BLOCK) {
            let queries = start..(start + BLOCK).min(len);
            let keys = self.reach.keys(&queries, len);
            let q = q.narrow(1, queries.start, queries.len())?;
            let [k, v] = [&k, &v].map(|x| x.narrow(1, keys.start, keys.len()));
            let scores = q.matmul(&k?.t()?)?;
            let offsets = self
                .offsets
                .as_ref()
                .map(|offsets| (offsets, queries.start, keys.start));
            let weights = softmax(scores, self.scale(), offsets)?;
            attended.push(weights.matmul(&v?)?.transpose(0, 1)?);
        }
        Ok(())
    }

    /// `[n, heads, width]`, by way of `[texts, heads, longest, width]` with a mask.
    fn padded(&self, qkv: &Tensor, texts: usize, padding: &Padding) -> Result<Tensor> {
        let qkv = qkv
            .index_select(&padding.padded, 0)?
            .reshape((texts, padding.longest, (), self.width))?
            .transpose(1, 2)?;
        let [q, k, v] = self.parts(&qkv, 1)?.map(|x| x.contiguous());
        let mut scores = (q?.matmul(&k?.t()?)? * self.scale())?.broadcast_add(&padding.mask)?;
        if let Some(offsets) = &self.offsets {
            scores = scores.broadcast_add(&offsets.matrix(padding.longest)?)?;
        }
        candle_nn::ops::softmax(&scores, D::Minus1)?
            .matmul(&v?)?
            .transpose(1, 2)?
            .reshape((texts * padding.longest, self.heads, self.width))?
            .index_select(&padding.packed, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn assert_equal(attention: &Attention) {
        // Texts of more than one block and of more than any window among them.
        let lengths = [7, 1, 600, 257, 3];
        let n: usize = lengths.iter().sum();
        let heads = attention.heads + 2 * attention.key_heads;
        let qkv = Tensor::randn(0f32, 3f32, (n, heads, attention.width), &Device::Cpu).unwrap();
        let by_text = attention.by_text(&qkv, &lengths).unwrap();
        let padding = Padding::new(&lengths, &Device::Cpu).unwrap();
        let padded = attention.padded(&qkv, lengths.len(), &padding).unwrap();
        assert_eq!(by_text.dims(), padded.dims());
        let difference = (by_text - padded).unwrap().abs().unwrap().max_all().unwrap();
        let difference = difference.to_scalar::<f32>().unwrap();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn padded_with_a_mask_equals_text_by_text() {
        for (key_heads, reach) in [(4, Reach::All), (2, Reach::Before), (1, Reach::Around(20))] {
            let bias = |head: usize, distance: isize| (head + 1) as f32 * -0.01 * distance as f32;
            for offsets in [
                None,
                Some(Offsets::new(4, 700, reach, bias, &Device::Cpu).unwrap()),
                Some(Offsets::new(1, 600, reach, bias, &Device::Cpu).unwrap()),
            ] {
                assert_equal(&Attention {
                    heads: 4,
                    key_heads,
                    width: 8,
                    reach: if offsets.is_some() { reach } else { Reach::All },
                    offsets,
                });
            }
        }
    }
}
