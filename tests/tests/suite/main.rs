//! One binary for all integration tests, so that RocksDB and candle are linked once.

mod access;
mod api;
mod crash;
mod crash_ingestion;
mod embeddings;
mod freshness;
mod ingest;
mod ingestion;
mod kinds;
mod model;
mod payload_index;
mod placement;
mod query;
mod queue_model;
mod remote;
mod rerank;
mod rerank_stage;
mod search;
mod search_passages;
mod snapshots;
mod support;
