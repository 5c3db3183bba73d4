//! What a family's network is made of: everything that [`Network::load`](super::Network::load) needs to know, as data. The
//! families differ in nothing else.

use twofold_types::Pooling;

use super::{Activation, HeadDescription, NormKind, Reach};

/// A network, described.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Description {
    /// The family's name, as `model_type` has it.
    pub family: &'static str,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Length of a token's vector.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub wide: usize,
    /// Heads of queries, and of keys and values.
    pub heads: usize,
    pub key_heads: usize,
    /// Numbers of a head.
    pub head_width: usize,
    /// Longest text the network has positions for.
    pub max_tokens: usize,
    /// Segments that a text may have, 0 where the network knows none.
    pub segments: usize,
    /// How token vectors become one, where nothing says.
    pub pooling: Pooling,
    pub positions: Positions,
    pub distance_bias: Option<DistanceBias>,
    pub layers: Vec<LayerKind>,
    pub norm: NormKind,
    pub norm_place: NormPlace,
    pub activation: Activation,
    /// Whether the activated half of the feed-forward part multiplies another half.
    pub gated: bool,
    pub biases: Biases,
    pub names: Names,
    /// What the family's sequence classifiers have behind the network, where it has any.
    pub head: Option<HeadDescription>,
}

impl Description {
    /// Weights of the layers' products: those that a quantised network has in whole numbers.
    pub fn product_weights(&self) -> u64 {
        let (query, key) = (self.heads * self.head_width, self.key_heads * self.head_width);
        let ups = if self.gated { 2 } else { 1 };
        let of_layer = self.hidden * (2 * query + 2 * key) + self.wide * self.hidden * (ups + 1);
        (self.layers.len() * of_layer) as u64
    }
}

/// Learned vectors of positions, added to those of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Positions {
    /// None: the network learns of positions in attention only.
    None,
    /// `rows` of them, one for each position from 0.
    FromZero { rows: usize },
    /// `rows` of them, of which the first `padding + 1` are not a token's: counting starts behind the padding token's id,
    /// and a padding token within a text is not counted (RoBERTa).
    AfterPadding { rows: usize, padding: u32 },
}

/// What the distance between two tokens adds to their score, beside masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DistanceBias {
    /// Less with every token between, head by head, on both sides alike.
    Alibi,
    /// Learned, by buckets of distances, shared by all layers.
    Buckets(usize),
}

/// What may differ from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LayerKind {
    pub reach: Reach,
    /// The base of rotary positions' angles.
    pub rotary: Option<f64>,
}

/// Where a layer normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormPlace {
    /// Behind each part's residual; the embeddings are normalised before the first layer.
    After,
    /// Before each part, and once behind the last layer.
    Before,
}

/// Which matrix products have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Biases {
    pub qkv: bool,
    pub attended: bool,
    pub up: bool,
    pub down: bool,
}

impl Biases {
    pub const ALL: Self = Self {
        qkv: true,
        attended: true,
        up: true,
        down: true,
    };
    pub const NONE: Self = Self {
        qkv: false,
        attended: false,
        up: false,
        down: false,
    };
}

/// What a family calls its weights, without `.weight` and `.bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Names {
    pub words: &'static str,
    pub positions: &'static str,
    pub segments: &'static str,
    pub embedding_norm: Option<&'static str>,
    /// The table of [`DistanceBias::Buckets`].
    pub distances: &'static str,
    /// Before a layer's number; the names that follow are below it.
    pub layers: &'static str,
    /// Query, key and value, or one for all three.
    pub qkv: &'static [&'static str],
    /// The norms of every head's queries and keys.
    pub head_norms: Option<[&'static str; 2]>,
    pub attended: &'static str,
    pub attention_norm: &'static str,
    /// A first layer that has no attention norm, since the embeddings' norm is just before it.
    pub first_attention_norm: bool,
    /// The feed-forward part's first half; where it is gated the activated one first, or one for both.
    pub up: &'static [&'static str],
    pub down: &'static str,
    pub output_norm: &'static str,
    pub final_norm: Option<&'static str>,
}

/// BERT's names, which others vary.
impl Names {
    pub const BERT: Self = Self {
        words: "embeddings.word_embeddings",
        positions: "embeddings.position_embeddings",
        segments: "embeddings.token_type_embeddings",
        embedding_norm: Some("embeddings.LayerNorm"),
        distances: "encoder.relative_attention_bias",
        layers: "encoder.layer",
        qkv: &["attention.self.query", "attention.self.key", "attention.self.value"],
        head_norms: None,
        attended: "attention.output.dense",
        attention_norm: "attention.output.LayerNorm",
        first_attention_norm: true,
        up: &["intermediate.dense"],
        down: "output.dense",
        output_norm: "output.LayerNorm",
        final_norm: None,
    };
}
