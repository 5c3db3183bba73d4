//! Settings of other engines. They are accepted, stored and answered, as clients expect, and have no meaning here.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// How a graph of vectors is built; indexes here are no graphs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HnswConfig {
    /// Edges of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub m: Option<u64>,
    /// Neighbours that are considered for a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ef_construct: Option<u64>,
    /// KiB of vectors below which all are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_scan_threshold: Option<u64>,
    /// Threads that build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_indexing_threads: Option<u64>,
    /// Whether the graph is on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Where the graph is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<crate::Memory>,
    /// More edges of a node for filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_m: Option<u64>,
    /// Whether vectors are beside the graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_storage: Option<bool>,
}

/// How segments are kept; there are none here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizersConfig {
    /// The share of deleted vectors from which on a segment is written again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_threshold: Option<f64>,
    /// Vectors from which on a segment is written again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vacuum_min_vector_number: Option<u64>,
    /// Segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_segment_number: Option<u64>,
    /// KiB of a segment at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_segment_size: Option<u64>,
    /// KiB of vectors above which a segment is mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memmap_threshold: Option<u64>,
    /// KiB of vectors above which a segment has an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexing_threshold: Option<u64>,
    /// Seconds between writes to disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_interval_sec: Option<u64>,
    /// Threads that work on segments; `"auto"` is as good as none.
    #[serde(deserialize_with = "number_or_auto", skip_serializing_if = "Option::is_none")]
    pub max_optimization_threads: Option<u64>,
    /// Whether points wait for their segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prevent_unoptimized: Option<bool>,
}

fn number_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(auto) if auto == "auto" => Ok(None),
        value => Option::deserialize(value)
            .map_err(|error| serde::de::Error::custom(format!("{error}; a number or \"auto\" is accepted"))),
    }
}

impl HnswConfig {
    /// What is answered where nothing was asked for.
    pub fn usual() -> Self {
        Self {
            m: Some(16),
            ef_construct: Some(100),
            full_scan_threshold: Some(10_000),
            ..Self::default()
        }
    }

    /// These settings with what `changes` sets.
    #[must_use]
    pub fn changed(self, changes: Self) -> Self {
        crate::changed!(self, changes, {
            m, ef_construct, full_scan_threshold, max_indexing_threads, on_disk, memory, payload_m, inline_storage,
        })
    }
}

impl OptimizersConfig {
    /// What is answered where nothing was asked for.
    pub fn usual() -> Self {
        Self {
            deleted_threshold: Some(0.2),
            vacuum_min_vector_number: Some(1000),
            default_segment_number: Some(1),
            flush_interval_sec: Some(5),
            ..Self::default()
        }
    }

    /// These settings with what `changes` sets.
    #[must_use]
    pub fn changed(self, changes: Self) -> Self {
        crate::changed!(self, changes, {
            deleted_threshold, vacuum_min_vector_number, default_segment_number, max_segment_size, memmap_threshold,
            indexing_threshold, flush_interval_sec, max_optimization_threads, prevent_unoptimized,
        })
    }
}

/// Changes of a vector's parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VectorParamsDiff {
    /// Settings that are set; the others stay, unless it is empty: then none is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<HnswConfig>,
    /// In place of what there was; `"Disabled"` takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<Value>,
    /// Whether vectors are kept on disk. They move when the server starts the next time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Accepted without meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<crate::Memory>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_overrule_one_by_one() {
        let changes = HnswConfig {
            m: Some(32),
            ..HnswConfig::default()
        };
        let changed = HnswConfig::usual().changed(changes);
        assert_eq!((changed.m, changed.ef_construct), (Some(32), Some(100)));
    }

    #[test]
    fn threads_are_a_number_or_left_to_the_server() {
        let threads =
            |json: &str| serde_json::from_str::<OptimizersConfig>(json).map(|config| config.max_optimization_threads);
        assert_eq!(threads(r#"{"max_optimization_threads":"auto"}"#).unwrap(), None);
        assert_eq!(threads(r#"{"max_optimization_threads":3}"#).unwrap(), Some(3));
        let error = threads(r#"{"max_optimization_threads":"all"}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"auto\""), "{error}");
    }
}
