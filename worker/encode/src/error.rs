//! What can go wrong between a directory of model files and a vector.

use std::{io, path::PathBuf};

use twofold_types::{EmbeddingKind, EmbeddingSpace, ModelId, OtherKind, Precision};

use crate::{DeviceSpec, RemoteError};

/// The error of a library underneath, kept as the cause.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a model could not be opened or a text not be encoded.
///
/// Everything except [`Tokenize`](Self::Tokenize), [`Forward`](Self::Forward) and [`Remote`](Self::Remote) is found when a
/// model is opened and is the operator's to repair: the files, the device or its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A file that the model needs is missing or unreadable.
    #[error(
        "{}: {source}; a model directory holds config.json, tokenizer.json, model.safetensors (or \
         model.safetensors.index.json with its files, or model.gguf, or pytorch_model.bin) and, where they differ from the defaults, \
         modules.json with a folder for each of its modules, sentence_bert_config.json and \
         config_sentence_transformers.json",
        path.display()
    )]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A JSON file is not JSON, or lacks a field that has no default.
    #[error("{}: {source}", path.display())]
    ParseFile {
        /// The file.
        path: PathBuf,
        /// Where and why parsing stopped.
        source: serde_json::Error,
    },
    /// A file asks for something that this crate does not do. Ignoring it would give vectors that look right and are not.
    #[error("{}: {field} is {found}; supported: {}", path.display(), supported.join(", "))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Which of its fields.
        field: &'static str,
        /// The field's value.
        found: String,
        /// The values that would have been understood.
        supported: &'static [&'static str],
    },
    /// `tokenizer.json` could not be loaded.
    #[error("{}: not a tokenizer: {source}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The tokenizer library's answer.
        source: Source,
    },
    /// The weights could not be loaded: not a file of its kind, or tensors missing or of other shapes than
    /// `config.json` says.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Which tensor, and why.
        source: Source,
    },
    /// A collection asks for more than the model has.
    #[error("{name} is {received}, but the model has {most}; accepted: 1 to {most}")]
    Parameter {
        /// The parameter's name.
        name: &'static str,
        /// Its value.
        received: usize,
        /// The largest value that is accepted.
        most: usize,
    },
    /// A collection asks for something that is up to the service that runs the model.
    #[error("`{0}` cannot be asked of this model: it runs elsewhere")]
    RemoteParameter(&'static str),
    /// Embeddings are asked of a model that makes none.
    #[error("it is a cross-encoder: it scores a query with a document (`POST /rerank`) and makes no embeddings")]
    CrossEncoder,
    /// Scores are asked of a model that makes none.
    #[error("it is no cross-encoder: it makes embeddings and cannot score a query with a document")]
    NoCrossEncoder,
    /// A precision that there is on the CPU only.
    #[error(
        "{precision:?} is computed on the CPU, and the encoders run on {device}; accepted there: f32, bf16, f16, gguf, auto"
    )]
    Precision {
        /// What was asked for.
        precision: Precision,
        /// Where encoders run.
        device: String,
    },
    /// Blocks of GGUF are asked of weights that are none.
    #[error("gguf is for weights in model.gguf, and this model's are in {}; accepted: f32, bf16, f16, int8, auto", path.display())]
    NoGguf {
        /// The file that has the weights.
        path: PathBuf,
    },
    /// A collection asks for a number that is out of its range.
    #[error("{name} is {received}; accepted: {accepted}")]
    OutOfRange {
        /// The option's name.
        name: &'static str,
        /// Its value.
        received: f64,
        /// What is accepted.
        accepted: &'static str,
    },
    /// A collection asks for something that only encoders of other kinds have.
    #[error("`{name}` has no meaning for {model}, whose embeddings are {kind}")]
    Inapplicable {
        /// The model.
        model: ModelId,
        /// The parameter's name.
        name: &'static str,
        /// The kind of its embeddings.
        kind: EmbeddingKind,
    },
    /// Two models whose vectors cannot be compared.
    #[error("embeddings of {query} are {query_space}, those of {document} are {document_space}: two towers share both")]
    Towers {
        /// The tower of queries.
        query: ModelId,
        /// What it makes.
        query_space: EmbeddingSpace,
        /// The tower of documents.
        document: ModelId,
        /// What it makes.
        document_space: EmbeddingSpace,
    },
    /// A model that is asked for embeddings of another kind than its own.
    #[error("{model}: {source}")]
    OtherKind {
        /// The model.
        model: ModelId,
        /// The two kinds.
        source: OtherKind,
    },
    /// A device was named that does not exist.
    #[error("device {given:?} is unknown; accepted: auto, cpu, cuda:N (for example cuda:0), metal")]
    UnknownDevice {
        /// The name as it was given.
        given: String,
    },
    /// A device was named that this build has no support for.
    #[error("device {device} needs a build with the cargo feature `{feature}`")]
    DeviceNotBuilt {
        /// The device.
        device: DeviceSpec,
        /// The feature that adds it.
        feature: &'static str,
    },
    /// A device was named and supported, but would not open.
    #[error("device {device} cannot be opened: {source}")]
    OpenDevice {
        /// The device.
        device: DeviceSpec,
        /// The driver's answer.
        source: Source,
    },
    /// One device was named several times.
    #[error("device {device} is named twice")]
    DeviceTwice {
        /// The device.
        device: DeviceSpec,
    },
    /// Several devices were named that do not work together.
    #[error(
        "device {device} cannot be one of several; accepted: one device, or several of the form cuda:N, as in cuda:0,cuda:1"
    )]
    UnlikeDevices {
        /// One that is no CUDA device.
        device: DeviceSpec,
    },
    /// The tokenizer could not make tokens of a text.
    #[error("text {index} of the batch cannot be tokenised: {source}")]
    Tokenize {
        /// Position of the text in the slice that was passed.
        index: usize,
        /// The tokenizer's answer.
        source: Source,
    },
    /// The network failed, for instance for want of device memory or because the tokens are another model's.
    #[error("{model} failed on a batch of {texts} texts of up to {longest} tokens: {source}")]
    Forward {
        /// The model.
        model: ModelId,
        /// How many texts were in the failing sub-batch.
        texts: usize,
        /// Tokens of its longest text.
        longest: usize,
        /// The tensor library's answer.
        source: Source,
    },
    /// A model that runs elsewhere gave nothing that can be used.
    #[error("{model}: {source}")]
    Remote {
        /// The model.
        model: ModelId,
        /// Why.
        source: RemoteError,
    },
}

impl EncodeError {
    /// Whether the same texts may be encoded later without anybody doing anything: a remote model that is not reached, has
    /// too much to do, or is not well. Whatever a text or an operator is to blame for is not transient, and then the same
    /// batch fails again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Remote { source, .. } if source.is_transient())
    }

    /// Whether one text of a batch may be to blame, so that the others could be encoded without it.
    pub fn may_be_one_text(&self) -> bool {
        match self {
            Self::Remote { source, .. } => matches!(source, RemoteError::Refused { .. }),
            _ => true,
        }
    }
}
