//! One binary for all integration tests, so that RocksDB and candle are linked once.

mod access;
mod api;
mod crash;
mod crash_ingestion;
mod embeddings;
mod evaluate;
mod freshness;
mod ingest;
mod ingestion;
mod kinds;
mod limits;
mod long_documents;
mod model;
mod openapi;
mod payload_index;
mod placement;
mod pooled_model;
mod pooled_vectors;
mod query;
mod queue_model;
mod remote;
mod rerank;
mod search;
mod snapshots;
mod support;
