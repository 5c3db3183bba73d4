//! Requests as they were answered: how many of each endpoint, with which status, how fast.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use twofold_worker::{Distribution, Histogram};

/// What requests are told apart by: few values each, whatever clients send.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Answered {
    pub(super) method: &'static str,
    /// The endpoint's path with its parameters' names, empty for a path that is none.
    pub(super) endpoint: String,
    pub(super) status: u16,
}

/// Requests of one kind.
#[derive(Debug, Default)]
struct Counted {
    took: Histogram,
    /// When the last was answered, in milliseconds since 1970.
    last: AtomicU64,
}

/// All requests since the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<RwLock<BTreeMap<Answered, Arc<Counted>>>>);

impl Requests {
    fn count(&self, answered: Answered, started: Instant) {
        let known = self.0.read().get(&answered).cloned();
        let counted = known.unwrap_or_else(|| self.0.write().entry(answered).or_default().clone());
        counted.took.observe(started.elapsed());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        counted.last.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// What was answered, how long that took, and when it was answered last, in milliseconds since 1970.
    pub(super) fn read(&self) -> Vec<(Answered, Distribution, u64)> {
        let counted = self.0.read();
        let read = |(answered, counted): (&Answered, &Arc<Counted>)| {
            (
                answered.clone(),
                counted.took.read(),
                counted.last.load(Ordering::Relaxed),
            )
        };
        counted.iter().map(read).collect()
    }
}

/// Measures a request.
pub(super) async fn measure(
    State(requests): State<Requests>,
    endpoint: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = known_method(request.method().as_str());
    let response = next.run(request).await;
    let answered = Answered {
        method,
        endpoint: endpoint.map_or_else(String::new, |endpoint| endpoint.as_str().to_owned()),
        status: response.status().as_u16(),
    };
    requests.count(answered, started);
    response
}

/// A method may be any token, so those without a meaning here count as one.
fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Time from a request's head to its answer's";
        let mut metric =
            encoder.encode_descriptor("http_request_duration_seconds", help, None, MetricType::Histogram)?;
        for (answered, took, _) in self.read() {
            encode(&took, metric.encode_family(&answered)?)?;
        }
        Ok(())
    }
}

/// Writes a distribution as a histogram.
pub(super) fn encode(distribution: &Distribution, mut metric: MetricEncoder<'_>) -> fmt::Result {
    let Distribution { count, sum, buckets } = distribution;
    metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_clients_send_there_are_few_series() {
        assert_eq!(known_method("POST"), "POST");
        assert_eq!(known_method("post"), "other");
        assert_eq!(known_method("BREW"), "other");
    }

    #[test]
    fn requests_are_counted_by_what_they_were_answered() {
        let requests = Requests::default();
        for status in [200, 200, 404] {
            let answered = Answered {
                method: "GET",
                endpoint: "/collections/{collection}".to_owned(),
                status,
            };
            requests.count(answered, Instant::now());
        }
        let counts: Vec<_> = requests
            .read()
            .into_iter()
            .map(|(answered, took, last)| (answered.status, took.count, last > 0))
            .collect();
        assert_eq!(counts, [(200, 2, true), (404, 1, true)]);
    }
}
