//! The `twofold` binary: an HTTP server around the engine, and a command line that talks to one.

pub mod cli;
pub mod http;
pub mod memory;
pub mod models_dir;
pub mod serve;
mod tls;
