//! Results equal sentence-transformers'.

use twofold_encode::{Model, ModelFiles, cosine};
use twofold_types::{Distance, EmbeddingSpace, Pooling, Role};

use crate::support::{MODEL, Pooled, REFERENCE, assert_same, device, model_dir, norm, replace, variant_of_model};

const NO_NORMALIZE: &str = r#"[
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
]"#;

#[test]
fn tokens_equal_the_reference() {
    let tokens = MODEL
        .encoder()
        .tokenizer(Role::Document)
        .tokenize(&REFERENCE.strings(), Role::Document)
        .unwrap();
    for (ours, reference) in tokens.iter().zip(&REFERENCE.texts) {
        assert_eq!(ours.ids(), reference.ids, "{:?}", reference.text);
    }
    let longest = tokens.iter().map(|t| t.len()).max();
    assert_eq!(
        longest,
        Some(256),
        "texts beyond the model's maximum are among the references"
    );
}

#[test]
fn every_text_alone_equals_the_reference() {
    for reference in &REFERENCE.texts {
        let ours = MODEL.embed(&[&reference.text], Role::Document).unwrap();
        assert_eq!(ours.len(), 1);
        assert_same(&ours[0], &reference.vector, &reference.text);
        assert!((norm(&ours[0]) - 1.0).abs() < 1e-5);
    }
}

#[test]
fn queries_and_documents_are_one_tower_here() {
    let text = ["What is the capital of France?"];
    assert_eq!(
        MODEL.embed(&text, Role::Query).unwrap(),
        MODEL.embed(&text, Role::Document).unwrap()
    );
}

#[test]
fn meaning_is_near() {
    let of = |text: &str| REFERENCE.texts.iter().find(|t| t.text == text).unwrap().text.as_str();
    let texts = [
        of("The cat sits on the mat."),
        of("A feline rests upon a rug."),
        of("Stock markets fell sharply on Monday."),
    ];
    let v = MODEL.embed(&texts, Role::Document).unwrap();
    assert!(cosine(&v[0], &v[1]) > cosine(&v[0], &v[2]) + 0.3);
}

#[test]
fn pooling_and_normalisation_are_what_the_files_say() {
    let reference = &REFERENCE.unnormalised;
    for (flag, pooling, expected) in [
        ("pooling_mode_cls_token", Pooling::Cls, &reference.cls),
        ("pooling_mode_max_tokens", Pooling::Max, &reference.max),
        ("pooling_mode_mean_tokens", Pooling::Mean, &reference.mean),
    ] {
        let dir = variant_of_model();
        replace(dir.path(), "modules.json", NO_NORMALIZE);
        replace(dir.path(), "1_Pooling/config.json", &format!(r#"{{"{flag}": true}}"#));
        let files = ModelFiles::open(dir.path()).unwrap();
        assert_eq!(files.pooling(), Some(pooling));
        assert_unnormalised(&Model::open(dir.path(), device()).unwrap(), expected);
    }
}

#[test]
fn without_modules_json_the_mean_is_taken_and_not_normalised() {
    let dir = variant_of_model();
    std::fs::remove_file(dir.path().join("modules.json")).unwrap();
    assert_unnormalised(
        &Model::open(dir.path(), device()).unwrap(),
        &REFERENCE.unnormalised.mean,
    );
}

fn assert_unnormalised(model: &Model, expected: &[Pooled]) {
    assert!(!expected.is_empty());
    let texts: Vec<&str> = expected
        .iter()
        .map(|pooled| REFERENCE.texts[pooled.text].text.as_str())
        .collect();
    for (ours, expected) in model.embed(&texts, Role::Document).unwrap().iter().zip(expected) {
        assert_same(ours, &expected.vector, &REFERENCE.texts[expected.text].text);
        assert!(
            (norm(ours) - 1.0).abs() > 0.1,
            "a vector that was not normalised has unit length"
        );
    }
}

#[test]
fn weights_with_the_prefix_of_a_larger_model_are_found_by_their_names() {
    let dir = variant_of_model();
    let original = std::fs::read(dir.path().join("model.safetensors")).unwrap();
    let header_len = u64::from_le_bytes(original[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&original[8..8 + header_len]).unwrap();
    let prefixed = header.into_iter().map(|(name, at)| {
        (
            if name == "__metadata__" {
                name
            } else {
                format!("bert.{name}")
            },
            at,
        )
    });
    let header = serde_json::to_vec(&prefixed.collect::<serde_json::Map<_, _>>()).unwrap();
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let parts = [
        &(header.len() as u64).to_le_bytes()[..],
        &header,
        &original[8 + header_len..],
    ];
    std::fs::write(dir.path().join("model.safetensors"), parts.concat()).unwrap();

    let model = Model::open(dir.path(), device()).unwrap();
    let reference = &REFERENCE.texts[4];
    assert_same(
        &model.embed(&[&reference.text], Role::Document).unwrap()[0],
        &reference.vector,
        &reference.text,
    );
}

#[test]
fn the_encoder_says_what_it_is() {
    let model = Model::open(model_dir(), device()).unwrap();
    let encoder = model.encoder();
    let space = EmbeddingSpace::Dense {
        dimensions: 384,
        distance: Distance::Cosine,
    };
    assert_eq!(encoder.space(), space);
    assert_eq!(encoder.tokenizer(Role::Query).max_tokens(), 256);
    assert!(encoder.model().as_str().ends_with("all-MiniLM-L6-v2") || std::env::var_os("TWOFOLD_TEST_MODEL").is_some());
}
