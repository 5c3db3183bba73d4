//! The scheduler: takes documents up from the queue, cuts and tokenises them, and hands batches to the lanes.
//!
//! It runs ahead of the committer by a bounded number of windows. What it has taken up is kept in memory only: after a
//! crash, work begins again behind the last document that was committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, select, unbounded};
use twofold_encode::{Encoder, plan as plan_batches};
use twofold_storage::{Collection, Fault, Queue, Store, TaskRecord};
use twofold_types::{Document, Role, TaskId};

use crate::chunk::{Chunk, chunk};
use crate::error::{Result, WorkerError};
use crate::lanes::{JOB_TOKENS, Job, Lanes, TextResult};
use crate::models::Models;
use crate::plan::{Slice, Waiting, plan};
use crate::stop::Stop;

/// Documents of a window at most.
const WINDOW_DOCUMENTS: u64 = 1024;

/// Bytes of text of a window, about: some seconds of work for a CPU, and enough to fill batches of one length.
const WINDOW_BYTES: usize = 256 << 10;

/// How long a collection whose model cannot be loaded waits for the next attempt.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Documents on their way through the lanes.
pub(crate) struct Window {
    pub(crate) work: Work,
    pub(crate) vectors: Vec<Encoding>,
}

/// What is being encoded.
pub(crate) enum Work {
    /// Documents of a collection.
    Documents {
        collection: Arc<Collection>,
        documents: Vec<TakenUp>,
    },
    /// A task whose collection is gone.
    Orphan(TaskId),
}

/// A document with its chunks.
pub(crate) struct TakenUp {
    pub(crate) task: TaskId,
    pub(crate) document: Document,
    pub(crate) chunks: Vec<Chunk>,
}

/// The chunks of a window on their way through one encoder.
pub(crate) struct Encoding {
    /// The vector that is filled.
    pub(crate) vector: String,
    /// How many chunks there are.
    pub(crate) chunks: usize,
    /// For each batch, which chunks it has and where its results will come from.
    pub(crate) batches: Vec<(Vec<usize>, Receiver<Vec<TextResult>>)>,
}

pub(crate) struct Scheduler {
    pub(crate) store: Arc<Store>,
    pub(crate) models: Arc<Models>,
    pub(crate) lanes: Lanes,
    pub(crate) committer: Sender<Window>,
    pub(crate) bell: Receiver<()>,
    pub(crate) stop: Stop,
}

/// The engine is stopping.
struct Stopped;

impl Scheduler {
    pub(crate) fn run(self) {
        let mut taken: HashMap<TaskId, u64> = HashMap::new();
        let mut blocked: HashMap<String, Instant> = HashMap::new();
        while !self.stop.is_given() {
            blocked.retain(|_, until| *until > Instant::now());
            let advanced = self.step(&mut taken, &mut blocked);
            match advanced {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "the queue cannot be read; trying again"),
            }
            let wait = if blocked.is_empty() {
                Duration::from_secs(60)
            } else {
                RETRY_AFTER
            };
            select! {
                recv(self.bell) -> rung => if rung.is_err() { return },
                recv(self.stop.signal) -> _ => return,
                default(wait) => {}
            }
        }
    }

    /// Takes the next window up. Says whether there was one.
    fn step(&self, taken: &mut HashMap<TaskId, u64>, blocked: &mut HashMap<String, Instant>) -> Result<bool> {
        let queue = self.store.queue();
        let unfinished = queue.unfinished();
        taken.retain(|task, _| unfinished.binary_search(task).is_ok());
        let mut records: Vec<(TaskId, u64, TaskRecord)> = Vec::new();
        let mut wanted = WINDOW_DOCUMENTS;
        for task in unfinished {
            let record = match queue.record(task) {
                // Finished and forgotten since the list was made.
                Err(error) if error.fault() == Fault::Missing => continue,
                record => record?,
            };
            let from = *taken.entry(task).or_insert(record.done);
            if from < record.documents && !blocked.contains_key(&Queue::collection_of(&record)?.to_string()) {
                wanted = wanted.saturating_sub(record.documents - from);
                records.push((task, from, record));
            }
            if wanted == 0 {
                break;
            }
        }
        let names = records
            .iter()
            .map(|(_, _, record)| Ok(Queue::collection_of(record)?))
            .collect::<Result<Vec<_>>>()?;
        let waiting = records.iter().zip(&names).map(|((task, from, record), name)| Waiting {
            task: *task,
            collection: name.as_str(),
            from: *from,
            left: record.documents - from,
        });
        let slices = plan(&waiting.collect::<Vec<_>>(), WINDOW_DOCUMENTS);
        let Some(first) = slices.first() else { return Ok(false) };
        let (position, (_, _, record)) = records
            .iter()
            .enumerate()
            .find(|(_, (task, ..))| *task == first.task)
            .expect("slices are made of records");
        let collection = match self.store.collection(&names[position]) {
            Ok(collection) if Queue::is_for(record, &collection) => collection,
            Err(error) if error.fault() != Fault::Missing => return Err(error.into()),
            _ => {
                taken.insert(first.task, record.documents);
                let window = Window {
                    work: Work::Orphan(first.task),
                    vectors: Vec::new(),
                };
                return Ok(self.committer.send(window).is_ok());
            }
        };
        let encoders = match self.encoders(&collection) {
            Ok(encoders) => encoders,
            Err(error) => {
                tracing::error!(collection = %collection.name(), %error, "documents wait until their model can be loaded");
                blocked.insert(collection.name().to_string(), Instant::now() + RETRY_AFTER);
                return Ok(true);
            }
        };
        let documents = self.take_up(&slices, &collection, &encoders, taken)?;
        Ok(self.dispatch(collection, documents, &encoders).is_ok())
    }

    /// The encoders of a collection by the name of the vector they fill.
    fn encoders(&self, collection: &Collection) -> Result<Vec<(String, Arc<dyn Encoder>)>> {
        let encoders = collection.config().encoders;
        if encoders.is_empty() {
            return Err(WorkerError::NoEncoders);
        }
        encoders
            .into_iter()
            .map(|(vector, params)| Ok((vector, self.models.get(&params)?)))
            .collect()
    }

    fn take_up(
        &self,
        slices: &[Slice],
        collection: &Collection,
        encoders: &[(String, Arc<dyn Encoder>)],
        taken: &mut HashMap<TaskId, u64>,
    ) -> Result<Vec<TakenUp>> {
        let params = collection.config().chunking.unwrap_or_default();
        // The model that takes the least decides how long a chunk may be.
        let shortest = encoders
            .iter()
            .min_by_key(|(_, encoder)| encoder.tokenizer(Role::Document).max_tokens());
        let tokenizer = shortest
            .expect("a collection without encoders takes no documents")
            .1
            .tokenizer(Role::Document);
        let mut documents = Vec::new();
        let mut room = WINDOW_BYTES;
        for slice in slices {
            let read = self
                .store
                .queue()
                .documents(slice.task, slice.from, slice.count as usize, room)?;
            taken.insert(slice.task, slice.from + read.len() as u64);
            for document in read {
                room = room.saturating_sub(document.text.len());
                let chunks = chunk(&document.text, tokenizer, params);
                documents.push(TakenUp {
                    task: slice.task,
                    document,
                    chunks,
                });
            }
            if room == 0 {
                break;
            }
        }
        Ok(documents)
    }

    fn dispatch(
        &self,
        collection: Arc<Collection>,
        documents: Vec<TakenUp>,
        encoders: &[(String, Arc<dyn Encoder>)],
    ) -> Result<(), Stopped> {
        let texts: Vec<&str> = documents
            .iter()
            .flat_map(|taken| &taken.chunks)
            .map(|chunk| chunk.text.as_str())
            .collect();
        let mut vectors = Vec::new();
        let mut jobs = Vec::new();
        for (vector, encoder) in encoders {
            // A text that cannot be tokenised fails alone.
            let tokens: Vec<_> = texts.iter().map(|text| tokenize_one(encoder.as_ref(), text)).collect();
            let lengths: Vec<usize> = tokens
                .iter()
                .map(|tokens| tokens.as_ref().map_or(0, |tokens| tokens.len()))
                .collect();
            let mut batches = Vec::new();
            for chunks in plan_batches(&lengths, JOB_TOKENS) {
                let (reply, results) = unbounded();
                let (encodable, failed): (Vec<_>, Vec<_>) =
                    chunks.into_iter().partition(|&chunk| tokens[chunk].is_ok());
                if !failed.is_empty() {
                    let (reply, results) = unbounded();
                    let errors = failed.iter().filter_map(|&chunk| tokens[chunk].clone().err().map(Err));
                    let _ = reply.send(errors.collect());
                    batches.push((failed, results));
                }
                let tokens = encodable
                    .iter()
                    .filter_map(|&chunk| tokens[chunk].clone().ok())
                    .collect();
                jobs.push(Job {
                    encoder: encoder.clone(),
                    role: Role::Document,
                    tokens,
                    reply,
                });
                batches.push((encodable, results));
            }
            vectors.push(Encoding {
                vector: vector.clone(),
                chunks: texts.len(),
                batches,
            });
        }
        // The committer learns of the window when all of its jobs are with the lanes, so it never waits for a window whose
        // jobs wait behind those of the next.
        for job in jobs {
            let lanes = self.lanes.documents(job.encoder.as_ref());
            lanes.send(job).map_err(|_| Stopped)?;
        }
        let work = Work::Documents { collection, documents };
        self.committer.send(Window { work, vectors }).map_err(|_| Stopped)
    }
}

fn tokenize_one(encoder: &dyn Encoder, text: &str) -> Result<twofold_encode::Tokens, String> {
    let mut tokens = encoder
        .tokenizer(Role::Document)
        .tokenize(&[text], Role::Document)
        .map_err(|error| error.to_string())?;
    tokens.pop().ok_or_else(|| "the tokenizer gave no tokens".to_owned())
}
