//! The indexer: lets the ANN indexes follow when there was a write.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, select};
use rayon::ThreadPool;
use twofold_storage::{Fault, Store};

use crate::stop::Stop;

/// How long the bell is silent before the indexer looks for what is left to do.
const AT_REST: Duration = Duration::from_secs(3);

pub(crate) struct Indexer {
    pub(crate) store: Arc<Store>,
    /// Where indexes are built.
    pub(crate) pool: ThreadPool,
    pub(crate) bell: Receiver<()>,
    pub(crate) stop: Stop,
}

impl Indexer {
    pub(crate) fn run(self) {
        while !self.stop.is_given() {
            for collection in self.store.collections() {
                match self.pool.install(|| collection.update_indexes(self.stop.flag())) {
                    Ok(()) => {}
                    // It was deleted meanwhile.
                    Err(error) if error.fault() == Fault::Missing => {}
                    Err(error) => {
                        tracing::error!(collection = %collection.name(), %error, "ANN indexes could not follow")
                    }
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
