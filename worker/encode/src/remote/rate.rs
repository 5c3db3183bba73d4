//! How fast an endpoint may be asked, where the operator says so: requests and tokens a minute.

use std::num::NonZeroU32;
use std::time::Instant;

use governor::clock::{Clock, MonotonicClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::RemoteError;

/// Both limits. A minute's worth may go at once; then it comes back evenly.
pub(super) struct Rate {
    requests: Option<Limit>,
    tokens: Option<Limit>,
}

struct Limit {
    limiter: DefaultDirectRateLimiter,
    a_minute: NonZeroU32,
}

impl Rate {
    pub fn new(requests_per_minute: Option<NonZeroU32>, tokens_per_minute: Option<NonZeroU32>) -> Self {
        let limit = |a_minute| Limit {
            limiter: RateLimiter::direct(Quota::per_minute(a_minute)),
            a_minute,
        };
        Self {
            requests: requests_per_minute.map(limit),
            tokens: tokens_per_minute.map(limit),
        }
    }

    /// Waits until a request of so many tokens may be sent.
    ///
    /// # Errors
    /// [`RemoteError::Rate`] where that would be after `deadline`.
    pub fn wait(&self, tokens: usize, deadline: Instant) -> Result<(), RemoteError> {
        for (limit, cells) in [(&self.requests, 1), (&self.tokens, tokens)] {
            if let Some(limit) = limit {
                limit.wait(cells, deadline)?;
            }
        }
        Ok(())
    }
}

impl Limit {
    fn wait(&self, cells: usize, deadline: Instant) -> Result<(), RemoteError> {
        // What is more than a minute's worth goes when a whole one is there.
        let cells = u32::try_from(cells).unwrap_or(u32::MAX).min(self.a_minute.get());
        let Some(cells) = NonZeroU32::new(cells) else {
            return Ok(());
        };
        let clock = MonotonicClock;
        while let Ok(Err(not_until)) = self.limiter.check_n(cells) {
            let wait = not_until.wait_time_from(clock.now());
            if Instant::now() + wait > deadline {
                return Err(RemoteError::Rate(wait));
            }
            std::thread::sleep(wait);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_over_a_minutes_worth_waits_or_is_refused() {
        let soon = || Instant::now() + Duration::from_secs(2);
        let rate = Rate::new(NonZeroU32::new(60), NonZeroU32::new(6_000));
        rate.wait(5_950, soon()).unwrap();
        // 100 tokens come back a second.
        let started = Instant::now();
        rate.wait(100, soon()).unwrap();
        assert!(
            started.elapsed() > Duration::from_millis(400),
            "{:?}",
            started.elapsed()
        );
        let error = rate.wait(1_000_000, soon()).unwrap_err();
        assert!(error.is_transient() && matches!(error, RemoteError::Rate(_)), "{error}");
        let rate = Rate::new(NonZeroU32::new(1), None);
        rate.wait(0, soon()).unwrap();
        assert!(rate.wait(0, soon()).is_err());
        let free = Rate::new(None, None);
        (0..1_000).for_each(|_| free.wait(1 << 20, Instant::now()).unwrap());
    }
}
