//! A model's directory, read and checked but not loaded: the hub's layout as sentence-transformers writes it.

mod modules;
mod prompts;
mod weights;

use std::path::{Path, PathBuf};

use serde::{Deserialize, de::DeserializeOwned};

pub use prompts::Prompts;

use crate::{EncodeError, Pooling, families, network::Description, weights::WeightFiles};

/// What a directory of model files describes. Inert: opening it reads the small files only, so every mistake in them is
/// known before gigabytes of weights move.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    dir: PathBuf,
    /// Where the transformer's own files are: `dir`, or the folder below it that `modules.json` names.
    transformer: PathBuf,
    description: Description,
    weights: WeightFiles,
    max_tokens: usize,
    lower_case: bool,
    pooling: Pooling,
    normalises: bool,
    prompts: Prompts,
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

impl ModelFiles {
    /// Reads the description of the model in `dir`.
    ///
    /// `config.json`, `tokenizer.json` and weights have to be there: `model.safetensors`, or the files that
    /// `model.safetensors.index.json` names, or `pytorch_model.bin` where neither is. Without `modules.json` the model is taken
    /// as sentence-transformers takes it: mean pooling, no normalisation. Without `sentence_bert_config.json` the maximum
    /// length is `max_position_embeddings`.
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`], [`EncodeError::ParseFile`] and [`EncodeError::Unsupported`], naming the file.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, EncodeError> {
        let dir = dir.as_ref().to_owned();
        let modules = modules::read(&dir)?;
        let transformer = dir.join(&modules.transformer);
        let description = families::describe(&transformer.join("config.json"))?;
        let sentence: SentenceConfig =
            read_json_if_there(&transformer.join("sentence_bert_config.json"))?.unwrap_or_default();
        let positions = description.max_tokens;
        let weights = weights::find(&transformer)?;
        let files = Self {
            prompts: Prompts::read(&dir.join("config_sentence_transformers.json"))?,
            max_tokens: sentence
                .max_seq_length
                .map_or(positions, |length| length.min(positions)),
            lower_case: sentence.do_lower_case,
            pooling: modules.pooling,
            normalises: modules.normalises,
            dir,
            transformer,
            description,
            weights,
        };
        let path = files.tokenizer_path();
        std::fs::metadata(&path).map_err(|source| EncodeError::ReadFile { path, source })?;
        Ok(files)
    }

    /// The directory that was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The family of the network: `bert`, `roberta`, `mpnet` and so on.
    pub fn family(&self) -> &'static str {
        self.description.family
    }

    /// Length of the model's embeddings.
    pub fn dimensions(&self) -> usize {
        self.description.hidden
    }

    /// Longest text in tokens, special tokens included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// True if texts are lower-cased before the tokenizer's own rules apply.
    pub fn lower_case(&self) -> bool {
        self.lower_case
    }

    /// How the token vectors become one vector.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// True if embeddings are scaled to unit length.
    pub fn normalises(&self) -> bool {
        self.normalises
    }

    /// What the model wants before queries and documents.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// Where the tokenizer is.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.transformer.join("tokenizer.json")
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    pub(crate) fn weights(&self) -> &WeightFiles {
        &self.weights
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, EncodeError> {
    std::fs::read(path).map_err(|source| EncodeError::ReadFile {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EncodeError> {
    serde_json::from_slice(&read(path)?).map_err(|source| EncodeError::ParseFile {
        path: path.to_owned(),
        source,
    })
}

/// `None` if there is no such file; every other failure to read it is an error, so that a file that is there counts.
pub(crate) fn read_json_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EncodeError> {
    match read_json(path) {
        Err(EncodeError::ReadFile { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
