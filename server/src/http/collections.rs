//! Collections and their payload indexes.

use std::collections::BTreeMap;

use axum::extract::State;
use twofold_storage::{Collection, VectorMemory};
use twofold_types::api::{
    CollectionConfigInfo, CollectionDescription, CollectionExists, CollectionInfo, CollectionParams, CollectionsList,
    CreateCollection, CreatePayloadIndex, Envelope, PayloadIndexInfo, UpdateCollection, UpdateResult, VectorPlacement,
};
use twofold_types::{CollectionConfig, HnswConfig, OptimizersConfig, VectorsConfig};
use twofold_worker::Result;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::{Body, InCollection};
use super::points::completed;

/// All collections.
#[utoipa::path(get, path = "/collections", tag = "collections", operation_id = "get_collections",
    responses((status = 200, body = Envelope<CollectionsList>)))]
pub(super) async fn list(State(api): State<Api>) -> Result<Answer<CollectionsList>, ApiError> {
    api.run(|engine| {
        let collections = engine.store().collections();
        let names = collections.iter().map(|collection| CollectionDescription {
            name: collection.name().clone(),
        });
        Ok(CollectionsList {
            collections: names.collect(),
        })
    })
    .await
}

/// Whether there is a collection.
#[utoipa::path(get, path = "/collections/{collection}/exists", tag = "collections", operation_id = "collection_exists",
    responses((status = 200, body = Envelope<CollectionExists>)))]
pub(super) async fn exists(State(api): State<Api>, path: InCollection) -> Result<Answer<CollectionExists>, ApiError> {
    api.run(move |engine| {
        let exists = engine
            .store()
            .collections()
            .iter()
            .any(|collection| *collection.name() == path.collection);
        Ok(CollectionExists { exists })
    })
    .await
}

/// Creates a collection.
#[utoipa::path(put, path = "/collections/{collection}", tag = "collections", operation_id = "create_collection",
    request_body = CreateCollection,
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn create(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<CreateCollection>,
) -> Result<Answer<bool>, ApiError> {
    api.run(move |engine| engine.create_collection(&path.collection, request).map(|_| true))
        .await
}

/// Changes what may be changed of a collection.
#[utoipa::path(patch, path = "/collections/{collection}", tag = "collections", operation_id = "update_collection",
    request_body = UpdateCollection,
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn update(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<UpdateCollection>,
) -> Result<Answer<bool>, ApiError> {
    api.on(path.collection, move |_, collection| {
        collection.update(request)?;
        Ok(true)
    })
    .await
}

/// Deletes a collection; the answer says whether there was one.
#[utoipa::path(delete, path = "/collections/{collection}", tag = "collections", operation_id = "delete_collection",
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn delete(State(api): State<Api>, path: InCollection) -> Result<Answer<bool>, ApiError> {
    api.run(move |engine| engine.delete_collection(&path.collection)).await
}

/// State and configuration of a collection.
#[utoipa::path(get, path = "/collections/{collection}", tag = "collections", operation_id = "get_collection",
    responses((status = 200, body = Envelope<CollectionInfo>)))]
pub(super) async fn get(State(api): State<Api>, path: InCollection) -> Result<Answer<CollectionInfo>, ApiError> {
    api.on(path.collection, |_, collection| info(collection)).await
}

/// Creates a payload index.
#[utoipa::path(put, path = "/collections/{collection}/index", tag = "indexes", operation_id = "create_field_index",
    request_body = CreatePayloadIndex,
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn create_index(
    State(api): State<Api>,
    path: InCollection,
    Body(request): Body<CreatePayloadIndex>,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |_, collection| {
        Ok(completed(
            collection.create_payload_index(&request.field_name, request.field_schema)?,
        ))
    })
    .await
}

/// Deletes a payload index.
#[utoipa::path(delete, path = "/collections/{collection}/index/{field}", tag = "indexes", operation_id = "delete_field_index",
    responses((status = 200, body = Envelope<UpdateResult>)))]
pub(super) async fn delete_index(
    State(api): State<Api>,
    path: InCollection<String>,
) -> Result<Answer<UpdateResult>, ApiError> {
    api.on(path.collection, move |_, collection| {
        Ok(completed(collection.delete_payload_index(&path.rest)?))
    })
    .await
}

fn placement(memory: VectorMemory) -> (String, VectorPlacement) {
    let placement = VectorPlacement {
        current: memory.placement.as_str().to_owned(),
        asked: memory.asked.as_str().to_owned(),
        heap_bytes: memory.heap_bytes,
    };
    (memory.name, placement)
}

fn info(collection: &Collection) -> Result<CollectionInfo> {
    let config = collection.config();
    let indexes = collection.payload_indexes()?.into_iter();
    let indexing = collection.is_indexing();
    Ok(CollectionInfo {
        status: if indexing { "yellow" } else { "green" }.to_owned(),
        optimizer_status: "ok".to_owned(),
        indexed_vectors_count: collection.indexed_vectors(),
        points_count: collection.points(),
        segments_count: 1,
        config: config_info(config),
        payload_schema: indexes
            .map(|(key, index)| {
                let info = PayloadIndexInfo {
                    data_type: index.data_type,
                    params: index.params,
                    points: index.points,
                };
                (key, info)
            })
            .collect(),
        placement: collection.vector_memory().into_iter().map(placement).collect(),
    })
}

/// A configuration as it is answered.
pub(super) fn config_info(config: CollectionConfig) -> CollectionConfigInfo {
    let vectors = config.vectors.into_iter().chain(config.multivectors);
    CollectionConfigInfo {
        params: CollectionParams {
            vectors: VectorsConfig::from(vectors.collect::<BTreeMap<_, _>>()),
            sparse_vectors: Some(config.sparse_vectors).filter(|vectors| !vectors.is_empty()),
        },
        hnsw_config: HnswConfig::usual().changed(config.hnsw.unwrap_or_default()),
        optimizer_config: OptimizersConfig::usual().changed(config.optimizers.unwrap_or_default()),
        metadata: config.metadata,
        encoders: config.encoders,
        pooled_vectors: config.pooled_vectors,
        chunking: config.chunking,
        strict_mode_config: config.strict_mode,
    }
}
