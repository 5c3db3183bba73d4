//! What can go wrong between a request and storage.

use std::path::PathBuf;

use twofold_encode::EncodeError;
use twofold_storage::{Fault, InvalidInput, StorageError};
use twofold_types::ModelId;
use twofold_types::api::UnequalColumns;

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
    /// A text that could not be encoded.
    #[error("encoding failed: {0}")]
    Encoding(String),
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
    /// Something that is not built yet.
    #[error("`{0}` is not supported yet")]
    Unsupported(&'static str),
    /// Too much work is waiting.
    #[error("too many texts are waiting to be encoded; try again in a moment")]
    Busy,
    /// The engine is stopping.
    #[error("the server is shutting down")]
    Stopping,
}

impl From<InvalidInput> for WorkerError {
    fn from(error: InvalidInput) -> Self {
        Self::Storage(error.into())
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
            | Self::OtherModel { .. }
            | Self::NoEncoder(_)
            | Self::NoEncoders
            | Self::Document { .. }
            | Self::Unsupported(_)
            | Self::Model {
                source: EncodeError::Parameter { .. } | EncodeError::Towers { .. },
                ..
            } => Fault::Caller,
            Self::Busy | Self::Stopping => Fault::Unavailable,
            Self::Model { .. } | Self::Encoding(_) => Fault::Server,
        }
    }
}
