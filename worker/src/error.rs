//! What can go wrong between a request and storage.

use std::path::PathBuf;

use twofold_encode::EncodeError;
use twofold_storage::{Fault, InvalidInput, StorageError};
use twofold_types::api::UnequalColumns;
use twofold_types::{ModelId, OtherKind};

use crate::evaluation::InvalidEvaluation;

/// A result of this crate.
pub type Result<T, E = WorkerError> = std::result::Result<T, E>;

/// What can go wrong between a request and storage.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Storage failed or refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Columns of a batch that do not fit each other.
    #[error(transparent)]
    Columns(#[from] UnequalColumns),
    /// A model that is not on this machine.
    #[error("model `{model}` is not in {}; fetch it with `twofold model pull {model}`", dir.display())]
    ModelMissing {
        /// The model.
        model: ModelId,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A text that cannot be a model's name.
    #[error("`{0}` is not a model's name; names look like `publisher/model`")]
    ModelName(ModelId),
    /// A model that cannot be used.
    #[error("model `{model}`: {source}")]
    Model {
        /// The model.
        model: ModelId,
        /// Why.
        source: EncodeError,
    },
    /// A request for embeddings or scores that names no model, where several could be meant, or none is there.
    #[error("name a `model`: {}", if models.is_empty() { "none is installed; fetch one with `twofold model pull`".to_owned() } else { format!("there are {}", names(models)) })]
    ModelUnnamed {
        /// The models that could be meant.
        models: Vec<ModelId>,
    },
    /// A request for embeddings or scores without texts.
    #[error("there are no texts: at least one is needed")]
    NoTexts,
    /// A request for embeddings of tokens.
    #[error(
        "token ids are not accepted, as models differ in what they mean: send texts, as a string or an array of strings"
    )]
    Tokens,
    /// A text that is longer than its model's maximum, and that is not to be cut.
    #[error("text {index} has {received} tokens, but the model takes {most}: shorten it, or send `truncate: true`")]
    TooLong {
        /// Its place in the request.
        index: usize,
        /// Its tokens.
        received: usize,
        /// How many are accepted.
        most: usize,
    },
    /// A model that runs elsewhere gave nothing that can be used.
    #[error(transparent)]
    Remote(EncodeError),
    /// A text that could not be encoded.
    #[error("encoding failed: {0}")]
    Encoding(String),
    /// A model that makes embeddings of another kind than is needed.
    #[error("model `{model}`: {source}")]
    OtherKind {
        /// The model.
        model: ModelId,
        /// The two kinds.
        source: OtherKind,
    },
    /// A text for a vector that another model fills.
    #[error(
        "vector `{vector}` is filled by model `{expected}`, not by `{received}`: vectors of different models are not comparable"
    )]
    OtherModel {
        /// The vector.
        vector: String,
        /// Its model.
        expected: ModelId,
        /// The model of the request.
        received: ModelId,
    },
    /// A text for a vector that no model is known for.
    #[error("vector `{0}` has no encoder: name a `model` beside the text, or create the collection with `encoders`")]
    NoEncoder(String),
    /// Documents for a collection without any encoder.
    #[error(
        "the collection has no encoder, so it cannot take documents: create it with `encoders`, or send points with vectors"
    )]
    NoEncoders,
    /// A document that cannot be accepted.
    #[error("document {index}: {reason}")]
    Document {
        /// Its place in the request.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An evaluation that cannot be.
    #[error(transparent)]
    Evaluation(#[from] InvalidEvaluation),
    /// A text for a collection that could not encode it.
    #[error(
        "the collection has no encoder, so it cannot be searched by text: create it with `encoders`, or query it with vectors \
         (`/points/query`)"
    )]
    NothingToSearch,
    /// Not all texts were scored in the time that there was.
    #[error("the time was used up when {scored} of {texts} texts had been scored")]
    OutOfTime {
        /// How many were.
        scored: usize,
        /// How many were to be.
        texts: usize,
    },
    /// Too much work is waiting.
    #[error("too many texts are waiting to be encoded; try again in a moment")]
    Busy,
    /// The engine is stopping.
    #[error("the server is shutting down")]
    Stopping,
}

fn names(models: &[ModelId]) -> String {
    let names: Vec<&str> = models.iter().map(ModelId::as_str).collect();
    names.join(", ")
}

impl From<InvalidInput> for WorkerError {
    fn from(error: InvalidInput) -> Self {
        Self::Storage(error.into())
    }
}

/// An encoder that says one kind and makes another.
impl From<OtherKind> for WorkerError {
    fn from(error: OtherKind) -> Self {
        Self::Encoding(error.to_string())
    }
}

impl WorkerError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Storage(error) => error.fault(),
            Self::Columns(_)
            | Self::ModelMissing { .. }
            | Self::ModelName(_)
            | Self::ModelUnnamed { .. }
            | Self::NoTexts
            | Self::Tokens
            | Self::TooLong { .. }
            | Self::OtherKind { .. }
            | Self::OtherModel { .. }
            | Self::NoEncoder(_)
            | Self::NoEncoders
            | Self::NothingToSearch
            | Self::Document { .. }
            | Self::Evaluation(_)
            | Self::Model {
                source:
                    EncodeError::Parameter { .. }
                    | EncodeError::CrossEncoder
                    | EncodeError::RemoteParameter(_)
                    | EncodeError::NoCrossEncoder
                    | EncodeError::OutOfRange { .. }
                    | EncodeError::Inapplicable { .. }
                    | EncodeError::Towers { .. },
                ..
            } => Fault::Caller,
            Self::OutOfTime { .. } | Self::Busy | Self::Stopping => Fault::Unavailable,
            Self::Model { source, .. } | Self::Remote(source) if source.is_transient() => Fault::Unavailable,
            Self::Model { .. } | Self::Remote(_) | Self::Encoding(_) => Fault::Server,
        }
    }
}
