use std::num::NonZeroUsize;
use std::path::Path;

use twofold_encode::DeviceSpec;
use twofold_storage::Fault;
use twofold_types::{Details, Embedding, Role};

use super::*;

/// A directory with two small models, `t/bert` and `t/roberta`.
fn two_models(budget_bytes: u64) -> (Models, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families");
    for model in ["bert", "roberta"] {
        copy(&fixtures.join(model), &dir.path().join("t").join(model));
    }
    let devices = vec![DeviceSpec::Cpu.open().unwrap()];
    (
        Models::new(dir.path().to_owned(), Endpoints::default(), devices, budget_bytes, None),
        dir,
    )
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn params(model: &str) -> EncoderParams {
    EncoderParams::new(ModelId::new(model))
}

fn loaded(models: &Models) -> Vec<(String, bool)> {
    let list = models.list().into_iter();
    let with_files = list.filter(|info| info.id.as_str() != BM25);
    with_files.map(|info| (info.id.to_string(), info.loaded)).collect()
}

fn embed(encoder: &dyn Encoder) -> Embedding {
    let tokens = encoder.tokenizer(Role::Document).tokenize(&["a text"], Role::Document);
    encoder.encode(&tokens.unwrap(), Role::Document).unwrap().remove(0)
}

#[test]
fn the_least_recently_used_model_makes_room_and_whoever_holds_it_goes_on() {
    let (models, _dir) = two_models(1);
    let bert = models.get(&params("t/bert")).unwrap();
    let before = embed(bert.as_ref());
    models.get(&params("t/roberta")).unwrap();
    assert_eq!(
        loaded(&models),
        [("t/bert".to_owned(), false), ("t/roberta".to_owned(), true)]
    );
    assert_eq!(embed(bert.as_ref()), before);
    let again = models.get(&params("T/Bert")).unwrap();
    assert!(!Arc::ptr_eq(&again, &bert));
    assert_eq!(embed(again.as_ref()), before);
    assert_eq!(
        loaded(&models),
        [("t/bert".to_owned(), true), ("t/roberta".to_owned(), false)]
    );
}

#[test]
fn encoders_of_one_model_share_its_weights() {
    let (models, _dir) = two_models(u64::MAX);
    let whole = models.get(&params("t/bert")).unwrap();
    let bytes = models.loaded_bytes();
    let short = EncoderParams {
        dimensions: NonZeroUsize::new(8),
        ..params("t/bert")
    };
    let short = models.get(&short).unwrap();
    assert_eq!((short.space().dimensions(), models.loaded_bytes()), (Some(8), bytes));
    assert_eq!(weight_bytes(&models, 0), bytes);
    assert_ne!(whole.space().dimensions(), Some(8));
    assert!(Arc::ptr_eq(&whole, &models.get(&params("t/bert")).unwrap()));
}

#[test]
fn a_model_is_on_every_device_and_counts_as_often() {
    let (mut models, _dir) = two_models(u64::MAX);
    let one = embed(models.get(&params("t/bert")).unwrap().as_ref());
    let bytes = models.loaded_bytes();
    models.devices.push(DeviceSpec::Cpu.open().unwrap());
    let on_both = models.get(&params("t/roberta")).unwrap();
    assert_eq!(models.loaded_bytes() - bytes, 2 * weight_bytes(&models, 1));
    let in_f32 = EncoderParams {
        precision: Precision::F32,
        ..params("t/bert")
    };
    assert_eq!(embed(models.get(&in_f32).unwrap().as_ref()), one);
    assert_eq!(embed(on_both.as_ref()), embed(on_both.as_ref()));
}

fn weight_bytes(models: &Models, place: usize) -> u64 {
    match &models.list()[place].details {
        Some(Details::Encoder(details)) => details.weight_bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn precisions_of_one_model_are_encoders_of_their_own_and_auto_is_one_of_them() {
    let (models, _dir) = two_models(u64::MAX);
    let of = |precision| EncoderParams {
        precision,
        ..params("t/bert")
    };
    let get = |precision| models.get(&of(precision)).unwrap();
    let (f32, int8, auto) = (get(Precision::F32), get(Precision::Int8), get(Precision::Auto));
    assert!(!Arc::ptr_eq(&f32, &int8));
    // Nobody has measured this model.
    assert!(Arc::ptr_eq(&auto, &f32));
    assert_eq!(models.settled(of(Precision::Auto)), of(Precision::F32));
    assert_ne!(embed(f32.as_ref()), embed(int8.as_ref()));
    let [bert, roberta, _] = &models.list()[..] else {
        panic!("two models, and BM25")
    };
    assert!(bert.loaded && bert.precisions == [Precision::F32, Precision::Int8]);
    assert!(!roberta.loaded && roberta.precisions.is_empty());
}

#[test]
fn whole_numbers_count_as_such() {
    let (models, _dir) = two_models(u64::MAX);
    let in_int8 = EncoderParams {
        precision: Precision::Int8,
        ..params("t/bert")
    };
    models.get(&params("t/bert")).unwrap();
    let f32 = models.loaded_bytes();
    models.get(&in_int8).unwrap();
    let int8 = models.loaded_bytes() - f32;
    // Words, positions and norms stay as they are.
    assert!((f32 / 4 + 1..f32).contains(&int8), "{int8} beside {f32}");
    let (both, _dir) = two_models(f32 + int8);
    let (one, _dir) = two_models(f32 + int8 - 1);
    for (models, loaded) in [(both, 2), (one, 1)] {
        models.get(&params("t/bert")).unwrap();
        models.get(&in_int8).unwrap();
        assert_eq!(models.list()[0].precisions.len(), loaded);
    }
}

#[test]
fn a_model_that_cannot_be_opened_is_listed_with_its_error() {
    let (models, dir) = two_models(u64::MAX);
    std::fs::remove_file(dir.path().join("t/bert/tokenizer.json")).unwrap();
    std::fs::create_dir_all(dir.path().join(".cache/x")).unwrap();
    std::fs::write(dir.path().join("t/roberta/tokenizer.json"), "{").unwrap();
    let error = |models: &Models, place: usize| models.list()[place].error.clone().unwrap_or_default();
    assert!(error(&models, 0).contains("tokenizer.json"), "{}", error(&models, 0));
    assert_eq!(error(&models, 1), "", "its tokenizer is read when it is loaded");
    assert!(models.get(&params("t/roberta")).is_err());
    assert!(error(&models, 1).contains("not a tokenizer"), "{}", error(&models, 1));
    let names: Vec<String> = models.list().iter().map(|info| info.id.to_string()).collect();
    assert_eq!(names, ["t/bert", "t/roberta", "Qdrant/bm25"]);
}

#[test]
fn a_cross_encoder_makes_no_embeddings_and_an_encoder_no_scores() {
    let (models, dir) = two_models(u64::MAX);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/cross_encoders");
    std::fs::remove_dir_all(dir.path().join("t/roberta")).unwrap();
    copy(&fixtures.join("distilbert"), &dir.path().join("t/reranker"));
    assert_eq!(models.default_model().unwrap().as_str(), "t/bert");
    assert_eq!(models.default_cross_encoder().unwrap().as_str(), "t/reranker");
    let error = models.get(&params("t/reranker")).err().unwrap();
    assert!(
        error.fault() == Fault::Caller && error.to_string().contains("it is a cross-encoder"),
        "{error}"
    );
    let error = models.cross_encoder(&ModelId::new("t/bert")).err().unwrap();
    assert!(
        error.fault() == Fault::Caller && error.to_string().contains("no cross-encoder"),
        "{error}"
    );
    assert_eq!(models.loaded_bytes(), 0, "neither was loaded for that");
    models.cross_encoder(&ModelId::new("t/reranker")).unwrap();
    assert_eq!(
        loaded(&models),
        [("t/bert".to_owned(), false), ("t/reranker".to_owned(), true)]
    );
}

#[test]
fn a_request_that_names_no_model_gets_the_configured_or_the_only_one() {
    let (mut models, dir) = two_models(u64::MAX);
    let error = models.default_model().unwrap_err().to_string();
    assert!(error.contains("t/bert, t/roberta"), "{error}");
    models.default = Some(ModelId::new("t/roberta"));
    assert_eq!(models.default_model().unwrap().as_str(), "t/roberta");
    models.default = None;
    std::fs::remove_dir_all(dir.path().join("t/roberta")).unwrap();
    assert_eq!(models.default_model().unwrap().as_str(), "t/bert");
}
