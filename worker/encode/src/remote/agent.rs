//! One exchange with an endpoint, and when it is tried again.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};
use rustls::crypto::aws_lc_rs;
use twofold_types::Role;
use ureq::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};

use super::{RemoteError, endpoint::Endpoint, protocol::message};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// The largest request that a protocol accepts is answered with some 130 MB where a service writes vectors as numbers.
const MOST_BYTES: u64 = 256 << 20;

/// How long whoever asks an endpoint waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until then it is asked again before the error is given to whoever waits.
    again: Instant,
    /// After that an answer is of no use.
    end: Option<Instant>,
}

impl Patience {
    /// From now on. Somebody waits for a query; documents come back later from their queue.
    pub(super) fn of(role: Role) -> Self {
        let patience = match role {
            Role::Query => Duration::from_secs(5),
            Role::Document => Duration::from_secs(20),
        };
        Self {
            again: Instant::now() + patience,
            end: None,
        }
    }

    /// The same, but nobody waits longer than until `end`.
    pub(super) fn until(self, end: Option<Instant>) -> Self {
        Self {
            again: end.map_or(self.again, |end| end.min(self.again)),
            end,
        }
    }

    /// How long one exchange may take.
    fn left(self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }
}

/// A client for the service at `uri`, whose exchanges take no longer than `timeout`. It follows no redirects, as keys and texts are for the
/// host that was named, and goes through the environment's proxy, except to this machine.
pub fn http_client(uri: &Uri, timeout: Duration) -> ureq::Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build();
    let mut config = ureq::Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("twofold/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(timeout));
    if is_loopback(uri) {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

impl Endpoint {
    /// Posts `body` to `path`, again where an error may pass, until an answer is read or `patience` is at its end. `tokens`
    /// is what the request costs under the endpoint's rate.
    pub(super) fn call<T>(
        &self,
        path: &str,
        body: &serde_json::Value,
        tokens: usize,
        patience: Patience,
        read: impl Fn(&[u8]) -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let body = serde_json::to_vec(body).map_err(RemoteError::Malformed)?;
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            self.rate.wait(tokens, patience.again)?;
            let error = match self
                .exchange(path, &body, patience.left())
                .and_then(|answer| read(&answer))
            {
                Err(error) if error.is_transient() => error,
                outcome => return outcome,
            };
            let asked = match &error {
                RemoteError::Unavailable { retry_after, .. } => *retry_after,
                _ => None,
            };
            let own = delays.next().unwrap_or(LONGEST_DELAY);
            let delay = asked.map_or(own, |asked| asked.max(FIRST_DELAY));
            if Instant::now() + delay > patience.again {
                return Err(error);
            }
            tracing::warn!(url = self.url, %error, ?delay, "trying again");
            std::thread::sleep(delay);
        }
    }

    /// Posts `body` to `path` once, within `time` or what the endpoint's requests may take.
    fn exchange(&self, path: &str, body: &[u8], time: Option<Duration>) -> Result<Vec<u8>, RemoteError> {
        let transport = |error: ureq::Error| RemoteError::Transport(error.into());
        let mut request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(time) = time {
            let usual = self.agent.config().timeouts().global.unwrap_or(Duration::MAX);
            request = request.config().timeout_global(Some(time.min(usual))).build();
        }
        if let Some(key) = &self.key {
            let unset = || RemoteError::NoKey(key.variable.clone());
            let value = key.value.as_ref().ok_or_else(unset)?;
            let mut value = HeaderValue::from_str(&format!("Bearer {value}")).map_err(|_| unset())?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let mut response = request.send(body).map_err(transport)?;
        let answer = response.body_mut().with_config().limit(MOST_BYTES).read_to_vec();
        if response.status().is_success() {
            return answer.map_err(transport);
        }
        let said = message(&answer.unwrap_or_default());
        Err(self.refusal(
            response.status(),
            said,
            retry_after(response.headers(), SystemTime::now()),
        ))
    }

    /// The error that an answer of this status is.
    fn refusal(&self, status: StatusCode, mut message: String, retry_after: Option<Duration>) -> RemoteError {
        if let Some(value) = self.key.as_ref().and_then(|key| key.value.as_deref()) {
            message = message.replace(value, "***");
        }
        let code = status.as_u16();
        match (&self.key, status) {
            (Some(key), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => RemoteError::Key {
                status: code,
                variable: key.variable.clone(),
                message,
            },
            (_, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS) => {
                RemoteError::unavailable(code, message, retry_after)
            }
            (_, status) if status.is_server_error() => RemoteError::unavailable(code, message, retry_after),
            _ => RemoteError::Refused { status: code, message },
        }
    }
}

/// `Retry-After` as seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = || value.parse().ok().map(Duration::from_secs);
    let date = || {
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    };
    seconds().or_else(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value| {
            retry_after(
                &HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(value))]),
                now,
            )
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        // The example of RFC 9110 for dates is that second.
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
