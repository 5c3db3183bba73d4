//! What clients of a cluster ask. This server is a single node: it says so, and refuses to change a cluster.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use twofold_storage::Collection;
use twofold_types::api::Envelope;
use utoipa::ToSchema;

use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::InCollection;

/// The number of this node.
const PEER: u64 = 0;

/// How the cluster is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClusterStatus {
    /// Always `disabled`.
    status: &'static str,
}

/// Where the shards of a collection are: there is one, and it is here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CollectionClusterInfo {
    peer_id: u64,
    shard_count: u64,
    local_shards: Vec<LocalShard>,
    remote_shards: Vec<Value>,
    shard_transfers: Vec<Value>,
}

/// The shard.
#[derive(Debug, Serialize, ToSchema)]
struct LocalShard {
    shard_id: u32,
    points_count: u64,
    /// Always `Active`.
    state: &'static str,
}

/// What a cluster tells of itself: of this one there is one node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DistributedTelemetry {
    /// The collections by name.
    collections: BTreeMap<String, DistributedCollection>,
    cluster: DistributedCluster,
}

/// A collection and where it is.
#[derive(Debug, Serialize, ToSchema)]
struct DistributedCollection {
    /// Its name.
    id: String,
    shards: Vec<DistributedShard>,
    reshardings: Vec<Value>,
    shard_transfers: Vec<Value>,
}

/// The only shard.
#[derive(Debug, Serialize, ToSchema)]
struct DistributedShard {
    id: u32,
    replicas: Vec<Replica>,
}

/// The only copy of a shard.
#[derive(Debug, Serialize, ToSchema)]
struct Replica {
    peer_id: u64,
    /// Always `Active`.
    state: &'static str,
    /// `green` when every index is up to date, `yellow` while one is being built.
    status: &'static str,
    num_points: u64,
    num_vectors: u64,
    num_vectors_by_name: BTreeMap<String, u64>,
}

/// There is no cluster.
#[derive(Debug, Serialize, ToSchema)]
struct DistributedCluster {
    enabled: bool,
    number_of_peers: u64,
    #[schema(value_type = Object)]
    peers: BTreeMap<String, Value>,
}

/// Keys that shards are chosen by.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShardKeys {
    /// None.
    shard_keys: Vec<Value>,
}

/// Hints to an operator.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Issues {
    /// None: what is slow or refused is in the metrics and in the log.
    issues: Vec<Value>,
}

/// How the cluster is: there is none.
#[utoipa::path(get, path = "/cluster", tag = "cluster", operation_id = "cluster_status",
    responses((status = 200, body = Envelope<ClusterStatus>)))]
pub(super) async fn status(State(api): State<Api>) -> Result<Answer<ClusterStatus>, ApiError> {
    api.run_watching(|_| Ok(ClusterStatus { status: "disabled" })).await
}

/// What the cluster holds: what this node does.
#[utoipa::path(get, path = "/cluster/telemetry", tag = "cluster", operation_id = "cluster_telemetry",
    responses((status = 200, body = Envelope<DistributedTelemetry>)))]
pub(super) async fn telemetry(State(api): State<Api>) -> Result<Answer<DistributedTelemetry>, ApiError> {
    api.run_watching(|engine| {
        let collections = engine.store().collections();
        Ok(DistributedTelemetry {
            collections: collections.iter().map(|collection| distributed(collection)).collect(),
            cluster: DistributedCluster {
                enabled: false,
                number_of_peers: 1,
                peers: BTreeMap::new(),
            },
        })
    })
    .await
}

fn distributed(collection: &Collection) -> (String, DistributedCollection) {
    let vectors: BTreeMap<String, u64> = collection.vector_counts().into_iter().collect();
    let replica = Replica {
        peer_id: PEER,
        state: "Active",
        status: if collection.is_indexing() { "yellow" } else { "green" },
        num_points: collection.points(),
        num_vectors: vectors.values().sum(),
        num_vectors_by_name: vectors,
    };
    let shard = DistributedShard {
        id: 0,
        replicas: vec![replica],
    };
    let collection = DistributedCollection {
        id: collection.name().to_string(),
        shards: vec![shard],
        reshardings: Vec::new(),
        shard_transfers: Vec::new(),
    };
    (collection.id.clone(), collection)
}

/// Where the shards of a collection are.
#[utoipa::path(get, path = "/collections/{collection}/cluster", tag = "cluster", operation_id = "collection_cluster_info",
    responses((status = 200, body = Envelope<CollectionClusterInfo>)))]
pub(super) async fn of_collection(
    State(api): State<Api>,
    path: InCollection,
) -> Result<Answer<CollectionClusterInfo>, ApiError> {
    api.on(path.collection, |_, collection| {
        Ok(CollectionClusterInfo {
            peer_id: PEER,
            shard_count: 1,
            local_shards: vec![LocalShard {
                shard_id: 0,
                points_count: collection.points(),
                state: "Active",
            }],
            remote_shards: Vec::new(),
            shard_transfers: Vec::new(),
        })
    })
    .await
}

/// The keys that shards of a collection are chosen by: there are none.
#[utoipa::path(get, path = "/collections/{collection}/shards", tag = "cluster", operation_id = "list_shard_keys",
    responses((status = 200, body = Envelope<ShardKeys>)))]
pub(super) async fn shard_keys(State(api): State<Api>, path: InCollection) -> Result<Answer<ShardKeys>, ApiError> {
    api.on(path.collection, |_, _| Ok(ShardKeys { shard_keys: Vec::new() }))
        .await
}

/// Hints to an operator: there are none.
#[utoipa::path(get, path = "/issues", tag = "cluster", operation_id = "get_issues",
    responses((status = 200, body = Envelope<Issues>)))]
pub(super) async fn issues(State(api): State<Api>) -> Result<Answer<Issues>, ApiError> {
    api.run_watching(|_| Ok(Issues { issues: Vec::new() })).await
}

/// Forgets hints.
#[utoipa::path(delete, path = "/issues", tag = "cluster", operation_id = "clear_issues",
    responses((status = 200, body = Envelope<bool>)))]
pub(super) async fn clear_issues(State(api): State<Api>) -> Result<Answer<bool>, ApiError> {
    api.run_watching(|_| Ok(true)).await
}

/// Refused: there is no peer.
#[utoipa::path(delete, path = "/cluster/peer/{peer}", tag = "cluster", operation_id = "remove_peer",
    responses((status = 405, body = twofold_types::api::ErrorEnvelope)))]
pub(super) async fn remove_peer() -> ApiError {
    single_node()
}

/// Refused: there is no consensus.
#[utoipa::path(post, path = "/cluster/recover", tag = "cluster", operation_id = "recover_current_peer",
    responses((status = 405, body = twofold_types::api::ErrorEnvelope)))]
pub(super) async fn recover() -> ApiError {
    single_node()
}

/// Refused: shards stay where they are.
#[utoipa::path(post, path = "/collections/{collection}/cluster", tag = "cluster", operation_id = "update_collection_cluster",
    responses((status = 405, body = twofold_types::api::ErrorEnvelope)))]
pub(super) async fn update_collection() -> ApiError {
    single_node()
}

/// Refused: there is one shard.
#[utoipa::path(put, path = "/collections/{collection}/shards", tag = "cluster", operation_id = "create_shard_key",
    responses((status = 405, body = twofold_types::api::ErrorEnvelope)))]
pub(super) async fn create_shard_key() -> ApiError {
    single_node()
}

/// Refused: there is one shard.
#[utoipa::path(post, path = "/collections/{collection}/shards/delete", tag = "cluster", operation_id = "delete_shard_key",
    responses((status = 405, body = twofold_types::api::ErrorEnvelope)))]
pub(super) async fn delete_shard_key() -> ApiError {
    single_node()
}

fn single_node() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Method not allowed: this server is a single node, which has neither peers nor shards to change",
    )
}
