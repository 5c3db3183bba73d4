//! Text to vectors, and pairs of texts to scores: model files, tokenisation, batching, the networks, their pooling and heads.
//!
//! The crate is blocking and keeps no threads: whoever calls [`Encoder::encode`] lends it the thread it runs on, and the
//! rayon pool that thread belongs to. It downloads nothing and stores nothing; a model is a local directory, or runs behind one
//! of the [`Endpoints`] that the operator names.
//!
//! ```no_run
//! use twofold_encode::{DeviceSpec, Model, cosine};
//! use twofold_types::Role;
//!
//! # fn main() -> Result<(), twofold_encode::EncodeError> {
//! let model = Model::open("models/sentence-transformers/all-MiniLM-L6-v2", DeviceSpec::Auto)?;
//! let texts = ["The cat sits on the mat.", "Shares fell on Monday.", "A dog chased the ball."];
//! let documents = model.embed(&texts, Role::Document)?;
//! let query = model.embed(&["Where is the kitten?"], Role::Query)?.remove(0);
//!
//! let mut ranked: Vec<_> = texts.iter().zip(&documents).map(|(t, d)| (cosine(&query, d), t)).collect();
//! ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
//! for (score, text) in ranked {
//!     println!("{score:.3}  {text}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Model`] is the short way. A server takes the steps apart: [`ModelFiles::open`] says what a directory holds without
//! loading it, [`open_encoder`] loads it onto a [`Device`] ([`Checkpoint`], where several encoders are to share it), [`Tokenizer::tokenize`] runs on a tokeniser's thread, and
//! [`Encoder::encode`] on the thread that owns the device.

mod batch;
mod bm25;
mod checkpoint;
mod colbert;
mod cpu;
mod cross_encoder;
mod dense;
mod details;
mod device;
mod encoder;
mod error;
mod families;
mod files;
mod identity;
mod known;
mod model;
mod network;
mod pair;
mod pooling;
mod precision;
mod remote;
mod replicas;
mod settings;
mod similarity;
mod splade;
mod tokenizer;
mod towers;
mod weights;

pub use batch::{TokenBudget, in_order, plan};
pub use bm25::{BM25, Bm25Encoder};
pub use checkpoint::Checkpoint;
pub use colbert::ColbertEncoder;
pub use cross_encoder::CrossEncoder;
pub use dense::DenseEncoder;
pub use device::{Device, DeviceSpec};
pub use encoder::{EncodeOptions, Encoder, open_encoder};
pub use error::{EncodeError, Source};
pub use files::{ModelFiles, Prompts};
pub use identity::Identity;
pub use known::{
    KnownCrossEncoder, KnownModel, Pinned, known_cross_encoder, known_cross_encoders, known_model, known_models,
};
pub use model::Model;
pub use pair::Pair;
pub use precision::settled;
pub use remote::{
    Endpoint, Endpoints, EndpointsError, RemoteEncoder, RemoteError, RemoteReranker, RemoteScores, http_client,
};
pub use replicas::Replicas;
pub use similarity::cosine;
pub use splade::SpladeEncoder;
pub use tokenizer::{Tokenizer, Tokens};
pub use towers::TwoTowers;
