//! `GET /telemetry`: what this server is, what it holds and what it was asked, in Qdrant's shape.
//!
//! Nothing in it is a secret: no keys, no paths, no addresses, no payloads.

mod anonymous;
mod collection;
mod system;

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use twofold_types::api::Envelope;
use twofold_worker::Engine;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::anonymous::Disguise;
use self::collection::CollectionTelemetry;
use self::system::SystemTelemetry;
use super::blocking::{Answer, Api};
use super::error::ApiError;
use super::extract::Params;
use super::requests::Requests;

/// What telemetry tells beside what the engine knows.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// Of this run of the server.
    id: Uuid,
    startup: jiff::Timestamp,
    disguise: Disguise,
    requests: Requests,
}

impl Observed {
    pub(super) fn new(requests: Requests) -> Self {
        Self {
            id: Uuid::new_v4(),
            startup: jiff::Timestamp::now(),
            disguise: Disguise::new(),
            requests,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TelemetryParams {
    /// 0: numbers of collections and requests. 1: also the machine, and each collection without its name. From 2 on: collections with
    /// names, configuration and state. Default: 0.
    #[serde(default)]
    details_level: usize,
    /// Names are replaced, numbers rounded, notes and times left out. Default: false.
    #[serde(default)]
    anonymize: bool,
}

/// What a server tells of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Telemetry {
    /// Of this run of the server.
    id: String,
    app: AppTelemetry,
    collections: CollectionsTelemetry,
    cluster: ClusterTelemetry,
    requests: RequestsTelemetry,
}

/// The program.
#[derive(Debug, Serialize, ToSchema)]
struct AppTelemetry {
    name: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<FeaturesTelemetry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<SystemTelemetry>,
    /// Always false.
    jwt_rbac: bool,
    /// When it was started.
    startup: String,
}

/// What the program was built with.
#[derive(Debug, Serialize, ToSchema)]
struct FeaturesTelemetry {
    debug: bool,
    service_debug_feature: bool,
    recovery_mode: bool,
    gpu: bool,
    rocksdb: bool,
    staging: bool,
}

/// Collections.
#[derive(Debug, Serialize, ToSchema)]
struct CollectionsTelemetry {
    number_of_collections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    collections: Option<Vec<CollectionTelemetry>>,
}

/// There is no cluster.
#[derive(Debug, Serialize, ToSchema)]
struct ClusterTelemetry {
    enabled: bool,
}

/// Requests since the start.
#[derive(Debug, Serialize, ToSchema)]
struct RequestsTelemetry {
    rest: ResponsesTelemetry,
    /// There are none.
    grpc: ResponsesTelemetry,
}

/// Requests by method and endpoint, then by status.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ResponsesTelemetry {
    responses: BTreeMap<String, BTreeMap<String, DurationsTelemetry>>,
}

/// How often, and how long it took.
#[derive(Debug, Default, Serialize, ToSchema)]
struct DurationsTelemetry {
    count: u64,
    /// Of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    avg_duration_micros: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_duration_micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_responded: Option<String>,
}

/// What the server is, what it holds and what it was asked.
#[utoipa::path(get, path = "/telemetry", tag = "service", operation_id = "telemetry", params(TelemetryParams),
    responses((status = 200, body = Envelope<Telemetry>)))]
pub(super) async fn telemetry(
    State(api): State<Api>,
    Extension(observed): Extension<Observed>,
    Params(params): Params<TelemetryParams>,
) -> Result<Answer<Telemetry>, ApiError> {
    api.run_watching(move |engine| Ok(collect(engine, &observed, &params)))
        .await
}

fn collect(engine: &Engine, observed: &Observed, params: &TelemetryParams) -> Telemetry {
    let disguise = params.anonymize.then_some(&observed.disguise);
    let detailed = params.details_level > 0;
    let collections = engine.store().collections();
    Telemetry {
        id: observed.id.to_string(),
        app: AppTelemetry {
            name: "twofold",
            version: env!("CARGO_PKG_VERSION"),
            features: detailed.then_some(FeaturesTelemetry {
                debug: cfg!(debug_assertions),
                service_debug_feature: false,
                recovery_mode: false,
                gpu: cfg!(any(feature = "cuda", feature = "metal")),
                rocksdb: true,
                staging: false,
            }),
            system: detailed.then(|| SystemTelemetry::here(disguise)),
            jwt_rbac: false,
            startup: anonymous::moment(disguise, observed.startup).to_string(),
        },
        collections: CollectionsTelemetry {
            number_of_collections: anonymous::number(disguise, collections.len() as u64),
            collections: detailed.then(|| {
                let told = |collection| CollectionTelemetry::of(collection, params.details_level, disguise);
                collections.iter().map(|collection| told(collection)).collect()
            }),
        },
        cluster: ClusterTelemetry { enabled: false },
        requests: RequestsTelemetry {
            rest: responses(&observed.requests, disguise),
            grpc: ResponsesTelemetry::default(),
        },
    }
}

fn responses(requests: &Requests, disguise: Option<&Disguise>) -> ResponsesTelemetry {
    let mut responses: BTreeMap<String, BTreeMap<String, DurationsTelemetry>> = BTreeMap::new();
    for (answered, took, last) in requests.read() {
        let endpoint = match answered.endpoint.as_str() {
            "" => "unknown",
            endpoint => endpoint,
        };
        let last = jiff::Timestamp::from_millisecond(last as i64).ok();
        let durations = DurationsTelemetry {
            count: anonymous::number(disguise, took.count),
            avg_duration_micros: (took.count > 0).then(|| took.sum * 1e6 / took.count as f64),
            total_duration_micros: Some(anonymous::number(disguise, (took.sum * 1e6) as u64)),
            last_responded: last.filter(|_| disguise.is_none()).map(|last| last.to_string()),
        };
        responses
            .entry(format!("{} {endpoint}", answered.method))
            .or_default()
            .insert(answered.status.to_string(), durations);
    }
    ResponsesTelemetry { responses }
}
