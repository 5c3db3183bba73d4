//! Starting is mirrored by stopping: one signal that every thread of the engine waits for beside its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};

/// Gives the signal when it is dropped.
pub(crate) struct Stopper {
    flag: Arc<AtomicBool>,
    _open: Sender<()>,
}

/// Receives the signal.
#[derive(Clone)]
pub(crate) struct Stop {
    flag: Arc<AtomicBool>,
    /// Never carries anything: it is disconnected when the signal is given.
    pub(crate) signal: Receiver<()>,
}

pub(crate) fn stop_signal() -> (Stopper, Stop) {
    let flag = Arc::new(AtomicBool::new(false));
    let (open, signal) = bounded(0);
    (
        Stopper {
            flag: flag.clone(),
            _open: open,
        },
        Stop { flag, signal },
    )
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.flag.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    pub(crate) fn is_given(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// The signal in the form that long computations poll.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.flag
    }
}

/// A doorbell: it says that there may be work and carries none. Ringing it twice before it is answered is ringing it once.
#[derive(Clone)]
pub(crate) struct Doorbell(Sender<()>);

pub(crate) fn doorbell() -> (Doorbell, Receiver<()>) {
    let (ring, bell) = bounded(1);
    (Doorbell(ring), bell)
}

impl Doorbell {
    pub(crate) fn ring(&self) {
        // Full: it has been rung and not been answered yet. Disconnected: nobody is left to answer.
        let _ = self.0.try_send(());
    }
}
