//! Making collections: what is left out of the vectors follows from the models that fill them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use twofold_storage::{Collection, InvalidInput};
use twofold_types::api::CreateCollection;
use twofold_types::{
    ChunkingParams, CollectionConfig, CollectionName, Comparator, EmbeddingKind, EmbeddingSpace, EncoderParams,
    Modifier, MultivectorConfig, PooledVectorParams, SparseVectorParams, VectorParams, VectorsConfig,
};

use crate::engine::Engine;
use crate::error::Result;

impl Engine {
    /// Makes a collection. Models that are named are loaded, so that a mistake is found here and not while ingesting.
    pub fn create_collection(&self, name: &CollectionName, request: CreateCollection) -> Result<Arc<Collection>> {
        let config = self.configured(request)?;
        Ok(self.store.create_collection(name, &config)?)
    }

    /// The configuration that a request asks for, with what it leaves out.
    pub(crate) fn configured(&self, mut request: CreateCollection) -> Result<CollectionConfig> {
        let encoders: BTreeMap<String, EncoderParams> = match request.encoders.take() {
            Some(encoders) => encoders,
            None => from_metadata(&request, "encoders")?.unwrap_or_default(),
        };
        // What is recorded says what the vectors are, wherever the collection is opened.
        let settled = |(vector, params)| (vector, self.models.settled(params));
        let encoders: BTreeMap<String, EncoderParams> = encoders.into_iter().map(settled).collect();
        let pooled_vectors: BTreeMap<String, PooledVectorParams> = match request.pooled_vectors.take() {
            Some(pooled) => pooled,
            None => from_metadata(&request, "pooled_vectors")?.unwrap_or_default(),
        };
        let chunking: Option<ChunkingParams> = match request.chunking {
            Some(chunking) => Some(chunking),
            None => from_metadata(&request, "chunking")?,
        };
        if let Some(template) = chunking.as_ref().and_then(|chunking| chunking.template.as_deref()) {
            check_template(template)?;
        }
        let mut vectors = request.vectors.map(VectorsConfig::into_named).unwrap_or_default();
        if let Some(quantisation) = &request.quantization_config {
            for params in vectors.values_mut() {
                params.quantization_config.get_or_insert_with(|| quantisation.clone());
            }
        }
        let mut sparse_vectors = request.sparse_vectors.unwrap_or_default();
        let mut spaces = BTreeMap::new();
        for (vector, params) in &encoders {
            let space = self.models.get(params)?.space();
            spaces.insert(vector, space);
            if vectors.contains_key(vector) || sparse_vectors.contains_key(vector) {
                continue;
            }
            match space {
                EmbeddingSpace::Dense { dimensions, distance } => {
                    vectors.insert(vector.clone(), VectorParams::new(dimensions, distance));
                }
                EmbeddingSpace::Multi { dimensions, distance } => {
                    let multi = VectorParams {
                        multivector_config: Some(MultivectorConfig {
                            comparator: Comparator::MaxSim,
                        }),
                        ..VectorParams::new(dimensions, distance)
                    };
                    vectors.insert(vector.clone(), multi);
                }
                EmbeddingSpace::Sparse { idf } => {
                    let sparse = SparseVectorParams {
                        modifier: idf.then_some(Modifier::Idf),
                        ..SparseVectorParams::default()
                    };
                    sparse_vectors.insert(vector.clone(), sparse);
                }
            }
        }
        for (vector, pooled) in &pooled_vectors {
            if let Some(params) = vectors.get(&pooled.of).cloned()
                && !sparse_vectors.contains_key(vector)
            {
                vectors.entry(vector.clone()).or_insert(params);
            }
        }
        let (multivectors, vectors) = vectors
            .into_iter()
            .partition(|(_, params)| params.multivector_config.is_some());
        let config = CollectionConfig {
            vectors,
            multivectors,
            sparse_vectors,
            encoders: encoders.clone(),
            pooled_vectors,
            chunking,
            metadata: request.metadata,
            strict_mode: request.strict_mode_config,
            hnsw: request.hnsw_config,
            optimizers: request.optimizers_config,
        };
        for (vector, space) in spaces {
            check_space(&config, vector, space)?;
        }
        Ok(config)
    }

    /// Removes a collection with all it holds; what of it waits to be encoded ends with it. Says whether there was one.
    pub fn delete_collection(&self, name: &CollectionName) -> Result<bool> {
        let deleted = self.store.delete_collection(name)?;
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

/// Refuses an encoder whose embeddings do not fit what is stored under the name of a vector.
pub(crate) fn check_space(config: &CollectionConfig, vector: &str, space: EmbeddingSpace) -> Result<(), InvalidInput> {
    let expected = kind_of(config, vector)?;
    if space.kind() != expected {
        return Err(InvalidInput::VectorKind {
            vector: vector.to_owned(),
            expected,
            received: space.kind(),
        });
    }
    let params = config.vectors.get(vector).or_else(|| config.multivectors.get(vector));
    match (params, space.dimensions()) {
        (Some(params), Some(expected)) if params.size != expected => Err(InvalidInput::EncoderDimension {
            vector: vector.to_owned(),
            expected,
            received: params.size,
        }),
        _ => Ok(()),
    }
}

/// What is stored under the name of a vector.
pub(crate) fn kind_of(config: &CollectionConfig, vector: &str) -> Result<EmbeddingKind, InvalidInput> {
    config.kind(vector).ok_or_else(|| InvalidInput::UnknownVector {
        name: vector.to_owned(),
        known: config.vector_names().cloned().collect(),
    })
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
