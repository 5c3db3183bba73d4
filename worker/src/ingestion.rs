//! Ingestion in the hands of an operator: looked at, canceled, paused, and what was given up tried again.

use std::time::Duration;

use twofold_storage::{Collection, Fault, Operation, StorageError, TaskFilter};
use twofold_types::{CollectionIngestion, DeadLettersRetried, Ingestion, Task, TaskId};

use crate::clock::now_millis;
use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// For how long the oldest of the tasks that are not finished has waited; none where there is no such task.
    pub fn oldest_task_age(&self) -> Option<Duration> {
        let accepted = self.store.queue().oldest()?;
        Some(Duration::from_millis(now_millis().saturating_sub(accepted)))
    }

    /// Where a task stands.
    pub fn task(&self, id: TaskId) -> Result<Task> {
        Ok(self.store.queue().task(id, now_millis())?)
    }

    /// Tasks, the newest first, and the one that the next page begins with.
    pub fn tasks(&self, filter: &TaskFilter<'_>, limit: usize) -> Result<(Vec<Task>, Option<TaskId>)> {
        Ok(self.store.queue().tasks(filter, limit, now_millis())?)
    }

    /// Cancels what of a task has not ended, and answers what it has come to. Nothing happens to a task that is finished.
    ///
    /// # Errors
    /// [`StorageError::ReembeddingTask`] where its documents are sent to a collection's successor.
    pub fn cancel_task(&self, id: TaskId) -> Result<Task> {
        let (queue, now) = (self.store.queue(), now_millis());
        let of = queue.collection_of(id)?;
        let canceled = match self.store.by_id(of) {
            Some(collection) if self.store.is_successor(&collection) => {
                return Err(StorageError::ReembeddingTask(collection.name().clone()).into());
            }
            Some(collection) => collection.apply(Operation::CancelTask { task: id, now }).map(|_| ()),
            None => queue.collection_gone(id, of, now),
        };
        match canceled {
            Ok(()) => queue.committed([id], now)?,
            Err(error) if error.fault() == Fault::Missing => queue.collection_gone(id, of, now)?,
            Err(error) => return Err(error.into()),
        }
        self.scheduler.ring();
        self.task(id)
    }

    /// Lets the documents of a collection wait, or be taken up again. It is remembered over a restart.
    pub fn set_paused(&self, collection: &Collection, paused: bool) -> Result<CollectionIngestion> {
        match paused {
            true => self.store.queue().pause(collection)?,
            false => self.store.queue().resume(collection)?,
        }
        self.scheduler.ring();
        self.collection_ingestion(collection)
    }

    /// Puts dead letters back to the documents that wait: those of `ids`, or all.
    pub fn retry_dead_letters(&self, collection: &Collection, ids: Option<&[String]>) -> Result<DeadLettersRetried> {
        let (documents, task_ids) = self.store.queue().retry_dead_letters(collection, ids, now_millis())?;
        self.scheduler.ring();
        Ok(DeadLettersRetried { documents, task_ids })
    }

    /// What of a collection waits, and why.
    pub fn collection_ingestion(&self, collection: &Collection) -> Result<CollectionIngestion> {
        let queue = self.store.queue();
        let amount = queue.amount_of(collection);
        Ok(CollectionIngestion {
            collection: collection.name().clone(),
            paused: queue.is_paused(collection),
            backoff: self.backoffs.get(collection.id(), now_millis()),
            tasks: amount.tasks,
            documents: amount.documents,
            bytes: amount.bytes,
            dead_letters: collection.count_dead_letters()?,
        })
    }

    /// What waits, and what the threads that work on it are at.
    pub fn ingestion(&self) -> Result<Ingestion> {
        let queue = self.store.queue();
        let amount = queue.amount();
        let mut collections = Vec::new();
        for collection in self.store.collections() {
            let ingestion = self.collection_ingestion(&collection)?;
            if ingestion.tasks > 0 || ingestion.paused || ingestion.dead_letters > 0 {
                collections.push(ingestion);
            }
        }
        Ok(Ingestion {
            tasks: amount.tasks,
            documents: amount.documents,
            bytes: amount.bytes,
            bytes_per_second: queue.rate(now_millis()),
            stages: self
                .stages
                .iter()
                .map(|stage| stage.answer(self.stage_timeout))
                .collect(),
            collections,
        })
    }
}
