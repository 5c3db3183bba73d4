//! The scheduler: takes documents up from the queue, cuts and tokenises them, and hands batches to the lanes.
//!
//! It runs ahead of the committer by a bounded number of windows. What it has taken up is kept in memory only: after a
//! crash, work begins again behind the last document that was committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, select};
use twofold_encode::Encoder;
use twofold_storage::{Collection, DocumentState, Fingerprint, QueuedDocument, Store};
use twofold_types::Role;

use crate::batches::{Documents, Waiting, tokenize};
use crate::chunk::{Chunk, chunk};
use crate::clock::now_millis;
use crate::error::{Result, WorkerError};
use crate::failure::Failure;
use crate::fingerprint::Fingerprints;
use crate::heartbeat::Stage;
use crate::lanes::{Lanes, TextResult};
use crate::models::Models;
use crate::plan::{Candidate, Plan, Shares, plan};
use crate::retry::{Backoffs, Turn};
use crate::stop::Stop;
use crate::timings::{TimedStep, Timings};

/// Documents of a window at most.
const WINDOW_DOCUMENTS: u64 = 1024;

/// Bytes of text of a window, about: some seconds of work for a CPU, and enough to fill batches of one length.
const WINDOW_BYTES: usize = 256 << 10;

/// Documents that a collection is tried with after everything of it had failed.
const PROBE_DOCUMENTS: u64 = 8;

/// How often finished tasks are looked at, to forget the oldest.
const PRUNED: Duration = Duration::from_secs(10);

/// How long a disk that is nearly full is left alone.
const DISK_LOW: Duration = Duration::from_secs(5);

/// Documents on their way through the lanes.
pub(crate) struct Window {
    pub(crate) collection: Arc<Collection>,
    pub(crate) documents: Vec<TakenUp>,
    pub(crate) vectors: Vec<Encoding>,
}

/// A document with its chunks.
pub(crate) struct TakenUp {
    pub(crate) queued: QueuedDocument,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) need: Need,
    /// None where the document need not be encoded; an error where it cannot be.
    pub(crate) chunks: Result<Vec<Chunk>, Failure>,
}

impl TakenUp {
    pub(crate) fn chunks(&self) -> &[Chunk] {
        self.chunks.as_deref().unwrap_or_default()
    }
}

/// What a document needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Encoding,
    /// Its text is stored already.
    Metadata,
    /// It does not count any more.
    Nothing,
}

/// The chunks of a window on their way through one encoder.
pub(crate) struct Encoding {
    /// The vector that is filled.
    pub(crate) vector: String,
    /// How many chunks there are.
    pub(crate) chunks: usize,
    /// Chunks whose results are known without a lane.
    pub(crate) ready: Vec<(usize, TextResult)>,
    /// The batches of the others.
    pub(crate) batches: Vec<Waiting>,
}

pub(crate) struct Scheduler {
    pub(crate) store: Arc<Store>,
    pub(crate) models: Arc<Models>,
    pub(crate) lanes: Lanes,
    pub(crate) committer: Sender<Window>,
    pub(crate) bell: Receiver<()>,
    pub(crate) backoffs: Arc<Backoffs>,
    pub(crate) stage: Stage,
    pub(crate) timings: Arc<Timings>,
    pub(crate) stop: Stop,
}

/// The encoders of a collection by the name of the vector they fill.
type Encoders = Vec<(String, Arc<dyn Encoder>)>;

/// What came of looking for a window.
enum Step {
    /// There was one, or there may be one now.
    Advanced,
    /// There will be none before so long, unless the bell rings.
    Idle(Duration),
    /// The engine is stopping.
    Stopped,
}

impl Scheduler {
    pub(crate) fn run(self) {
        let mut shares = Shares::default();
        let mut pruned = Instant::now();
        while !self.stop.is_given() {
            let pause = match self.step(&mut shares) {
                Ok(Step::Advanced) => continue,
                Ok(Step::Idle(pause)) => pause,
                Ok(Step::Stopped) => return,
                Err(error) => {
                    tracing::error!(%error, "the queue cannot be read; trying again");
                    DISK_LOW
                }
            };
            if pruned.elapsed() >= PRUNED {
                pruned = Instant::now();
                if let Err(error) = self.store.queue().prune(now_millis()) {
                    tracing::error!(%error, "finished tasks cannot be forgotten");
                }
            }
            select! {
                recv(self.bell) -> rung => if rung.is_err() { return },
                recv(self.stop.signal) -> _ => return,
                default(pause) => {}
            }
        }
    }

    /// Takes the next window up.
    fn step(&self, shares: &mut Shares) -> Result<Step> {
        let queue = self.store.queue();
        let now = now_millis();
        let waiting = queue.waiting(WINDOW_DOCUMENTS, now);
        let mut next = queue.next_due(now).unwrap_or(u64::MAX);
        let candidates = waiting.iter().filter_map(|waiting| {
            let most = match self.backoffs.turn(waiting.id, now) {
                Turn::Free => WINDOW_DOCUMENTS,
                Turn::Probe => PROBE_DOCUMENTS,
                Turn::Wait(until) => {
                    next = next.min(until);
                    return None;
                }
            };
            Some(Candidate { waiting, most })
        });
        let candidates: Vec<_> = candidates.collect();
        let Some(plan) = plan(&candidates, shares) else {
            let due = Duration::from_millis(next.saturating_sub(now));
            return Ok(Step::Idle(due.min(PRUNED)));
        };
        if let Err(error) = queue.check_disk() {
            tracing::error!(%error, "documents wait");
            return Ok(Step::Idle(DISK_LOW));
        }
        let first = plan.slices.first().expect("a plan is not empty").task;
        let Some(collection) = self.store.by_id(plan.collection) else {
            queue.collection_gone(first, plan.collection, now)?;
            return Ok(Step::Advanced);
        };
        let _busy = self.stage.begin(format!("documents of `{}`", collection.name()));
        let encoders = match self.encoders(&collection) {
            Ok(encoders) => encoders,
            Err(error) => {
                self.backoffs.failed(collection.id(), collection.name(), error, now);
                return Ok(Step::Advanced);
            }
        };
        let documents = self.read(&plan)?;
        queue.take_up(&documents);
        let bytes = documents.iter().map(|queued| queued.document.text.len() as u64).sum();
        shares.charge(plan.collection, plan.priority, bytes);
        let prepare = || self.prepare(documents, &collection, &encoders);
        let documents = self.timings.during(TimedStep::Chunk, prepare)?;
        fail::fail_point!("ingest::taken_up");
        match self.dispatch(collection, documents, &encoders) {
            Ok(()) => Ok(Step::Advanced),
            Err(Stopped) => Ok(Step::Stopped),
        }
    }

    fn encoders(&self, collection: &Collection) -> Result<Encoders> {
        let encoders = collection.config().encoders;
        if encoders.is_empty() {
            return Err(WorkerError::NoEncoders);
        }
        encoders
            .into_iter()
            .map(|(vector, params)| Ok((vector, self.models.get(&params)?)))
            .collect()
    }

    /// The documents of a plan, as far as they fit into a window.
    fn read(&self, plan: &Plan) -> Result<Vec<QueuedDocument>> {
        let queue = self.store.queue();
        let mut documents = Vec::new();
        let mut room = WINDOW_BYTES;
        for slice in &plan.slices {
            let due = queue.retried(slice.task, &slice.due)?;
            let new = match slice.count {
                0 => Vec::new(),
                count => queue.documents(slice.task, slice.from, count, room)?,
            };
            for document in due.into_iter().chain(new) {
                room = room.saturating_sub(document.document.text.len());
                documents.push(document);
            }
            if room == 0 {
                break;
            }
        }
        Ok(documents)
    }

    /// Cuts documents into chunks, as far as they need to be encoded.
    fn prepare(
        &self,
        documents: Vec<QueuedDocument>,
        collection: &Collection,
        encoders: &Encoders,
    ) -> Result<Vec<TakenUp>> {
        let config = collection.config();
        let params = config.chunking.clone().unwrap_or_default();
        // The model that takes the least decides how long a chunk may be.
        let shortest = encoders
            .iter()
            .min_by_key(|(_, encoder)| encoder.tokenizer(Role::Document).max_tokens());
        let tokenizer = shortest
            .expect("a collection without encoders takes no documents")
            .1
            .tokenizer(Role::Document);
        let fingerprints = Fingerprints::new(&config);
        let versions = documents
            .iter()
            .map(|queued| (queued.document.id.as_deref().unwrap_or_default(), queued.version));
        let states = collection.document_states(versions)?;
        let prepared = documents.into_iter().zip(states).map(|(queued, state)| {
            let fingerprint = fingerprints.of(&queued.document);
            let need = match state {
                DocumentState::Overtaken => Need::Nothing,
                DocumentState::Stored(stored) if stored.text == fingerprint.text => Need::Metadata,
                DocumentState::Stored(_) | DocumentState::New => Need::Encoding,
            };
            let chunks = match (need, &queued.unreadable) {
                (Need::Encoding, None) => chunk(&queued.document, tokenizer, &params).map_err(Failure::permanent),
                (Need::Encoding, Some(reason)) => Err(Failure::permanent(reason)),
                (Need::Metadata | Need::Nothing, _) => Ok(Vec::new()),
            };
            TakenUp {
                queued,
                fingerprint,
                need,
                chunks,
            }
        });
        Ok(prepared.collect())
    }

    fn dispatch(
        &self,
        collection: Arc<Collection>,
        documents: Vec<TakenUp>,
        encoders: &Encoders,
    ) -> Result<(), Stopped> {
        let texts: Vec<&str> = documents
            .iter()
            .flat_map(TakenUp::chunks)
            .map(Chunk::encoded_text)
            .collect();
        let mut vectors = Vec::new();
        let mut jobs = Vec::new();
        for (vector, encoder) in encoders {
            let cache = self.store.embedding_cache().map(Arc::as_ref);
            let documents = self.timings.during(TimedStep::Tokenize, || {
                Documents::new(cache, encoder, &texts, |chunk| tokenize(encoder.as_ref(), texts[chunk]))
            });
            let (of_encoder, batches): (Vec<_>, Vec<_>) = documents.jobs.into_iter().unzip();
            jobs.extend(of_encoder);
            vectors.push(Encoding {
                vector: vector.clone(),
                chunks: texts.len(),
                ready: documents.ready,
                batches,
            });
        }
        // The committer learns of the window when all of its jobs are with the lanes, so it never waits for a window whose
        // jobs wait behind those of the next.
        for job in jobs {
            let lanes = self.lanes.documents(job.encoder.as_ref());
            lanes.send(job).map_err(|_| Stopped)?;
        }
        let window = Window {
            collection,
            documents,
            vectors,
        };
        self.committer.send(window).map_err(|_| Stopped)
    }
}

/// The engine is stopping.
struct Stopped;
