//! The tokens of a batch, one text after another: nothing is padded, so every matrix product is as large as the texts are
//! and no position but a text's own can reach its result.

use std::cell::OnceCell;

use candle_core::{DType, Device, Result, Tensor};

use super::uploads::Uploads;

/// Added to the score of a key that must not be seen: e^-30000 is 0, and the number fits f16, unlike f32's minimum.
pub(super) const MASKED: f32 = -30_000.0;

/// A batch of texts; n is the number of tokens of all of them.
pub(super) struct Packed<'a> {
    /// `[n]` u32, positions in the vocabulary.
    pub ids: Tensor,
    /// `[n]` u32, rows of the network's table of places.
    pub rows: Tensor,
    /// `[n]` u32, positions within each text.
    pub positions: Tensor,
    pub lengths: Vec<usize>,
    /// How many tokens of each text, from its first on, the others attend to.
    pub seen: Vec<usize>,
    padding: OnceCell<Padding>,
    /// Of the network's numbers.
    dtype: DType,
    pub uploads: &'a Uploads,
}

/// From packed rows to rows of `[texts, longest]` and back.
pub(super) struct Padding {
    pub longest: usize,
    /// `[texts * longest]`: the packed row at each place.
    pub padded: Tensor,
    /// `[n]`: the place of each packed row.
    pub packed: Tensor,
    /// `[texts, 1, 1, longest]`: [`MASKED`] where a place is padding, or not seen.
    pub mask: Tensor,
}

impl<'a> Packed<'a> {
    /// Of each token its row in the table of places, and of each text how many of its tokens are `seen`: at least one. The batch is
    /// for a network with weights as `like`.
    pub fn new(texts: &[&[u32]], rows: &[u32], seen: &[usize], like: &Tensor, uploads: &'a Uploads) -> Result<Self> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        let positions: Vec<u32> = lengths.iter().flat_map(|&len| 0..len as u32).collect();
        let [ids, rows, positions] = uploads.send([&texts.concat(), rows, &positions], like.device())?;
        Ok(Self {
            ids,
            rows,
            positions,
            padding: OnceCell::new(),
            seen: seen.to_vec(),
            lengths,
            dtype: like.dtype(),
            uploads,
        })
    }

    /// How the texts lie side by side where attention is one product for all of them.
    pub fn padding(&self) -> Result<&Padding> {
        if let Some(padding) = self.padding.get() {
            return Ok(padding);
        }
        let padding = Padding::new(&self.lengths, &self.seen, self.ids.device(), self.dtype, self.uploads)?;
        Ok(self.padding.get_or_init(|| padding))
    }
}

impl Padding {
    pub fn new(lengths: &[usize], seen: &[usize], device: &Device, dtype: DType, uploads: &Uploads) -> Result<Self> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let (mut padded, mut packed, mut mask) = (Vec::new(), Vec::<u32>::new(), Vec::new());
        for (text, (start, len)) in ranges(lengths).enumerate() {
            // Padding repeats the first row: which one does not matter, the mask hides it.
            padded.extend((0..longest).map(|i| if i < len { start + i } else { 0 } as u32));
            packed.extend((0..len).map(|i| (text * longest + i) as u32));
            mask.extend((0..longest).map(|i| if i < seen[text] { 0.0 } else { MASKED }));
        }
        let [padded, packed] = uploads.send([&padded, &packed], device)?;
        Ok(Self {
            longest,
            padded,
            packed,
            mask: Tensor::from_vec(mask, (lengths.len(), 1, 1, longest), &Device::Cpu)?
                .to_dtype(dtype)?
                .to_device(device)?,
        })
    }
}

/// First row and number of rows of each of the packed texts.
pub(crate) fn ranges(lengths: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    lengths.iter().scan(0, |next, &len| {
        let start = *next;
        *next += len;
        Some((start, len))
    })
}
