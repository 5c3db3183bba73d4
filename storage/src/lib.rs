//! Storage of Twofold: collections of points, found by vector and filter, and the queue of documents on their way in.
//!
//! RocksDB is the truth. The vectors in memory and the ANN indexes follow it and can be thrown away and rebuilt. All of it
//! is blocking Rust for any thread; it knows nothing of HTTP, async runtimes or encoders.
//!
//! ```
//! use std::collections::BTreeMap;
//! use twofold_storage::{Fetch, NewPoint, Operation, Options, Query, Store};
//! use twofold_types::{CollectionConfig, Distance, Payload, VectorParams};
//!
//! # let dir = tempfile::tempdir()?;
//! let store = Store::open(Options::new(dir.path()))?;
//! let config = CollectionConfig {
//!     vectors: BTreeMap::from([(String::new(), VectorParams::new(2, Distance::Cosine))]),
//!     ..CollectionConfig::default()
//! };
//! let collection = store.create_collection(&"directions".parse()?, &config)?;
//! let point = |id: u64, vector: [f32; 2]| NewPoint {
//!     id: id.into(),
//!     vectors: BTreeMap::from([(String::new(), vector.to_vec().into())]),
//!     payload: Payload::new(),
//! };
//! collection.apply(Operation::Upsert(vec![point(1, [1.0, 0.0]), point(2, [0.0, 1.0])]))?;
//! let (found, _) = collection.query(&Query::nearest(vec![0.9, 0.1], 1), &Fetch::payload_only())?;
//! assert_eq!(found[0].id, 1.into());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod aliases;
mod ann;
mod backlog;
mod budget;
mod changes;
mod check;
mod checkpoint;
mod collection;
mod column;
mod dead_letter;
mod document;
mod embedding;
mod embedding_cache;
mod error;
mod facet;
mod filter;
mod finish;
mod group;
mod index;
mod indexing;
mod key;
mod label;
mod lift;
mod nameless;
mod need;
mod operation;
mod options;
mod original;
mod outbox;
mod path;
mod payload_index;
mod place;
mod placement;
mod plan;
mod pooled;
mod pooling;
mod posting;
mod query;
mod queue;
mod queued;
mod rates;
mod reading;
mod record;
mod restorable;
mod rocks;
mod selection;
mod settings;
mod snapshot;
mod state;
mod store;
mod strict;
mod succession;
mod successor;
mod task;
mod view;
mod words;
mod write;

pub use backlog::{Amount, WaitingCollection, WaitingTask};
pub use budget::{memory_bytes, resident_bytes, resident_percent};
pub use changes::ChangesGone;
pub use collection::{Collection, VectorMemory};
pub use document::{DocumentState, ListedDocument, StoredDocument};
pub use embedding_cache::{EmbeddingCache, EmbeddingKey};
pub use error::{Fault, FormulaError, InvalidInput, Result, StorageError};
pub use facet::Matrix;
pub use group::{Depth, Group, Grouping, Groups, RankedPoint};
pub use key::{CollectionId, SeqNo};
pub use operation::{
    DOCUMENT_ID, DocumentSelector, Fingerprint, METADATA, NewPoint, Operation, Outcome, Selector, WorkedOff, chunk_id,
    document_point_id,
};
pub use options::Options;
pub use outbox::{Message, NextMessage, Outbox};
pub use path::PayloadPath;
pub use payload_index::PayloadIndex;
pub use placement::Placement;
pub use plan::{Explanation, Plan};
pub use pooled::InvalidPooling;
pub use query::{Example, Query, Ranking};
pub use queue::{Queue, TaskFilter};
pub use queued::QueuedDocument;
pub use reading::Reading;
pub use rocks::RocksMemory;
pub use store::{MAX_DIMENSIONS, Store};
pub use succession::{Portion, Succession};
pub use successor::{SuccessionStage, SuccessionState};
pub use task::{Version, rfc3339};
pub use twofold_vector::Deadline;
pub use view::Fetch;
