//! BM25 is fastembed's, term for term (`scripts/bm25_reference.py`).

use std::{num::NonZeroUsize, sync::Arc};

use serde::Deserialize;
use twofold_encode::{BM25, Bm25Encoder, EncodeError, Encoder, Model};
use twofold_types::{Bm25Options, EmbeddingSpace, EncoderParams, ModelId, Pooling, Role, SparseVector};

/// `tests/fixtures/bm25_reference.json`.
#[derive(Deserialize)]
struct Case {
    options: Bm25Options,
    text: String,
    document: SparseVector,
    query: SparseVector,
}

fn reference() -> Vec<Case> {
    serde_json::from_str(include_str!("../fixtures/bm25_reference.json")).unwrap()
}

fn params(options: Bm25Options) -> EncoderParams {
    EncoderParams {
        options: Some(options),
        ..EncoderParams::new(ModelId::new(BM25))
    }
}

fn open(options: Bm25Options) -> Model {
    Model::from(Arc::new(Bm25Encoder::new(&params(options)).unwrap()) as Arc<dyn Encoder>)
}

fn encode(model: &Model, text: &str, role: Role) -> SparseVector {
    model.encode(&[text], role).unwrap().remove(0).into_sparse().unwrap()
}

#[track_caller]
fn assert_same(ours: &SparseVector, theirs: &SparseVector, what: &str) {
    assert_eq!(ours.indices(), theirs.indices(), "{what}");
    for (ours, theirs) in ours.values().iter().zip(theirs.values()) {
        assert!((ours - theirs).abs() < 1e-6, "{what}: {ours} {theirs}");
    }
}

#[test]
fn terms_and_weights_equal_the_reference_in_every_language() {
    let cases = reference();
    let languages: std::collections::HashSet<_> = cases.iter().map(|case| case.options.language).collect();
    assert!(languages.len() >= 18);
    for Case {
        options,
        text,
        document,
        query,
    } in cases
    {
        let what = format!("{options:?}: {text:?}");
        let model = open(options);
        assert_same(&encode(&model, &text, Role::Document), &document, &what);
        assert_same(&encode(&model, &text, Role::Query), &query, &what);
    }
}

#[test]
fn the_index_is_asked_for_the_inverse_document_frequency() {
    let model = open(Bm25Options::default());
    assert_eq!(model.encoder().space(), EmbeddingSpace::Sparse { idf: true });
}

#[test]
fn it_has_no_dense_vectors() {
    let refused = open(Bm25Options::default()).embed(&["a text"], Role::Document);
    assert!(matches!(refused, Err(EncodeError::OtherKind { .. })), "{refused:?}");
}

#[test]
fn what_it_has_no_use_for_is_refused_by_name() {
    let bare = || EncoderParams::new(ModelId::new(BM25));
    for (asked, words) in [
        (
            EncoderParams {
                pooling: Some(Pooling::Mean),
                ..bare()
            },
            ["`pooling`", "sparse"],
        ),
        (
            EncoderParams {
                max_tokens: NonZeroUsize::new(7),
                ..bare()
            },
            ["`max_tokens`", BM25],
        ),
        (
            params(Bm25Options {
                b: Some(1.5),
                ..Bm25Options::default()
            }),
            ["b is 1.5", "0 to 1"],
        ),
        (
            params(Bm25Options {
                avg_len: Some(0.0),
                ..Bm25Options::default()
            }),
            ["avg_len is 0", "above 0"],
        ),
    ] {
        let message = Bm25Encoder::new(&asked).err().expect("it is refused").to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn chunks_are_measured_in_words_and_none_is_too_long() {
    let model = open(Bm25Options::default());
    let tokenizer = model.encoder().tokenizer(Role::Document);
    assert_eq!(
        tokenizer.count_tokens("The cat, the mat & the snake_case: 3.").unwrap(),
        7
    );
    let long = "word ".repeat(100_000);
    let tokens = tokenizer.tokenize(&[long], Role::Document).unwrap();
    assert_eq!((tokens[0].len(), tokens[0].cut()), (100_000, 0));
}
