//! Every family of networks equals its reference: tiny checkpoints with random weights, and vectors that
//! sentence-transformers made with them (`scripts/family_fixtures.py`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde::Deserialize;
use twofold_encode::Model;
use twofold_types::Role;

use crate::support::{Pooled, assert_same, device, open_with_budget};

const FAMILIES: [&str; 9] = [
    "bert",
    "distilbert",
    "jina",
    "modernbert",
    "mpnet",
    "nomic",
    "qwen3",
    "roberta",
    "xlm_roberta",
];

/// A family's `reference.json`.
#[derive(Deserialize)]
pub struct Reference {
    pub texts: Vec<Text>,
    /// The same network with other poolings and nothing behind them, by their names.
    #[serde(default)]
    pub poolings: BTreeMap<String, Vec<Pooled>>,
}

#[derive(Deserialize)]
pub struct Text {
    pub text: String,
    ids: Vec<u32>,
    document: Vec<f32>,
    /// Where it is another.
    query: Option<Vec<f32>>,
}

impl Text {
    fn vector(&self, role: Role) -> &[f32] {
        match role {
            Role::Query => self.query.as_ref().unwrap_or(&self.document),
            Role::Document => &self.document,
        }
    }
}

pub fn dir_of(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/families")
        .join(family)
}

pub fn reference_of(family: &str) -> Reference {
    serde_json::from_slice(&std::fs::read(dir_of(family).join("reference.json")).unwrap()).unwrap()
}

fn open(family: &str) -> Model {
    Model::open(dir_of(family), device()).unwrap()
}

#[test]
fn tokens_equal_the_reference() {
    for family in FAMILIES {
        let model = open(family);
        for text in reference_of(family).texts {
            let tokenizer = model.encoder().tokenizer(Role::Document);
            let ours = tokenizer.tokenize(&[&text.text], Role::Document).unwrap();
            // Not those of the prompt, which the reference has for queries and for some documents.
            if tokenizer.prompts().of(Role::Document).is_empty() {
                assert_eq!(ours[0].ids(), text.ids, "{family}: {:?}", text.text);
            }
        }
    }
}

#[test]
fn every_text_alone_equals_the_reference() {
    for family in FAMILIES {
        let model = open(family);
        for text in reference_of(family).texts {
            for role in [Role::Query, Role::Document] {
                let ours = model.embed(&[&text.text], role).unwrap();
                assert_same(&ours[0], text.vector(role), &format!("{family}: {:?}", text.text));
            }
        }
    }
}

#[test]
fn some_references_differ_by_role_and_some_texts_are_cut() {
    let differ = |family: &&str| reference_of(family).texts.iter().any(|text| text.query.is_some());
    assert!(FAMILIES.iter().filter(|family| differ(family)).count() >= 3);
    for family in FAMILIES {
        let longest = reference_of(family)
            .texts
            .iter()
            .map(|text| text.ids.len())
            .max()
            .unwrap();
        assert_eq!(
            longest,
            open(family).encoder().tokenizer(Role::Document).max_tokens(),
            "{family}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_vector_does_not_depend_on_the_batch(
        family in prop::sample::select(&FAMILIES[..]),
        texts in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        budget in prop::sample::select(vec![1usize, 40, 400, 1 << 20]),
        query in any::<bool>(),
    ) {
        let reference = reference_of(family);
        let model = open_with_budget(&dir_of(family), budget);
        let role = if query { Role::Query } else { Role::Document };
        let chosen: Vec<&Text> = texts.iter().map(|index| index.get(&reference.texts)).collect();
        let strings: Vec<&str> = chosen.iter().map(|text| text.text.as_str()).collect();
        let ours = model.embed(&strings, role).unwrap();
        for (ours, text) in ours.iter().zip(chosen) {
            assert_same(ours, text.vector(role), &format!("{family}: {:?} in {strings:?}", text.text));
        }
    }
}
