//! Making collections: what is left out of the vectors follows from the models that fill them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use twofold_storage::{Collection, InvalidInput};
use twofold_types::api::CreateCollection;
use twofold_types::{ChunkingParams, CollectionConfig, CollectionName, EncoderParams, VectorParams, VectorsConfig};

use crate::engine::Engine;
use crate::error::{Result, WorkerError};

impl Engine {
    /// Makes a collection. Models that are named are loaded, so that a mistake is found here and not while ingesting.
    pub fn create_collection(&self, name: &CollectionName, mut request: CreateCollection) -> Result<Arc<Collection>> {
        if request
            .sparse_vectors
            .as_ref()
            .is_some_and(|vectors| !vectors.is_empty())
        {
            return Err(WorkerError::Unsupported("sparse_vectors"));
        }
        let encoders: BTreeMap<String, EncoderParams> = match request.encoders.take() {
            Some(encoders) => encoders,
            None => from_metadata(&request, "encoders")?.unwrap_or_default(),
        };
        let chunking: Option<ChunkingParams> = match request.chunking {
            Some(chunking) => Some(chunking),
            None => from_metadata(&request, "chunking")?,
        };
        if let Some(template) = chunking.as_ref().and_then(|chunking| chunking.template.as_deref()) {
            check_template(template)?;
        }
        let mut vectors = request.vectors.map(VectorsConfig::into_named).unwrap_or_default();
        if vectors.values().any(|params| params.multivector_config.is_some()) {
            return Err(WorkerError::Unsupported("multivector_config"));
        }
        if let Some(quantisation) = &request.quantization_config {
            for params in vectors.values_mut() {
                params.quantization_config.get_or_insert_with(|| quantisation.clone());
            }
        }
        for (vector, params) in &encoders {
            let encoder = self.models.get(params)?;
            let expected = encoder.dimensions();
            let received = vectors
                .entry(vector.clone())
                .or_insert_with(|| VectorParams::new(expected, encoder.distance()))
                .size;
            if received != expected {
                return Err(InvalidInput::EncoderDimension {
                    vector: vector.clone(),
                    expected,
                    received,
                }
                .into());
            }
        }
        let config = CollectionConfig {
            vectors,
            encoders,
            chunking,
            metadata: request.metadata,
        };
        Ok(self.store.create_collection(name, &config)?)
    }

    /// Removes a collection with all it holds; what of it waits to be encoded ends with it. Says whether there was one.
    pub fn delete_collection(&self, name: &CollectionName) -> Result<bool> {
        let deleted = self.store.delete_collection(name)?;
        // Another one of that name begins anew.
        self.backoffs.worked(name);
        self.scheduler.ring();
        Ok(deleted)
    }
}

/// What is encoded of a chunk ends with its text, and before that names keys of the metadata.
fn check_template(template: &str) -> Result<(), InvalidInput> {
    let refused = |reason: &str| InvalidInput::Setting {
        key: "chunking.template",
        reason: reason.to_owned(),
    };
    let before = template
        .strip_suffix("{text}")
        .ok_or_else(|| refused("it ends with `{text}`, as in `{title}: {text}`"))?;
    let keys = before.split('{').skip(1);
    match keys.clone().all(|key| key.contains('}')) && keys.count() == before.matches('}').count() {
        true => Ok(()),
        false => Err(refused("every `{` has its `}`")),
    }
}

/// A setting of ours that a client of another maker could only send inside of `metadata`.
fn from_metadata<T: serde::de::DeserializeOwned>(request: &CreateCollection, key: &'static str) -> Result<Option<T>> {
    match request.metadata.as_ref().and_then(|metadata| metadata.get(key)) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|error| {
            InvalidInput::Setting {
                key,
                reason: error.to_string(),
            }
            .into()
        }),
    }
}
