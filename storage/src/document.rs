//! Documents that were cut into chunks: read, listed, and compared with versions that wait.

use serde_json::Value;
use twofold_types::{Payload, PointId, Record, TaskId};

use crate::collection::Collection;
use crate::error::Result;
use crate::key::{PointOffset, document_of_key};
use crate::operation::{Fingerprint, METADATA, chunk_id};
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
    /// Its metadata at the keys that were asked for; none without keys, or where its first chunk was taken out.
    pub metadata: Option<Payload>,
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

    /// How many documents are stored.
    pub fn count_documents(&self) -> Result<u64> {
        let mut count = 0;
        let snapshot = self.rocks.snapshot();
        snapshot.scan_keys(Cf::Documents, &self.id.key(), &[], |_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Documents in the order of their ids, from `from` on, with the values at some keys of their metadata, and the id that
    /// the next page begins with.
    pub fn documents(
        &self,
        from: Option<&str>,
        limit: usize,
        metadata: &[&str],
    ) -> Result<(Vec<ListedDocument>, Option<String>)> {
        let view = self.view();
        let start = from.map_or(Vec::new(), |id| self.id.document_key(id));
        let mut page = Vec::new();
        let mut next = None;
        for entry in view.snapshot.scan(Cf::Documents, &self.id.key(), &start) {
            let (key, value) = entry?;
            let id = document_of_key(&key);
            if page.len() == limit {
                next = Some(id);
                break;
            }
            let record = DocumentRecord::from_bytes(&value)?;
            page.push(ListedDocument {
                id,
                task: TaskId(record.task),
                chunks: record.chunks,
                metadata: None,
            });
        }
        if !metadata.is_empty() {
            view.read_metadata(&mut page, metadata)?;
        }
        Ok((page, next))
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

    /// Every chunk has the metadata of its document, so it is read from the first.
    fn read_metadata(&self, documents: &mut [ListedDocument], keys: &[&str]) -> Result<()> {
        let first: Vec<_> = documents.iter().map(|document| chunk_id(&document.id, 0)).collect();
        for (document, offset) in documents.iter_mut().zip(self.offsets(&first)?) {
            let point = offset.map(|offset| self.point(offset)).transpose()?.flatten();
            let Some(mut payload) = point.map(|point| point.payload()).transpose()? else {
                continue;
            };
            let mut values = match payload.remove(METADATA) {
                Some(Value::Object(values)) => values,
                _ => Payload::new(),
            };
            values.retain(|key, _| keys.contains(&key.as_str()));
            document.metadata = Some(values);
        }
        Ok(())
    }

    pub(crate) fn waiting(&self, id: &str) -> Result<Option<WaitingRecord>> {
        let value = self.snapshot.get(Cf::Waiting, &self.collection.document_key(id))?;
        value.map(|value| WaitingRecord::from_bytes(&value)).transpose()
    }
}

/// Where the chunks of a document are; those that were taken out one by one are missing.
pub(crate) fn chunk_offsets(view: &View<'_>, id: &str, chunks: u32) -> Result<Vec<PointOffset>> {
    let ids: Vec<PointId> = (0..chunks).map(|ordinal| chunk_id(id, ordinal)).collect();
    Ok(view.offsets(&ids)?.into_iter().flatten().collect())
}
