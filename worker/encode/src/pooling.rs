//! From one vector per token to one vector per text.

use candle_core::{Result, Tensor};

/// How the vectors of a text's tokens, special tokens included, become its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The vector of the first token, `[CLS]`.
    Cls,
    /// The mean of all tokens.
    Mean,
    /// The largest value of all tokens, per dimension.
    Max,
}

impl Pooling {
    /// Pools one text: `[tokens, dim]` to `[dim]`. There is no padding among the tokens.
    pub(crate) fn pool(self, tokens: &Tensor) -> Result<Tensor> {
        match self {
            Self::Cls => tokens.get(0),
            Self::Mean => tokens.mean(0),
            Self::Max => tokens.max(0),
        }
    }
}

/// Scales a vector to unit length; one of all zeroes stays as it is.
pub(crate) fn normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32;
    if norm > 0.0 {
        vector.iter_mut().for_each(|x| *x /= norm);
    }
}
