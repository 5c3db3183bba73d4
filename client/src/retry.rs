//! When a call is sent again, and after how long.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use crate::Error;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// A server that asks for more than this is waited for this long and asked again.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How a client retries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// How often a call is sent again.
    pub max_retries: usize,
    /// Whether a connection that was not accepted is tried again as well.
    pub connect: bool,
}

impl RetryPolicy {
    /// Runs `call` until it succeeds, fails for good, or has been sent `max_retries` more times.
    pub async fn run<T, F: Future<Output = Result<T, Error>>>(self, call: impl FnMut() -> F) -> Result<T, Error> {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .with_max_times(self.max_retries)
            .with_jitter();
        call.retry(backoff)
            .when(|error| error.is_busy() || (self.connect && error.is_connect()))
            .adjust(|error, delay| delay.map(|delay| wanted_delay(error).unwrap_or(delay)))
            .await
    }
}

fn wanted_delay(error: &Error) -> Option<Duration> {
    match error {
        Error::Api {
            retry_after: Some(wanted),
            ..
        } => Some((*wanted).min(LONGEST_RETRY_AFTER)),
        _ => None,
    }
}
