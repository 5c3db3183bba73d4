//! all-mpnet-base-v2 with its real weights, where they are in the models directory.

use serde::Deserialize;
use twofold_encode::Model;
use twofold_types::Role;

use crate::support::{Text, assert_same, device, models_dir};

/// `tests/fixtures/mpnet_reference.json`.
#[derive(Deserialize)]
struct Reference {
    texts: Vec<Text>,
}

#[test]
fn all_mpnet_base_v2_equals_the_reference() {
    let dir = models_dir().join("sentence-transformers/all-mpnet-base-v2");
    if !dir.is_dir() {
        eprintln!("not tested: {} is missing", dir.display());
        return;
    }
    let Reference { texts } = serde_json::from_str(include_str!("../fixtures/mpnet_reference.json")).unwrap();
    let model = Model::open(dir, device()).unwrap();
    let strings: Vec<&str> = texts.iter().map(|text| text.text.as_str()).collect();
    let tokens = model
        .encoder()
        .tokenizer(Role::Document)
        .tokenize(&strings, Role::Document)
        .unwrap();
    for (ours, text) in tokens.iter().zip(&texts) {
        assert_eq!(ours.ids(), text.ids, "{:?}", text.text);
    }
    for (ours, text) in model.embed(&strings, Role::Document).unwrap().iter().zip(&texts) {
        assert_same(ours, &text.vector, &text.text);
    }
}
