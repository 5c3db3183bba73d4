//! Documents: texts that the server cuts into chunks, encodes and makes searchable.

use reqwest::Method;
use twofold_types::api::{AddDocuments, DocumentInfo, DocumentsSelector, TaskAccepted, UpdateResult};
use twofold_types::{CollectionName, DocumentPage, Priority, TaskId};

use crate::collections::collection;
use crate::path::page_with;
use crate::{Client, Error};

impl Client {
    /// Hands documents over. When this returns they are durable, and on their way: [`Client::wait_for_task`] tells when
    /// they are searchable.
    ///
    /// # Errors
    /// [`Error::is_rejected`] where one of them is not acceptable; then none of them was taken.
    pub async fn add_documents(&self, name: &CollectionName, documents: &AddDocuments) -> Result<TaskId, Error> {
        self.add_documents_with(name, documents, Priority::Normal).await
    }

    /// The same before or after other documents of the collection.
    ///
    /// # Errors
    /// As [`Client::add_documents`].
    pub async fn add_documents_with(
        &self,
        name: &CollectionName,
        documents: &AddDocuments,
        priority: Priority,
    ) -> Result<TaskId, Error> {
        let query = match priority {
            Priority::High => "?priority=high",
            Priority::Normal => "",
            Priority::Low => "?priority=low",
        };
        let path = collection(name, &["documents"])? + query;
        let answer: TaskAccepted = self.send(Method::POST, &path, documents).await?;
        Ok(answer.task_id)
    }

    /// Documents in the order of their ids, from `from` on, at most `limit`.
    pub async fn list_documents(
        &self,
        name: &CollectionName,
        from: Option<&str>,
        limit: usize,
    ) -> Result<DocumentPage, Error> {
        self.list_documents_with(name, from, limit, &[]).await
    }

    /// The same with the values at these keys of the documents' metadata; a key has no comma.
    pub async fn list_documents_with(
        &self,
        name: &CollectionName,
        from: Option<&str>,
        limit: usize,
        metadata: &[&str],
    ) -> Result<DocumentPage, Error> {
        let path = collection(name, &["documents"])? + &page_with(from, limit, metadata);
        self.call(Method::GET, &path).await
    }

    /// Deletes documents with their chunks, and their versions that wait: those with certain ids, or of which a chunk matches.
    pub async fn delete_documents(
        &self,
        name: &CollectionName,
        selector: &DocumentsSelector,
    ) -> Result<UpdateResult, Error> {
        let path = collection(name, &["documents", "delete"])?;
        self.send(Method::POST, &path, selector).await
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
