//! How many reads and writes of a collection may begin in a minute.
//!
//! Each limit is a bucket that holds as many as a minute's, is full at a start, and fills evenly. What begins takes its share out.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{InvalidInput, Result, StorageError};

const MINUTE: f64 = 60.0;

/// What is left of a collection's limits. All states of the collection share it.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    reads: Mutex<Option<Bucket>>,
    writes: Mutex<Option<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    a_minute: usize,
    left: f64,
    filled: Instant,
}

impl Rates {
    /// Takes a read out of `a_minute`.
    pub(crate) fn read(&self, a_minute: usize, now: Instant) -> Result<()> {
        take(&mut self.reads.lock(), "Read", a_minute, 1, now)
    }

    /// Takes writes of so many points out of `a_minute`.
    pub(crate) fn write(&self, a_minute: usize, points: usize, now: Instant) -> Result<()> {
        take(&mut self.writes.lock(), "Write", a_minute, points, now)
    }
}

fn take(bucket: &mut Option<Bucket>, what: &'static str, a_minute: usize, cost: usize, now: Instant) -> Result<()> {
    let known = bucket.take().filter(|bucket| bucket.a_minute == a_minute);
    let bucket = bucket.insert(known.unwrap_or(Bucket {
        a_minute,
        left: a_minute as f64,
        filled: now,
    }));
    if cost > a_minute {
        let reason = format!(
            "Rate limiting exceeded: {what} rate limit exceeded, request larger than rate limiter capacity ({cost} > {a_minute} a minute), \
             please try to split your request"
        );
        return Err(InvalidInput::Strict(reason).into());
    }
    let rate = a_minute as f64 / MINUTE;
    let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * rate;
    bucket.left = (bucket.left + gained).min(a_minute as f64);
    bucket.filled = now;
    let missing = cost as f64 - bucket.left;
    if missing > 0.0 {
        let retry_after = Duration::from_secs_f64(missing / rate);
        return Err(StorageError::RateLimited { what, retry_after });
    }
    bucket.left -= cost as f64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minutes_share_may_come_at_once_and_then_comes_back_evenly() {
        let (rates, start) = (Rates::default(), Instant::now());
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        for _ in 0..6 {
            rates.read(6, start).unwrap();
        }
        let error = rates.read(6, after(1.0)).unwrap_err();
        assert!(
            matches!(error, StorageError::RateLimited { what: "Read", retry_after } if (8.9..9.1).contains(&retry_after.as_secs_f64())),
            "{error:?}"
        );
        rates.read(6, after(10.1)).unwrap();
        assert!(rates.read(6, after(10.2)).is_err());
        // No more than a minute's share is saved up.
        assert_eq!((0..20).filter(|_| rates.read(6, after(10_000.0)).is_ok()).count(), 6);
        // Writes have a share of their own, and another limit begins anew.
        rates.write(6, 6, after(10_000.0)).unwrap();
        rates.read(100, after(10_000.0)).unwrap();
    }

    #[test]
    fn what_can_never_be_is_refused_for_good() {
        let rates = Rates::default();
        let error = rates.write(5, 6, Instant::now()).unwrap_err();
        assert!(
            matches!(error, StorageError::Invalid(InvalidInput::Strict(_))),
            "{error}"
        );
        rates.write(5, 5, Instant::now()).unwrap();
        assert!(rates.write(0, 1, Instant::now()).is_err());
    }
}
