//! Successors in a data directory: made, given up, and put in the place of what they succeed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use twofold_types::{CollectionConfig, CollectionName};

use crate::collection::{Collection, open_fields};
use crate::error::{Result, StorageError};
use crate::key::{CollectionId, changed_prefix, reembedding_key};
use crate::nameless::{forget, nameless_key};
use crate::record::{CollectionRecord, DiskRecord};
use crate::rocks::Cf;
use crate::state::{Schema, State};
use crate::store::{Store, check};
use crate::succession::{ReembeddingRecord, ReembeddingStage, Succession};

/// How the re-embedding of a collection goes, or went; times are in milliseconds since 1970.
pub struct SuccessionState {
    /// When it was begun.
    pub started_at: u64,
    /// How far it is.
    pub stage: SuccessionStage,
}

/// How far a re-embedding is.
pub enum SuccessionStage {
    /// Documents are copied to the successor.
    Copying(Arc<Collection>),
    /// The successor follows what has changed.
    Following(Arc<Collection>),
    /// The collection is the successor, since then.
    Done(u64),
    /// It was given up then.
    Canceled(u64),
}

impl Store {
    /// The collections that are being re-embedded.
    pub fn reembeddings(&self) -> Vec<Succession> {
        let collections = self.collections.read();
        let successors = self.successors.read();
        let pairs = successors.iter().filter_map(|(name, successor)| {
            Some(Succession {
                source: collections.get(name)?.clone(),
                successor: successor.clone(),
            })
        });
        pairs.collect()
    }

    /// How the re-embedding of a collection goes, or went; none where there never was one.
    pub fn reembedding(&self, collection: &Collection) -> Result<Option<SuccessionState>> {
        let successor = self.successors.read().get(collection.name()).cloned();
        let Some(record) = ReembeddingRecord::read(&self.rocks.snapshot(), collection.id)? else {
            return Ok(None);
        };
        let successor = || successor.ok_or_else(|| StorageError::Succeeded(collection.name().clone()));
        let stage = match record.stage {
            ReembeddingStage::Copying { .. } => SuccessionStage::Copying(successor()?),
            ReembeddingStage::Following { .. } => SuccessionStage::Following(successor()?),
            ReembeddingStage::Done { at } => SuccessionStage::Done(at),
            ReembeddingStage::Canceled { at } => SuccessionStage::Canceled(at),
        };
        Ok(Some(SuccessionState {
            started_at: record.started_at,
            stage,
        }))
    }

    /// Makes the successor of a collection, with another configuration. From then on points change through documents only.
    ///
    /// # Errors
    /// [`StorageError::Reembedding`] where it has one, and [`InvalidInput::Reembedding`](crate::InvalidInput::Reembedding) where it holds
    /// what cannot be made again from text.
    pub fn begin_reembedding(&self, source: &Collection, config: &CollectionConfig, now: u64) -> Result<()> {
        check(config)?;
        self.options.check_disk()?;
        {
            let mut writer = source.lock_writer()?;
            if writer.reembedding {
                return Err(StorageError::Reembedding(source.name().clone()));
            }
            writer.reembedding = true;
        }
        let begun = source
            .check_restorable()
            .and_then(|()| self.make_successor(source, config, now));
        if begun.is_err() {
            let mut writer = source.writer.lock();
            writer.reembedding = false;
            let mut batch = self.rocks.batch();
            batch.delete_prefix(Cf::Meta, &changed_prefix(source.id));
            self.rocks.write(batch)?;
        }
        begun
    }

    fn make_successor(&self, source: &Collection, config: &CollectionConfig, now: u64) -> Result<()> {
        let name = source.name();
        let collections = self.collections.write();
        if collections.get(name).is_none_or(|found| found.id != source.id) {
            return Err(StorageError::CollectionNotFound(name.clone()));
        }
        let mut record = CollectionRecord::new(name, config);
        {
            let writer = source.lock_writer()?;
            record.fields = writer.record.fields.clone();
            record.next_field = writer.record.next_field;
        }
        let id = self.reserve_collection(|id, batch| {
            let reembedding = ReembeddingRecord {
                started_at: now,
                stage: ReembeddingStage::Copying {
                    successor: id.0,
                    next: String::new(),
                },
            };
            batch.put(Cf::Collections, &id.key(), &record.to_bytes());
            batch.put(Cf::Meta, &reembedding_key(source.id), &reembedding.to_bytes());
            // Everything is copied, whenever it changed.
            batch.delete_prefix(Cf::Meta, &changed_prefix(source.id));
        })?;
        let successor = Collection::open(id, record, self.rocks.clone(), self.options.clone())?;
        self.successors.write().insert(name.clone(), Arc::new(successor));
        Ok(())
    }

    /// Gives the successor of a collection up with all it holds.
    ///
    /// # Errors
    /// [`StorageError::NotReembedding`] where it has none.
    pub fn cancel_reembedding(&self, name: &CollectionName, now: u64) -> Result<()> {
        let collections = self.collections.write();
        let mut successors = self.successors.write();
        let missing = || StorageError::NotReembedding(name.clone());
        let source = collections.get(name).ok_or_else(missing)?;
        let successor = successors.get(name).ok_or_else(missing)?;
        successor.drop_with(|| {
            let mut writer = source.lock_writer()?;
            let mut batch = self.rocks.batch();
            batch.delete_collection(successor.id);
            batch.delete_prefix(Cf::Meta, &changed_prefix(source.id));
            if let Some(record) = ReembeddingRecord::read(&self.rocks.snapshot(), source.id)? {
                let stage = ReembeddingStage::Canceled { at: now };
                let record = ReembeddingRecord { stage, ..record };
                batch.put(Cf::Meta, &reembedding_key(source.id), &record.to_bytes());
            }
            self.rocks.write(batch)?;
            writer.reembedding = false;
            self.rocks.sync()
        })?;
        self.queue.collection_dropped(successor.id);
        self.queue.release(source);
        successors.remove(name);
        Ok(())
    }

    /// Puts a successor in the place of its source, in one write, if it has followed everything and nothing waits for it. What waits for
    /// the source waits for it then. Says whether it did. Reads that have begun go on with the source.
    pub fn switch(&self, succession: &Succession, now: u64) -> Result<bool> {
        let Succession { source, successor } = succession;
        let mut collections = self.collections.write();
        let mut successors = self.successors.write();
        let current = successors.get(source.name());
        if current.is_none_or(|current| current.id != successor.id) {
            return Ok(false);
        }
        let old = source.lock_writer()?;
        let mut new = successor.lock_writer()?;
        if self.queue.amount_of(successor).tasks > 0
            || !old.record.has_fields_of(&new.record)
            || !succession.has_followed()?
        {
            return Ok(false);
        }
        // What was changed meanwhile of the settings that re-embedding leaves alone.
        let (mut config, current) = (new.record.config()?, old.record.config()?);
        config.metadata = current.metadata;
        config.strict_mode = current.strict_mode;
        (config.hnsw, config.optimizers) = (current.hnsw, current.optimizers);
        let mut record = new.record.clone();
        record.set_config(&config);
        let mut batch = self.rocks.batch();
        batch.put(Cf::Collections, &successor.id.key(), &record.to_bytes());
        batch.delete(Cf::Collections, &source.id.key());
        // What else there is of the source goes when nobody reads it any more, or at the next start.
        batch.put(Cf::Meta, &nameless_key(source.id), &[]);
        if let Some(record) = ReembeddingRecord::read(&self.rocks.snapshot(), source.id)? {
            let stage = ReembeddingStage::Done { at: now };
            let record = ReembeddingRecord { stage, ..record };
            batch.put(Cf::Meta, &reembedding_key(successor.id), &record.to_bytes());
        }
        batch.delete(Cf::Meta, &reembedding_key(source.id));
        let tasks = self.queue.hand_over(&mut batch, source.id, successor.id)?;
        let mut state = State::clone(&successor.state());
        state.schema = Arc::new(Schema {
            config,
            placements: record.placements(),
            fields: open_fields(&record)?,
        });
        fail::fail_point!("reembed::before_switch");
        successor.publish(batch, state)?;
        self.rocks.sync()?;
        fail::fail_point!("reembed::after_switch");
        new.record = record;
        source.succeeded.store(true, Ordering::Relaxed);
        successors.remove(source.name());
        collections.insert(source.name().clone(), successor.clone());
        self.retired.lock().push(source.clone());
        // It is done, whatever comes of this: who takes one of these tasks up for the source puts it back.
        if let Err(error) = self.queue.handed_over(tasks, source.id, successor.id, now) {
            tracing::error!(%error, "tasks are not known to be the successor's yet");
        }
        Ok(true)
    }

    /// Reclaims the space of collections that were succeeded, as far as nobody reads them any more. Says whether some are left.
    pub fn reclaim(&self) -> Result<bool> {
        let mut retired = self.retired.lock();
        let (read, unread): (Vec<_>, Vec<_>) = retired.drain(..).partition(|source| Arc::strong_count(source) > 1);
        *retired = read;
        for source in unread {
            source.drop_with(|| forget(&self.rocks, source.id))?;
        }
        Ok(!retired.is_empty())
    }

    /// A collection by its number, a successor too.
    pub fn by_id(&self, id: CollectionId) -> Option<Arc<Collection>> {
        self.all_collections()
            .into_iter()
            .find(|collection| collection.id == id)
    }

    /// All collections, successors too.
    pub fn all_collections(&self) -> Vec<Arc<Collection>> {
        let collections = self.collections.read();
        let successors = self.successors.read();
        collections.values().chain(successors.values()).cloned().collect()
    }

    /// Whether a collection is the successor of one that still answers.
    pub fn is_successor(&self, collection: &Collection) -> bool {
        let successors = self.successors.read();
        successors.values().any(|successor| successor.id == collection.id)
    }
}

#[cfg(test)]
mod tests;
