//! One binary for all integration tests, so that RocksDB and candle are linked once.

mod access;
mod api;
mod crash;
mod embeddings;
mod freshness;
mod ingest;
mod kinds;
mod model;
mod payload_index;
mod placement;
mod query;
mod rerank;
mod search;
mod snapshots;
mod support;
