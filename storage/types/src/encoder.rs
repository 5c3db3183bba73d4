//! The encoder that fills a vector: which model it is, and where it departs from the model's own files.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Bm25Options, ModelId};

/// The encoder that fills one vector of a collection.
///
/// Everything but the model is read from the model's own files, or else known of models of that name, and stated here
/// only to overrule them. All of it changes vectors, so two encoders are the same only if all of it is equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncoderParams {
    /// The model; of two towers that of documents.
    pub model: ModelId,
    /// The model that encodes queries, where it is another (DPR). Default: `model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_model: Option<ModelId>,
    /// What is put before texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PromptParams>,
    /// How the vectors of a text's tokens become one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to unit length in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// How many of the first dimensions are kept, which are then scaled to unit length again. Only models trained for it
    /// (Matryoshka) keep their quality. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub dimensions: Option<NonZeroUsize>,
    /// Longest text in tokens, prompt and special tokens included; what is longer is cut. At most what the model has
    /// positions for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub max_tokens: Option<NonZeroUsize>,
    /// What the network computes in. Default: `auto`.
    #[serde(default, skip_serializing_if = "Precision::is_auto")]
    pub precision: Precision,
    /// How BM25 weighs terms and what a term is; of `Qdrant/bm25` only, which has none of the above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Bm25Options>,
}

impl EncoderParams {
    /// A model as it is.
    pub fn new(model: ModelId) -> Self {
        Self {
            model,
            query_model: None,
            prompts: None,
            pooling: None,
            normalize: None,
            dimensions: None,
            max_tokens: None,
            precision: Precision::Auto,
            options: None,
        }
    }
}

/// What a network's products with its weights are computed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Floating point numbers of 32 bits.
    F32,
    /// Floating point numbers of 16 bits with the range of f32, added up in 32, where the processor (AMX) or the GPU multiplies
    /// such, else f32: faster, and the vectors are as good as those of f32 but not the same.
    Bf16,
    /// Floating point numbers of 16 bits with a smaller range and smaller steps than bf16, on GPUs, else f32.
    F16,
    /// Whole numbers of 8 bits, on the CPU only: faster, and the vectors are near to those of f32 but not the same.
    Int8,
    /// The blocks of a quantised `model.gguf` as they are, by candle's kernels: the least memory. On a CPU slower than `int8`.
    Gguf,
    /// The fastest on this machine by which the model is known to lose next to nothing: `bf16`, else `int8`, else `f32`. A
    /// collection is made with one of these three and keeps it.
    #[default]
    Auto,
}

impl Precision {
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// What is put before a text, by its role; a prompt that is left out is the model's own, an empty one is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptParams {
    /// Before queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Before documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// How the vectors of a text's tokens, special tokens included, become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The vector of the first token.
    Cls,
    /// The mean of all tokens.
    Mean,
    /// The largest value of all tokens, per dimension.
    Max,
    /// The vector of the last token, which in a decoder has seen all others.
    #[serde(alias = "lasttoken")]
    LastToken,
    /// The mean in which a token counts as often as its position says, from 1.
    #[serde(alias = "weightedmean")]
    WeightedMean,
    /// The sum of all tokens over the square root of their number.
    #[serde(alias = "mean_sqrt_len_tokens")]
    MeanSqrtLen,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<EncoderParams, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_model_alone_is_written_as_such() {
        let params = parse(r#"{"model": "a/b"}"#).unwrap();
        assert_eq!(params, EncoderParams::new(ModelId::new("a/b")));
        assert_eq!(serde_json::to_string(&params).unwrap(), r#"{"model":"a/b"}"#);
    }

    #[test]
    fn params_survive_a_round_trip() {
        let json = r#"{"model":"a/b","query_model":"a/c","prompts":{"query":"q: "},"pooling":"last_token","normalize":true,"dimensions":64,"max_tokens":128,"precision":"int8"}"#;
        assert_eq!(serde_json::to_string(&parse(json).unwrap()).unwrap(), json);
    }

    #[test]
    fn what_is_wrong_is_told_what_is_accepted() {
        for (json, words) in [
            (r#"{"model": "a", "pooling": "median"}"#, "`cls`"),
            (r#"{"model": "a", "dimension": 3}"#, "`dimensions`"),
            (r#"{"model": "a", "dimensions": 0}"#, "nonzero"),
            (r#"{"model": "a", "max_tokens": 0}"#, "nonzero"),
            (r#"{"model": "a", "precision": "int4"}"#, "`auto`"),
            (r#"{"model": "a", "options": {"k1": 1}}"#, "`avg_len`"),
            (r#"{"model": "a", "prompts": {"passage": "p: "}}"#, "`document`"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
