//! The committer: waits for the embeddings of a window and makes it durable and searchable in one write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, select};
use serde_json::json;
use twofold_storage::{
    DOCUMENT_ID, Fault, METADATA, NewPoint, Operation, Outcome, StorageError, Store, Version, WorkedOff, chunk_id,
};
use twofold_types::{Payload, TaskId};

use crate::batches::placed;
use crate::chunk::gaps;
use crate::clock::now_millis;
use crate::error::Result;
use crate::failure::Failure;
use crate::heartbeat::Stage;
use crate::ingest::{Encoding, Need, TakenUp, Window};
use crate::lanes::TextResult;
use crate::retry::{Backoffs, RetryPolicy};
use crate::stop::{Doorbell, Stop};
use crate::timings::{TimedStep, Timings};

pub(crate) struct Committer {
    pub(crate) store: Arc<Store>,
    pub(crate) windows: Receiver<Window>,
    pub(crate) indexer: Doorbell,
    pub(crate) scheduler: Doorbell,
    pub(crate) retry: RetryPolicy,
    pub(crate) backoffs: Arc<Backoffs>,
    pub(crate) stage: Stage,
    pub(crate) timings: Arc<Timings>,
    pub(crate) stop: Stop,
}

type Embeddings = BTreeMap<String, Vec<TextResult>>;

impl Committer {
    pub(crate) fn run(self) {
        loop {
            let mut window = select! {
                recv(self.windows) -> window => match window { Ok(window) => window, Err(_) => return },
                recv(self.stop.signal) -> _ => return,
            };
            let _busy = self.stage.begin(format!(
                "{} documents of `{}`",
                window.documents.len(),
                window.collection.name()
            ));
            let Some(embeddings) = self.await_embeddings(std::mem::take(&mut window.vectors)) else {
                return;
            };
            fail::fail_point!("ingest::encoded");
            let commit = || self.commit(&window, &embeddings);
            while let Err(error) = self.timings.during(TimedStep::Commit, commit) {
                tracing::error!(%error, "documents could not be committed; trying again");
                if self
                    .stop
                    .signal
                    .recv_timeout(Duration::from_secs(1))
                    .is_err_and(|error| error.is_disconnected())
                {
                    return;
                }
            }
            self.indexer.ring();
            self.scheduler.ring();
        }
    }

    /// The embeddings of every chunk by vector; none when the engine is stopping.
    fn await_embeddings(&self, vectors: Vec<Encoding>) -> Option<Embeddings> {
        let mut embeddings = BTreeMap::new();
        for encoding in vectors {
            let mut results = vec![Err(Failure::transient("the encoder gave no result")); encoding.chunks];
            for (chunk, result) in encoding.ready {
                results[chunk] = result;
            }
            for batch in encoding.batches {
                let made = select! {
                    recv(batch.results) -> made => made.ok()?,
                    recv(self.stop.signal) -> _ => return None,
                };
                for (chunk, result) in placed(batch.places, made) {
                    results[chunk] = result;
                }
            }
            embeddings.insert(encoding.vector, results);
        }
        Some(embeddings)
    }

    fn commit(&self, window: &Window, embeddings: &Embeddings) -> Result<()> {
        let queue = self.store.queue();
        let now = now_millis();
        let tasks: BTreeSet<TaskId> = window.documents.iter().map(|taken| taken.queued.version.task).collect();
        let documents = self.worked_off(&window.documents, embeddings, now);
        let outage = outage(&documents);
        match window.collection.apply(Operation::Finish { documents, now }) {
            Ok(_) => queue.committed(tasks, now)?,
            Err(error) if error.fault() == Fault::Missing || matches!(error, StorageError::Succeeded(_)) => {
                for task in tasks {
                    queue.collection_gone(task, window.collection.id(), now)?;
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        match outage {
            Outage::No => self.backoffs.worked(window.collection.id()),
            Outage::Unknown => {}
            Outage::Yes(error) => {
                let collection = &window.collection;
                self.backoffs.failed(collection.id(), collection.name(), error, now);
            }
        }
        Ok(())
    }

    /// What came of the documents of a window.
    fn worked_off(&self, documents: &[TakenUp], embeddings: &Embeddings, now: u64) -> Vec<WorkedOff> {
        let mut first = 0;
        let worked_off = documents.iter().map(|taken| {
            let chunks = first..first + taken.chunks().len();
            first = chunks.end;
            let queued = &taken.queued;
            let id = queued.document.id.clone().unwrap_or_default();
            let outcome = match taken.need {
                Need::Nothing => Outcome::Overtaken,
                Need::Metadata => Outcome::Unchanged {
                    fingerprint: taken.fingerprint,
                    metadata: queued.document.metadata.clone(),
                },
                Need::Encoding => match points(&id, taken, chunks, embeddings) {
                    Ok(chunks) => Outcome::Encoded {
                        fingerprint: taken.fingerprint,
                        gaps: gaps(&queued.document.text, taken.chunks()),
                        chunks,
                    },
                    Err(failure) => self.failed(queued.version, queued.attempts + 1, failure, now),
                },
            };
            WorkedOff {
                id,
                version: queued.version,
                outcome,
            }
        });
        worked_off.collect()
    }

    fn failed(&self, version: Version, attempts: u32, failure: Failure, now: u64) -> Outcome {
        if failure.transient && attempts < self.retry.attempts {
            let pause = self
                .retry
                .pause(attempts, version.task.0 ^ version.ordinal.rotate_left(32));
            return Outcome::Retry {
                attempts,
                due: now + pause.as_millis() as u64,
                error: failure.reason,
            };
        }
        Outcome::GivenUp {
            attempts,
            reason: failure.reason,
        }
    }
}

/// Whether what encodes a collection's documents works.
enum Outage {
    /// Something was encoded.
    No,
    /// Nothing had to be.
    Unknown,
    /// Everything that had to be encoded failed of something that may pass.
    Yes(String),
}

fn outage(documents: &[WorkedOff]) -> Outage {
    let mut outage = Outage::Unknown;
    for document in documents {
        match &document.outcome {
            // One that is given up for what it is says nothing of others.
            Outcome::Unchanged { .. } | Outcome::Overtaken | Outcome::GivenUp { .. } => {}
            Outcome::Encoded { .. } => return Outage::No,
            Outcome::Retry { error, .. } => outage = Outage::Yes(error.clone()),
        }
    }
    outage
}

/// The chunks of a document as points; the first error of a chunk is the document's.
fn points(
    id: &str,
    taken: &TakenUp,
    chunks: std::ops::Range<usize>,
    embeddings: &Embeddings,
) -> Result<Vec<NewPoint>, Failure> {
    let own = taken.chunks.as_ref().map_err(Clone::clone)?;
    let numbered = (0u32..).zip(own).zip(chunks);
    numbered
        .map(|((ordinal, chunk), position)| {
            let vectors = embeddings
                .iter()
                .map(|(vector, results)| Ok((vector.clone(), results[position].clone()?)));
            let mut payload = Payload::new();
            payload.insert(DOCUMENT_ID.to_owned(), json!(id));
            payload.insert("chunk".to_owned(), json!(ordinal));
            payload.insert("start".to_owned(), json!(chunk.start));
            payload.insert("end".to_owned(), json!(chunk.end()));
            payload.insert("text".to_owned(), json!(chunk.text));
            if !chunk.headings.is_empty() {
                payload.insert("headings".to_owned(), json!(chunk.headings));
            }
            payload.extend(
                taken
                    .queued
                    .document
                    .metadata
                    .clone()
                    .map(|metadata| (METADATA.to_owned(), metadata.into())),
            );
            Ok(NewPoint {
                id: chunk_id(id, ordinal),
                vectors: vectors.collect::<Result<_, Failure>>()?,
                payload,
            })
        })
        .collect()
}
