//! How often what fails is tried again, and when.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use twofold_storage::CollectionId;
use twofold_types::{Backoff, CollectionName};

/// When a document that failed is tried again: each time after twice as long, give or take, up to a longest pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts until a document is given up. Default: 10, about eight minutes. Too low turns a short outage into dead letters.
    pub attempts: u32,
    /// The pause after the first attempt, about. Default: 1 s.
    pub first: Duration,
    /// The longest pause. Default: 5 minutes. Too long keeps documents waiting when all is well again.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 10,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// The pause after so many failed attempts: between half and all of what doubling gives, so that what failed together is
    /// not tried again together. `salt` decides where in between; the same salt gives the same pause.
    pub(crate) fn pause(&self, attempts: u32, salt: u64) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
        let most = doubled.min(self.longest);
        most.mul_f64(0.5 + 0.5 * fraction(salt ^ u64::from(attempts)))
    }
}

/// A number in `0.0..1.0` that looks like chance (the finaliser of SplitMix64).
fn fraction(salt: u64) -> f64 {
    let mut bits = salt.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Collections whose documents wait because everything that was tried of them failed. They are tried with a few documents,
/// so that an outage does not use up the attempts of all that wait. In memory only: after a start all are tried.
pub(crate) struct Backoffs {
    policy: RetryPolicy,
    collections: Mutex<HashMap<CollectionId, Outage>>,
}

struct Outage {
    error: String,
    attempts: u32,
    until: u64,
}

/// What a collection may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Whatever it wants.
    Free,
    /// See whether a few documents work.
    Probe,
    /// Nothing until then, in milliseconds since 1970.
    Wait(u64),
}

impl Backoffs {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            collections: Mutex::default(),
        }
    }

    /// Everything that was tried of a collection failed.
    pub(crate) fn failed(&self, id: CollectionId, collection: &CollectionName, error: impl fmt::Display, now: u64) {
        let mut collections = self.collections.lock();
        let attempts = collections.get(&id).map_or(0, |outage| outage.attempts) + 1;
        let pause = self.policy.pause(attempts, now);
        tracing::error!(%collection, %error, attempts, ?pause, "documents cannot be encoded; they wait");
        let outage = Outage {
            error: error.to_string(),
            attempts,
            until: now + pause.as_millis() as u64,
        };
        collections.insert(id, outage);
    }

    /// Something of a collection worked.
    pub(crate) fn worked(&self, collection: CollectionId) {
        self.collections.lock().remove(&collection);
    }

    pub(crate) fn turn(&self, collection: CollectionId, now: u64) -> Turn {
        match self.collections.lock().get(&collection) {
            None => Turn::Free,
            Some(outage) if outage.until <= now => Turn::Probe,
            Some(outage) => Turn::Wait(outage.until),
        }
    }

    /// The outage of a collection as it is answered.
    pub(crate) fn get(&self, collection: CollectionId, now: u64) -> Option<Backoff> {
        let collections = self.collections.lock();
        let outage = collections.get(&collection)?;
        Some(Backoff {
            error: outage.error.clone(),
            attempts: outage.attempts,
            seconds: outage.until.saturating_sub(now) as f64 / 1e3,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ_from_each_other() {
        let policy = RetryPolicy::default();
        for (attempts, most) in [
            (1, 1.0),
            (2, 2.0),
            (5, 16.0),
            (9, 256.0),
            (10, 300.0),
            (4_000_000_000, 300.0),
        ] {
            let pauses: Vec<f64> = (0..100)
                .map(|salt| policy.pause(attempts, salt).as_secs_f64())
                .collect();
            assert!(
                pauses.iter().all(|pause| (most / 2.0..=most).contains(pause)),
                "{attempts}: {pauses:?}"
            );
            let (low, high) = pauses.iter().fold((f64::MAX, 0.0_f64), |(low, high), pause| {
                (low.min(*pause), high.max(*pause))
            });
            assert!(high - low > most * 0.4, "{attempts}: {low} to {high}");
        }
    }

    #[test]
    fn a_collection_that_fails_waits_is_probed_and_is_free_when_something_works() {
        let backoffs = Backoffs::new(RetryPolicy::default());
        let (bad, good) = (CollectionId(0), CollectionId(1));
        let name = "bad".parse().unwrap();
        backoffs.failed(bad, &name, "no", 1_000);
        let Turn::Wait(until) = backoffs.turn(bad, 1_000) else {
            panic!("it does not wait")
        };
        assert!((1_500..=2_000).contains(&until), "{until}");
        assert_eq!(backoffs.turn(bad, until), Turn::Probe);
        assert_eq!(backoffs.turn(good, 1_000), Turn::Free);
        backoffs.failed(bad, &name, "still no", until);
        assert_eq!(backoffs.get(bad, until).unwrap().attempts, 2);
        backoffs.worked(bad);
        assert_eq!(backoffs.turn(bad, until), Turn::Free);
    }
}
