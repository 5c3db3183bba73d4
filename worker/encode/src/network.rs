//! The transformer encoder (Vaswani et al. 2017, Devlin et al. 2018) over packed texts, as one network with the options
//! that its families chose: where it normalises, how it learns of positions, whether its feed-forward part is gated, how
//! far attention reaches. A [`Description`] says which.
//!
//! Our own instead of candle-transformers', for three reasons: texts of a batch are packed one after another instead of
//! padded to the longest; on the CPU products and attention are our own ([`crate::cpu`]); and the families share it.

mod activation;
mod attention;
mod description;
#[cfg(feature = "flash-attention")]
mod flash;
mod gate;
mod head;
mod head_norm;
mod layer;
mod linear;
mod norm;
mod offsets;
mod packed;
mod rotary;
mod rows;
mod sum;
mod uploads;
mod vocabulary_head;

use candle_core::{DType, Result, Tensor};

pub(crate) use self::{
    activation::Activation,
    description::{Biases, Description, DistanceBias, LayerKind, Names, NormPlace, Positions},
    head::{Head, HeadDescription},
    linear::Linear,
    norm::{Formula, NormKind},
    offsets::Reach,
    packed::ranges,
    sum::sum_of_rows,
    vocabulary_head::{HeadNames, VocabularyHead},
};
use self::{
    layer::Layer,
    norm::Norm,
    offsets::{Offsets, alibi_slopes, bucket},
    packed::Packed,
    rotary::{Rotary, Turns},
    uploads::Uploads,
};
use crate::{EncodeError, ModelFiles, weights::Weights};

/// A loaded network.
pub(crate) struct Network {
    /// `[vocabulary, hidden]`.
    words: Tensor,
    /// `[segments * rows, hidden]`: what is added to a word for its position and its segment, all positions of the first segment
    /// first; `None` where the family has neither.
    places: Option<Tensor>,
    positions: Positions,
    /// Segments that a text may have, 1 where the family knows none.
    segments: usize,
    embedding_norm: Option<Norm>,
    /// One for every base that occurs.
    rotaries: Vec<Rotary>,
    layers: Vec<Layer>,
    final_norm: Option<Norm>,
    uploads: Uploads,
}

impl Network {
    /// The network that the files describe, of their opened weights.
    ///
    /// # Errors
    /// [`EncodeError::Weights`], naming the file.
    pub fn new(files: &ModelFiles, weights: &Weights) -> std::result::Result<Self, EncodeError> {
        Self::load(weights, files.description()).map_err(|source| files.weights().at_fault(source))
    }

    /// Takes the weights by the description's names, below whatever prefix the checkpoint puts before them.
    fn load(weights: &Weights, description: &Description) -> Result<Self> {
        let Description {
            names, hidden, norm, ..
        } = description;
        let weights = &weights.below_prefix_of(&format!("{}.weight", names.words))?;
        let load_norm = |name: &str| Norm::load(weights, name, *hidden, *norm);
        let mut rotaries: Vec<Rotary> = Vec::new();
        let mut layers = Vec::with_capacity(description.layers.len());
        // Most layers have the same offsets, and these may be large.
        let mut offsets: Vec<(Reach, Option<Offsets>)> = Vec::new();
        for (index, kind) in description.layers.iter().enumerate() {
            let rotary = match kind.rotary {
                None => None,
                Some(base) => Some(match rotaries.iter().position(|rotary| rotary.base() == base) {
                    Some(known) => known,
                    None => {
                        let (width, positions) = (description.head_width, description.max_tokens);
                        rotaries.push(Rotary::new(base, width, positions)?.beside(weights)?);
                        rotaries.len() - 1
                    }
                }),
            };
            let of_layer = match offsets.iter().find(|(reach, _)| *reach == kind.reach) {
                Some((_, known)) => known.clone(),
                None => {
                    let made = offsets_of(weights, description, kind.reach)?;
                    offsets.push((kind.reach, made.clone()));
                    made
                }
            };
            layers.push(Layer::load(weights, description, index, rotary, of_layer)?);
        }
        Ok(Self {
            words: weights.get(&format!("{}.weight", names.words), (description.vocabulary, *hidden))?,
            places: places(weights, description)?,
            positions: description.positions,
            segments: description.segments.max(1),
            embedding_norm: names.embedding_norm.map(load_norm).transpose()?,
            rotaries,
            layers,
            final_norm: names.final_norm.map(load_norm).transpose()?,
            uploads: Uploads::default(),
        })
    }

    /// The network with its products in whole numbers of 8 bits, where it is on the CPU. How large inputs are is learned from
    /// `texts`, encoded one by one.
    pub fn quantised(self, texts: &[Vec<u32>]) -> Result<Self> {
        let observed = self.map(|linear| Ok(linear.observed()))?;
        for text in texts {
            observed.forward(&[text])?;
        }
        observed.map(|linear| Ok(linear.quantised()))
    }

    /// The network with its products in bf16, where it is on a CPU that has such.
    pub fn in_bf16(self) -> Result<Self> {
        self.map(|linear| Ok(linear.in_bf16()))
    }

    fn map(self, change: impl Fn(Linear) -> Result<Linear>) -> Result<Self> {
        let layers = self.layers.into_iter().map(|layer| layer.map(&change));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            ..self
        })
    }

    /// The vectors of all tokens of the texts, one text after another, in f32: `[n, hidden]`.
    pub fn forward(&self, texts: &[&[u32]]) -> Result<Tensor> {
        self.run(texts, &self.positions.rows_of(texts), &lengths(texts))
    }

    /// The same for texts of several segments: of every token the number of its segment.
    pub fn forward_segments(&self, texts: &[&[u32]], segments: &[&[u32]]) -> Result<Tensor> {
        let mut rows = self.positions.rows_of(texts);
        let positions = self.positions.rows().max(1) as u32;
        // What a tokenizer numbers beyond the segments of its model is of the first one: so do models without segments, whose
        // tokenizers may number them all the same.
        for (row, &segment) in rows.iter_mut().zip(segments.iter().copied().flatten()) {
            if (segment as usize) < self.segments {
                *row += segment * positions;
            }
        }
        self.run(texts, &rows, &lengths(texts))
    }

    /// The same where only so many tokens of each text, from its first on, are attended to. Within a family of short reach, those
    /// behind them are within reach of one.
    pub fn forward_seeing(&self, texts: &[&[u32]], seen: &[usize]) -> Result<Tensor> {
        self.run(texts, &self.positions.rows_of(texts), seen)
    }

    /// `rows` are those of `places`, for every token.
    fn run(&self, texts: &[&[u32]], rows: &[u32], seen: &[usize]) -> Result<Tensor> {
        let batch = Packed::new(texts, rows, seen, &self.words, &self.uploads)?;
        let mut hidden = self.embed(&batch)?;
        let turns: Vec<Turns> = self
            .rotaries
            .iter()
            .map(|rotary| rotary.at(&batch.positions))
            .collect::<Result<_>>()?;
        for layer in &self.layers {
            hidden = layer.forward(hidden, &batch, &turns)?;
        }
        if let Some(norm) = &self.final_norm {
            hidden = norm.over(hidden)?;
        }
        hidden.to_dtype(DType::F32)
    }

    fn embed(&self, batch: &Packed) -> Result<Tensor> {
        let words = self.words.index_select(&batch.ids, 0)?;
        let places = self.places.as_ref().map(|places| places.index_select(&batch.rows, 0));
        match (places.transpose()?, &self.embedding_norm) {
            (Some(places), Some(norm)) => norm.over((words + places)?),
            (Some(places), None) => words + places,
            (None, Some(norm)) => norm.over(words),
            (None, None) => Ok(words),
        }
    }
}

impl Positions {
    /// Rows of the table, 0 where there is none.
    fn rows(self) -> usize {
        match self {
            Self::None => 0,
            Self::FromZero { rows } | Self::AfterPadding { rows, .. } => rows,
        }
    }

    /// The row of every token of the packed texts.
    fn rows_of(self, texts: &[&[u32]]) -> Vec<u32> {
        let of_text = |text: &&[u32]| -> Vec<u32> {
            match self {
                Self::None => vec![0; text.len()],
                Self::FromZero { .. } => (0..text.len() as u32).collect(),
                Self::AfterPadding { padding, .. } => text
                    .iter()
                    .scan(padding, |last, &id| {
                        let counts = id != padding;
                        *last += u32::from(counts);
                        Some(if counts { *last } else { padding })
                    })
                    .collect(),
            }
        };
        texts.iter().flat_map(of_text).collect()
    }
}

/// The vectors of positions with that of the segment added to each, segment by segment.
fn places(weights: &Weights, description: &Description) -> Result<Option<Tensor>> {
    let Description {
        names,
        hidden,
        segments,
        ..
    } = description;
    let table = |name: &str, rows: usize| {
        (rows > 0)
            .then(|| weights.get(&format!("{name}.weight"), (rows, *hidden)))
            .transpose()
    };
    let segments = table(names.segments, *segments)?;
    match (table(names.positions, description.positions.rows())?, segments) {
        (Some(positions), Some(segments)) => {
            let (rows, segments) = (positions.unsqueeze(0)?, segments.unsqueeze(1)?);
            rows.broadcast_add(&segments)?.flatten_to(1).map(Some)
        }
        (positions, segments) => Ok(positions.or(segments)),
    }
}

fn lengths(texts: &[&[u32]]) -> Vec<usize> {
    texts.iter().map(|text| text.len()).collect()
}

fn offsets_of(weights: &Weights, description: &Description, reach: Reach) -> Result<Option<Offsets>> {
    let Description { heads, max_tokens, .. } = *description;
    let made = match description.distance_bias {
        None if reach == Reach::All => return Ok(None),
        None => Offsets::new(1, max_tokens, reach, |_, _| 0.0),
        Some(DistanceBias::Alibi) => {
            let slopes = alibi_slopes(heads);
            let bias = |head: usize, distance: isize| -slopes[head] * distance.unsigned_abs() as f32;
            Offsets::new(heads, max_tokens, reach, bias)
        }
        Some(DistanceBias::Buckets(buckets)) => {
            let learned = weights.get(&format!("{}.weight", description.names.distances), (buckets, heads))?;
            let learned = learned.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            let bias = |head: usize, distance: isize| learned[bucket(distance, buckets)][head];
            Offsets::new(heads, max_tokens, reach, bias)
        }
    };
    made?.beside(weights).map(Some)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{DeviceSpec, cosine};

    fn open(family: &Path, dtype: DType) -> Network {
        let files = ModelFiles::open(family).unwrap();
        let weights = Weights::open(files.weights(), &DeviceSpec::Cpu.open().unwrap()).unwrap();
        Network::new(&files, &weights.in_dtype(dtype)).unwrap()
    }

    /// In 16 bits all operations are those of candle that other devices have, texts side by side with a mask.
    #[test]
    fn candles_operations_in_16_bits_equal_ours_in_f32() {
        let texts: Vec<Vec<u32>> = [9, 1, 17, 4]
            .map(|len| (0..len).map(|i| (i * 31 + len) % 60 + 5).collect())
            .into();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
        let families: Vec<_> = fixtures
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(families.len() >= 9);
        for family in &families {
            let ours = open(family, DType::F32);
            for (dtype, tolerance) in [(DType::F16, 1e-4), (DType::BF16, 5e-3)] {
                let candles = open(family, dtype);
                for seen in [lengths(&texts), vec![5, 1, 17, 2]] {
                    let [ours, candles] = [&ours, &candles].map(|network| {
                        let vectors = network.forward_seeing(&texts, &seen).unwrap();
                        vectors.to_vec2::<f32>().unwrap()
                    });
                    for (token, (ours, candles)) in ours.iter().zip(&candles).enumerate() {
                        let distance = 1.0 - cosine(ours, candles);
                        assert!(
                            distance <= tolerance,
                            "{} in {dtype:?}, token {token}: {distance}",
                            family.display()
                        );
                    }
                }
            }
        }
    }
}
