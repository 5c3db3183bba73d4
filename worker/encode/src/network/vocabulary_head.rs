//! The head that networks are trained with: how well every word of the vocabulary would stand in a token's place.

use candle_core::{Result, Tensor};

use super::{Activation, Description, Linear, norm::Norm, packed::ranges};
use crate::weights::Weights;

/// Rows whose scores are held at a time: with 30,000 words they fill 8 MB.
const ROWS: usize = 64;

/// What a family calls the head's weights, without `.weight` and `.bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadNames {
    pub transform: &'static str,
    pub norm: &'static str,
    /// Often left out of the file: then it is the table of words.
    pub decoder: &'static str,
    /// The decoder's bias, by its whole name.
    pub bias: &'static str,
}

impl HeadNames {
    /// BERT's.
    pub const BERT: Self = Self {
        transform: "cls.predictions.transform.dense",
        norm: "cls.predictions.transform.LayerNorm",
        decoder: "cls.predictions.decoder",
        bias: "cls.predictions.bias",
    };

    /// DistilBERT's.
    pub const DISTILBERT: Self = Self {
        transform: "vocab_transform",
        norm: "vocab_layer_norm",
        decoder: "vocab_projector",
        bias: "vocab_projector.bias",
    };
}

/// A loaded head.
pub(crate) struct VocabularyHead {
    transform: Linear,
    activation: Activation,
    norm: Norm,
    decoder: Linear,
    vocabulary: usize,
}

impl VocabularyHead {
    /// Loads the head of the network that `description` is of.
    pub fn load(weights: &Weights, description: &Description, names: HeadNames) -> Result<Self> {
        let Description {
            hidden,
            vocabulary,
            activation,
            norm,
            ..
        } = *description;
        let words = format!("{}.weight", description.names.words);
        let decoder = format!("{}.weight", names.decoder);
        let shape = (vocabulary, hidden);
        let decoder = if weights.contains(&decoder) {
            weights.get(&decoder, shape)?
        } else {
            weights.below_prefix_of(&words)?.get(&words, shape)?
        };
        Ok(Self {
            transform: Linear::load(weights, names.transform, [hidden, hidden], true)?,
            activation,
            norm: Norm::load(weights, names.norm, hidden, norm)?,
            decoder: Linear::new(decoder, Some(weights.get(names.bias, vocabulary)?))?,
            vocabulary,
        })
    }

    /// The best score that any token of a text gives each word: `[n, hidden]` of packed texts to a row of the vocabulary's
    /// length for each text.
    pub fn best(&self, hidden: &Tensor, lengths: &[usize]) -> Result<Vec<Vec<f32>>> {
        let transformed = self.norm.over(self.transform.activated(hidden, self.activation)?)?;
        ranges(lengths)
            .map(|(start, len)| {
                let mut best = vec![f32::NEG_INFINITY; self.vocabulary];
                for first in (start..start + len).step_by(ROWS) {
                    let rows = transformed.narrow(0, first, ROWS.min(start + len - first))?;
                    let scores = self.decoder.forward(&rows)?.flatten_all()?.to_vec1::<f32>()?;
                    for row in scores.chunks_exact(self.vocabulary) {
                        for (best, &score) in best.iter_mut().zip(row) {
                            *best = best.max(score);
                        }
                    }
                }
                Ok(best)
            })
            .collect()
    }
}
