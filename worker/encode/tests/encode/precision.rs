//! bf16, whole numbers of 8 bits, and weights that come quantised, lose next to nothing.

use std::{collections::HashMap, fs::File, path::Path};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use twofold_encode::{DeviceSpec, EncodeOptions, Model, ModelFiles, TokenBudget, cosine, settled};
use twofold_types::{EncoderParams, ModelId, Precision, Role};

use crate::support::{MODEL, REFERENCE, assert_same, model_dir, open_with, params, variant_of_model};

fn in_precision(dir: &Path, precision: Precision, budget: usize) -> Model {
    let params = EncoderParams { precision, ..params() };
    let options = EncodeOptions {
        budget: TokenBudget::new(budget),
        ..EncodeOptions::default()
    };
    open_with(dir, &params, options).unwrap()
}

fn in_int8(dir: &Path, budget: usize) -> Model {
    in_precision(dir, Precision::Int8, budget)
}

/// The least cosine to the reference's vectors.
fn least_cosine(model: &Model) -> f32 {
    let ours = model.embed(&REFERENCE.strings(), Role::Document).unwrap();
    let cosines = ours
        .iter()
        .zip(&REFERENCE.texts)
        .map(|(ours, text)| cosine(ours, &text.vector));
    cosines.fold(1.0, f32::min)
}

#[test]
fn vectors_in_int8_are_near_the_reference_and_not_those_of_f32() {
    let model = in_int8(&model_dir(), 512);
    let least = least_cosine(&model);
    assert!(least > 0.994, "{least}");
    let text = ["What is the capital of France?"];
    assert_ne!(
        model.embed(&text, Role::Query).unwrap(),
        MODEL.embed(&text, Role::Query).unwrap()
    );
}

/// In f32 where the processor has no products of bf16.
#[test]
fn vectors_in_bf16_are_as_good_as_those_of_f32() {
    let least = least_cosine(&in_precision(&model_dir(), Precision::Bf16, 512));
    assert!(least > 0.9998, "{least}");
}

#[test]
fn in_every_precision_a_text_alone_is_the_same_as_in_every_batch() {
    let texts = REFERENCE.strings();
    for precision in [Precision::Bf16, Precision::Int8] {
        let model = in_precision(&model_dir(), precision, 4096);
        let together = model.embed(&texts, Role::Document).unwrap();
        let model = in_precision(&model_dir(), precision, 64);
        for (text, together) in texts.iter().zip(together) {
            let alone = model.embed(&[text], Role::Document).unwrap();
            assert_same(&alone[0], &together, text);
        }
    }
}

#[test]
fn auto_is_faster_for_measured_models_alone_and_never_stays_auto() {
    let device = DeviceSpec::Cpu.open().unwrap();
    let of = |model: &str, precision| {
        let params = EncoderParams {
            precision,
            ..EncoderParams::new(ModelId::new(model))
        };
        settled(&params, &device)
    };
    let measured = of("sentence-transformers/all-MiniLM-L6-v2", Precision::Auto);
    assert_ne!(measured, Precision::Auto);
    assert_eq!(of("a/b", Precision::Auto), Precision::F32);
    assert_eq!(of("a/b", Precision::Int8), Precision::Int8);
}

/// Writes the model's weights as llama.cpp's converter does.
fn write_gguf(to: &Path, kind: GgmlDType) {
    let names: HashMap<&str, &str> = HashMap::from([
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("attention.self.query", "attn_q"),
        ("attention.self.key", "attn_k"),
        ("attention.self.value", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
        ("output.LayerNorm", "layer_output_norm"),
    ]);
    let tensors = candle_core::safetensors::load(model_dir().join("model.safetensors"), &Device::Cpu).unwrap();
    let quantised = |tensor: &Tensor, name: &str| {
        let kept = tensor.rank() == 1 || name.contains("position") || name.contains("token_type");
        QTensor::quantize(tensor, if kept { GgmlDType::F32 } else { kind }).unwrap()
    };
    let translate = |name: &str| -> Option<String> {
        let (part, suffix) = name.rsplit_once('.')?;
        match part.strip_prefix("encoder.layer.") {
            None => Some(format!("{}.{suffix}", names.get(part)?)),
            Some(below) => {
                let (layer, part) = below.split_once('.')?;
                Some(format!("blk.{layer}.{}.{suffix}", names.get(part)?))
            }
        }
    };
    let written: Vec<(String, QTensor)> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((translate(name)?, quantised(tensor, name))))
        .collect();
    let written: Vec<(&str, &QTensor)> = written.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut File::create(to).unwrap(), &[], &written).unwrap();
}

#[test]
fn weights_that_come_quantised_are_near_the_reference() {
    for (kind, least, least_in_blocks) in [
        (GgmlDType::F32, 0.999_99, 0.999_99),
        (GgmlDType::Q8_0, 0.999, 0.997),
        (GgmlDType::Q5_1, 0.97, 0.97),
        (GgmlDType::Q4_0, 0.88, 0.88),
    ] {
        let dir = variant_of_model();
        std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
        write_gguf(&dir.path().join("model.gguf"), kind);
        let in_f32 = in_precision(dir.path(), Precision::F32, 512);
        let in_blocks = in_precision(dir.path(), Precision::Gguf, 512);
        for (model, least) in [(&in_f32, least), (&in_blocks, least_in_blocks)] {
            let cosine = least_cosine(model);
            assert!(cosine > least, "{kind:?}: {cosine}");
        }
        if kind == GgmlDType::Q8_0 {
            let cosine = least_cosine(&in_int8(dir.path(), 512));
            assert!(cosine > 0.994, "{kind:?} in int8: {cosine}");
            let text = ["What is the capital of France?"];
            let [taken_apart, in_blocks] = [in_f32, in_blocks].map(|model| model.embed(&text, Role::Query).unwrap());
            assert_ne!(taken_apart, in_blocks, "{kind:?}");
        }
    }
}

#[test]
fn blocks_are_smaller_and_asked_of_gguf_alone() {
    let dir = variant_of_model();
    let open = || {
        let params = EncoderParams {
            precision: Precision::Gguf,
            ..params()
        };
        open_with(dir.path(), &params, EncodeOptions::default())
    };
    let message = open().err().unwrap().to_string();
    assert!(
        message.contains("model.gguf") && message.contains("model.safetensors"),
        "{message}"
    );
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    write_gguf(&dir.path().join("model.gguf"), GgmlDType::Q4_0);
    assert!(open().is_ok());
    let files = ModelFiles::open(dir.path()).unwrap();
    let cpu = DeviceSpec::Cpu.open().unwrap();
    let [f32, blocks] = [Precision::F32, Precision::Gguf].map(|precision| files.weight_bytes(precision, &cpu).unwrap());
    // The products of MiniLM have 10,616,832 weights: 4 bytes each, or 18 for 32 of them.
    assert_eq!(f32 - blocks, 10_616_832 * 4 - 10_616_832 / 32 * 18);
}
