//! Durations by how long they were: a few counters that any thread adds to, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bound of the first bucket, in nanoseconds.
const FIRST: u64 = 50_000;

/// Buckets with a bound; each bound is twice the one before, the last 26 seconds.
const BOUNDED: usize = 20;

/// How many durations were how long.
#[derive(Debug, Default)]
pub struct Histogram {
    /// What is longer than all bounds comes last.
    buckets: [AtomicU64; BOUNDED + 1],
    nanoseconds: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// How many durations there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
    /// The upper bound of each bucket in seconds, and how many durations are in it and in none before. The last bound is [`f64::MAX`].
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Adds a duration.
    pub fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What was added up to now.
    pub fn read(&self) -> Distribution {
        let buckets = self.buckets.iter().enumerate().map(|(number, count)| {
            let bound = match number {
                BOUNDED => f64::MAX,
                number => (FIRST << number) as f64 / 1e9,
            };
            (bound, count.load(Ordering::Relaxed))
        });
        let buckets: Vec<(f64, u64)> = buckets.collect();
        Distribution {
            count: buckets.iter().map(|(_, count)| count).sum(),
            sum: self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9,
            buckets,
        }
    }
}

/// The first bucket whose bound is not below.
fn bucket(nanoseconds: u64) -> usize {
    let doublings = nanoseconds.saturating_sub(1) / FIRST;
    ((u64::BITS - doublings.leading_zeros()) as usize).min(BOUNDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_long_enough() {
        for number in 0..BOUNDED {
            let bound = FIRST << number;
            assert_eq!((bucket(bound), bucket(bound + 1)), (number, number + 1));
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BOUNDED));
    }

    #[test]
    fn what_was_added_is_counted_once() {
        let histogram = Histogram::default();
        for milliseconds in [0, 1, 1, 3, 40_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let read = histogram.read();
        assert_eq!(read.count, 5);
        assert!((read.sum - 40.005).abs() < 1e-9, "{}", read.sum);
        let within = |seconds: f64| {
            let buckets = read.buckets.iter().filter(|(bound, _)| *bound <= seconds);
            buckets.map(|(_, count)| count).sum::<u64>()
        };
        assert_eq!(
            (within(0.0001), within(0.0016), within(0.01), within(30.0)),
            (1, 3, 4, 4)
        );
        assert!(read.buckets.is_sorted_by(|a, b| a.0 < b.0));
    }
}
