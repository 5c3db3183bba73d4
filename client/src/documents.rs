//! Documents: texts that the server cuts into chunks, encodes and makes searchable.

use reqwest::Method;
use twofold_types::api::{AddDocuments, DocumentInfo, TaskAccepted, UpdateResult};
use twofold_types::{CollectionName, TaskId};

use crate::collections::collection;
use crate::{Client, Error};

impl Client {
    /// Hands documents over. When this returns they are durable, and on their way: [`Client::wait_for_task`] tells when
    /// they are searchable.
    ///
    /// # Errors
    /// [`Error::is_rejected`] where one of them is not acceptable; then none of them was taken.
    pub async fn add_documents(&self, name: &CollectionName, documents: &AddDocuments) -> Result<TaskId, Error> {
        let answer: TaskAccepted = self
            .send(Method::POST, &collection(name, &["documents"])?, documents)
            .await?;
        Ok(answer.task_id)
    }

    /// A document with its chunks.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where it does not exist.
    pub async fn get_document(&self, name: &CollectionName, id: &str) -> Result<DocumentInfo, Error> {
        self.call(Method::GET, &collection(name, &["documents", id])?).await
    }

    /// Deletes a document with its chunks.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where it does not exist.
    pub async fn delete_document(&self, name: &CollectionName, id: &str) -> Result<UpdateResult, Error> {
        self.call(Method::DELETE, &collection(name, &["documents", id])?).await
    }
}
