//! Whether all that a collection holds can be made again from the stored text of its documents.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use twofold_types::{Payload, PointId};

use crate::collection::Collection;
use crate::error::{InvalidInput, Result};
use crate::operation::{DOCUMENT_ID, METADATA, chunk_id, document_point_id};
use crate::record::{DiskRecord, DocumentRecord};
use crate::rocks::Cf;

/// The keys of a chunk's payload.
const OF_CHUNKS: [&str; 7] = [DOCUMENT_ID, "chunk", "start", "end", "text", "headings", METADATA];

/// The keys of the payload of a document's point.
const OF_DOCUMENTS: [&str; 3] = [DOCUMENT_ID, "chunks", METADATA];

impl Collection {
    /// Refuses a collection with something in it that re-embedding would lose, saying how much of what. Reads every payload.
    pub(crate) fn check_restorable(&self) -> Result<()> {
        let view = self.view();
        let schema = &view.state.schema;
        for (name, slot) in schema.slots() {
            let ready = view.state.present(slot).len();
            if ready > 0
                && !schema.config.encoders.contains_key(name)
                && !schema.config.pooled_vectors.contains_key(name)
            {
                return Err(refused(format!(
                    "{ready} points have a vector `{name}`, which no encoder fills: it cannot be made from text"
                )));
            }
        }
        let (mut chunks, mut foreign, mut uneven) = (0, 0, 0);
        // Hashes of documents' ids and of their metadata.
        let mut documents: HashMap<u64, u64> = HashMap::new();
        view.for_each_point(&view.state.alive, |_, point| {
            let payload = point.payload()?;
            match Place::of(point.id(), &payload) {
                Place::Foreign => foreign += 1,
                Place::Document => {}
                Place::Chunk(document) => {
                    chunks += 1;
                    let metadata = hash(&payload.get(METADATA).map(Value::to_string));
                    uneven += u64::from(*documents.entry(hash(document)).or_insert(metadata) != metadata);
                }
            }
            Ok(())
        })?;
        if foreign > 0 {
            return Err(refused(format!(
                "{foreign} points are not as they were made of documents (they came with ready vectors, or their payload was \
                 written by itself), so they cannot be made again: delete them, or send them as documents"
            )));
        }
        if uneven > 0 {
            return Err(refused(format!(
                "{uneven} chunks have other metadata than the first of their document: send these documents again"
            )));
        }
        let mut recorded = 0;
        for entry in view.snapshot.scan(Cf::Documents, &self.id.key(), &[]) {
            recorded += u64::from(DocumentRecord::from_bytes(&entry?.1)?.chunks);
        }
        match recorded.saturating_sub(chunks) {
            0 => Ok(()),
            missing => Err(refused(format!(
                "{missing} chunks of documents were deleted by themselves: send these documents again, or delete them"
            ))),
        }
    }
}

fn refused(reason: String) -> crate::StorageError {
    InvalidInput::Reembedding(reason).into()
}

/// What a point is, by its id and payload.
enum Place<'a> {
    /// A chunk of a document as it was stored.
    Chunk(&'a str),
    /// A document's own.
    Document,
    /// Something else.
    Foreign,
}

impl<'a> Place<'a> {
    fn of(id: PointId, payload: &'a Payload) -> Self {
        let has_only = |keys: &[&str]| payload.keys().all(|key| keys.contains(&key.as_str()));
        let Some(document) = payload.get(DOCUMENT_ID).and_then(Value::as_str) else {
            return Self::Foreign;
        };
        if id == document_point_id(document) && has_only(&OF_DOCUMENTS) {
            return Self::Document;
        }
        let number = |key| payload.get(key).and_then(Value::as_u64);
        let text = payload.get("text").and_then(Value::as_str);
        match (number("chunk"), number("start"), number("end"), text) {
            (Some(ordinal), Some(start), Some(end), Some(text))
                if u32::try_from(ordinal).is_ok_and(|ordinal| id == chunk_id(document, ordinal))
                    && end.checked_sub(start) == Some(text.len() as u64)
                    && has_only(&OF_CHUNKS) =>
            {
                Self::Chunk(document)
            }
            _ => Self::Foreign,
        }
    }
}

fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
