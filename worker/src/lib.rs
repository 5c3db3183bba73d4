//! The engine of Twofold: the threads that carry text into storage and answers out of it.
//!
//! ```text
//! documents -> queue (durable) -> scheduler -> encoder lanes -> committer -> collection -> indexer
//! query     -> cache of query vectors, or query lane -> collection
//! collection that is re-embedded -> re-embedder -> queue, for its successor
//! ```
//!
//! [`Engine`] is blocking and knows nothing of HTTP. What moves between the threads moves through bounded channels; what
//! must survive a crash is read from storage, and doorbells only say that there is something to read.

mod batches;
mod chunk;
mod clock;
mod collections;
mod commit;
mod documents;
mod embeddings;
mod engine;
mod error;
mod evaluation;
mod failure;
mod fingerprint;
mod groups;
mod heartbeat;
mod highlight;
mod histogram;
mod indexer;
mod ingest;
mod ingestion;
mod lanes;
mod models;
mod passage;
mod plan;
mod points;
mod queries;
mod query_cache;
mod reembed;
mod reembedding;
mod rerank;
mod reranking;
mod retry;
mod search;
mod snapshots;
mod stop;
mod timings;
mod webhook;

pub use documents::{MAX_DOCUMENTS, check_document};
pub use embeddings::{Embedded, MAX_TEXTS, TooLong};
pub use engine::{Engine, Options, StartError};
pub use error::{Result, WorkerError};
pub use evaluation::{InvalidEvaluation, report};
pub use histogram::{Distribution, Histogram};
pub use models::{Models, ModelsDir, Reranker};
pub use queries::{DEFAULT_LIMIT, MAX_LIMIT, check_limit};
pub use rerank::{RankOptions, Ranked};
pub use retry::RetryPolicy;
pub use snapshots::StorageSnapshot;
pub use timings::TimedStep;
pub use webhook::{WebhookState, Webhooks, WebhooksError};
