//! The space that embeddings lie in.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Distance, EmbeddingKind};

/// The space that an encoder's embeddings lie in: what a collection has to know to store and compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EmbeddingSpace {
    /// One vector a text.
    Dense {
        /// Length of every vector.
        dimensions: usize,
        /// The comparison that the model was trained for.
        distance: Distance,
    },
    /// Weighted terms, compared by their dot product. There are as many dimensions as there are terms.
    Sparse {
        /// Whether the index is to multiply weights by the inverse document frequency of their terms, which it alone can
        /// count (BM25). Learned weights are whole.
        idf: bool,
    },
    /// A vector a token, compared by MaxSim.
    Multi {
        /// Length of every vector.
        dimensions: usize,
        /// The comparison of two tokens.
        distance: Distance,
    },
}

impl EmbeddingSpace {
    /// The kind of embedding.
    pub fn kind(self) -> EmbeddingKind {
        match self {
            Self::Dense { .. } => EmbeddingKind::Dense,
            Self::Sparse { .. } => EmbeddingKind::Sparse,
            Self::Multi { .. } => EmbeddingKind::Multi,
        }
    }

    /// Length of every vector, where they have one length.
    pub fn dimensions(self) -> Option<usize> {
        match self {
            Self::Dense { dimensions, .. } | Self::Multi { dimensions, .. } => Some(dimensions),
            Self::Sparse { .. } => None,
        }
    }

    /// How two vectors are compared.
    pub fn distance(self) -> Distance {
        match self {
            Self::Dense { distance, .. } | Self::Multi { distance, .. } => distance,
            Self::Sparse { .. } => Distance::Dot,
        }
    }
}

impl fmt::Display for EmbeddingSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dimensions() {
            Some(dimensions) => write!(f, "{} of {dimensions} dimensions", self.kind()),
            None => self.kind().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_is_written_with_its_kind() {
        for (space, json) in [
            (
                EmbeddingSpace::Dense {
                    dimensions: 384,
                    distance: Distance::Cosine,
                },
                r#"{"kind":"dense","dimensions":384,"distance":"Cosine"}"#,
            ),
            (EmbeddingSpace::Sparse { idf: true }, r#"{"kind":"sparse","idf":true}"#),
        ] {
            assert_eq!(serde_json::to_string(&space).unwrap(), json);
            assert_eq!(serde_json::from_str::<EmbeddingSpace>(json).unwrap(), space);
        }
    }
}
