//! The async Rust client of a Twofold server.
//!
//! It is: one typed method for each endpoint of the collection API, the wire types of [`types`], retries where a server
//! asks for them (429 and 503), and [`Client::wait_for_task`] to follow documents until they are searchable. A client is
//! cheap to clone and shares its connections with its clones.
//!
//! It is not: an encoder. Texts are encoded by the server, so this crate links neither RocksDB nor a model. Nor is it a
//! queue: a call that fails is the caller's to repeat. Repeating is safe, because every write the server takes is
//! idempotent.
//!
//! ```no_run
//! use twofold_client::Client;
//! use twofold_client::types::api::{AddDocuments, CreateCollection, SearchPassages};
//! use twofold_client::types::{CollectionName, Document, EncoderParams, ModelId};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:6333").build()?;
//! let notes: CollectionName = "notes".parse()?;
//!
//! let encoder = EncoderParams::new(ModelId::new("sentence-transformers/all-MiniLM-L6-v2"));
//! let config = CreateCollection { encoders: Some([(String::new(), encoder)].into()), ..Default::default() };
//! client.create_collection(&notes, &config).await?;
//!
//! let tea = Document { id: Some("tea".into()), text: "Green tea wants water at 80 °C.".into(), metadata: None };
//! let task = client.add_documents(&notes, &AddDocuments { documents: vec![tea] }).await?;
//! client.wait_for_task(task, |_| {}).await?;
//!
//! let question = SearchPassages { text: "How hot should the water be?".into(), ..Default::default() };
//! for passage in client.search(&notes, &question).await?.passages {
//!     println!("{:.3} {}", passage.score, passage.place.text.unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```

mod changes;
mod client;
mod collections;
mod documents;
mod embeddings;
mod error;
mod evaluate;
mod ingestion;
mod path;
mod points;
mod query;
mod reembedding;
mod rerank;
mod retry;
mod service;
mod snapshots;
mod tasks;

pub use client::{Client, ClientBuilder};
pub use error::Error;
pub use service::ServerVersion;
/// The nouns of the wire format.
pub use twofold_types as types;
