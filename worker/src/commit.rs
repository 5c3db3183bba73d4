//! The committer: waits for the embeddings of a window and makes it durable and searchable in one write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, select};
use serde_json::json;
use twofold_storage::{DocumentWrite, Fault, NewPoint, Operation, Store, TaskProgress, TaskRecord, chunk_id};
use twofold_types::{Payload, TaskId};

use crate::clock::now_millis;
use crate::error::Result;
use crate::ingest::{Encoding, TakenUp, Window, Work};
use crate::lanes::TextResult;
use crate::stop::{Doorbell, Stop};

pub(crate) struct Committer {
    pub(crate) store: Arc<Store>,
    pub(crate) windows: Receiver<Window>,
    pub(crate) indexer: Doorbell,
    pub(crate) scheduler: Doorbell,
    pub(crate) stop: Stop,
}

impl Committer {
    pub(crate) fn run(self) {
        loop {
            let window = select! {
                recv(self.windows) -> window => match window { Ok(window) => window, Err(_) => return },
                recv(self.stop.signal) -> _ => return,
            };
            let Some(embeddings) = self.await_embeddings(window.vectors) else {
                return;
            };
            fail::fail_point!("ingest::encoded");
            while let Err(error) = self.commit(&window.work, &embeddings) {
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
    fn await_embeddings(&self, vectors: Vec<Encoding>) -> Option<BTreeMap<String, Vec<TextResult>>> {
        let mut embeddings = BTreeMap::new();
        for encoding in vectors {
            let mut results = vec![Err("the encoder gave no result".to_owned()); encoding.chunks];
            for (chunks, batch) in encoding.batches {
                let batch = select! {
                    recv(batch) -> batch => batch.ok()?,
                    recv(self.stop.signal) -> _ => return None,
                };
                for (chunk, result) in chunks.into_iter().zip(batch) {
                    results[chunk] = result;
                }
            }
            embeddings.insert(encoding.vector, results);
        }
        Some(embeddings)
    }

    fn commit(&self, work: &Work, embeddings: &BTreeMap<String, Vec<TextResult>>) -> Result<()> {
        let queue = self.store.queue();
        match work {
            Work::Orphan(task) => abandon(&self.store, *task),
            Work::Documents { collection, documents } => {
                let (writes, tasks) = self.writes(documents, embeddings)?;
                match collection.apply(Operation::PutDocuments {
                    documents: writes,
                    tasks: tasks.clone(),
                }) {
                    Ok(_) => {
                        queue.committed(&tasks);
                        Ok(())
                    }
                    Err(error) if error.fault() == Fault::Missing => {
                        tasks.iter().try_for_each(|(task, _)| abandon(&self.store, *task))
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// The documents as they are written, and the state that their tasks reach with them.
    fn writes(
        &self,
        documents: &[TakenUp],
        embeddings: &BTreeMap<String, Vec<TextResult>>,
    ) -> Result<(Vec<DocumentWrite>, Vec<TaskProgress>)> {
        let now = now_millis();
        let mut tasks: BTreeMap<TaskId, TaskRecord> = BTreeMap::new();
        let mut writes = Vec::new();
        let mut first = 0;
        for taken in documents {
            let chunks = first..first + taken.chunks.len();
            first = chunks.end;
            let task = match tasks.entry(taken.task) {
                std::collections::btree_map::Entry::Occupied(task) => task.into_mut(),
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(self.store.queue().record(taken.task)?)
                }
            };
            let id = taken.document.id.clone().unwrap_or_default();
            match points(&id, taken, chunks, embeddings) {
                Ok(points) => {
                    task.document_stored(points.len() as u64, now);
                    writes.push(DocumentWrite {
                        id,
                        task: taken.task,
                        chunks: points,
                    });
                }
                Err(error) => task.document_failed(&id, error, now),
            }
        }
        Ok((writes, tasks.into_iter().collect()))
    }
}

/// The chunks of a document as points; the first error of a chunk is the document's.
fn points(
    id: &str,
    taken: &TakenUp,
    chunks: std::ops::Range<usize>,
    embeddings: &BTreeMap<String, Vec<TextResult>>,
) -> Result<Vec<NewPoint>, String> {
    let numbered = (0u32..).zip(&taken.chunks).zip(chunks);
    numbered
        .map(|((ordinal, chunk), position)| {
            let vectors = embeddings
                .iter()
                .map(|(vector, results)| Ok((vector.clone(), results[position].clone()?)));
            let mut payload = Payload::new();
            payload.insert("document_id".to_owned(), json!(id));
            payload.insert("chunk".to_owned(), json!(ordinal));
            payload.insert("start".to_owned(), json!(chunk.start));
            payload.insert("end".to_owned(), json!(chunk.end()));
            payload.insert("text".to_owned(), json!(chunk.text));
            payload.extend(
                taken
                    .document
                    .metadata
                    .clone()
                    .map(|metadata| ("metadata".to_owned(), metadata.into())),
            );
            Ok(NewPoint {
                id: chunk_id(id, ordinal),
                vectors: vectors.collect::<Result<_, String>>()?,
                payload,
            })
        })
        .collect()
}

fn abandon(store: &Store, task: TaskId) -> Result<()> {
    let mut record = store.queue().record(task)?;
    record.abandon("the collection was deleted", now_millis());
    Ok(store.queue().commit(task, record)?)
}
