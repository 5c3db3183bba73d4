//! One layer: attention, then the feed-forward part, each with a residual around it.

use candle_core::{Result, Tensor};

use super::{
    Activation, Description, LayerKind, NormPlace, attention::Attention, gate::gate, head_norm::HeadNorms,
    linear::Linear, norm::Norm, offsets::Offsets, packed::Packed, rotary::Turns,
};
use crate::weights::Weights;

pub(super) struct Layer {
    qkv: Linear,
    head_norms: Option<HeadNorms>,
    /// Which of the network's rotary angles turn queries and keys.
    rotary: Option<usize>,
    attention: Attention,
    attended: Linear,
    up: Linear,
    activation: Activation,
    gated: bool,
    down: Linear,
    norms: Norms,
}

enum Norms {
    After { attention: Norm, output: Norm },
    Before { attention: Option<Norm>, output: Norm },
}

impl Layer {
    /// Layer number `index`. `rotary` and `offsets` are the network's, picked for this layer.
    pub fn load(
        weights: &Weights,
        description: &Description,
        index: usize,
        rotary: Option<usize>,
        offsets: Option<Offsets>,
    ) -> Result<Self> {
        let Description {
            hidden,
            wide,
            heads,
            key_heads,
            head_width,
            biases,
            names,
            norm,
            ..
        } = *description;
        let LayerKind { reach, .. } = description.layers[index];
        let full = |name: &str| format!("{}.{index}.{name}", names.layers);
        let beside = |short: &[&str], outputs: &[usize], bias| {
            let long: Vec<String> = short.iter().map(|name| full(name)).collect();
            let parts: Vec<(&str, usize)> = match long.as_slice() {
                [one] => vec![(one, outputs.iter().sum())],
                several => several
                    .iter()
                    .map(String::as_str)
                    .zip(outputs.iter().copied())
                    .collect(),
            };
            Linear::load_beside(weights, &parts, hidden, bias)
        };
        let load_norm = |name| Norm::load(weights, &full(name), hidden, norm);

        let (query, key) = (heads * head_width, key_heads * head_width);
        let attended = Linear::load(weights, &full(names.attended), [query, hidden], biases.attended)?;
        let down = Linear::load(weights, &full(names.down), [wide, hidden], biases.down)?;
        let norms = match description.norm_place {
            NormPlace::After => Norms::After {
                attention: load_norm(names.attention_norm)?,
                output: load_norm(names.output_norm)?,
            },
            NormPlace::Before => Norms::Before {
                attention: (index > 0 || names.first_attention_norm)
                    .then(|| load_norm(names.attention_norm))
                    .transpose()?,
                output: load_norm(names.output_norm)?,
            },
        };
        let ups = if description.gated { vec![wide; 2] } else { vec![wide] };
        Ok(Self {
            qkv: beside(names.qkv, &[query, key, key], biases.qkv)?,
            head_norms: names
                .head_norms
                .map(|names| HeadNorms::load(weights, names.map(full), [heads, key_heads], head_width, norm.eps))
                .transpose()?,
            rotary,
            attention: Attention {
                heads,
                key_heads,
                width: head_width,
                reach,
                offsets,
            },
            attended,
            up: beside(names.up, &ups, biases.up)?,
            activation: description.activation,
            gated: description.gated,
            down,
            norms,
        })
    }

    /// The layer with all its products changed.
    pub fn map(self, change: impl Fn(Linear) -> Result<Linear>) -> Result<Self> {
        Ok(Self {
            qkv: change(self.qkv)?,
            attended: change(self.attended)?,
            up: change(self.up)?,
            down: change(self.down)?,
            ..self
        })
    }

    /// `[n, hidden]` to `[n, hidden]`; `turns` are those of all the network's rotary angles.
    pub fn forward(&self, hidden: Tensor, batch: &Packed, turns: &[Turns]) -> Result<Tensor> {
        match &self.norms {
            Norms::After { attention, output } => {
                let attended = self.attend(&hidden, batch, turns)?;
                let hidden = attention.over(self.attended.onto(&hidden, &attended)?)?;
                output.over(self.down.onto(&hidden, &self.wide(&hidden)?)?)
            }
            Norms::Before { attention, output } => {
                let normed = attention.as_ref().map(|norm| norm.of(&hidden)).transpose()?;
                let attended = self.attend(normed.as_ref().unwrap_or(&hidden), batch, turns)?;
                let hidden = self.attended.onto(&hidden, &attended)?;
                self.down.onto(&hidden, &self.wide(&output.of(&hidden)?)?)
            }
        }
    }

    /// What the heads gathered.
    fn attend(&self, x: &Tensor, batch: &Packed, turns: &[Turns]) -> Result<Tensor> {
        let mut qkv = self.qkv.forward(x)?;
        if let Some(norms) = &self.head_norms {
            qkv = norms.apply(qkv)?;
        }
        if let Some(rotary) = self.rotary {
            let heads = self.attention.heads + self.attention.key_heads;
            qkv = turns[rotary].apply(qkv, heads, self.attention.width)?;
        }
        self.attention.forward(&qkv, batch)
    }

    /// The middle of the feed-forward part.
    fn wide(&self, x: &Tensor) -> Result<Tensor> {
        if self.gated {
            gate(&self.up.forward(x)?, self.activation)
        } else {
            self.up.activated(x, self.activation)
        }
    }
}
