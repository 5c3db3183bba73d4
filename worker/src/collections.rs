//! Making collections: what is left out of the vectors follows from the models that fill them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use twofold_encode::Encoder;
use twofold_storage::{Collection, InvalidInput};
use twofold_types::api::CreateCollection;
use twofold_types::{
    CollectionConfig, CollectionName, Distance, EmbeddingKind, EmbeddingSpace, EncoderParams, OtherKind, VectorParams,
    VectorsConfig,
};

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
        // What is recorded says what the vectors are, wherever the collection is opened.
        let settled = |(vector, params)| (vector, self.models.settled(params));
        let encoders: BTreeMap<String, EncoderParams> = encoders.into_iter().map(settled).collect();
        let chunking = match request.chunking {
            Some(chunking) => Some(chunking),
            None => from_metadata(&request, "chunking")?,
        };
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
            let (expected, distance) = stored_space(self.models.get(params)?.as_ref())?;
            let received = vectors
                .entry(vector.clone())
                .or_insert_with(|| VectorParams::new(expected, distance))
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
}

/// What a collection stores of an encoder: dense vectors, as there are no others in storage yet.
pub(crate) fn stored_space(encoder: &dyn Encoder) -> Result<(usize, Distance)> {
    match encoder.space() {
        EmbeddingSpace::Dense { dimensions, distance } => Ok((dimensions, distance)),
        other => Err(WorkerError::OtherKind {
            model: encoder.model().clone(),
            source: OtherKind {
                expected: EmbeddingKind::Dense,
                received: other.kind(),
            },
        }),
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
