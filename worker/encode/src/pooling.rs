//! From one vector per token to one vector per text, and what a model does to that.

use std::sync::Arc;

use candle_core::{D, Result, Tensor};
use twofold_types::Pooling;

use crate::network::{Activation, Linear, sum_of_rows};

/// Pools one text: `[tokens, dim]` to `[dim]`, the first `skipped` tokens left out. There is no padding among the tokens.
pub(crate) fn pool(pooling: Pooling, tokens: &Tensor, skipped: usize) -> Result<Tensor> {
    let (all, dim) = tokens.dims2()?;
    let count = all.saturating_sub(skipped);
    if count == 0 {
        return Tensor::zeros(dim, tokens.dtype(), tokens.device());
    }
    let tokens = tokens.narrow(0, skipped, count)?;
    match pooling {
        Pooling::Cls => tokens.get(0),
        Pooling::Mean => sum_of_rows(&tokens)? / count as f64,
        Pooling::Max => tokens.max(0),
        Pooling::LastToken => tokens.get(count - 1),
        Pooling::WeightedMean => {
            // Positions count in the whole text, also where its beginning is left out.
            let weights: Vec<f32> = (skipped..all).map(|position| (position + 1) as f32).collect();
            let total: f32 = weights.iter().sum();
            let weights = Tensor::from_vec(weights, (1, count), tokens.device())?;
            weights.matmul(&tokens)?.squeeze(0)? / f64::from(total)
        }
        Pooling::MeanSqrtLen => sum_of_rows(&tokens)? / (count as f64).sqrt(),
    }
}

/// A step behind the pooling.
#[derive(Clone)]
pub(crate) enum Stage {
    /// A linear layer and its activation.
    Dense(Arc<Linear>, Option<Activation>),
    /// To unit length; a vector of all zeroes stays as it is.
    Normalize,
}

impl Stage {
    /// `[texts, dim]` to `[texts, other dim]`.
    pub fn apply(&self, vectors: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(linear, Some(activation)) => linear.activated(vectors, *activation),
            Self::Dense(linear, None) => linear.forward(vectors),
            Self::Normalize => normalise(vectors),
        }
    }
}

/// Scales every row to unit length; one of all zeroes stays as it is.
pub(crate) fn normalise(rows: &Tensor) -> Result<Tensor> {
    let lengths = rows.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    rows.broadcast_div(&lengths.maximum(&Tensor::full(1e-12f32, lengths.shape(), rows.device())?)?)
}
