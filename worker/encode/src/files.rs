//! A model's directory, read and checked but not loaded: the hub's layout as sentence-transformers writes it.

mod classifier;
mod dense;
mod late;
mod modules;
mod pooling;
mod prompts;
mod weights;

use std::path::{Path, PathBuf};

use serde::{Deserialize, de::DeserializeOwned};

use twofold_types::{Distance, Pooling};

pub(crate) use self::classifier::Classifier;
pub(crate) use self::late::{Expansion, LateInteraction};
pub(crate) use self::modules::StageModule;
pub use self::prompts::Prompts;
use self::{
    dense::DenseModule,
    modules::{Ending, Modules},
    pooling::PoolingModule,
    prompts::Usage,
};
use crate::{
    EncodeError,
    families::{self, Architecture},
    network::{Description, HeadNames},
    weights::WeightFiles,
};

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
    head: Head,
    pooling: Option<PoolingModule>,
    stages: Vec<StageModule>,
    prompts: Prompts,
    distance: Option<Distance>,
}

/// What becomes of the network's vectors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Head {
    /// A pooling, and what follows it: one vector.
    Pooled,
    /// Scores of words: a sparse vector.
    Vocabulary(HeadNames),
    /// What follows the network, for every token: a vector each.
    Tokens(LateInteraction),
    /// A score, of a query and a document that were read together.
    Pairs(Classifier),
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

/// `tokenizer_config.json`. The length may be as large as 1e30, which stands for none.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    model_max_length: Option<f64>,
}

impl ModelFiles {
    /// Reads the description of the model in `dir`.
    ///
    /// `config.json`, `tokenizer.json` and weights have to be there: `model.safetensors`, or the files that
    /// `model.safetensors.index.json` names, or `model.gguf`, or `pytorch_model.bin` where none of these is. Pooling and what follows it are as
    /// `modules.json` says, prompts and comparison as `config_sentence_transformers.json` says. The maximum length is that of
    /// `sentence_bert_config.json`, or else of `tokenizer_config.json`, and never more than the network has positions for.
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`], [`EncodeError::ParseFile`] and [`EncodeError::Unsupported`], naming the file.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, EncodeError> {
        let dir = dir.as_ref().to_owned();
        let Modules {
            transformer,
            ending,
            pooling,
            mut stages,
        } = modules::read(&dir)?;
        let transformer = dir.join(transformer);
        let config = transformer.join("config.json");
        let description = families::describe(&config)?;
        let weights = weights::find(&transformer)?;
        let usage = dir.join("config_sentence_transformers.json");
        let head = match (ending, families::architecture(&config)?) {
            // Whatever the network once was, what is behind a pooling makes embeddings.
            (Some(Ending::Pooled), _) => Head::Pooled,
            (Some(Ending::Score) | None, None) => match classifier::read(&config, description.head.as_ref(), &usage)? {
                Some(classifier) => Head::Pairs(classifier),
                None if ending.is_none() => Head::Pooled,
                None => return Err(modules::without_pooling(&dir)),
            },
            (Some(Ending::Score), Some(_)) => return Err(modules::without_pooling(&dir)),
            (Some(Ending::Vocabulary) | None, Some(Architecture::Vocabulary(names))) => Head::Vocabulary(names),
            (Some(Ending::Tokens), _) => Head::Tokens(LateInteraction::of_pylate(&usage)?),
            (None, Some(Architecture::Colbert)) => {
                let (late, dimensions) = LateInteraction::of_artifact(&dir.join("artifact.metadata"))?;
                stages.push(StageModule::Dense(DenseModule {
                    shape: [description.hidden, dimensions],
                    bias: false,
                    activation: None,
                    weights: weights.clone(),
                }));
                Head::Tokens(late)
            }
            (Some(Ending::Vocabulary), _) => {
                return Err(EncodeError::Unsupported {
                    path: config,
                    field: "architectures",
                    found: format!("none with a head for {}", description.family),
                    supported: &["BertForMaskedLM", "DistilBertForMaskedLM"],
                });
            }
        };
        let sentence: SentenceConfig =
            read_json_if_there(&transformer.join("sentence_bert_config.json"))?.unwrap_or_default();
        let tokenizer: TokenizerConfig =
            read_json_if_there(&transformer.join("tokenizer_config.json"))?.unwrap_or_default();
        let positions = description.max_tokens;
        let stated = sentence
            .max_seq_length
            // A float beyond usize saturates.
            .or(tokenizer.model_max_length.map(|length| length as usize));
        let stated = match &head {
            Head::Tokens(late) => Some(late.document_tokens),
            Head::Pooled | Head::Vocabulary(_) | Head::Pairs(_) => stated,
        };
        let Usage { prompts, distance } = Usage::read(&usage)?;
        let files = Self {
            max_tokens: stated.map_or(positions, |length| length.min(positions)),
            lower_case: sentence.do_lower_case,
            weights,
            head,
            pooling,
            stages,
            prompts,
            distance,
            dir,
            transformer,
            description,
        };
        files.check_stages()?;
        let path = files.tokenizer_path();
        std::fs::metadata(&path).map_err(|source| EncodeError::ReadFile { path, source })?;
        Ok(files)
    }

    /// Every dense module takes what the stage before it gives.
    fn check_stages(&self) -> Result<(), EncodeError> {
        let mut width = self.description.hidden;
        for stage in &self.stages {
            if let StageModule::Dense(dense) = stage {
                let [input, output] = dense.shape;
                if input != width {
                    return Err(EncodeError::Unsupported {
                        path: dense.weights.first().with_file_name("config.json"),
                        field: "in_features",
                        found: format!("{input}, behind {width} dimensions"),
                        supported: &["what the module before gives"],
                    });
                }
                width = output;
            }
        }
        Ok(())
    }

    /// The directory that was opened.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The family of the network: `bert`, `roberta`, `mpnet` and so on.
    pub fn family(&self) -> &'static str {
        self.description.family
    }

    /// Length of the model's vectors; of a sparse model's network, whose embeddings have no length.
    pub fn dimensions(&self) -> usize {
        let width = |stage: &StageModule| match stage {
            StageModule::Dense(dense) => Some(dense.shape[1]),
            StageModule::Normalize => None,
        };
        self.stages
            .iter()
            .rev()
            .find_map(width)
            .unwrap_or(self.description.hidden)
    }

    /// What becomes of the network's vectors.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Longest text in tokens, special tokens included; of late interaction the longest document.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// True if texts are lower-cased before the tokenizer's own rules apply.
    pub fn lower_case(&self) -> bool {
        self.lower_case
    }

    /// How the token vectors become one vector, where the files say.
    pub fn pooling(&self) -> Option<Pooling> {
        self.pooling.map(|module| module.pooling)
    }

    /// Whether the tokens of the prompt are pooled with the others.
    pub fn include_prompt(&self) -> bool {
        self.pooling.is_none_or(|module| module.include_prompt)
    }

    /// How vectors are compared, where the files say.
    pub fn distance(&self) -> Option<Distance> {
        self.distance
    }

    /// What the model wants before queries and documents.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// Where the tokenizer is.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.transformer.join("tokenizer.json")
    }

    /// Whether the model scores pairs of texts and makes no embeddings.
    pub fn is_cross_encoder(&self) -> bool {
        self.classifier().is_some()
    }

    /// # Errors
    /// [`EncodeError::CrossEncoder`] where the model makes no embeddings.
    pub fn check_encoder(&self) -> Result<(), EncodeError> {
        (!self.is_cross_encoder())
            .then_some(())
            .ok_or(EncodeError::CrossEncoder)
    }

    /// # Errors
    /// [`EncodeError::NoCrossEncoder`] where the model scores no pairs.
    pub fn check_cross_encoder(&self) -> Result<(), EncodeError> {
        self.is_cross_encoder().then_some(()).ok_or(EncodeError::NoCrossEncoder)
    }

    /// What makes it a cross-encoder.
    pub(crate) fn classifier(&self) -> Option<&Classifier> {
        match &self.head {
            Head::Pairs(classifier) => Some(classifier),
            Head::Pooled | Head::Vocabulary(_) | Head::Tokens(_) => None,
        }
    }

    /// What follows the pooling.
    pub(crate) fn stages(&self) -> &[StageModule] {
        &self.stages
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
