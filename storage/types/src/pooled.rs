//! Vectors of documents that are pooled from those of their chunks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A vector of documents, pooled from a vector of their chunks. It is kept up by every write that changes a chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PooledVectorParams {
    /// The vector of the chunks: a dense one that an encoder fills. Default: the unnamed one.
    #[serde(default)]
    pub of: String,
    /// How the chunks' vectors become one.
    pub method: ChunkPooling,
    /// What `attention` compares chunks with, `[size]`: what is near to it counts more. Default: the mean of the chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring_vector: Option<Vec<f32>>,
    /// What `attention` multiplies cosines with before the softmax; 0 is the mean. Default: [`DEFAULT_SCALE`](Self::DEFAULT_SCALE).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
}

impl PooledVectorParams {
    /// The scale that models of sentence-transformers are trained with.
    pub const DEFAULT_SCALE: f32 = 20.0;
}

/// How the vectors `c_1 .. c_n` of a document's chunks become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChunkPooling {
    /// Their mean.
    Mean,
    /// The largest value of all chunks, per dimension.
    Max,
    /// The sum of `a_i c_i`, where `a` is the softmax of `scale * cos(c_i, s)` and `s` the scoring vector (Yang et al. 2016).
    Attention,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<PooledVectorParams, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn params_survive_a_round_trip() {
        let json = r#"{"of":"text","method":"attention","scoring_vector":[0.5,-1.0],"scale":5.0}"#;
        assert_eq!(serde_json::to_string(&parse(json).unwrap()).unwrap(), json);
        assert_eq!(parse(r#"{"method": "mean"}"#).unwrap().of, "");
    }

    #[test]
    fn what_is_wrong_is_told_what_is_accepted() {
        for (json, words) in [
            (r#"{"of": "text"}"#, "`method`"),
            (r#"{"method": "sum"}"#, "`attention`"),
            (r#"{"method": "mean", "from": "text"}"#, "`of`"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
