//! Requests that carry documents: checked, made durable, answered; the work is done later.

use twofold_storage::{Collection, InvalidInput, Operation, SeqNo};
use twofold_types::{Document, TaskId};

use crate::clock::now_millis;
use crate::engine::Engine;
use crate::error::{Result, WorkerError};

/// Documents of one request at most.
pub const MAX_DOCUMENTS: usize = 10_000;

/// Bytes of a document's id at most.
const MAX_ID_BYTES: usize = 1024;

impl Engine {
    /// Accepts documents: they are durable when this returns, and searchable some time later.
    pub fn add_documents(&self, collection: &Collection, mut documents: Vec<Document>) -> Result<TaskId> {
        if documents.len() > MAX_DOCUMENTS {
            let received = documents.len();
            return Err(InvalidInput::Limit {
                what: "documents of one request",
                received,
                limit: MAX_DOCUMENTS,
            }
            .into());
        }
        let encoders = collection.config().encoders;
        if encoders.is_empty() {
            return Err(WorkerError::NoEncoders);
        }
        for params in encoders.values() {
            self.models.get(params)?;
        }
        for (index, document) in documents.iter_mut().enumerate() {
            let refused = |reason: String| WorkerError::Document { index, reason };
            match &document.id {
                Some(id) if id.is_empty() || id.len() > MAX_ID_BYTES => {
                    return Err(refused(format!(
                        "its id is {} bytes long; 1 to {MAX_ID_BYTES} are accepted",
                        id.len()
                    )));
                }
                Some(_) => {}
                None => {
                    document.id =
                        Some(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, document.text.as_bytes()).to_string())
                }
            }
            if document.text.trim().is_empty() {
                return Err(refused("its text is empty".to_owned()));
            }
        }
        let task = self.store.queue().enqueue(collection, &documents, now_millis())?;
        self.scheduler.ring();
        Ok(task)
    }

    /// Takes a document out with its chunks. Says whether there was one.
    pub fn delete_document(&self, collection: &Collection, id: &str) -> Result<Option<SeqNo>> {
        if collection.document(id)?.is_none() {
            return Ok(None);
        }
        self.apply(collection, Operation::DeleteDocument(id.to_owned()))
            .map(Some)
    }
}
