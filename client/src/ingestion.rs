//! Ingestion in the hands of an operator: its state, pausing, canceling, and documents that were given up.

use reqwest::Method;
use twofold_types::{
    CollectionIngestion, CollectionName, DeadLetter, DeadLetterPage, DeadLettersDeleted, DeadLettersRetried, Ingestion,
    RetryDeadLetters, Task, TaskId,
};

use crate::collections::collection;
use crate::path::{page, path};
use crate::{Client, Error};

impl Client {
    /// What waits, and what the server's threads that work on it are at.
    pub async fn ingestion(&self) -> Result<Ingestion, Error> {
        self.call(Method::GET, "/ingestion").await
    }

    /// What of a collection waits, and why.
    pub async fn collection_ingestion(&self, name: &CollectionName) -> Result<CollectionIngestion, Error> {
        self.call(Method::GET, &collection(name, &["ingestion"])?).await
    }

    /// Lets the documents of a collection wait until it is resumed, over a restart as well. They are accepted meanwhile.
    pub async fn pause_ingestion(&self, name: &CollectionName) -> Result<CollectionIngestion, Error> {
        self.call(Method::POST, &collection(name, &["ingestion", "pause"])?)
            .await
    }

    /// Takes up again what [`Client::pause_ingestion`] let wait.
    pub async fn resume_ingestion(&self, name: &CollectionName) -> Result<CollectionIngestion, Error> {
        self.call(Method::POST, &collection(name, &["ingestion", "resume"])?)
            .await
    }

    /// Cancels what of a task is not stored yet, and answers what it has come to. A finished task stays as it is.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where it does not exist.
    pub async fn cancel_task(&self, id: TaskId) -> Result<Task, Error> {
        self.call(Method::POST, &path(&["tasks", &id.to_string(), "cancel"])?)
            .await
    }

    /// Documents that were given up, in the order of their ids, from `from` on, at most `limit`.
    pub async fn list_dead_letters(
        &self,
        name: &CollectionName,
        from: Option<&str>,
        limit: usize,
    ) -> Result<DeadLetterPage, Error> {
        let path = collection(name, &["dead-letters"])? + &page(from, limit);
        self.call(Method::GET, &path).await
    }

    /// A document that was given up.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where it was not.
    pub async fn get_dead_letter(&self, name: &CollectionName, id: &str) -> Result<DeadLetter, Error> {
        self.call(Method::GET, &collection(name, &["dead-letters", id])?).await
    }

    /// Puts documents that were given up back to those that wait: those of `ids`, or all.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where one of them was not given up; then none is put back.
    pub async fn retry_dead_letters(
        &self,
        name: &CollectionName,
        ids: Option<Vec<String>>,
    ) -> Result<DeadLettersRetried, Error> {
        let path = collection(name, &["dead-letters", "retry"])?;
        self.send(Method::POST, &path, &RetryDeadLetters { ids }).await
    }

    /// Forgets all documents that were given up, and says how many there were.
    pub async fn delete_dead_letters(&self, name: &CollectionName) -> Result<u64, Error> {
        let answer: DeadLettersDeleted = self.call(Method::DELETE, &collection(name, &["dead-letters"])?).await?;
        Ok(answer.deleted)
    }
}
