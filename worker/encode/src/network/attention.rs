//! Self-attention over packed texts. A token attends to the tokens of its own text only.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::{
    offsets::{Offsets, Reach},
    packed::{Packed, Padding},
    rows::{is_ours, numbers},
};
use crate::cpu::{self, Distances, Instructions};

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
    /// On the CPU text after text costs neither padding nor copies. On a GPU a thousand small kernels would cost more than
    /// padding does, unless one of flash attention takes them all.
    pub fn forward(&self, qkv: &Tensor, batch: &Packed) -> Result<Tensor> {
        if is_ours(qkv) {
            return self.by_text(qkv, &batch.lengths, &batch.seen);
        }
        #[cfg(feature = "flash-attention")]
        if self.is_flash(qkv, batch) {
            return self.by_flash(qkv, batch);
        }
        self.padded(qkv, batch.lengths.len(), batch.padding()?)
    }

    fn by_text(&self, qkv: &Tensor, lengths: &[usize], seen: &[usize]) -> Result<Tensor> {
        let on_cpu = OnCpu {
            attention: self,
            lengths,
            seen,
        };
        match &self.offsets {
            None => qkv.apply_op1_no_bwd(&on_cpu),
            Some(offsets) => qkv.apply_op2_no_bwd(offsets.table(), &on_cpu),
        }
    }

    pub(super) fn scale(&self) -> f64 {
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

    /// By way of `[texts, heads, longest, width]` with a mask.
    fn padded(&self, qkv: &Tensor, texts: usize, padding: &Padding) -> Result<Tensor> {
        let n = qkv.dim(0)?;
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
            .index_select(&padding.packed, 0)?
            .reshape((n, self.heads * self.width))
    }
}

/// Attention text by text as an operation of candle's: of queries, keys and values, or of these and the offsets.
struct OnCpu<'a> {
    attention: &'a Attention,
    lengths: &'a [usize],
    seen: &'a [usize],
}

impl OnCpu<'_> {
    fn compute(&self, qkv: &CpuStorage, layout: &Layout, table: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let &Attention {
            heads,
            key_heads,
            width,
            reach,
            ref offsets,
        } = self.attention;
        let distances = table.zip(offsets.as_ref()).map(|(table, offsets)| {
            let (lowest, highest) = reach.distances(offsets.positions());
            Distances {
                table,
                positions: offsets.positions(),
                lowest,
                highest,
            }
        });
        let attention = cpu::Attention {
            heads,
            key_heads,
            width,
            scale: self.attention.scale() as f32,
            distances,
        };
        let shape = Shape::from((layout.shape().dims2()?.0, heads * width));
        let mut attended = vec![0.0; shape.elem_count()];
        let qkv = numbers(qkv, layout)?;
        attention.forward(qkv, self.lengths, self.seen, &mut attended, Instructions::chosen());
        Ok((CpuStorage::F32(attended), shape))
    }
}

impl CustomOp1 for OnCpu<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.compute(qkv, layout, None)
    }
}

impl CustomOp2 for OnCpu<'_> {
    fn name(&self) -> &'static str {
        "attention-with-offsets"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        layout: &Layout,
        table: &CpuStorage,
        of_table: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.compute(qkv, layout, Some(numbers(table, of_table)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::uploads::Uploads, *};
    use candle_core::{DType, Device};

    fn assert_equal(attention: &Attention) {
        // Texts of more than one block and of more than any window among them.
        let lengths = [7, 1, 600, 257, 3];
        let n: usize = lengths.iter().sum();
        let heads = attention.heads + 2 * attention.key_heads;
        let qkv = Tensor::randn(0f32, 1f32, (n, heads * attention.width), &Device::Cpu).unwrap();
        // Of the last two texts not all is seen.
        let seen = [7, 1, 600, 240, 2];
        let by_text = attention.by_text(&qkv, &lengths, &seen).unwrap();
        let padding = Padding::new(&lengths, &seen, &Device::Cpu, DType::F32, &Uploads::default()).unwrap();
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
                Some(Offsets::new(4, 700, reach, bias).unwrap()),
                Some(Offsets::new(1, 600, reach, bias).unwrap()),
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
