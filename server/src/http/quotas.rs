//! Limits of the whole server, as clients of a cluster ask for them. They are the operator's, and given at the start.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use twofold_storage::resident_percent;
use twofold_types::api::{Envelope, ErrorEnvelope};
use utoipa::ToSchema;

use super::blocking::{Answer, Api};
use super::error::ApiError;

/// Limits of the server, and what they would be of.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Quotas {
    config: QuotaConfig,
    usage: QuotaUsage,
}

/// Limits in percent.
#[derive(Debug, Serialize, ToSchema)]
struct QuotaConfig {
    /// Always false: limits are in bytes, and set when the server starts.
    enabled: bool,
}

/// What is used.
#[derive(Debug, Serialize, ToSchema)]
struct QuotaUsage {
    /// How much of the memory that it may use the process takes; null where the system does not say.
    resident_memory_percent: Option<u64>,
    /// How full the data directory's disk is; null where the system does not say.
    disk_usage_percent: Option<u64>,
}

/// How much memory and disk are used. Limits in percent there are none.
#[utoipa::path(get, path = "/quotas", tag = "service", operation_id = "get_quotas",
    responses((status = 200, body = Envelope<Quotas>)))]
pub(super) async fn get(State(api): State<Api>) -> Result<Answer<Quotas>, ApiError> {
    api.run_watching(|engine| {
        let whole = |percent: f64| percent.round() as u64;
        Ok(Quotas {
            config: QuotaConfig { enabled: false },
            usage: QuotaUsage {
                resident_memory_percent: resident_percent().map(whole),
                disk_usage_percent: engine.store().disk_percent().map(whole),
            },
        })
    })
    .await
}

/// Refused: they are options of the server.
#[utoipa::path(put, path = "/quotas", tag = "service", operation_id = "set_quotas",
    responses((status = 405, body = ErrorEnvelope)))]
pub(super) async fn set() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "Method not allowed: limits of the server are options that it is started with, `--memory-budget` and `--min-free-disk`",
    )
}
