//! What telemetry tells of a collection.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use twofold_storage::Collection;
use twofold_types::VectorsConfig;
use twofold_types::api::{CollectionConfigInfo, CollectionParams};
use utoipa::ToSchema;

use super::super::collections::config_info;
use super::DurationsTelemetry;
use super::anonymous::{self, Disguise};

/// A collection.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum CollectionTelemetry {
    /// With its name and its state.
    Full(Box<FullTelemetry>),
    /// In few words.
    Aggregated(Box<AggregatedTelemetry>),
}

/// A collection in few words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AggregatedTelemetry {
    vectors: u64,
    /// Always `ok`.
    optimizers_status: &'static str,
    params: CollectionParams,
}

/// A collection with its name and its state.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FullTelemetry {
    /// Its name.
    id: String,
    config: ConfigTelemetry,
    /// One.
    shards: Vec<ShardTelemetry>,
    transfers: Vec<Value>,
    resharding: Vec<Value>,
}

/// The configuration as `GET /collections/{collection}` has it, and what clients require beside it.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigTelemetry {
    #[serde(flatten)]
    config: CollectionConfigInfo,
    wal_config: Value,
}

/// The only shard of a collection.
#[derive(Debug, Serialize, ToSchema)]
struct ShardTelemetry {
    id: u32,
    local: LocalTelemetry,
    remote: Vec<Value>,
    #[schema(value_type = Object)]
    replicate_states: BTreeMap<String, String>,
}

/// What is in the shard.
#[derive(Debug, Serialize, ToSchema)]
struct LocalTelemetry {
    variant_name: &'static str,
    /// `green` when every index is up to date, `yellow` while one is being built.
    status: &'static str,
    /// Vectors that indexes hold.
    total_optimized_points: u64,
    /// Bytes of vectors and of their indexes in memory.
    vectors_size_bytes: u64,
    num_points: u64,
    num_vectors: u64,
    num_vectors_by_name: BTreeMap<String, u64>,
    optimizations: OptimizationsTelemetry,
    /// Points changed by writes that the slowest index has yet to follow; ours.
    index_lag: u64,
}

/// Index builds.
#[derive(Debug, Serialize, ToSchema)]
struct OptimizationsTelemetry {
    /// Always `ok`.
    status: &'static str,
    /// Not counted.
    optimizations: DurationsTelemetry,
}

impl CollectionTelemetry {
    pub(super) fn of(collection: &Collection, details_level: usize, disguise: Option<&Disguise>) -> Self {
        let number = |exact| anonymous::number(disguise, exact);
        let config = shown(config_info(collection.config()), disguise);
        let vectors = collection.vector_counts();
        let num_vectors = number(vectors.iter().map(|(_, count)| count).sum());
        if details_level < 2 {
            return Self::Aggregated(Box::new(AggregatedTelemetry {
                vectors: num_vectors,
                optimizers_status: "ok",
                params: config.params,
            }));
        }
        let memory = collection.vector_memory();
        let local = LocalTelemetry {
            variant_name: "local shard",
            status: if collection.is_indexing() { "yellow" } else { "green" },
            total_optimized_points: number(collection.indexed_vectors()),
            vectors_size_bytes: number(memory.iter().map(|vector| vector.heap_bytes).sum()),
            num_points: number(collection.points()),
            num_vectors,
            num_vectors_by_name: vectors
                .into_iter()
                .map(|(name, count)| (anonymous::name(disguise, &name), number(count)))
                .collect(),
            optimizations: OptimizationsTelemetry {
                status: "ok",
                optimizations: DurationsTelemetry::default(),
            },
            index_lag: number(collection.index_lag()),
        };
        Self::Full(Box::new(FullTelemetry {
            id: anonymous::name(disguise, collection.name().as_str()),
            config: ConfigTelemetry {
                config,
                wal_config: json!({"wal_capacity_mb": 32, "wal_segments_ahead": 0}),
            },
            shards: vec![ShardTelemetry {
                id: 0,
                local,
                remote: Vec::new(),
                replicate_states: BTreeMap::new(),
            }],
            transfers: Vec::new(),
            resharding: Vec::new(),
        }))
    }
}

/// What is answered of a configuration: without what people wrote into it, where it is disguised.
fn shown(config: CollectionConfigInfo, disguise: Option<&Disguise>) -> CollectionConfigInfo {
    if disguise.is_none() {
        return config;
    }
    let CollectionConfigInfo {
        params,
        hnsw_config,
        optimizer_config,
        strict_mode_config,
        ..
    } = config;
    let named = params.vectors.into_named().into_iter();
    let vectors: BTreeMap<_, _> = named
        .map(|(name, vector)| (anonymous::name(disguise, &name), vector))
        .collect();
    let sparse_vectors = params.sparse_vectors.map(|vectors| {
        let named = vectors.into_iter();
        named
            .map(|(name, vector)| (anonymous::name(disguise, &name), vector))
            .collect()
    });
    CollectionConfigInfo {
        params: CollectionParams {
            vectors: VectorsConfig::from(vectors),
            sparse_vectors,
        },
        hnsw_config,
        optimizer_config,
        metadata: None,
        encoders: BTreeMap::new(),
        pooled_vectors: BTreeMap::new(),
        chunking: None,
        strict_mode_config,
    }
}
