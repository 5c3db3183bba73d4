//! Everything that matters is read from the model's files; what cannot be followed is an error that names the file.

use std::{error::Error, path::Path};

use twofold_encode::{DeviceSpec, EncodeError, Model, ModelFiles, Tokenizer};
use twofold_types::Role;

use crate::support::{MODEL, REFERENCE, model_dir, params, replace, variant_of_model};

#[track_caller]
fn assert_says(error: impl Error, dir: &Path, words: &[&str]) {
    let message = error.to_string();
    for word in words.iter().copied().chain([&*dir.to_string_lossy()]) {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

/// The error of opening the model with `content` in place of file `name`.
#[track_caller]
fn assert_refused(name: &str, content: &str, words: &[&str]) {
    let dir = variant_of_model();
    replace(dir.path(), name, content);
    let error = ModelFiles::open(dir.path()).expect_err(name);
    assert_says(error, dir.path(), &[&[name], words].concat());
}

#[test]
fn a_missing_file_is_named() {
    for name in [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "1_Pooling/config.json",
    ] {
        let dir = variant_of_model();
        std::fs::remove_file(dir.path().join(name)).unwrap();
        let error = ModelFiles::open(dir.path()).expect_err(name);
        assert!(
            matches!(&error, EncodeError::ReadFile { path, .. } if path.ends_with(name)),
            "{error}"
        );
        assert_says(error, dir.path(), &[name, "a model directory holds"]);
    }
}

#[test]
fn an_unknown_architecture_is_told_what_is_supported() {
    let supported = ["supported: bert", "xlm-roberta"];
    for (config, words) in [
        (r#"{"model_type": "t5"}"#, ["model_type", "t5"]),
        (
            r#"{"architectures": ["BigBirdModel"]}"#,
            ["model_type is missing", "BigBirdModel"],
        ),
    ] {
        assert_refused("config.json", config, &[words, supported].concat());
    }
}

#[test]
fn what_the_network_cannot_do_is_refused() {
    let config = std::fs::read_to_string(model_dir().join("config.json")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from));
        config.replace(from, to)
    };
    assert_refused(
        "config.json",
        &with(r#""gelu""#, r#""tanhshrink""#),
        &["hidden_act", "tanhshrink", "gelu_new"],
    );
    assert_refused(
        "config.json",
        &with(r#""absolute""#, r#""relative_key""#),
        &["position_embedding_type", "absolute"],
    );
    assert_refused(
        "config.json",
        &with("heads\": 12", "heads\": 7"),
        &["num_attention_heads", "7"],
    );
    assert_refused("config.json", &with("\"hidden_size\"", "\"width\""), &["hidden_size"]);
    assert_refused("config.json", "{", &["EOF"]);
}

#[test]
fn stages_and_poolings_that_are_not_supported_are_refused() {
    let module =
        |kind: &str, path: &str| format!(r#"{{"path": "{path}", "type": "sentence_transformers.models.{kind}"}}"#);
    let [transformer, pooling, dense] =
        [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")].map(|(kind, path)| module(kind, path));
    let weights = module("WeightedLayerPooling", "1_W");
    assert_refused(
        "modules.json",
        &format!("[{transformer}, {weights}, {pooling}]"),
        &["Transformer, WeightedLayerPooling, Pooling", "Dense and Normalize"],
    );
    assert_refused("modules.json", "[]", &["empty"]);
    let pooling_file = "1_Pooling/config.json";
    assert_refused(
        pooling_file,
        r#"{"pooling_mode": ["cls", "mean"]}"#,
        &["cls + mean", "weightedmean"],
    );
    let dir = variant_of_model();
    replace(
        dir.path(),
        "modules.json",
        &format!("[{transformer}, {pooling}, {dense}]"),
    );
    let refused = |words: &[&str]| assert_says(ModelFiles::open(dir.path()).unwrap_err(), dir.path(), words);
    refused(&["2_Dense/config.json"]);
    std::fs::create_dir(dir.path().join("2_Dense")).unwrap();
    let config = |input: usize, function: &str| {
        let config =
            format!(r#"{{"in_features": {input}, "out_features": 8, "activation_function": "torch.nn.{function}"}}"#);
        replace(dir.path(), "2_Dense/config.json", &config);
    };
    config(384, "Softshrink");
    refused(&["activation_function", "Softshrink", "Tanh"]);
    config(384, "Tanh");
    refused(&["2_Dense/model.safetensors"]);
    replace(dir.path(), "2_Dense/model.safetensors", "");
    config(100, "Tanh");
    refused(&["in_features", "100", "384"]);
}

#[test]
fn broken_tokenizers_and_weights_are_named() {
    for (name, content) in [("tokenizer.json", "{}"), ("model.safetensors", "not one")] {
        let dir = variant_of_model();
        replace(dir.path(), name, content);
        let error = Model::open(dir.path(), DeviceSpec::Cpu).err().expect(name);
        assert_says(error, dir.path(), &[name]);
    }
    let dir = variant_of_model();
    let config = std::fs::read_to_string(model_dir().join("config.json")).unwrap();
    replace(dir.path(), "config.json", &config.replace("layers\": 6", "layers\": 7"));
    let error = Model::open(dir.path(), DeviceSpec::Cpu)
        .err()
        .expect("a layer is missing");
    assert_says(error, dir.path(), &["model.safetensors", "encoder.layer.6"]);
}

#[test]
fn the_maximum_length_is_the_files() {
    let dir = variant_of_model();
    let long = [REFERENCE.texts.last().unwrap().text.as_str()];
    for (content, expected) in [
        (r#"{"max_seq_length": 40}"#, 40),
        (r#"{"max_seq_length": 9999}"#, 512),
        ("{}", 512),
    ] {
        replace(dir.path(), "sentence_bert_config.json", content);
        let files = ModelFiles::open(dir.path()).unwrap();
        assert_eq!(files.max_tokens(), expected);
        let tokens = Tokenizer::open(&files, &params())
            .unwrap()
            .tokenize(&long, Role::Document)
            .unwrap();
        assert_eq!(tokens[0].len(), expected.min(402));
    }
    std::fs::remove_file(dir.path().join("sentence_bert_config.json")).unwrap();
    for (content, expected) in [
        (r#"{"model_max_length": 100}"#, 100),
        (r#"{"model_max_length": 1e30}"#, 512),
        ("{}", 512),
    ] {
        replace(dir.path(), "tokenizer_config.json", content);
        assert_eq!(ModelFiles::open(dir.path()).unwrap().max_tokens(), expected);
    }
}

#[test]
fn prompts_are_put_before_texts_by_role() {
    let dir = variant_of_model();
    let ids = |dir: &Path, text: &str, role| {
        let tokenizer = Tokenizer::open(&ModelFiles::open(dir).unwrap(), &params()).unwrap();
        tokenizer.tokenize(&[text], role).unwrap().remove(0).ids().to_vec()
    };
    let plain = |text: &str| ids(&model_dir(), text, Role::Document);
    replace(
        dir.path(),
        "config_sentence_transformers.json",
        r#"{"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": null}"#,
    );
    assert_eq!(ids(dir.path(), "a cat", Role::Query), plain("query: a cat"));
    assert_eq!(ids(dir.path(), "a cat", Role::Document), plain("passage: a cat"));
    replace(
        dir.path(),
        "config_sentence_transformers.json",
        r#"{"prompts": {"query": "Ask: "}}"#,
    );
    assert_eq!(ids(dir.path(), "a cat", Role::Query), plain("Ask: a cat"));
    assert_eq!(ids(dir.path(), "a cat", Role::Document), plain("a cat"));
    replace(
        dir.path(),
        "config_sentence_transformers.json",
        r#"{"prompts": {"query": "Ask: ", "any": "Read: "}, "default_prompt_name": "any"}"#,
    );
    assert_eq!(ids(dir.path(), "a cat", Role::Query), plain("Ask: a cat"));
    assert_eq!(ids(dir.path(), "a cat", Role::Document), plain("Read: a cat"));
    assert_refused(
        "config_sentence_transformers.json",
        r#"{"prompts": {}, "default_prompt_name": "any"}"#,
        &["default_prompt_name", "any"],
    );
}

#[test]
fn a_cased_tokenizer_gets_lower_case_where_the_files_say_so() {
    let dir = variant_of_model();
    let tokenizer = std::fs::read_to_string(model_dir().join("tokenizer.json")).unwrap();
    replace(
        dir.path(),
        "tokenizer.json",
        &tokenizer.replace(r#""lowercase":true"#, r#""lowercase":false"#),
    );
    let ids = || {
        let tokenizer = Tokenizer::open(&ModelFiles::open(dir.path()).unwrap(), &params()).unwrap();
        tokenizer
            .tokenize(&["The CAT"], Role::Document)
            .unwrap()
            .remove(0)
            .ids()
            .to_vec()
    };
    let [cased, lower] = ["false", "true"].map(|flag| {
        replace(
            dir.path(),
            "sentence_bert_config.json",
            &format!(r#"{{"do_lower_case": {flag}}}"#),
        );
        ids()
    });
    assert_eq!(lower, [101, 1996, 4937, 102]);
    assert_ne!(cased, lower);
}

#[test]
fn a_chunker_sees_texts_whole_and_without_special_tokens() {
    let tokenizer = MODEL.encoder().tokenizer(Role::Document);
    let long = REFERENCE.texts.last().unwrap();
    assert_eq!(long.ids.len(), 256);
    assert_eq!(tokenizer.count_tokens(&long.text).unwrap(), 400);
    assert_eq!(tokenizer.count_tokens("").unwrap(), 0);
    assert_eq!(tokenizer.special_tokens(), 2);
}
