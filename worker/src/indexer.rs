//! The indexer: lets the ANN indexes follow when there was a write, and gives memory up when there is too little of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, select};
use rayon::ThreadPool;
use twofold_storage::{Fault, StorageError, Store};

use crate::stop::Stop;

/// How long the bell is silent before the indexer looks for what is left to do.
const AT_REST: Duration = Duration::from_secs(3);

/// How often the memory is measured at most: that takes a millisecond for a million vectors, more with payload indexes.
const MEASURED: Duration = Duration::from_secs(1);

pub(crate) struct Indexer {
    pub(crate) store: Arc<Store>,
    /// Where indexes are built.
    pub(crate) pool: ThreadPool,
    pub(crate) bell: Receiver<()>,
    pub(crate) stop: Stop,
}

impl Indexer {
    pub(crate) fn run(self) {
        let mut measured = None;
        while !self.stop.is_given() {
            for collection in self.store.all_collections() {
                match self.pool.install(|| collection.update_indexes(self.stop.flag())) {
                    Ok(()) => {}
                    // It was deleted or succeeded meanwhile.
                    Err(error) if error.fault() == Fault::Missing => {}
                    Err(StorageError::Succeeded(_)) => {}
                    Err(error) => {
                        tracing::error!(collection = %collection.name(), %error, "ANN indexes could not follow")
                    }
                }
            }
            if measured.is_none_or(|measured: Instant| measured.elapsed() > MEASURED) {
                measured = Some(Instant::now());
                match self.pool.install(|| self.store.relieve_memory(self.stop.flag())) {
                    Ok(false) => {}
                    // There may be more to do.
                    Ok(true) => {
                        measured = None;
                        continue;
                    }
                    Err(error) if error.fault() == Fault::Missing => {}
                    Err(StorageError::Succeeded(_)) => {}
                    Err(error) => tracing::error!(%error, "vectors could not be moved to where they take less memory"),
                }
            }
            select! {
                recv(self.bell) -> rung => if rung.is_err() { return },
                recv(self.stop.signal) -> _ => return,
                // Some work waits until there are no writes.
                default(AT_REST) => {}
            }
        }
    }
}
