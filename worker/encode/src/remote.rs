//! Models that run elsewhere, behind an HTTP API.

mod error;

pub use self::error::RemoteError;
