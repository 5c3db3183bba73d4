//! The re-embedder: sends documents to successors, as many as the queue works off, and switches where nothing is left to send.
//!
//! All that it knows is read from storage, so after a crash it goes on. Its own notes are about the pace only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, select};
use twofold_storage::{CollectionId, DocumentSelector, Fault, Operation, StorageError, Store, Succession};
use twofold_types::Priority;

use crate::clock::now_millis;
use crate::error::Result;
use crate::heartbeat::Stage;
use crate::reembedding::Troubles;
use crate::retry::Backoffs;
use crate::stop::{Doorbell, Stop};

/// Documents of one task at most: they are read at once.
const DOCUMENTS: usize = 1_000;

/// Bytes of their text, about.
const BYTES: usize = 4 << 20;

/// Tasks that wait for a successor at most: enough that encoders do not wait, and few that others' documents could have room for.
const TASKS: u64 = 2;

/// Portions of what has changed after which the source is held, whether what is left fits into one or not.
const PORTIONS: u32 = 16;

/// How long the source's documents are held at most, and how long they then have their turns before they are held again.
const HELD: Duration = Duration::from_secs(30);

/// How long it is waited for the queue.
const WORKING: Duration = Duration::from_millis(50);

/// How long it is waited after an error.
const FAILED: Duration = Duration::from_secs(5);

/// How long it is waited where there is nothing to do.
const AT_REST: Duration = Duration::from_secs(60);

pub(crate) struct Reembedder {
    pub(crate) store: Arc<Store>,
    pub(crate) scheduler: Doorbell,
    pub(crate) indexer: Doorbell,
    pub(crate) backoffs: Arc<Backoffs>,
    pub(crate) troubles: Arc<Troubles>,
    pub(crate) bell: Receiver<()>,
    pub(crate) stage: Stage,
    pub(crate) stop: Stop,
}

/// How one re-embedding goes.
#[derive(Default)]
struct Pace {
    /// Portions of what has changed since the source was released last.
    portions: u32,
    held: Option<Instant>,
    released: Option<Instant>,
    /// The successor was found to have the documents of the source; since then it follows every change.
    compared: bool,
}

/// What came of a look at a re-embedding.
enum Step {
    /// Something was done, and there may be more.
    Advanced,
    /// What was sent is being worked off.
    Waits,
}

impl Reembedder {
    pub(crate) fn run(self) {
        let mut paces: HashMap<CollectionId, Pace> = HashMap::new();
        while !self.stop.is_given() {
            let running = self.store.reembeddings();
            paces.retain(|id, _| running.iter().any(|pair| pair.successor.id() == *id));
            let mut pause = AT_REST;
            for pair in running {
                let _busy = self.stage.begin(format!("documents of `{}`", pair.source.name()));
                let pace = paces.entry(pair.successor.id()).or_default();
                let step = self.step(&pair, pace);
                if step.is_ok() {
                    self.troubles.clear(&pair.successor);
                }
                pause = pause.min(match step {
                    Ok(Step::Advanced) => Duration::ZERO,
                    Ok(Step::Waits) => WORKING,
                    Err(error) => {
                        self.release(&pair, pace);
                        self.failed(&pair, error)
                    }
                });
            }
            match self.store.reclaim() {
                Ok(false) => {}
                Ok(true) => pause = pause.min(WORKING),
                Err(error) => tracing::error!(%error, "what a collection has left behind could not be deleted"),
            }
            select! {
                recv(self.bell) -> rung => if rung.is_err() { return },
                recv(self.stop.signal) -> _ => return,
                default(pause) => {}
            }
        }
    }

    /// Notes an error, and says how long it is waited.
    fn failed(&self, pair: &Succession, error: crate::WorkerError) -> Duration {
        // It was canceled or deleted meanwhile.
        if error.fault() == Fault::Missing {
            return WORKING;
        }
        if !matches!(error, crate::WorkerError::Storage(StorageError::QueueFull { .. })) {
            tracing::error!(collection = %pair.source.name(), %error, "re-embedding waits");
        }
        self.troubles.set(&pair.successor, error.to_string());
        FAILED
    }

    fn step(&self, pair: &Succession, pace: &mut Pace) -> Result<Step> {
        let Succession { source, successor } = pair;
        let queue = self.store.queue();
        pair.follow_payload_indexes()?;
        if pace.held.is_some_and(|held| held.elapsed() > HELD) {
            self.release(pair, pace);
        }
        let waiting = queue.amount_of(successor).tasks;
        if waiting >= TASKS {
            return Ok(Step::Waits);
        }
        if let Some(portion) = pair.portion(DOCUMENTS, BYTES)? {
            if !portion.documents.is_empty() {
                queue.enqueue(successor, &portion.documents, Priority::Low, now_millis())?;
                self.scheduler.ring();
            }
            if !portion.gone.is_empty() {
                let gone = DocumentSelector::Ids(portion.gone.clone());
                successor.apply(Operation::DeleteDocuments(gone))?;
            }
            fail::fail_point!("reembed::enqueued");
            let follows = portion.follows();
            let is_last = portion.is_last;
            pair.sent(portion)?;
            fail::fail_point!("reembed::sent");
            if follows {
                pace.portions += 1;
                if is_last || pace.portions >= PORTIONS {
                    self.hold(pair, pace);
                }
            }
            return Ok(Step::Advanced);
        }
        if waiting > 0 {
            return Ok(Step::Waits);
        }
        // What has failed is somebody's to decide, and an index takes its time: nobody's documents wait for that.
        if successor.count_dead_letters()? > 0 || successor.is_indexing() {
            self.release(pair, pace);
            self.indexer.ring();
            return Ok(Step::Waits);
        }
        if !pace.compared {
            pace.compared = pair.compare()?;
            return Ok(Step::Advanced);
        }
        if self.store.switch(pair, now_millis())? {
            tracing::info!(collection = %source.name(), "re-embedded");
            self.backoffs.worked(source.id());
            self.scheduler.ring();
            self.indexer.ring();
            return Ok(Step::Advanced);
        }
        Ok(Step::Waits)
    }

    /// Lets the source's documents wait, so that what has changed can be less than what is about to.
    fn hold(&self, pair: &Succession, pace: &mut Pace) {
        let rested = pace.released.is_none_or(|released| released.elapsed() > HELD);
        if pace.held.is_none() && rested {
            self.store.queue().hold(&pair.source);
            pace.held = Some(Instant::now());
        }
    }

    fn release(&self, pair: &Succession, pace: &mut Pace) {
        if pace.held.take().is_some() {
            self.store.queue().release(&pair.source);
            self.scheduler.ring();
            pace.released = Some(Instant::now());
            pace.portions = 0;
        }
    }
}
