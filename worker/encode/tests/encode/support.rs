//! The model, the reference vectors and how vectors are compared.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde::Deserialize;
use twofold_encode::{DeviceSpec, EncodeError, EncodeOptions, Model, ModelFiles, TokenBudget, open_encoder};
use twofold_types::{EncoderParams, ModelId};

/// Largest cosine distance at which two vectors count as the same.
pub const TOLERANCE: f64 = 1e-5;

/// `tests/fixtures/minilm_reference.json`.
#[derive(Deserialize)]
pub struct Reference {
    pub texts: Vec<Text>,
    pub unnormalised: Unnormalised,
}

#[derive(Deserialize)]
pub struct Text {
    pub text: String,
    pub ids: Vec<u32>,
    pub vector: Vec<f32>,
}

/// The same transformer with other poolings and nothing after them.
#[derive(Deserialize)]
pub struct Unnormalised {
    pub cls: Vec<Pooled>,
    pub max: Vec<Pooled>,
    pub mean: Vec<Pooled>,
}

#[derive(Deserialize)]
pub struct Pooled {
    /// Which of the texts.
    pub text: usize,
    pub vector: Vec<f32>,
}

pub static REFERENCE: LazyLock<Reference> =
    LazyLock::new(|| serde_json::from_str(include_str!("../fixtures/minilm_reference.json")).unwrap());

pub static MODEL: LazyLock<Model> =
    LazyLock::new(|| open_with(&model_dir(), &params(), EncodeOptions::default()).unwrap());

impl Reference {
    pub fn strings(&self) -> Vec<&str> {
        self.texts.iter().map(|t| t.text.as_str()).collect()
    }
}

/// Where models run: `TWOFOLD_TEST_DEVICE`, else the CPU.
pub fn device() -> DeviceSpec {
    std::env::var("TWOFOLD_TEST_DEVICE").map_or(DeviceSpec::Cpu, |name| name.parse().unwrap())
}

/// The directory of all-MiniLM-L6-v2: `TWOFOLD_TEST_MODEL`, else the user's cache.
pub fn model_dir() -> PathBuf {
    let dir = std::env::var_os("TWOFOLD_TEST_MODEL").map_or_else(cached_model, PathBuf::from);
    assert!(
        dir.is_dir(),
        "{} is missing: run `make model`, or set TWOFOLD_TEST_MODEL",
        dir.display()
    );
    dir.canonicalize().unwrap()
}

fn cached_model() -> PathBuf {
    models_dir().join("sentence-transformers/all-MiniLM-L6-v2")
}

/// Where models are in the user's cache.
pub fn models_dir() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        _ if cfg!(target_os = "macos") => home.join("Library/Caches"),
        Some(cache) if !cache.is_empty() => cache.into(),
        _ => home.join(".cache"),
    };
    cache.join("twofold/models")
}

/// The model with forward passes of at most `budget` tokens.
pub fn model_with_budget(budget: usize) -> Model {
    open_with_budget(&model_dir(), budget)
}

/// The model in `dir` with forward passes of at most `budget` tokens.
pub fn open_with_budget(dir: &Path, budget: usize) -> Model {
    let options = EncodeOptions {
        budget: TokenBudget::new(budget),
        ..EncodeOptions::default()
    };
    open_with(dir, &params(), options).unwrap()
}

/// The params of a model that no table knows.
pub fn params() -> EncoderParams {
    EncoderParams::new(ModelId::new("test"))
}

/// The model in `dir` as `params` ask for it.
pub fn open_with(dir: &Path, params: &EncoderParams, options: EncodeOptions) -> Result<Model, EncodeError> {
    let files = ModelFiles::open(dir)?;
    open_encoder(&files, params, &device().open()?, options).map(Model::from)
}

/// A copy of the model's directory in which every file is a link, so that a test can replace one.
pub fn variant_of_model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    link_all(&model_dir(), dir.path());
    dir
}

fn link_all(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let link = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&link).unwrap();
            link_all(&entry.path(), &link);
        } else {
            std::os::unix::fs::symlink(entry.path(), link).unwrap();
        }
    }
}

/// Replaces a file of a variant, never what its link points to.
pub fn replace(dir: &Path, name: &str, content: &str) {
    let path = dir.join(name);
    std::fs::remove_file(&path).ok();
    std::fs::write(path, content).unwrap();
}

pub fn norm(a: &[f32]) -> f64 {
    a.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// Panics unless the two have one direction and one length.
#[track_caller]
pub fn assert_same(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let dot: f64 = ours
        .iter()
        .zip(theirs)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum();
    let distance = 1.0 - dot / (norm(ours) * norm(theirs));
    // Not `distance > TOLERANCE`, which NaN would pass.
    assert!(distance <= TOLERANCE, "{what}: cosine distance {distance:e}");
    let ratio = norm(ours) / norm(theirs);
    assert!((ratio - 1.0).abs() <= 1e-4, "{what}: {ratio} times as long");
}
