//! Requests that carry documents: checked, made durable, answered; the work is done later.

use twofold_storage::{Collection, DocumentSelector, InvalidInput, Operation, SeqNo, StorageError};
use twofold_types::{Document, Priority, TaskId};

use crate::clock::now_millis;
use crate::engine::Engine;
use crate::error::{Result, WorkerError};

/// Documents of one request at most.
pub const MAX_DOCUMENTS: usize = 10_000;

/// Bytes of a document's id at most.
const MAX_ID_BYTES: usize = 1024;

impl Engine {
    /// Accepts documents: they are durable when this returns, and searchable some time later.
    pub fn add_documents(
        &self,
        collection: &Collection,
        mut documents: Vec<Document>,
        priority: Priority,
    ) -> Result<TaskId> {
        if documents.len() > MAX_DOCUMENTS {
            let received = documents.len();
            return Err(InvalidInput::Limit {
                what: "documents of one request",
                received,
                limit: MAX_DOCUMENTS,
            }
            .into());
        }
        for (index, document) in documents.iter_mut().enumerate() {
            check_document(document).map_err(|reason| WorkerError::Document { index, reason })?;
        }
        self.add_checked_documents(collection, &documents, priority)
    }

    /// Accepts documents that have passed [`check_document`].
    pub fn add_checked_documents(
        &self,
        collection: &Collection,
        documents: &[Document],
        priority: Priority,
    ) -> Result<TaskId> {
        let encoders = collection.config().encoders;
        if encoders.is_empty() {
            return Err(WorkerError::NoEncoders);
        }
        for params in encoders.values() {
            self.models.get(params)?;
        }
        let queue = self.store.queue();
        let task = match queue.enqueue(collection, documents, priority, now_millis()) {
            Err(StorageError::Succeeded(name)) => {
                let successor = self.store.collection(&name)?;
                queue.enqueue(&successor, documents, priority, now_millis())?
            }
            accepted => accepted?,
        };
        self.scheduler.ring();
        Ok(task)
    }

    /// Takes a document out with its chunks, its versions that wait and its dead letter. Says whether there was any of them.
    pub fn delete_document(&self, collection: &Collection, id: &str) -> Result<Option<SeqNo>> {
        if !collection.has_document(id)? {
            // What waited for a collection that was succeeded waits for its successor.
            return match self.succeeded_by(collection)? {
                Some(successor) => self.delete_document(&successor, id),
                None => Ok(None),
            };
        }
        let selector = DocumentSelector::Ids(vec![id.to_owned()]);
        self.delete_documents(collection, selector).map(Some)
    }

    /// Takes documents out with their chunks, their versions that wait and their dead letters.
    pub fn delete_documents(&self, collection: &Collection, selector: DocumentSelector) -> Result<SeqNo> {
        match self.apply(collection, Operation::DeleteDocuments(selector.clone())) {
            Err(WorkerError::Storage(StorageError::Succeeded(name))) => {
                let successor = self.store.collection(&name)?;
                self.apply(&successor, Operation::DeleteDocuments(selector))
            }
            deleted => deleted,
        }
    }
}

/// Refuses a document that cannot be stored, saying why, and gives it an id where it has none.
pub fn check_document(document: &mut Document) -> Result<(), String> {
    match &document.id {
        Some(id) if id.is_empty() || id.len() > MAX_ID_BYTES => {
            return Err(format!(
                "its id is {} bytes long; 1 to {MAX_ID_BYTES} are accepted",
                id.len()
            ));
        }
        Some(_) => {}
        None => {
            let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, document.text.as_bytes());
            document.id = Some(id.to_string());
        }
    }
    match document.text.trim().is_empty() {
        true => Err("its text is empty".to_owned()),
        false => Ok(()),
    }
}
