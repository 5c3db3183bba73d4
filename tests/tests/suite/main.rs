//! One binary for all integration tests, so that RocksDB and candle are linked once.

mod api;
mod crash;
mod crash_ingestion;
mod embeddings;
mod freshness;
mod ingest;
mod ingestion;
mod model;
mod payload_index;
mod placement;
mod queue_model;
mod search;
mod support;
