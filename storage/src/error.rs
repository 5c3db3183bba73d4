//! What can go wrong in storage.

use std::path::PathBuf;
use std::time::Duration;

use twofold_types::{CollectionName, EmbeddingKind, TaskId};
use twofold_vector::Deadline;

use crate::changes::ChangesGone;
use crate::pooled::InvalidPooling;

/// A result of this crate.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// What can go wrong in storage. [`fault`](Self::fault) says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such collection.
    #[error("Not found: Collection `{0}` doesn't exist!")]
    CollectionNotFound(CollectionName),
    /// There is already such a collection.
    #[error("Collection `{0}` already exists!")]
    CollectionExists(CollectionName),
    /// The collection is being re-embedded already.
    #[error(
        "Collection `{0}` is being re-embedded already: wait until that is done, or cancel it (`DELETE /collections/{0}/reembed`)"
    )]
    Reembedding(CollectionName),
    /// Points cannot be written while their collection is being re-embedded.
    #[error(
        "Collection `{0}` is being re-embedded: until that is done, documents can be sent and deleted, but points cannot be written \
         by themselves, as they are made anew of the documents; `DELETE /collections/{0}/reembed` cancels it"
    )]
    PointsHeld(CollectionName),
    /// A task that is not the caller's to cancel.
    #[error(
        "the task is a part of the re-embedding of collection `{0}`: that can be canceled as a whole \
         (`DELETE /collections/{0}/reembed`)"
    )]
    ReembeddingTask(CollectionName),
    /// The collection is not being re-embedded, or never was.
    #[error("Not found: Collection `{0}` is not being re-embedded!")]
    NotReembedding(CollectionName),
    /// What was found under the name has been replaced by its re-embedded successor.
    #[error("collection `{0}` has just been re-embedded; try again")]
    Succeeded(CollectionName),
    /// A document cannot be put together from its chunks.
    #[error("document `{0}` cannot be put together from its chunks: send it again, or delete it")]
    NotWhole(String),
    /// There is no such alias.
    #[error("Not found: Alias `{0}` doesn't exist!")]
    AliasNotFound(CollectionName),
    /// There is no such task.
    #[error("Not found: Task {0} doesn't exist!")]
    TaskNotFound(TaskId),
    /// There is no such document.
    #[error("Not found: Document `{0}` doesn't exist!")]
    DocumentNotFound(String),
    /// There is no such snapshot.
    #[error("Not found: Snapshot `{0}` doesn't exist!")]
    SnapshotNotFound(String),
    /// A snapshot could not be written.
    #[error("the snapshot could not be written: {0}")]
    Snapshot(std::io::Error),
    /// There is no such dead letter.
    #[error("Not found: Document `{0}` is not a dead letter!")]
    DeadLetterNotFound(String),
    /// Changes that are not kept any more.
    #[error(transparent)]
    ChangesGone(#[from] ChangesGone),
    /// The request cannot be carried out as it stands.
    #[error(transparent)]
    Invalid(#[from] InvalidInput),
    /// More began in a minute than the collection allows.
    #[error("Rate limiting exceeded: {what} rate limit exceeded, try again in {:.1} seconds", .retry_after.as_secs_f64())]
    RateLimited {
        /// `Read` or `Write`.
        what: &'static str,
        /// When it may begin.
        retry_after: Duration,
    },
    /// Nobody waits any more for what was asked.
    #[error("Timeout error: the operation timed out after {} seconds", .0.as_secs_f64())]
    Timeout(Duration),
    /// Storage is closing.
    #[error("the server is shutting down")]
    Closing,
    /// A write failed midway, so what is on disk is not known until the data directory is opened again.
    #[error("writes are refused since an earlier one failed: {0}")]
    Poisoned(String),
    /// The disk is full.
    #[error("no space is left on the disk of the data directory")]
    DiskFull,
    /// The disk is nearly full, and what is left is kept for deleting and for the work of RocksDB.
    #[error(
        "the disk of the data directory has {free} bytes left, less than the {needed} that are kept free \
         (`--min-free-disk`): delete something, or give it more room; deleting and canceling work"
    )]
    DiskLow {
        /// Bytes that are free.
        free: u64,
        /// Bytes that have to be.
        needed: u64,
    },
    /// Too many documents wait.
    #[error(
        "{documents} documents of {bytes} bytes wait to be encoded, as many as may (`--max-queued-documents`, \
         `--max-queued-bytes`); try again later"
    )]
    QueueFull {
        /// How many documents wait.
        documents: u64,
        /// Bytes of these.
        bytes: u64,
        /// Seconds after which there may be room.
        retry_after: u64,
    },
    /// RocksDB failed.
    #[error("RocksDB: {0}")]
    Rocks(String),
    /// An ANN index failed.
    #[error("ANN index: {0}")]
    Index(String),
    /// A record could not be read.
    #[error("{what} cannot be read: {reason}")]
    Corrupt {
        /// Which record.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A file or directory could not be used.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Input that cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidInput {
    /// A vector of another length than the collection's.
    #[error("Vector dimension error: expected dim: {expected}, got {received} (vector `{vector}`)")]
    Dimension {
        /// The vector's name.
        vector: String,
        /// Its dimensions.
        expected: usize,
        /// The length of the input.
        received: usize,
    },
    /// A vector of another kind than its name is for.
    #[error("vector `{vector}` is {expected}, but the input is {received}")]
    VectorKind {
        /// The vector's name.
        vector: String,
        /// What it is.
        expected: EmbeddingKind,
        /// What was sent.
        received: EmbeddingKind,
    },
    /// A multivector without any vector.
    #[error("multivector `{0}` is empty: at least one vector is needed")]
    EmptyMultivector(String),
    /// A vector that is named twice, as several kinds.
    #[error("vector `{0}` is defined twice")]
    VectorTwice(String),
    /// A dead letter that was to be retried, and whose document cannot be read.
    #[error("the document of dead letter `{0}` cannot be read: send the document again, or delete the dead letter")]
    UnreadableDeadLetter(String),
    /// A query that asks for something that cannot be.
    #[error("{0}")]
    Query(&'static str),
    /// A formula that cannot be computed.
    #[error(transparent)]
    Formula(#[from] FormulaError),
    /// The name of a collection or alias that is in use.
    #[error("`{0}` is the name of a collection")]
    AliasTaken(CollectionName),
    /// A vector with NaN or infinity in it.
    #[error("vector `{0}` has a component that is not a finite number")]
    NotFinite(String),
    /// A vector name that the collection does not have.
    #[error("Not existing vector name error: `{name}`; the collection has {known:?}")]
    UnknownVector {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Several vectors, and none was named.
    #[error("the collection has several vectors: name one of {0:?} in `using`")]
    AmbiguousVector(Vec<String>),
    /// A point that a query refers to does not exist.
    #[error("Not found: No point with id {0} found")]
    PointNotFound(twofold_types::PointId),
    /// A point without the vector that a query needs.
    #[error("point {id} has no vector `{vector}`")]
    VectorMissing {
        /// The point.
        id: twofold_types::PointId,
        /// The vector.
        vector: String,
    },
    /// A size outside of what is accepted.
    #[error("vector `{vector}`: size {size} is not within 1 and {max}")]
    Size {
        /// The vector's name.
        vector: String,
        /// The size that was asked for.
        size: usize,
        /// The largest that is accepted.
        max: usize,
    },
    /// A collection without any vector.
    #[error("a collection needs at least one vector: give `vectors`, or `encoders` with a model")]
    NoVectors,
    /// An encoder for a vector whose parameters do not fit the model.
    #[error("vector `{vector}` is filled by a model of {expected} dimensions, but its size is {received}")]
    EncoderDimension {
        /// The vector's name.
        vector: String,
        /// The model's dimensions.
        expected: usize,
        /// The configured size.
        received: usize,
    },
    /// An unusable payload key.
    #[error("`{0}` is not a payload key: keys look like `a`, `a.b`, `a[].b` or `a[0]`")]
    PayloadKey(String),
    /// Too many things in one request.
    #[error("{what}: {received} is over the limit of {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        received: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// What strict mode refuses.
    #[error("{0}")]
    Strict(String),
    /// A file that cannot be restored.
    #[error("the snapshot cannot be restored: {0}")]
    Snapshot(String),
    /// A data directory that a storage snapshot would replace.
    #[error(
        "the data directory holds {collections} collections, which the snapshot would replace; `--force-snapshot` replaces them"
    )]
    HoldsCollections {
        /// How many.
        collections: usize,
    },
    /// A collection that cannot be re-embedded.
    #[error("the collection cannot be re-embedded: {0}")]
    Reembedding(String),
    /// Changes, of which none are kept.
    #[error("this server keeps no changes for mirrors: `--change-writes` or `--change-bytes` is 0")]
    NoChanges,
    /// A pooled vector that cannot be.
    #[error("pooled vector `{vector}`: {reason}")]
    Pooling {
        /// Its name.
        vector: String,
        /// Why.
        reason: InvalidPooling,
    },
    /// A vector that nobody but its pooling writes.
    #[error("vector `{0}` is pooled from the chunks of documents: it can be neither written nor taken out")]
    Pooled(String),
    /// A setting that cannot be read.
    #[error("`{key}`: {reason}")]
    Setting {
        /// Which one.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// A formula that cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum FormulaError {
    /// A result that is no finite number.
    #[error("the expression {0} produced a non-finite number")]
    NonFinite(String),
    /// A point without the value at a key.
    #[error("no value found for `{0}` in the payload nor the formula defaults")]
    Missing(String),
    /// A value of another kind.
    #[error("expected {expected} for `{key}` in the payload and/or in the formula defaults")]
    Kind {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A variable that cannot be read.
    #[error("invalid score pattern: `{0}`; `$score` and `$score[1]` are accepted")]
    Variable(String),
    /// A date that cannot be read.
    #[error("`{0}` is no date")]
    Date(String),
    /// An operation without operands.
    #[error("`{0}` needs at least one operand")]
    NoOperands(&'static str),
    /// A decay with a parameter out of bounds.
    #[error("a decay's `{parameter}` of {received} is not within {accepted}")]
    Decay {
        /// Which one.
        parameter: &'static str,
        /// What was given.
        received: f64,
        /// What is accepted.
        accepted: &'static str,
    },
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What was named is not there.
    Missing,
    /// What was named was there, and will not be again.
    Gone,
    /// What was to be made is there already.
    Conflict,
    /// The input is wrong.
    Caller,
    /// It took longer than it may.
    Timeout,
    /// Nobody's: it may work later.
    Unavailable,
    /// The disk is full.
    DiskFull,
    /// Ours.
    Server,
}

impl StorageError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::CollectionNotFound(_)
            | Self::AliasNotFound(_)
            | Self::TaskNotFound(_)
            | Self::DocumentNotFound(_)
            | Self::DeadLetterNotFound(_)
            | Self::NotReembedding(_)
            | Self::SnapshotNotFound(_) => Fault::Missing,
            Self::Invalid(InvalidInput::PointNotFound(_)) => Fault::Missing,
            Self::ChangesGone(_) => Fault::Gone,
            Self::CollectionExists(_) | Self::Reembedding(_) | Self::PointsHeld(_) | Self::ReembeddingTask(_) => {
                Fault::Conflict
            }
            Self::Invalid(_) => Fault::Caller,
            Self::Timeout(_) => Fault::Timeout,
            Self::Closing | Self::QueueFull { .. } | Self::RateLimited { .. } | Self::Succeeded(_) => {
                Fault::Unavailable
            }
            Self::DiskFull | Self::DiskLow { .. } => Fault::DiskFull,
            Self::Poisoned(_)
            | Self::Rocks(_)
            | Self::Index(_)
            | Self::NotWhole(_)
            | Self::Snapshot(_)
            | Self::Corrupt { .. }
            | Self::Io { .. } => Fault::Server,
        }
    }
}

/// Fails where the deadline of this thread was missed: nobody waits for what is being done, and what loops found is not whole.
pub(crate) fn check_deadline() -> Result<()> {
    Deadline::missed().map_or(Ok(()), |within| Err(StorageError::Timeout(within)))
}
