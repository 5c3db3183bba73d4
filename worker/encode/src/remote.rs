//! Models that run elsewhere, behind an HTTP API: endpoints that the operator allows, the protocols they speak, and when a request
//! is sent again.

mod agent;
mod encoder;
mod endpoint;
mod error;
mod known;
mod protocol;
mod rate;
mod reranker;
mod tokens;

pub use self::agent::http_client;
pub use self::encoder::RemoteEncoder;
pub use self::endpoint::{Endpoint, Endpoints, EndpointsError};
pub use self::error::RemoteError;
pub use self::reranker::{RemoteReranker, RemoteScores};
