//! Our network beside another implementation of the same architecture.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use twofold_types::Role;

use crate::support::{MODEL, assert_same, model_dir};

/// The mean over the tokens of candle-transformers' BERT.
fn by_candle_transformers(model: &BertModel, ids: &[u32]) -> Vec<f32> {
    let ids = Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let mask = ids.ones_like().unwrap();
    let hidden = model.forward(&ids, &ids.zeros_like().unwrap(), Some(&mask)).unwrap();
    let pooled: Vec<f32> = hidden.mean(1).unwrap().squeeze(0).unwrap().to_vec1().unwrap();
    let length = pooled.iter().map(|x| x * x).sum::<f32>().sqrt();
    pooled.into_iter().map(|x| x / length).collect()
}

#[test]
fn the_network_equals_candle_transformers() {
    let config: Config = serde_json::from_slice(&std::fs::read(model_dir().join("config.json")).unwrap()).unwrap();
    let weights = std::fs::read(model_dir().join("model.safetensors")).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
    let theirs = BertModel::load(weights, &config).unwrap();
    let texts = [
        "A word.",
        "The quick brown fox jumps over the lazy dog.",
        &"Rain falls on the plain. ".repeat(30),
    ];
    let tokens = MODEL
        .encoder()
        .tokenizer(Role::Document)
        .tokenize(&texts, Role::Document)
        .unwrap();
    let ours = MODEL.embed(&texts, Role::Document).unwrap();
    for ((ours, tokens), text) in ours.iter().zip(&tokens).zip(texts) {
        assert_same(ours, &by_candle_transformers(&theirs, tokens.ids()), text);
    }
}
