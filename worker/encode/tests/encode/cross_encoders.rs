//! Every kind of cross-encoder equals its reference: tiny checkpoints with random weights, and scores that
//! sentence-transformers' CrossEncoder gave with them (`scripts/cross_encoder_fixtures.py`).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::prelude::*;
use serde::Deserialize;
use twofold_encode::{
    Checkpoint, CrossEncoder, DeviceSpec, EncodeError, EncodeOptions, Model, ModelFiles, TokenBudget,
};
use twofold_types::{Details, ModelId, ScoreActivation, rerank::TruncationDirection};

use crate::{
    families,
    support::{device, params, replace},
};

const FAMILIES: [&str; 4] = ["bert", "distilbert", "modernbert", "xlm_roberta"];

#[derive(Deserialize)]
struct Reference {
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    query: String,
    text: String,
    ids: Vec<u32>,
    segments: Vec<u32>,
    raw: f32,
    score: f32,
}

fn dir_of(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/cross_encoders")
        .join(family)
}

fn reference_of(family: &str) -> Vec<Pair> {
    let json = std::fs::read(dir_of(family).join("reference.json")).unwrap();
    serde_json::from_slice::<Reference>(&json).unwrap().pairs
}

fn open(family: &str, budget: TokenBudget) -> Arc<CrossEncoder> {
    let files = ModelFiles::open(dir_of(family)).unwrap();
    let options = EncodeOptions {
        budget,
        ..EncodeOptions::default()
    };
    let checkpoint = Checkpoint::load(&files, &device().open().unwrap(), options).unwrap();
    checkpoint.cross_encoder(&ModelId::new(family)).unwrap()
}

/// A copy of the directory, in which a test can replace files.
fn copy_of(family: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in dir_of(family).read_dir().unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

#[track_caller]
fn assert_close(ours: f32, theirs: f32, what: &str) {
    // Not `> 1e-5`, which NaN would pass.
    assert!((ours - theirs).abs() <= 1e-5, "{what}: {ours} instead of {theirs}");
}

#[test]
fn pairs_are_tokenised_and_cut_as_the_reference_does() {
    for family in FAMILIES {
        let model = open(family, TokenBudget::default());
        let mut cut = 0;
        for pair in reference_of(family) {
            let ours = model
                .pairs(&pair.query, &[&pair.text], TruncationDirection::Right)
                .unwrap();
            let what = format!("{family}: {:?} with {:?}", pair.query, pair.text);
            assert_eq!(ours[0].ids(), pair.ids, "{what}");
            assert_eq!(ours[0].segments(), pair.segments, "{what}");
            assert!(ours[0].cut() == 0 || ours[0].len() == model.max_tokens(), "{what}");
            cut += usize::from(ours[0].cut() > 0);
        }
        assert!(cut > 3, "{family} has pairs that are too long");
    }
}

#[test]
fn every_pair_alone_equals_the_reference() {
    for family in FAMILIES {
        let model = open(family, TokenBudget::default());
        for pair in reference_of(family) {
            let ours = model
                .pairs(&pair.query, &[&pair.text], TruncationDirection::Right)
                .unwrap();
            let raw = model.score(&ours).unwrap()[0];
            let what = format!("{family}: {:?} with {:?}", pair.query, pair.text);
            assert_close(raw, pair.raw, &what);
            assert_close(model.activation().of(raw), pair.score, &what);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_score_does_not_depend_on_the_batch(
        family in prop::sample::select(&FAMILIES[..]),
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
        budget in prop::sample::select(vec![1usize, 40, 400, 1 << 20]),
    ) {
        let model = open(family, TokenBudget::new(budget));
        let reference = reference_of(family);
        let query = reference[chosen[0].index(reference.len())].query.clone();
        let of_query: Vec<&Pair> = reference.iter().filter(|pair| pair.query == query).collect();
        let chosen: Vec<&Pair> = chosen.iter().map(|index| *index.get(&of_query)).collect();
        let texts: Vec<&str> = chosen.iter().map(|pair| pair.text.as_str()).collect();
        let pairs = model.pairs(&query, &texts, TruncationDirection::Right).unwrap();
        for (ours, pair) in model.score(&pairs).unwrap().into_iter().zip(chosen) {
            assert_close(ours, pair.raw, &format!("{family}: {query:?} with {:?} in {texts:?}", pair.text));
        }
    }
}

#[test]
fn texts_are_cut_at_the_side_that_is_asked_for() {
    let model = open("bert", TokenBudget::default());
    let long = format!("{} the end", "cat ".repeat(400));
    let cut = |direction| {
        let pair = model.pairs("a", &[&long], direction).unwrap().remove(0);
        assert_eq!(pair.len(), model.max_tokens());
        pair.ids().to_vec()
    };
    let whole = model.pairs("a", &["the end"], TruncationDirection::Right).unwrap();
    let (_, end) = whole[0].ids().split_at(whole[0].len() - 3);
    assert!(cut(TruncationDirection::Left).ends_with(end));
    assert!(!cut(TruncationDirection::Right).ends_with(end));
}

#[test]
fn what_is_made_of_scores_is_the_files() {
    let default = open("xlm_roberta", TokenBudget::default());
    assert_eq!(default.activation(), ScoreActivation::Sigmoid);
    for family in ["bert", "distilbert", "modernbert"] {
        assert_eq!(
            open(family, TokenBudget::default()).activation(),
            ScoreActivation::Identity
        );
    }
    let dir = copy_of("bert");
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    replace(
        dir.path(),
        "config.json",
        &config.replace("linear.Identity", "activation.Softplus"),
    );
    let error = ModelFiles::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("Softplus") && error.contains("Sigmoid"), "{error}");
}

#[test]
fn a_classifier_of_several_labels_is_refused() {
    let dir = copy_of("bert");
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    let three = config.replace(r#""0": "LABEL_0""#, r#""0": "yes", "1": "no", "2": "perhaps""#);
    assert_ne!(three, config);
    replace(dir.path(), "config.json", &three);
    let error = ModelFiles::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains('3'), "{error}");
}

#[test]
fn cross_encoders_and_encoders_are_told_apart() {
    let device = DeviceSpec::Cpu.open().unwrap();
    let load = |dir: &Path| {
        let files = ModelFiles::open(dir).unwrap();
        let details = files.details(&ModelId::new("test")).unwrap();
        (
            Checkpoint::load(&files, &device, EncodeOptions::default()).unwrap(),
            details,
        )
    };
    let (cross_encoder, details) = load(&dir_of("bert"));
    assert!(matches!(details, Details::CrossEncoder(details) if details.max_tokens == 300));
    let error = cross_encoder.encoder(&params()).err();
    assert!(matches!(error, Some(EncodeError::CrossEncoder)), "{error:?}");
    let (encoder, details) = load(&families::dir_of("bert"));
    assert!(matches!(details, Details::Encoder(_)));
    let error = encoder.cross_encoder(&ModelId::new("test")).err();
    assert!(matches!(error, Some(EncodeError::NoCrossEncoder)), "{error:?}");
    // A list of modules without a pooling is a cross-encoder's or a mistake.
    let dir = copy_of("modernbert");
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    replace(
        dir.path(),
        "config.json",
        &config.replace("ForSequenceClassification", "Model"),
    );
    let error = Model::open(dir.path(), DeviceSpec::Cpu).err().unwrap().to_string();
    assert!(error.contains("modules.json") && error.contains("Pooling"), "{error}");
}
