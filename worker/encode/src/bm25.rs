//! BM25 (Robertson et al. 1994) as a sparse encoder: the weight of a term in a document is what BM25 multiplies the term's
//! inverse document frequency with, and its weight in a query is 1. The frequency is left to the index, which alone can count
//! it, so the dot product of the two is BM25's score.
//!
//! Terms and weights are those of fastembed's `Qdrant/bm25`, so its vectors and ours can be mixed.

mod murmur3;
mod words;

use std::collections::BTreeMap;

use twofold_types::{
    Bm25Options, Embedding, EmbeddingSpace, EncoderParams, ModelDetails, ModelId, Precision, PromptParams, Role,
    SparseVector,
};

pub use self::words::Words;
use crate::{EncodeError, Encoder, Tokenizer, Tokens, settings::refuse};

/// The name of the model; it has no files.
pub const BM25: &str = "Qdrant/bm25";

/// What its embeddings are, whatever the options.
const SPACE: EmbeddingSpace = EmbeddingSpace::Sparse { idf: true };

/// The encoder. It needs no device and next to no time.
pub struct Bm25Encoder {
    model: ModelId,
    tokenizer: Tokenizer,
    weighing: Weighing,
}

/// The constants of the formula.
#[derive(Debug, Clone, Copy)]
struct Weighing {
    k: f64,
    b: f64,
    avg_len: f64,
}

impl Bm25Encoder {
    /// Whether a model of that name is this one.
    pub fn is_meant(model: &ModelId) -> bool {
        model.as_str().eq_ignore_ascii_case(BM25)
    }

    /// What is told of it in lists of models.
    pub fn details() -> ModelDetails {
        ModelDetails {
            family: "bm25".to_owned(),
            space: SPACE,
            max_tokens: None,
            pooling: None,
            normalize: false,
            prompts: PromptParams::default(),
            query_model: None,
            licence: Some("Apache-2.0".to_owned()),
            weight_bytes: 0,
        }
    }

    /// The encoder that `params` ask for.
    ///
    /// # Errors
    /// [`EncodeError::Inapplicable`] for what only networks have, [`EncodeError::OutOfRange`] for a number out of its range.
    pub fn new(params: &EncoderParams) -> Result<Self, EncodeError> {
        let given = [
            ("query_model", params.query_model.is_some()),
            ("prompts", params.prompts.is_some()),
            ("pooling", params.pooling.is_some()),
            ("normalize", params.normalize.is_some()),
            ("dimensions", params.dimensions.is_some()),
            ("max_tokens", params.max_tokens.is_some()),
            (
                "precision",
                !matches!(params.precision, Precision::F32 | Precision::Auto),
            ),
        ];
        refuse(params, SPACE.kind(), &given)?;
        let options = params.options.clone().unwrap_or_default();
        Ok(Self {
            model: params.model.clone(),
            weighing: Weighing::new(&options)?,
            tokenizer: Tokenizer::Words(Words::new(&options)),
        })
    }
}

impl Weighing {
    fn new(options: &Bm25Options) -> Result<Self, EncodeError> {
        let within = |name, received: Option<f64>, default, accepts: fn(f64) -> bool, accepted| match received {
            None => Ok(default),
            Some(received) if received.is_finite() && accepts(received) => Ok(received),
            Some(received) => Err(EncodeError::OutOfRange {
                name,
                received,
                accepted,
            }),
        };
        Ok(Self {
            k: within("k", options.k, 1.2, |k| k >= 0.0, "at least 0")?,
            b: within("b", options.b, 0.75, |b| (0.0..=1.0).contains(&b), "0 to 1")?,
            avg_len: within("avg_len", options.avg_len, 256.0, |len| len > 0.0, "above 0")?,
        })
    }

    /// The weight of a term that is `count` times in a document of `words` words.
    fn weight(self, count: usize, words: usize) -> f64 {
        let Self { k, b, avg_len } = self;
        let (count, words) = (count as f64, words as f64);
        count * (k + 1.0) / (count + k * (1.0 - b + b * words / avg_len))
    }
}

impl Encoder for Bm25Encoder {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn space(&self) -> EmbeddingSpace {
        SPACE
    }

    fn tokenizer(&self, _role: Role) -> &Tokenizer {
        &self.tokenizer
    }

    fn encode(&self, batch: &[Tokens], role: Role) -> Result<Vec<Embedding>, EncodeError> {
        let of_text = |text: &Tokens| {
            let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
            for &term in text.ids() {
                *counts.entry(term).or_default() += 1;
            }
            let weight = |count| match role {
                Role::Query => 1.0,
                Role::Document => self.weighing.weight(count, text.len()) as f32,
            };
            let (terms, weights) = counts.into_iter().map(|(term, count)| (term, weight(count))).unzip();
            let vector = SparseVector::new(terms, weights).expect("the keys of a map are there once");
            Embedding::Sparse(vector)
        };
        Ok(batch.iter().map(of_text).collect())
    }
}
