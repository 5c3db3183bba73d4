//! `config_sentence_transformers.json`: the words a model was trained to see before a text, and how its vectors are
//! compared.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use twofold_types::{Distance, Role};

use super::read_json_if_there;
use crate::EncodeError;

/// What is put before a text, by role; empty for models that were trained without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    pub(crate) query: String,
    pub(crate) document: String,
}

impl Prompts {
    /// The prompt for a role, with its trailing space where the model wants one.
    pub fn of(&self, role: Role) -> &str {
        match role {
            Role::Query => &self.query,
            Role::Document => &self.document,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.query.is_empty() && self.document.is_empty()
    }
}

/// What the file says.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    pub prompts: Prompts,
    pub distance: Option<Distance>,
}

#[derive(Default, Deserialize)]
struct SentenceTransformersConfig {
    #[serde(default)]
    prompts: BTreeMap<String, Option<String>>,
    default_prompt_name: Option<String>,
    similarity_fn_name: Option<String>,
}

const SIMILARITIES: &[&str] = &["cosine", "dot", "euclidean", "manhattan"];

impl Usage {
    /// Takes the prompts by the names that sentence-transformers looks for; a role without one gets the default prompt,
    /// where there is one.
    pub fn read(path: &Path) -> Result<Self, EncodeError> {
        let config: SentenceTransformersConfig = read_json_if_there(path)?.unwrap_or_default();
        let named = |name: &str| config.prompts.get(name).cloned().flatten();
        let default = match &config.default_prompt_name {
            None => None,
            Some(name) => Some(named(name).ok_or_else(|| EncodeError::Unsupported {
                path: path.to_owned(),
                field: "default_prompt_name",
                found: name.clone(),
                supported: &["a name among the prompts"],
            })?),
        };
        let first = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| named(name))
                .or(default.clone())
                .unwrap_or_default()
        };
        let distance = match config.similarity_fn_name.as_deref() {
            None => None,
            Some("cosine") => Some(Distance::Cosine),
            Some("dot" | "dot_product") => Some(Distance::Dot),
            Some("euclidean") => Some(Distance::Euclid),
            Some("manhattan") => Some(Distance::Manhattan),
            Some(found) => {
                return Err(EncodeError::Unsupported {
                    path: path.to_owned(),
                    field: "similarity_fn_name",
                    found: found.to_owned(),
                    supported: SIMILARITIES,
                });
            }
        };
        Ok(Self {
            prompts: Prompts {
                query: first(&["query"]),
                document: first(&["document", "passage", "corpus"]),
            },
            distance,
        })
    }
}
