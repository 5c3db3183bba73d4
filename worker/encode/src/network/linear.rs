//! The linear layers: every matrix product with weights is made here, together with what follows it.
//!
//! On the CPU weights in f32 are packed when they are loaded, for the products of [`cpu`], and may then be rounded or quantised; on
//! other devices products are candle's, and so are those with the blocks of GGUF.

use std::sync::Mutex;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail,
    quantized::{QMatMul, QTensor},
};
use candle_nn::Module;

use super::{
    Activation,
    rows::{is_ours, numbers},
};
use crate::{
    cpu::{self, Instructions, Then},
    weights::Weights,
};

/// y = x W + b.
pub(crate) enum Linear {
    /// On the CPU.
    Packed(cpu::Linear),
    /// The same, to be quantised once it is known how large its inputs are.
    Observed(cpu::Linear, Mutex<Squares>),
    /// On the CPU, in bf16.
    Bf16(cpu::Bf16Linear),
    /// On the CPU, in whole numbers.
    Quantised(cpu::QuantisedLinear),
    /// Anywhere: weights `[out, in]` in blocks, whose outputs are put side by side, and the bias of all of them.
    Blocks(Vec<QMatMul>, Option<Tensor>),
    /// Elsewhere: the weight `[in, out]`, the bias `[out]`.
    Tensors(Tensor, Option<Tensor>),
}

/// The sums of the squares of a layer's inputs, one by one, over so many rows.
#[derive(Default)]
pub(crate) struct Squares {
    sums: Vec<f32>,
    rows: usize,
}

impl Linear {
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
        let blocks = parts
            .iter()
            .map(|(name, output)| weights.blocks(&format!("{name}.weight"), (*output, input)));
        if let Some(blocks) = blocks.collect::<Result<Option<Vec<QTensor>>>>()? {
            let blocks = blocks.into_iter().map(QMatMul::from_qtensor);
            return Ok(Self::Blocks(blocks.collect::<Result<_>>()?, bias));
        }
        Self::new(load("weight", Some(input))?, bias)
    }

    /// The layer of a weight `[out, in]` and a bias `[out]`.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        if !is_ours(&weight) {
            return Ok(Self::Tensors(weight.t()?, bias));
        }
        let bias = bias.map(|bias| bias.to_vec1::<f32>()).transpose()?;
        Ok(Self::Packed(cpu::Linear::pack(
            &weight.flatten_all()?.to_vec1::<f32>()?,
            bias.as_deref(),
            weight.dim(0)?,
            Instructions::chosen(),
        )))
    }

    /// Rounds the weights to bf16, where there are products of it on the CPU.
    pub fn in_bf16(self) -> Self {
        match self {
            Self::Packed(linear) => linear.in_bf16().map_or_else(Self::Packed, Self::Bf16),
            other => other,
        }
    }

    /// Begins to look at inputs, where there are products in whole numbers: on the CPU.
    pub fn observed(self) -> Self {
        match self {
            Self::Packed(linear) => Self::Observed(linear, Mutex::default()),
            other => other,
        }
    }

    /// Quantises the weights, after all that was computed since [`observed`](Self::observed).
    pub fn quantised(self) -> Self {
        let Self::Observed(linear, squares) = self else {
            return self;
        };
        let Squares { mut sums, rows } = squares.into_inner().unwrap_or_default();
        // Where nothing came by, all inputs are taken for equals.
        sums.resize(linear.inputs(), 1.0);
        let magnitudes: Vec<f32> = sums.iter().map(|sum| (sum / rows.max(1) as f32).sqrt()).collect();
        Self::Quantised(linear.quantised(&magnitudes))
    }

    /// x W + b: `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.then(x, None)
    }

    /// activation(x W + b): `[n, in]` to `[n, out]`.
    pub fn activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.then(x, Some(activation))
    }

    fn then(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        match self.by_candle(x)? {
            Some(y) => activation.map_or(Ok(y.clone()), |activation| activation.by_candle(&y)),
            None => x.apply_op1_no_bwd(&OnCpu {
                linear: self,
                activation,
            }),
        }
    }

    /// x W + b + residual: `[n, in]` and `[n, out]` to `[n, out]`.
    pub fn onto(&self, residual: &Tensor, x: &Tensor) -> Result<Tensor> {
        match self.by_candle(x)? {
            Some(y) => y + residual,
            None => {
                let (linear, activation) = (self, None);
                x.apply_op2_no_bwd(residual, &OnCpu { linear, activation })
            }
        }
    }

    /// x W + b, where its products are candle's.
    fn by_candle(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let (y, bias) = match self {
            Self::Tensors(weight, bias) => (x.matmul(weight)?, bias),
            Self::Blocks(parts, bias) => {
                let parts = parts.iter().map(|part| part.forward(x));
                (Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?, bias)
            }
            Self::Packed(_) | Self::Observed(..) | Self::Bf16(_) | Self::Quantised(_) => return Ok(None),
        };
        bias.as_ref()
            .map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
            .map(Some)
    }

    fn outputs(&self) -> Result<usize> {
        match self {
            Self::Packed(linear) | Self::Observed(linear, _) => Ok(linear.outputs()),
            Self::Bf16(linear) => Ok(linear.outputs()),
            Self::Quantised(linear) => Ok(linear.outputs()),
            Self::Tensors(..) | Self::Blocks(..) => bail!("a layer of candle's"),
        }
    }
}

impl Squares {
    fn add(&mut self, x: &[f32], inputs: usize) {
        self.sums.resize(inputs, 0.0);
        for row in x.chunks_exact(inputs) {
            self.sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x);
            self.rows += 1;
        }
    }
}

/// A linear layer as an operation of candle's: of x, or of x and a residual.
struct OnCpu<'a> {
    linear: &'a Linear,
    activation: Option<Activation>,
}

impl OnCpu<'_> {
    fn compute(&self, x: &CpuStorage, layout: &Layout, residual: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let (n, inputs) = layout.shape().dims2()?;
        let shape = Shape::from((n, self.linear.outputs()?));
        let then = Then {
            residual,
            activation: self.activation,
        };
        let x = numbers(x, layout)?;
        let y = match self.linear {
            Linear::Packed(linear) => linear.forward(x, then),
            Linear::Observed(linear, squares) => {
                if let Ok(mut squares) = squares.lock() {
                    squares.add(x, inputs);
                }
                linear.forward(x, then)
            }
            Linear::Bf16(linear) => linear.forward(x, then),
            Linear::Quantised(linear) => linear.forward(x, then),
            Linear::Tensors(..) | Linear::Blocks(..) => bail!("a layer of candle's"),
        };
        Ok((CpuStorage::F32(y), shape))
    }
}

impl CustomOp1 for OnCpu<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.compute(x, layout, None)
    }
}

impl CustomOp2 for OnCpu<'_> {
    fn name(&self) -> &'static str {
        "linear-residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.compute(x, layout, Some(numbers(residual, residual_layout)?))
    }
}
