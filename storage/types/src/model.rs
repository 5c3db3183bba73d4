//! Which model fills a vector, and which of its two towers runs.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The side of the bi-encoder that a text is encoded with.
///
/// Models are trained with a prompt, sometimes with separate weights, per side; a text that is stored is a
/// [`Role::Document`], a text that is searched for is a [`Role::Query`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A text that is searched for.
    Query,
    /// A text that is stored and found.
    Document,
}

/// The name of a model as its publisher writes it, for example `sentence-transformers/all-MiniLM-L6-v2`.
///
/// Two vectors are comparable only when the same model made them, so the id is stored with every encoded vector's
/// collection and compared at every write and query. Comparison ignores ASCII case, as model hubs do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ModelId(String);

impl ModelId {
    /// Wraps a model's name without checking that such a model exists.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for ModelId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ModelId {}

impl std::hash::Hash for ModelId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
