//! The head of a sequence classifier with one label: what stands between the vectors of a text's tokens and its score.

use candle_core::{Result, Tensor};
use twofold_types::Pooling;

use super::{
    Activation, Linear,
    norm::{Norm, NormKind},
};
use crate::{network::ranges, pooling::pool, weights::Weights};

/// A head, described. All families have a layer over the pooled vector and a second one that gives the score.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeadDescription {
    pub pooling: Pooling,
    pub dense: &'static str,
    pub bias: bool,
    pub activation: Activation,
    /// Behind the activation.
    pub norm: Option<(&'static str, NormKind)>,
    pub score: &'static str,
}

impl HeadDescription {
    /// BERT's: its pooler, and a classifier.
    pub const BERT: Self = Self {
        pooling: Pooling::Cls,
        dense: "pooler.dense",
        bias: true,
        activation: Activation::Tanh,
        norm: None,
        score: "classifier",
    };
}

/// A loaded head.
pub(crate) struct Head {
    pooling: Pooling,
    dense: Linear,
    activation: Activation,
    norm: Option<Norm>,
    score: Linear,
}

impl Head {
    /// Takes the weights by the description's names. The layers stand below different prefixes: BERT's pooler is a part of its
    /// network, its classifier is not.
    pub fn load(weights: &Weights, description: &HeadDescription, hidden: usize) -> Result<Self> {
        let below = |name: &str| weights.below_prefix_of(&format!("{name}.weight"));
        let HeadDescription {
            pooling,
            dense,
            bias,
            activation,
            norm,
            score,
        } = *description;
        let load_norm = |(name, kind)| Norm::load(&below(name)?, name, hidden, kind);
        Ok(Self {
            pooling,
            dense: Linear::load(&below(dense)?, dense, [hidden, hidden], bias)?,
            activation,
            norm: norm.map(load_norm).transpose()?,
            score: Linear::load(&below(score)?, score, [hidden, 1], true)?,
        })
    }

    /// The scores of texts, `[texts, 1]`, from the vectors of all of their tokens, `[n, hidden]`.
    pub fn forward(&self, hidden: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let pooled = ranges(lengths).map(|(start, len)| pool(self.pooling, &hidden.narrow(0, start, len)?, 0));
        let pooled = Tensor::stack(&pooled.collect::<Result<Vec<_>>>()?, 0)?;
        let mut x = self.dense.activated(&pooled, self.activation)?;
        if let Some(norm) = &self.norm {
            x = norm.over(x)?;
        }
        self.score.forward(&x)
    }
}
