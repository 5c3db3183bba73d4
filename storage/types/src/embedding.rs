//! What an encoder makes of a text, and what a point holds under the name of a vector.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// One embedding, of one of three kinds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a vector is an array of numbers, an array of such arrays, or an object with `indices` and `values`"
)]
pub enum Embedding {
    /// One vector, `[dimensions]`.
    Dense(Vec<f32>),
    /// Weights of the few terms that matter.
    Sparse(SparseVector),
    /// A vector for each token, `[tokens, dimensions]`; compared by MaxSim.
    Multi(Vec<Vec<f32>>),
}

impl Embedding {
    /// Which kind it is.
    pub fn kind(&self) -> EmbeddingKind {
        match self {
            Self::Dense(_) => EmbeddingKind::Dense,
            Self::Sparse(_) => EmbeddingKind::Sparse,
            Self::Multi(_) => EmbeddingKind::Multi,
        }
    }

    /// The vector of a [dense](Self::Dense) one.
    ///
    /// # Errors
    /// Where it is of another kind; so in the next two.
    pub fn into_dense(self) -> Result<Vec<f32>, OtherKind> {
        match self {
            Self::Dense(vector) => Ok(vector),
            other => Err(other.is_not(EmbeddingKind::Dense)),
        }
    }

    /// The terms of a [sparse](Self::Sparse) one.
    ///
    /// # Errors
    /// See [`into_dense`](Self::into_dense).
    pub fn into_sparse(self) -> Result<SparseVector, OtherKind> {
        match self {
            Self::Sparse(vector) => Ok(vector),
            other => Err(other.is_not(EmbeddingKind::Sparse)),
        }
    }

    /// The vectors of a [multi](Self::Multi) one.
    ///
    /// # Errors
    /// See [`into_dense`](Self::into_dense).
    pub fn into_multi(self) -> Result<Vec<Vec<f32>>, OtherKind> {
        match self {
            Self::Multi(vectors) => Ok(vectors),
            other => Err(other.is_not(EmbeddingKind::Multi)),
        }
    }

    fn is_not(&self, expected: EmbeddingKind) -> OtherKind {
        OtherKind {
            expected,
            received: self.kind(),
        }
    }
}

/// Embeddings of another kind than is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its embeddings are {received}, and {expected} ones are needed here")]
pub struct OtherKind {
    /// The kind that is needed.
    pub expected: EmbeddingKind,
    /// The kind that they are.
    pub received: EmbeddingKind,
}

impl From<Vec<f32>> for Embedding {
    fn from(vector: Vec<f32>) -> Self {
        Self::Dense(vector)
    }
}

/// The kind of an [`Embedding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EmbeddingKind {
    /// One vector a text.
    Dense,
    /// Weighted terms.
    Sparse,
    /// A vector a token.
    Multi,
}

impl fmt::Display for EmbeddingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Multi => "multi",
        })
    }
}

/// A vector of which only some dimensions are not zero: `{"indices": [7, 30], "values": [0.5, 1.2]}`. Every index is there once, in
/// ascending order, whatever the order it was sent in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

/// Indices and values that are not a sparse vector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSparseVector {
    /// Every index has one value.
    #[error("a sparse vector has as many `values` as `indices`; these are {values} and {indices}")]
    Lengths {
        /// How many indices there are.
        indices: usize,
        /// How many values there are.
        values: usize,
    },
    /// Every index is there once.
    #[error("index {0} is in a sparse vector twice; its `indices` must be unique")]
    Twice(u32),
}

impl SparseVector {
    /// Of indices and their values, in any order.
    ///
    /// # Errors
    /// Where the two differ in number, or an index is there twice.
    pub fn new(indices: Vec<u32>, values: Vec<f32>) -> Result<Self, InvalidSparseVector> {
        if indices.len() != values.len() {
            return Err(InvalidSparseVector::Lengths {
                indices: indices.len(),
                values: values.len(),
            });
        }
        if indices.is_sorted_by(|a, b| a < b) {
            return Ok(Self { indices, values });
        }
        let mut entries: Vec<(u32, f32)> = indices.into_iter().zip(values).collect();
        entries.sort_unstable_by_key(|(index, _)| *index);
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(InvalidSparseVector::Twice(pair[0].0));
        }
        let (indices, values) = entries.into_iter().unzip();
        Ok(Self { indices, values })
    }

    /// The dimensions that are not zero, ascending.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The value of each of [`indices`](Self::indices).
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Indices with their values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, f32)> {
        self.indices.iter().copied().zip(self.values.iter().copied())
    }
}

impl<'de> Deserialize<'de> for SparseVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            indices: Vec<u32>,
            values: Vec<f32>,
        }
        let Wire { indices, values } = Wire::deserialize(deserializer)?;
        Self::new(indices, values).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<SparseVector, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn indices_come_in_any_order_and_are_kept_in_theirs() {
        let vector = parse(r#"{"indices": [9, 2], "values": [0.9, 0.2]}"#).unwrap();
        assert_eq!(vector.iter().collect::<Vec<_>>(), [(2, 0.2), (9, 0.9)]);
        assert_eq!(
            serde_json::to_string(&Embedding::Sparse(vector)).unwrap(),
            r#"{"indices":[2,9],"values":[0.2,0.9]}"#
        );
    }

    #[test]
    fn what_is_no_sparse_vector_is_refused_with_a_reason() {
        for (json, words) in [
            (r#"{"indices": [1, 2], "values": [0.5]}"#, "as many `values`"),
            (r#"{"indices": [3, 1, 3], "values": [0.5, 1.0, 2.0]}"#, "index 3"),
            (r#"{"indices": [1, 1], "values": [0.5, 1.0]}"#, "unique"),
            (r#"{"indices": [-1], "values": [0.5]}"#, "u32"),
            (r#"{"indices": [1], "values": [0.5], "text": "a"}"#, "unknown field"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
