//! Re-embedding: a collection and its successor, which has the same documents by other encoders or in other chunks.
//!
//! The successor is a collection with a number of its own that is found under no name. First the documents are copied in the order
//! of their ids; meanwhile every write of the source notes, in its own batch, which documents it has changed, and these are sent
//! after. What is sent goes through the queue like all documents, so the successor is written by the ordinary pipeline. Where the two
//! agree, the successor takes the name ([`Store::switch`](crate::Store::switch)).

use std::sync::Arc;

use bincode::{Decode, Encode};
use twofold_types::Document;

use crate::collection::Collection;
use crate::error::Result;
use crate::key::{CollectionId, SeqNo, changed_key, changed_prefix, document_of_key, reembedding_key};
use crate::record::{DiskRecord, DocumentRecord};
use crate::rocks::{Batch, Cf, Snapshot};
use crate::view::View;

/// How the re-embedding of a collection goes, or went.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct ReembeddingRecord {
    /// In milliseconds since 1970, as all times here.
    pub(crate) started_at: u64,
    pub(crate) stage: ReembeddingStage,
}

/// How far a re-embedding is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum ReembeddingStage {
    /// Documents are copied to the collection with this number; the next one is that with this id or the first after it.
    Copying { successor: u32, next: String },
    /// All were copied to it, and what changes follows.
    Following { successor: u32 },
    /// The collection is the successor, since then.
    Done { at: u64 },
    /// It was given up then.
    Canceled { at: u64 },
}

impl DiskRecord for ReembeddingRecord {
    const WHAT: &'static str = "re-embedding record";
}

impl ReembeddingRecord {
    pub(crate) fn successor(&self) -> Option<CollectionId> {
        match self.stage {
            ReembeddingStage::Copying { successor, .. } | ReembeddingStage::Following { successor } => {
                Some(CollectionId(successor))
            }
            ReembeddingStage::Done { .. } | ReembeddingStage::Canceled { .. } => None,
        }
    }

    pub(crate) fn read(snapshot: &Snapshot<'_>, collection: CollectionId) -> Result<Option<Self>> {
        let bytes = snapshot.get(Cf::Meta, &reembedding_key(collection))?;
        bytes.map(|bytes| Self::from_bytes(&bytes)).transpose()
    }
}

/// That a document has changed with a write, and the successor has yet to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct ChangedRecord {
    seq: u64,
}

impl DiskRecord for ChangedRecord {
    const WHAT: &'static str = "changed document record";
}

/// Adds to a batch of the write `seq` that it has changed these documents.
pub(crate) fn note_changed(batch: &mut Batch<'_>, collection: CollectionId, documents: &[String], seq: SeqNo) {
    let record = ChangedRecord { seq: seq.0 }.to_bytes();
    for id in documents {
        batch.put(Cf::Meta, &changed_key(collection, id), &record);
    }
}

/// A collection that is being re-embedded.
#[derive(Clone)]
pub struct Succession {
    /// The collection that answers.
    pub source: Arc<Collection>,
    /// The one that will.
    pub successor: Arc<Collection>,
}

/// What is sent to a successor next.
#[derive(Debug)]
pub struct Portion {
    /// Documents to put in, as they were accepted.
    pub documents: Vec<Document>,
    /// Ids of documents to take out.
    pub gone: Vec<String>,
    /// Whether it is all that is known to have changed, after everything was copied.
    pub is_last: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Copied in order; the next portion begins here, or there is none.
    Copied(Option<String>),
    /// Changed, by these writes.
    Changed(Vec<(String, ChangedRecord)>),
}

impl Portion {
    /// Whether it is of what has changed, and not of what is copied.
    pub fn follows(&self) -> bool {
        matches!(self.kind, Kind::Changed(_))
    }
}

impl Succession {
    /// What is to be sent next: about as many documents, or bytes of text; none where nothing is known to be different.
    pub fn portion(&self, most: usize, bytes: usize) -> Result<Option<Portion>> {
        let view = self.source.view();
        let Some(record) = ReembeddingRecord::read(&view.snapshot, self.source.id)? else {
            return Ok(None);
        };
        match record.stage {
            ReembeddingStage::Copying { next, .. } => self.copied(&view, &next, most, bytes).map(Some),
            ReembeddingStage::Following { .. } => self.changed(&view, most, bytes),
            ReembeddingStage::Done { .. } | ReembeddingStage::Canceled { .. } => Ok(None),
        }
    }

    fn copied(&self, view: &View<'_>, from: &str, most: usize, bytes: usize) -> Result<Portion> {
        let (mut documents, mut read, mut next) = (Vec::new(), 0, None);
        let start = self.source.id.document_key(from);
        for entry in view.snapshot.scan(Cf::Documents, &self.source.id.key(), &start) {
            let (key, value) = entry?;
            let id = document_of_key(&key);
            if documents.len() >= most || read >= bytes {
                next = Some(id);
                break;
            }
            let document = view.original(&id, &DocumentRecord::from_bytes(&value)?)?;
            read += document.text.len();
            documents.push(document);
        }
        Ok(Portion {
            documents,
            gone: Vec::new(),
            is_last: false,
            kind: Kind::Copied(next),
        })
    }

    fn changed(&self, view: &View<'_>, most: usize, bytes: usize) -> Result<Option<Portion>> {
        let (mut documents, mut gone, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut read, mut is_last) = (0, true);
        let prefix = changed_prefix(self.source.id);
        for entry in view.snapshot.scan(Cf::Meta, &prefix, &[]) {
            if changed.len() >= most || read >= bytes {
                is_last = false;
                break;
            }
            let (key, value) = entry?;
            let id = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            match view.document(&id)? {
                Some(record) => {
                    let document = view.original(&id, &record)?;
                    read += document.text.len();
                    documents.push(document);
                }
                None => gone.push(id.clone()),
            }
            changed.push((id, ChangedRecord::from_bytes(&value)?));
        }
        Ok((!changed.is_empty()).then_some(Portion {
            documents,
            gone,
            is_last,
            kind: Kind::Changed(changed),
        }))
    }

    /// Notes that a portion was sent. What has changed since it was read is sent again.
    pub fn sent(&self, portion: Portion) -> Result<()> {
        let source = self.source.id;
        // A write of the source comes before this or after it, and so does canceling.
        let writer = self.source.lock_writer()?;
        let snapshot = self.source.rocks.snapshot();
        let Some(mut record) = ReembeddingRecord::read(&snapshot, source)? else {
            return Ok(());
        };
        if record.successor() != Some(self.successor.id) {
            return Ok(());
        }
        let mut batch = self.source.rocks.batch();
        match portion.kind {
            Kind::Copied(next) => {
                let successor = self.successor.id.0;
                record.stage = match next {
                    Some(next) => ReembeddingStage::Copying { successor, next },
                    None => ReembeddingStage::Following { successor },
                };
                batch.put(Cf::Meta, &reembedding_key(source), &record.to_bytes());
            }
            Kind::Changed(changed) => {
                for (id, read) in changed {
                    let key = changed_key(source, &id);
                    let now = snapshot.get(Cf::Meta, &key)?;
                    if now.is_some_and(|now| now == read.to_bytes()) {
                        batch.delete(Cf::Meta, &key);
                    }
                }
            }
        }
        self.source.rocks.write(batch)?;
        drop(writer);
        // Not synced: what a crash forgets is sent twice.
        Ok(())
    }

    /// Gives the successor the payload indexes of the source, and no others.
    pub fn follow_payload_indexes(&self) -> Result<()> {
        let wanted = self.source.writer.lock().record.fields.clone();
        let has = self.successor.writer.lock().record.fields.clone();
        for field in has
            .iter()
            .filter(|field| !wanted.iter().any(|other| other.key == field.key))
        {
            self.successor.delete_payload_index(&field.key)?;
        }
        for field in wanted.iter().filter(|field| !has.iter().any(|own| own.is_like(field))) {
            self.successor.create_payload_index(&field.key, field.schema()?)?;
        }
        Ok(())
    }

    /// Whether everything was copied, nothing is noted as changed, and nothing was given up. The caller has the writers of both.
    pub(crate) fn has_followed(&self) -> Result<bool> {
        let snapshot = self.source.rocks.snapshot();
        let record = ReembeddingRecord::read(&snapshot, self.source.id)?;
        let follows = record.is_some_and(|record| matches!(record.stage, ReembeddingStage::Following { .. }));
        let has_none = |cf, prefix: &[u8]| snapshot.scan(cf, prefix, &[]).next().is_none();
        Ok(follows
            && has_none(Cf::Meta, &changed_prefix(self.source.id))
            && has_none(Cf::DeadLetters, &self.successor.id.key()))
    }

    /// Whether the documents of the two have the same ids, once everything was copied and worked off. Those that one of them lacks are
    /// noted as changed.
    pub fn compare(&self) -> Result<bool> {
        let different = different(&self.source.view(), &self.successor.view())?;
        if different.is_empty() {
            return Ok(true);
        }
        tracing::warn!(
            collection = %self.source.name(),
            documents = different.len(),
            "documents are sent to the successor once more"
        );
        let _writer = self.source.lock_writer()?;
        let mut batch = self.source.rocks.batch();
        note_changed(&mut batch, self.source.id, &different, self.source.state().seq);
        self.source.rocks.write(batch)?;
        Ok(false)
    }
}

/// Ids of documents that are in one of two collections only.
fn different(one: &View<'_>, other: &View<'_>) -> Result<Vec<String>> {
    let (mut ones, mut others) = (document_ids(one), document_ids(other));
    let (mut next, mut next_other) = (ones.next().transpose()?, others.next().transpose()?);
    let mut different = Vec::new();
    loop {
        match (&next, &next_other) {
            (None, None) => return Ok(different),
            (Some(id), Some(other)) if id == other => {
                next = ones.next().transpose()?;
                next_other = others.next().transpose()?;
            }
            (Some(id), Some(other)) if id.as_bytes() > other.as_bytes() => {
                different.extend(next_other);
                next_other = others.next().transpose()?;
            }
            (None, Some(_)) => {
                different.extend(next_other);
                next_other = others.next().transpose()?;
            }
            (Some(_), _) => {
                different.extend(next);
                next = ones.next().transpose()?;
            }
        }
    }
}

fn document_ids(view: &View<'_>) -> impl Iterator<Item = Result<String>> {
    let entries = view.snapshot.scan(Cf::Documents, &view.collection.key(), &[]);
    entries.map(|entry| entry.map(|(key, _)| document_of_key(&key)))
}
