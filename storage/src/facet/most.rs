//! The most frequent of many values.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use twofold_types::api::{FacetHit, FacetValue};

/// The best values so far: those of the most points, and of as many the first.
pub(super) struct Most {
    limit: usize,
    /// The worst on top.
    heap: BinaryHeap<Counted>,
}

#[derive(PartialEq, Eq)]
struct Counted {
    count: u64,
    value: FacetValue,
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_count = other.count.cmp(&self.count);
        by_count.then_with(|| self.value.cmp(&other.value))
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Most {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            heap: BinaryHeap::new(),
        }
    }

    /// Whether a value of so many points would be among them. `cmp` compares it with another; it is asked where counts are equal.
    pub(super) fn wants(&self, count: u64, cmp: impl FnOnce(&FacetValue) -> Ordering) -> bool {
        match self.heap.peek() {
            _ if self.heap.len() < self.limit => true,
            Some(worst) => count > worst.count || (count == worst.count && cmp(&worst.value).is_lt()),
            None => false,
        }
    }

    pub(super) fn add(&mut self, count: u64, value: FacetValue) {
        self.heap.push(Counted { count, value });
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }

    /// Them, the best first.
    pub(super) fn into_hits(self) -> Vec<FacetHit> {
        let hits = self.heap.into_sorted_vec().into_iter();
        hits.map(|Counted { count, value }| FacetHit { value, count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_are_kept_and_the_first_of_equals() {
        let mut most = Most::new(3);
        for (count, value) in [(1, 9), (5, 4), (2, 8), (2, 7), (9, 1), (2, 6)] {
            let value = FacetValue::Integer(value);
            if most.wants(count, |other| value.cmp(other)) {
                most.add(count, value);
            }
        }
        assert!(!most.wants(2, |other| FacetValue::Integer(7).cmp(other)));
        assert!(most.wants(2, |other| FacetValue::Integer(5).cmp(other)));
        let hits: Vec<_> = most.into_hits().into_iter().map(|hit| (hit.count, hit.value)).collect();
        assert_eq!(
            hits,
            [(9, 1), (5, 4), (2, 6)].map(|(count, value)| (count, FacetValue::Integer(value)))
        );
        assert!(!Most::new(0).wants(1, |_| Ordering::Less));
    }
}
