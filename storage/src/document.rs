//! Documents that were cut into chunks: read, listed, and compared with versions that wait.

use twofold_types::{PointId, Record, TaskId};

use crate::collection::Collection;
use crate::error::Result;
use crate::key::{PointOffset, document_of_key};
use crate::operation::{Fingerprint, chunk_id};
use crate::record::{DiskRecord, DocumentRecord};
use crate::rocks::Cf;
use crate::task::{Version, WaitingRecord};
use crate::view::{Fetch, View};

/// A document that has been cut into chunks.
#[derive(Debug, Clone)]
pub struct StoredDocument {
    /// The task that brought it.
    pub task: TaskId,
    /// Its chunks in order.
    pub chunks: Vec<Record>,
}

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDocument {
    /// Its id.
    pub id: String,
    /// The task that brought it.
    pub task: TaskId,
    /// How many chunks it has.
    pub chunks: u32,
}

/// How a version that waits stands to others of its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentState {
    /// It does not count any more: a later one was accepted, or the id was deleted.
    Overtaken,
    /// It counts, and there is no other.
    New,
    /// It counts, and this is stored whole now.
    Stored(Fingerprint),
}

impl Collection {
    /// A document with its chunks.
    pub fn document(&self, id: &str) -> Result<Option<StoredDocument>> {
        let view = self.view();
        let Some(record) = view.document(id)? else {
            return Ok(None);
        };
        let fetch = Fetch::payload_only();
        let offsets = chunk_offsets(&view, id, record.chunks)?;
        let points = offsets.iter().zip(view.points(&offsets)?);
        let chunks = points
            .filter_map(|(&offset, point)| Some(view.record(offset, &point?, &fetch)))
            .collect::<Result<_>>()?;
        Ok(Some(StoredDocument {
            task: TaskId(record.task),
            chunks,
        }))
    }

    /// Whether a document is stored, waits, or is a dead letter.
    pub fn has_document(&self, id: &str) -> Result<bool> {
        let snapshot = self.rocks.snapshot();
        let key = self.id.document_key(id);
        for cf in [Cf::Documents, Cf::Waiting, Cf::DeadLetters] {
            if snapshot.get(cf, &key)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Documents in the order of their ids, from `from` on, and the id that the next page begins with.
    pub fn documents(&self, from: Option<&str>, limit: usize) -> Result<(Vec<ListedDocument>, Option<String>)> {
        let snapshot = self.rocks.snapshot();
        let start = from.map_or(Vec::new(), |id| self.id.document_key(id));
        let mut page = Vec::new();
        for entry in snapshot.scan(Cf::Documents, &self.id.key(), &start) {
            let (key, value) = entry?;
            let id = document_of_key(&key);
            if page.len() == limit {
                return Ok((page, Some(id)));
            }
            let record = DocumentRecord::from_bytes(&value)?;
            page.push(ListedDocument {
                id,
                task: TaskId(record.task),
                chunks: record.chunks,
            });
        }
        Ok((page, None))
    }

    /// How versions that wait stand now. A later version may be accepted at any time, so this only tells what need not be
    /// encoded.
    pub fn document_states<'a>(
        &self,
        versions: impl IntoIterator<Item = (&'a str, Version)>,
    ) -> Result<Vec<DocumentState>> {
        let view = self.view();
        let state = |(id, version)| {
            if view.waiting(id)?.is_some_and(|row| row.overtaken(version).is_some()) {
                return Ok(DocumentState::Overtaken);
            }
            let Some(record) = view.document(id)? else {
                return Ok(DocumentState::New);
            };
            match chunk_offsets(&view, id, record.chunks)?.len() == record.chunks as usize {
                true => Ok(DocumentState::Stored(record.fingerprint())),
                false => Ok(DocumentState::New),
            }
        };
        versions.into_iter().map(state).collect()
    }
}

impl View<'_> {
    pub(crate) fn document(&self, id: &str) -> Result<Option<DocumentRecord>> {
        let value = self.snapshot.get(Cf::Documents, &self.collection.document_key(id))?;
        value.map(|value| DocumentRecord::from_bytes(&value)).transpose()
    }

    pub(crate) fn waiting(&self, id: &str) -> Result<Option<WaitingRecord>> {
        let value = self.snapshot.get(Cf::Waiting, &self.collection.document_key(id))?;
        value.map(|value| WaitingRecord::from_bytes(&value)).transpose()
    }
}

/// Where the chunks of a document are; those that were taken out one by one are missing.
fn chunk_offsets(view: &View<'_>, id: &str, chunks: u32) -> Result<Vec<PointOffset>> {
    let ids: Vec<PointId> = (0..chunks).map(|ordinal| chunk_id(id, ordinal)).collect();
    Ok(view.offsets(&ids)?.into_iter().flatten().collect())
}
