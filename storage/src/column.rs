//! A payload index in memory: for every value the points that have it, in the order of the values.
//!
//! It mirrors the postings in RocksDB, with the same encoded values. Like all of a state it is immutable once published;
//! what a write changes is copied, a bucket of neighbouring values at a time.

use std::ops::Bound;
use std::sync::Arc;

use twofold_vector::Bitmap;

use crate::posting::EncodedRange;

/// Values of a bucket, at most.
const BUCKET: usize = 256;

/// The points that have a value.
#[derive(Debug, Clone)]
enum Points {
    /// Most values of a column like dates or titles have one.
    One(u32),
    Many(Bitmap),
}

impl Points {
    fn insert(&mut self, offset: u32) {
        match self {
            Self::One(one) if *one == offset => {}
            Self::One(one) => *self = Self::Many([*one, offset].into_iter().collect()),
            Self::Many(points) => {
                points.insert(offset);
            }
        }
    }
}

type Bucket = Vec<(Box<[u8]>, Points)>;

/// A payload index in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Column {
    buckets: Vec<Arc<Bucket>>,
}

impl Column {
    /// The bucket that holds a value or would.
    fn bucket(&self, value: &[u8]) -> usize {
        let after = self.buckets.partition_point(|bucket| *bucket[0].0 <= *value);
        after.saturating_sub(1)
    }

    fn find(&self, value: &[u8]) -> Option<&Points> {
        let bucket = self.buckets.get(self.bucket(value))?;
        let place = bucket.binary_search_by(|(other, _)| (**other).cmp(value)).ok()?;
        Some(&bucket[place].1)
    }

    pub(crate) fn insert(&mut self, value: &[u8], offset: u32) {
        if self.buckets.is_empty() {
            self.buckets.push(Arc::new(vec![(value.into(), Points::One(offset))]));
            return;
        }
        let number = self.bucket(value);
        let bucket = Arc::make_mut(&mut self.buckets[number]);
        match bucket.binary_search_by(|(other, _)| (**other).cmp(value)) {
            Ok(place) => bucket[place].1.insert(offset),
            Err(place) => {
                bucket.insert(place, (value.into(), Points::One(offset)));
                if bucket.len() > BUCKET {
                    // Values often arrive in order: then the first bucket of the two stays as full as it is.
                    let cut = if place == BUCKET { BUCKET } else { BUCKET / 2 };
                    let upper = bucket.split_off(cut);
                    self.buckets.insert(number + 1, Arc::new(upper));
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, value: &[u8], offset: u32) {
        let number = self.bucket(value);
        let Some(bucket) = self.buckets.get_mut(number) else {
            return;
        };
        let Ok(place) = bucket.binary_search_by(|(other, _)| (**other).cmp(value)) else {
            return;
        };
        let bucket = Arc::make_mut(bucket);
        let empty = match &mut bucket[place].1 {
            Points::One(one) => *one == offset,
            Points::Many(points) => {
                points.remove(offset);
                points.is_empty()
            }
        };
        if empty {
            bucket.remove(place);
            if bucket.is_empty() {
                self.buckets.remove(number);
            }
        }
    }

    /// The points that have a value.
    pub(crate) fn value(&self, value: &[u8]) -> Bitmap {
        match self.find(value) {
            None => Bitmap::new(),
            Some(Points::One(offset)) => [*offset].into_iter().collect(),
            Some(Points::Many(points)) => points.clone(),
        }
    }

    /// The points that have a value inside of a range.
    pub(crate) fn range(&self, (lower, upper): &EncodedRange) -> Bitmap {
        let above = |value: &[u8]| match lower {
            Bound::Included(bound) => value >= bound.as_slice(),
            Bound::Excluded(bound) => value > bound.as_slice(),
            Bound::Unbounded => true,
        };
        let below = |value: &[u8]| match upper {
            Bound::Included(bound) => value <= bound.as_slice(),
            Bound::Excluded(bound) => value < bound.as_slice(),
            Bound::Unbounded => true,
        };
        let first = self
            .buckets
            .partition_point(|bucket| !bucket.last().is_some_and(|(value, _)| above(value)));
        let (mut single, mut many) = (Vec::new(), Vec::new());
        for bucket in &self.buckets[first..] {
            let start = bucket.partition_point(|(value, _)| !above(value));
            let end = bucket.partition_point(|(value, _)| below(value));
            for (_, points) in bucket.get(start..end).unwrap_or_default() {
                match points {
                    Points::One(offset) => single.push(*offset),
                    Points::Many(points) => many.push(points),
                }
            }
            if end < bucket.len() {
                break;
            }
        }
        Bitmap::union(many, &single)
    }

    /// All points that have a value.
    pub(crate) fn all(&self) -> Bitmap {
        self.range(&(Bound::Unbounded, Bound::Unbounded))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_holds_what_was_put_and_not_removed(
            operations in proptest::collection::vec((0u8..4, 0u16..600, 0u32..40), 0..3000), bounds in (0u16..600, 0u16..600),
        ) {
            let (mut column, mut model) = (Column::default(), BTreeSet::new());
            for (kind, value, offset) in operations {
                let bytes = value.to_be_bytes();
                if kind > 0 {
                    column.insert(&bytes, offset);
                    model.insert((value, offset));
                } else {
                    column.remove(&bytes, offset);
                    model.remove(&(value, offset));
                }
            }
            let points = |keep: &dyn Fn(u16) -> bool| -> Bitmap {
                model.iter().filter(|(value, _)| keep(*value)).map(|&(_, offset)| offset).collect()
            };
            let (low, high) = bounds;
            let (l, h) = (low.to_be_bytes().to_vec(), high.to_be_bytes().to_vec());
            prop_assert_eq!(column.all(), points(&|_| true));
            prop_assert_eq!(column.value(&l), points(&|value| value == low));
            let closed = (Bound::Included(l.clone()), Bound::Included(h.clone()));
            prop_assert_eq!(column.range(&closed), points(&|value| low <= value && value <= high));
            let open = (Bound::Excluded(l), Bound::Excluded(h));
            prop_assert_eq!(column.range(&open), points(&|value| low < value && value < high));
        }
    }
}
