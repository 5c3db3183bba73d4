//! Options of storage.

use std::path::PathBuf;

/// Options of storage. The defaults suit a machine with a few gigabytes of memory.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept. One process at a time may use it.
    pub data_dir: PathBuf,
    /// Bytes of RocksDB's block cache. Default: 256 MiB. Too small makes reads of payloads touch the disk.
    pub block_cache_bytes: usize,
    /// Up to how many vector components (points times dimensions) a search scans every candidate instead of asking an ANN
    /// index; a collection below it has no index. Default: 10,000,000, some 5 ms. Too high makes searches slow, too low
    /// makes them approximate without need.
    pub exact_scan_components: u64,
    /// The share of a collection's points that may have changed before its ANN index follows; until then they are scanned
    /// exactly. Default: 0.1. Too low builds all the time, too high makes searches scan.
    pub index_lag: f64,
}

impl Options {
    /// The defaults, for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            block_cache_bytes: 256 << 20,
            exact_scan_components: 10_000_000,
            index_lag: 0.1,
        }
    }
}
