//! What a collection asks for overrules a model's files, and those what is known of models of that name.

use std::{num::NonZeroUsize, path::Path, sync::Arc};

use twofold_encode::{EncodeError, EncodeOptions, Encoder, Model, TwoTowers};
use twofold_types::{Distance, EncoderParams, ModelId, Pooling, PromptParams, Role};

use crate::{
    families::{dir_of, reference_of},
    support::{assert_same, norm, open_with, params},
};

fn open(family: &str, params: &EncoderParams) -> Result<Model, EncodeError> {
    open_with(&dir_of(family), params, EncodeOptions::default())
}

fn embed(family: &str, params: &EncoderParams, text: &str, role: Role) -> Vec<f32> {
    open(family, params).unwrap().embed(&[text], role).unwrap().remove(0)
}

fn tower(family: &str) -> Arc<dyn Encoder> {
    open(family, &params()).unwrap().encoder().clone()
}

const POOLINGS: [(Pooling, &str); 6] = [
    (Pooling::Cls, "cls"),
    (Pooling::Max, "max"),
    (Pooling::Mean, "mean"),
    (Pooling::MeanSqrtLen, "mean_sqrt_len_tokens"),
    (Pooling::WeightedMean, "weightedmean"),
    (Pooling::LastToken, "lasttoken"),
];

#[test]
fn every_pooling_equals_the_reference() {
    let reference = reference_of("bert");
    for (pooling, name) in POOLINGS {
        let asked = EncoderParams {
            pooling: Some(pooling),
            ..params()
        };
        for pooled in &reference.poolings[name] {
            let text = &reference.texts[pooled.text].text;
            let ours = embed("bert", &asked, text, Role::Document);
            assert_same(&ours, &pooled.vector, &format!("{name}: {text:?}"));
        }
    }
}

#[test]
fn a_prompt_that_is_not_pooled_is_left_out_as_in_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    copy(&dir_of("bert"), dir.path());
    let reference = reference_of("bert");
    let asked = EncoderParams {
        prompts: Some(PromptParams {
            query: Some("a question: ".to_owned()),
            document: None,
        }),
        ..params()
    };
    for (_, name) in POOLINGS {
        let config = format!(r#"{{"pooling_mode": "{name}", "include_prompt": false}}"#);
        std::fs::write(dir.path().join("1_Pooling/config.json"), config).unwrap();
        let model = open_with(dir.path(), &asked, EncodeOptions::default()).unwrap();
        for pooled in &reference.poolings[&format!("{name} without prompt")] {
            let text = &reference.texts[pooled.text].text;
            let ours = model.embed(&[text], Role::Query).unwrap().remove(0);
            assert_same(&ours, &pooled.vector, &format!("{name}: {text:?}"));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn normalisation_is_what_is_asked_for() {
    let text = "The cat sits on the mat.";
    let plain = embed("bert", &params(), text, Role::Document);
    assert!(
        (norm(&plain) - 1.0).abs() > 0.1,
        "the model does not normalise by itself"
    );
    for (family, asked) in [("bert", true), ("xlm_roberta", true), ("xlm_roberta", false)] {
        let normalize = EncoderParams {
            normalize: Some(asked),
            ..params()
        };
        let length = norm(&embed(family, &normalize, text, Role::Document));
        assert_eq!((length - 1.0).abs() < 1e-5, asked, "{family}: {length}");
    }
}

#[test]
fn the_first_dimensions_are_kept_at_unit_length() {
    let text = "A catalogue stands between the reader and the shelf";
    let whole = embed("nomic", &params(), text, Role::Document);
    let asked = EncoderParams {
        dimensions: NonZeroUsize::new(12),
        ..params()
    };
    let ours = embed("nomic", &asked, text, Role::Document);
    assert_eq!(open("nomic", &asked).unwrap().encoder().space().dimensions(), Some(12));
    let length = norm(&whole[..12]) as f32;
    let expected: Vec<f32> = whole[..12].iter().map(|x| x / length).collect();
    assert_same(&ours, &expected, text);
}

#[test]
fn what_the_model_has_not_is_refused_with_what_is_accepted() {
    let more = NonZeroUsize::new(9999);
    for (asked, words) in [
        (
            EncoderParams {
                dimensions: more,
                ..params()
            },
            ["dimensions is 9999", "1 to 32"],
        ),
        (
            EncoderParams {
                max_tokens: more,
                ..params()
            },
            ["max_tokens is 9999", "1 to 300"],
        ),
    ] {
        let message = open("roberta", &asked).err().expect("more than there is").to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn a_shorter_maximum_cuts_texts() {
    let asked = EncoderParams {
        max_tokens: NonZeroUsize::new(5),
        ..params()
    };
    let text = "The cat sits on the mat.";
    let tokens = |params: &EncoderParams| {
        let model = open("bert", params).unwrap();
        model
            .encoder()
            .tokenizer(Role::Document)
            .tokenize(&[text], Role::Document)
            .unwrap()
            .remove(0)
            .ids()
            .to_vec()
    };
    let (whole, cut) = (tokens(&params()), tokens(&asked));
    assert!(whole.len() > 5);
    assert_eq!(cut[..4], whole[..4]);
    assert_eq!(cut[4], whole[whole.len() - 1], "the last special token stays");
}

#[test]
fn what_the_files_leave_open_is_known_of_the_model() {
    let named = |id: &str| EncoderParams::new(ModelId::new(id));
    let prompts = |family: &str, params: &EncoderParams| {
        let encoder = open(family, params).unwrap().encoder().clone();
        [Role::Query, Role::Document].map(|role| encoder.tokenizer(role).prompts().of(role).to_owned())
    };
    let e5 = named("intfloat/e5-small-v2");
    assert_eq!(prompts("bert", &params()), ["", ""]);
    assert_eq!(prompts("bert", &e5), ["query: ", "passage: "]);
    let without = EncoderParams {
        prompts: Some(PromptParams {
            query: Some(String::new()),
            document: None,
        }),
        ..e5.clone()
    };
    assert_eq!(prompts("bert", &without), ["", "passage: "]);
    let files_first = ["search_query: ", "search_document: "];
    assert_eq!(prompts("modernbert", &e5), files_first);

    // The files of this one have no modules, and no word on how vectors are compared.
    let encoder = open("jina", &named("facebook/dpr-ctx_encoder-single-nq-base")).unwrap();
    assert_eq!(encoder.encoder().space().distance(), Distance::Dot);
    let cls = EncoderParams {
        pooling: Some(Pooling::Cls),
        ..params()
    };
    assert_same(
        &encoder.embed(&["cats"], Role::Document).unwrap()[0],
        &embed("jina", &cls, "cats", Role::Document),
        "the first token's vector",
    );
}

#[test]
fn two_towers_run_by_role_each_with_its_own_tokenizer() {
    let towers = Model::from(Arc::new(TwoTowers::new(tower("roberta"), tower("bert")).unwrap()) as Arc<dyn Encoder>);
    let text = "東京は日本の首都です";
    for (role, family) in [(Role::Query, "roberta"), (Role::Document, "bert")] {
        assert_eq!(
            towers.embed(&[text], role).unwrap()[0],
            embed(family, &params(), text, role)
        );
    }
}

#[test]
fn towers_of_different_dimensions_are_refused() {
    let error = TwoTowers::new(tower("distilbert"), tower("bert"))
        .err()
        .expect("20 and 32");
    let message = error.to_string();
    assert!(message.contains("20") && message.contains("32"), "{message}");
}
