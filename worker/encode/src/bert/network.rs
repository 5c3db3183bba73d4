//! The network (Devlin et al. 2018, arXiv:1810.04805) over packed texts: `[n, hidden]`, where n is the number of tokens
//! of all texts of the batch, one text after another. Nothing is padded, so every matrix product is as large as the texts
//! are and no position but a text's own can reach its result.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

use super::{
    BertConfig,
    attention::Attention,
    config::Activation,
    fused::{self, Norm},
};

/// The token ids of a batch, packed.
pub(super) struct Packed {
    /// `[n]` u32, positions in the vocabulary.
    ids: Tensor,
    /// `[n]` u32, positions within each text.
    positions: Tensor,
    lengths: Vec<usize>,
}

impl Packed {
    pub fn new(texts: &[&[u32]], device: &Device) -> Result<Self> {
        let positions: Vec<u32> = texts.iter().flat_map(|text| (0u32..).take(text.len())).collect();
        Ok(Self {
            ids: Tensor::new(texts.concat(), device)?,
            positions: Tensor::new(positions, device)?,
            lengths: texts.iter().map(|text| text.len()).collect(),
        })
    }

    /// First row and number of rows of each text.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, usize)> {
        ranges(&self.lengths)
    }
}

/// First row and number of rows of each of the packed texts.
pub(super) fn ranges(lengths: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    lengths.iter().scan(0, |next, &len| {
        let start = *next;
        *next += len;
        Some((start, len))
    })
}

pub(super) struct Network {
    /// `[vocabulary, hidden]`.
    words: Tensor,
    /// `[positions, hidden]`, with the vector of the first segment added: a text here has no second one.
    positions: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    qkv: Dense,
    attention: Attention,
    attended: Dense,
    attention_norm: Norm,
    up: Dense,
    activation: Activation,
    down: Dense,
    output_norm: Norm,
}

/// The weights of y = x W + b. The bias is left to the fused step that follows.
struct Dense {
    /// `[in, out]`.
    weight: Tensor,
    /// `[out]`.
    bias: Tensor,
}

impl Network {
    /// Takes the weights by their published names, with or without the prefix `bert.`.
    pub fn load(vb: VarBuilder, config: &BertConfig) -> Result<Self> {
        let vb = if vb.contains_tensor("bert.embeddings.word_embeddings.weight") {
            vb.pp("bert")
        } else {
            vb
        };
        let hidden = config.hidden_size;
        let embeddings = vb.pp("embeddings");
        let table = |name: &str, rows: usize| embeddings.get((rows, hidden), &format!("{name}_embeddings.weight"));
        let segment = table("token_type", config.type_vocab_size)?.narrow(0, 0, 1)?;
        // The embeddings have a norm but no bias to add before it.
        let no_bias = Tensor::zeros(hidden, DType::F32, vb.device())?;
        Ok(Self {
            words: table("word", config.vocab_size)?,
            positions: table("position", config.max_position_embeddings)?.broadcast_add(&segment)?,
            norm: norm(&embeddings, config, &no_bias)?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::load(vb.pp(format!("encoder.layer.{i}")), config))
                .collect::<Result<_>>()?,
        })
    }

    /// The vectors of all tokens of the batch, `[n, hidden]`.
    pub fn forward(&self, batch: &Packed) -> Result<Tensor> {
        let words = self.words.index_select(&batch.ids, 0)?;
        let positions = self.positions.index_select(&batch.positions, 0)?;
        let mut hidden = self.norm.after(words, &positions)?;
        for layer in &self.layers {
            hidden = layer.forward(hidden, &batch.lengths)?;
        }
        Ok(hidden)
    }
}

impl Layer {
    fn load(vb: VarBuilder, config: &BertConfig) -> Result<Self> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let parts = ["query", "key", "value"];
        let parts = parts
            .map(|name| vb.pp("attention.self").pp(name))
            .map(|vb| Dense::load(&vb, hidden, hidden));
        let [query, key, value] = parts;
        let attended = Dense::load(&vb.pp("attention.output.dense"), hidden, hidden)?;
        let down = Dense::load(&vb.pp("output.dense"), wide, hidden)?;
        Ok(Self {
            qkv: Dense::beside(&[query?, key?, value?])?,
            attention: Attention::new(config.num_attention_heads, hidden),
            attention_norm: norm(&vb.pp("attention.output"), config, &attended.bias)?,
            attended,
            up: Dense::load(&vb.pp("intermediate.dense"), hidden, wide)?,
            activation: config.activation().expect("checked when the files were opened"),
            output_norm: norm(&vb.pp("output"), config, &down.bias)?,
            down,
        })
    }

    fn forward(&self, hidden: Tensor, lengths: &[usize]) -> Result<Tensor> {
        let qkv = fused::bias(self.qkv.product(&hidden)?, &self.qkv.bias)?;
        let attended = self.attention.forward(&qkv, lengths)?;
        let hidden = self.attention_norm.after(self.attended.product(&attended)?, &hidden)?;
        let wide = fused::bias_activation(self.up.product(&hidden)?, &self.up.bias, self.activation)?;
        self.output_norm.after(self.down.product(&wide)?, &hidden)
    }
}

impl Dense {
    fn load(vb: &VarBuilder, input: usize, output: usize) -> Result<Self> {
        Ok(Self {
            weight: vb.get((output, input), "weight")?.t()?,
            bias: vb.get(output, "bias")?,
        })
    }

    /// Several with one input as one, their outputs side by side.
    fn beside(parts: &[Self]) -> Result<Self> {
        let weights: Vec<_> = parts.iter().map(|part| &part.weight).collect();
        let biases: Vec<_> = parts.iter().map(|part| &part.bias).collect();
        Ok(Self {
            weight: Tensor::cat(&weights, D::Minus1)?,
            bias: Tensor::cat(&biases, 0)?,
        })
    }

    fn product(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight)
    }
}

fn norm(vb: &VarBuilder, config: &BertConfig, bias: &Tensor) -> Result<Norm> {
    let norm = candle_nn::layer_norm(config.hidden_size, config.layer_norm_eps, vb.pp("LayerNorm"))?;
    Norm::new(bias, norm)
}
