//! Requests about re-embedding: begun, looked at, canceled, and what it failed of tried again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use twofold_storage::{Collection, CollectionId, InvalidInput, StorageError, Succession, SuccessionStage, rfc3339};
use twofold_types::api::CreateCollection;
use twofold_types::{CollectionConfig, Reembed, Reembedding, ReembeddingState, VectorParams, VectorsConfig};

use crate::clock::now_millis;
use crate::engine::Engine;
use crate::error::Result;

/// What went wrong last of each successor, while it keeps it from going on.
#[derive(Default)]
pub(crate) struct Troubles(Mutex<HashMap<CollectionId, String>>);

impl Troubles {
    pub(crate) fn set(&self, successor: &Collection, error: String) {
        self.0.lock().insert(successor.id(), error);
    }

    pub(crate) fn clear(&self, successor: &Collection) {
        self.0.lock().remove(&successor.id());
    }

    fn get(&self, successor: &Collection) -> Option<String> {
        self.0.lock().get(&successor.id()).cloned()
    }
}

impl Engine {
    /// Begins to make the vectors of a collection anew from the stored text of its documents. It answers as before until all of them
    /// are there; then they are switched at once. Models that are named are loaded, as for a collection that is made.
    ///
    /// # Errors
    /// [`StorageError::Reembedding`] where that is being done already, and [`InvalidInput::Reembedding`] where nothing would change or
    /// something is stored that cannot be made again.
    pub fn reembed(&self, collection: &Collection, request: Reembed) -> Result<Reembedding> {
        let config = self.reembedded(&collection.config(), request)?;
        self.store.begin_reembedding(collection, &config, now_millis())?;
        self.reembedder.ring();
        self.reembedding(collection)
    }

    /// How the re-embedding of a collection goes, or how the last one went.
    ///
    /// # Errors
    /// [`StorageError::NotReembedding`] where there never was one.
    pub fn reembedding(&self, collection: &Collection) -> Result<Reembedding> {
        let found = match self.store.reembedding(collection) {
            Ok(Some(found)) => found,
            Err(error) if !matches!(error, StorageError::Succeeded(_)) => return Err(error.into()),
            // What is asked for may just have ended.
            _ => match self.succeeded_by(collection)? {
                Some(successor) => return self.reembedding(&successor),
                None => return Err(StorageError::NotReembedding(collection.name().clone()).into()),
            },
        };
        let documents = collection.count_documents()?;
        let ended = |state, done, at| {
            let CollectionConfig { encoders, chunking, .. } = collection.config();
            Reembedding {
                state,
                documents,
                documents_done: done,
                documents_failed: 0,
                started_at: rfc3339(found.started_at),
                finished_at: Some(rfc3339(at)),
                last_error: None,
                encoders,
                chunking,
            }
        };
        let (successor, is_copied) = match found.stage {
            SuccessionStage::Copying(successor) => (successor, false),
            SuccessionStage::Following(successor) => (successor, true),
            SuccessionStage::Done(at) => return Ok(ended(ReembeddingState::Done, documents, at)),
            SuccessionStage::Canceled(at) => return Ok(ended(ReembeddingState::Canceled, 0, at)),
        };
        let failed = successor.count_dead_letters()?;
        let state = match is_copied {
            false => ReembeddingState::Copying,
            true if failed > 0 && self.store.queue().amount_of(&successor).tasks == 0 => ReembeddingState::Blocked,
            true => ReembeddingState::Following,
        };
        let outage = self
            .backoffs
            .get(successor.id(), now_millis())
            .map(|backoff| backoff.error);
        let mut last_error = outage.or_else(|| self.troubles.get(&successor));
        if last_error.is_none() {
            let dead = successor.dead_letters(None, 1)?.0.pop();
            last_error = dead.map(|dead| format!("document `{}`: {}", dead.document_id, dead.reason));
        }
        let CollectionConfig { encoders, chunking, .. } = successor.config();
        Ok(Reembedding {
            state,
            documents,
            documents_done: successor.count_documents()?,
            documents_failed: failed,
            started_at: rfc3339(found.started_at),
            finished_at: None,
            last_error,
            encoders,
            chunking,
        })
    }

    /// Gives the re-embedding of a collection up; the collection stays as it is.
    ///
    /// # Errors
    /// [`StorageError::NotReembedding`] where it is not being re-embedded.
    pub fn cancel_reembedding(&self, collection: &Collection) -> Result<Reembedding> {
        self.store.cancel_reembedding(collection.name(), now_millis())?;
        // What of it waits in the queue ends.
        self.scheduler.ring();
        self.reembedding(collection)
    }

    /// Tries again the documents that a re-embedding could not encode.
    ///
    /// # Errors
    /// [`StorageError::NotReembedding`] where the collection is not being re-embedded.
    pub fn retry_reembedding(&self, collection: &Collection) -> Result<Reembedding> {
        let running = self.store.reembeddings();
        let running = running.iter().find(|pair| pair.source.id() == collection.id());
        let Succession { successor, .. } =
            running.ok_or_else(|| StorageError::NotReembedding(collection.name().clone()))?;
        self.store.queue().retry_dead_letters(successor, None, now_millis())?;
        self.scheduler.ring();
        self.reembedding(collection)
    }

    /// The collection that has taken the place of another since that was looked up.
    pub(crate) fn succeeded_by(&self, collection: &Collection) -> Result<Option<Arc<Collection>>> {
        let now = self.store.collection(collection.name())?;
        Ok((now.id() != collection.id()).then_some(now))
    }

    /// What becomes of a configuration, but for notes and limits, which are taken over in the end. Size and distance of a vector whose
    /// encoder changes are those of its model, as of a collection that is made; what else was said of it stays.
    fn reembedded(&self, config: &CollectionConfig, request: Reembed) -> Result<CollectionConfig> {
        let mut encoders = config.encoders.clone();
        for (vector, params) in request.encoders.unwrap_or_default() {
            match params {
                Some(params) => drop(encoders.insert(vector, self.models.settled(params))),
                None if encoders.remove(&vector).is_some() => {}
                None => {
                    return Err(refused(format!(
                        "`encoders` takes vector `{vector}` out, which no encoder fills; encoders fill {:?}",
                        config.encoders.keys().collect::<Vec<_>>()
                    )));
                }
            }
        }
        let chunking = request.chunking.or_else(|| config.chunking.clone());
        if (&encoders, &chunking) == (&config.encoders, &config.chunking) {
            return Err(refused(
                "nothing would change: name other `encoders` or another `chunking` than the collection has".to_owned(),
            ));
        }
        let changed = |vector: &String| {
            config.encoders.contains_key(vector) && config.encoders.get(vector) != encoders.get(vector)
        };
        let stays = |vector: &String| {
            let pooled_of = config.pooled_vectors.get(vector).map(|pooled| &pooled.of);
            !changed(vector) && !pooled_of.is_some_and(changed)
        };
        let named = config.vectors.iter().chain(&config.multivectors);
        let vectors: BTreeMap<String, VectorParams> = kept(named, stays);
        let request = CreateCollection {
            vectors: Some(VectorsConfig::Named(vectors)),
            sparse_vectors: Some(kept(&config.sparse_vectors, stays)),
            encoders: Some(encoders),
            pooled_vectors: Some(config.pooled_vectors.clone()),
            chunking,
            ..CreateCollection::default()
        };
        let mut after = self.configured(request)?;
        for (vectors, before) in [
            (&mut after.vectors, &config.vectors),
            (&mut after.multivectors, &config.multivectors),
        ] {
            for (vector, params) in vectors {
                if let Some(before) = before.get(vector) {
                    *params = VectorParams {
                        size: params.size,
                        distance: params.distance,
                        ..before.clone()
                    };
                }
            }
        }
        Ok(after)
    }
}

fn kept<'a, T: Clone + 'a>(
    vectors: impl IntoIterator<Item = (&'a String, &'a T)>,
    stays: impl Fn(&String) -> bool,
) -> BTreeMap<String, T> {
    let kept = vectors.into_iter().filter(|(vector, _)| stays(vector));
    kept.map(|(vector, params)| (vector.clone(), params.clone())).collect()
}

fn refused(reason: String) -> crate::error::WorkerError {
    InvalidInput::Reembedding(reason).into()
}
