//! `config_sentence_transformers.json`: the words a model was trained to see before a text.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use twofold_types::Role;

use super::read_json_if_there;
use crate::EncodeError;

/// What is put before a text, by role; empty for models that were trained without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    query: String,
    document: String,
}

#[derive(Default, Deserialize)]
struct SentenceTransformersConfig {
    #[serde(default)]
    prompts: BTreeMap<String, Option<String>>,
}

impl Prompts {
    /// Takes the prompts from the file, by the names that sentence-transformers looks for.
    pub(super) fn read(path: &Path) -> Result<Self, EncodeError> {
        let SentenceTransformersConfig { mut prompts } = read_json_if_there(path)?.unwrap_or_default();
        let mut first = |names: &[&str]| names.iter().find_map(|&name| prompts.remove(name).flatten());
        Ok(Self {
            query: first(&["query"]).unwrap_or_default(),
            document: first(&["document", "passage", "corpus"]).unwrap_or_default(),
        })
    }

    /// The prompt for a role, with its trailing space where the model wants one.
    pub fn of(&self, role: Role) -> &str {
        match role {
            Role::Query => &self.query,
            Role::Document => &self.document,
        }
    }
}
