//! The linear layers: every matrix product with weights is made here.

use candle_core::{Result, Tensor, bail};

use crate::weights::Weights;

/// The weights of y = x W + b.
pub(crate) struct Linear {
    /// `[in, out]`.
    weight: Tensor,
    /// `[out]`.
    bias: Option<Tensor>,
}

impl Linear {
    /// From a weight as it is published, `[out, in]`, and a bias `[out]`.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self {
            weight: weight.t()?,
            bias,
        })
    }

    /// The layer called `name`, that takes `input` numbers and gives `output`.
    pub fn load(weights: &Weights, name: &str, [input, output]: [usize; 2], bias: bool) -> Result<Self> {
        Self::load_beside(weights, &[(name, output)], input, bias)
    }

    /// Several layers with one input as one, their outputs side by side: names, and how many numbers each gives.
    pub fn load_beside(weights: &Weights, parts: &[(&str, usize)], input: usize, bias: bool) -> Result<Self> {
        let load = |suffix: &str, input: Option<usize>| {
            let part = |(name, output): &(&str, usize)| {
                let shape: Vec<usize> = std::iter::once(*output).chain(input).collect();
                weights.get(&format!("{name}.{suffix}"), shape)
            };
            match parts {
                [] => bail!("a linear layer is made of one part at least"),
                [one] => part(one),
                several => Tensor::cat(&several.iter().map(part).collect::<Result<Vec<_>>>()?, 0),
            }
        };
        let bias = bias.then(|| load("bias", None)).transpose()?;
        Self::new(&load("weight", Some(input))?, bias)
    }

    /// x W: `[n, in]` to `[n, out]`. The bias is left to the step that follows, which adds it in passing.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight)
    }

    /// b, `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}
