//! A payload index in memory: for every value the points that have it, in the order of the values.
//!
//! It mirrors the postings in RocksDB, with the same encoded values. Like all of a state it is immutable once published;
//! what a write changes is copied, a bucket of neighbouring values at a time.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use twofold_vector::Bitmap;

use crate::posting::EncodedRange;

/// Values of a bucket, at most.
const BUCKET: usize = 256;

/// Buckets of a group, at most.
const GROUP: usize = 128;

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

/// Values next to each other, with the points that have any of them once somebody has asked.
#[derive(Debug, Clone, Default)]
struct Bucket {
    entries: Vec<(Box<[u8]>, Points)>,
    union: OnceLock<Bitmap>,
}

/// Buckets next to each other, with the same.
#[derive(Debug, Clone, Default)]
struct Group {
    buckets: Vec<Arc<Bucket>>,
    union: OnceLock<Bitmap>,
}

/// A payload index in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Column {
    groups: Vec<Arc<Group>>,
}

impl Bucket {
    fn first(&self) -> &[u8] {
        &self.entries[0].0
    }

    fn last(&self) -> &[u8] {
        &self.entries[self.entries.len() - 1].0
    }

    fn place(&self, value: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| (**other).cmp(value))
    }

    fn union(&self) -> &Bitmap {
        self.union.get_or_init(|| {
            let mut found = Found::default();
            found.add(&self.entries);
            found.union()
        })
    }
}

impl Group {
    fn first(&self) -> &[u8] {
        self.buckets[0].first()
    }

    fn last(&self) -> &[u8] {
        self.buckets[self.buckets.len() - 1].last()
    }

    /// The bucket that holds a value or would.
    fn place(&self, value: &[u8]) -> usize {
        self.buckets
            .partition_point(|bucket| bucket.first() <= value)
            .saturating_sub(1)
    }

    fn union(&self) -> &Bitmap {
        self.union.get_or_init(|| {
            let mut found = Found::default();
            self.buckets.iter().for_each(|bucket| found.add(&bucket.entries));
            found.union()
        })
    }
}

/// Points that are collected to be united.
#[derive(Default)]
struct Found<'a> {
    single: Vec<u32>,
    many: Vec<&'a Bitmap>,
}

impl<'a> Found<'a> {
    fn add(&mut self, entries: &'a [(Box<[u8]>, Points)]) {
        for (_, points) in entries {
            match points {
                Points::One(offset) => self.single.push(*offset),
                Points::Many(points) => self.many.push(points),
            }
        }
    }

    fn union(self) -> Bitmap {
        Bitmap::union(self.many, &self.single)
    }
}

impl Column {
    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let buckets = self.groups.iter().flat_map(|group| &group.buckets);
        let entries = buckets.flat_map(|bucket| &bucket.entries);
        let entry = |(value, points): &(Box<[u8]>, Points)| {
            let points = match points {
                Points::One(_) => 0,
                Points::Many(points) => points.heap_bytes(),
            };
            size_of::<(Box<[u8]>, Points)>() + value.len() + points
        };
        entries.map(entry).sum()
    }

    /// The group that holds a value or would.
    fn place(&self, value: &[u8]) -> usize {
        self.groups
            .partition_point(|group| group.first() <= value)
            .saturating_sub(1)
    }

    pub(crate) fn insert(&mut self, value: &[u8], offset: u32) {
        if self.groups.is_empty() {
            let bucket = Bucket {
                entries: vec![(value.into(), Points::One(offset))],
                union: OnceLock::new(),
            };
            let group = Group {
                buckets: vec![Arc::new(bucket)],
                union: OnceLock::new(),
            };
            self.groups.push(Arc::new(group));
            return;
        }
        let number = self.place(value);
        let group = Arc::make_mut(&mut self.groups[number]);
        group.union.take();
        let place = group.place(value);
        let bucket = Arc::make_mut(&mut group.buckets[place]);
        bucket.union.take();
        match bucket.place(value) {
            Ok(entry) => bucket.entries[entry].1.insert(offset),
            Err(entry) => {
                bucket.entries.insert(entry, (value.into(), Points::One(offset)));
                if bucket.entries.len() > BUCKET {
                    // Values often arrive in order: then the lower half stays as full as it is.
                    let cut = if entry == BUCKET { BUCKET } else { BUCKET / 2 };
                    let upper = Bucket {
                        entries: bucket.entries.split_off(cut),
                        union: OnceLock::new(),
                    };
                    group.buckets.insert(place + 1, Arc::new(upper));
                }
                if group.buckets.len() > GROUP {
                    let cut = if place + 1 == GROUP { GROUP } else { GROUP / 2 };
                    let upper = Group {
                        buckets: group.buckets.split_off(cut),
                        union: OnceLock::new(),
                    };
                    self.groups.insert(number + 1, Arc::new(upper));
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, value: &[u8], offset: u32) {
        let number = self.place(value);
        let Some(group) = self.groups.get_mut(number) else {
            return;
        };
        let place = group.place(value);
        let Ok(entry) = group.buckets[place].place(value) else {
            return;
        };
        let group = Arc::make_mut(group);
        group.union.take();
        let bucket = Arc::make_mut(&mut group.buckets[place]);
        bucket.union.take();
        let empty = match &mut bucket.entries[entry].1 {
            Points::One(one) => *one == offset,
            Points::Many(points) => {
                points.remove(offset);
                points.is_empty()
            }
        };
        if !empty {
            return;
        }
        bucket.entries.remove(entry);
        if bucket.entries.is_empty() {
            group.buckets.remove(place);
        }
        if group.buckets.is_empty() {
            self.groups.remove(number);
        }
    }

    /// The points that have a value.
    pub(crate) fn value(&self, value: &[u8]) -> Bitmap {
        let group = self.groups.get(self.place(value));
        let bucket = group.map(|group| &group.buckets[group.place(value)]);
        match bucket.and_then(|bucket| Some(&bucket.entries[bucket.place(value).ok()?].1)) {
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
        let mut found = Found::default();
        let groups = self.groups.iter().skip_while(|group| !above(group.last()));
        for group in groups.take_while(|group| below(group.first())) {
            if above(group.first()) && below(group.last()) {
                found.many.push(group.union());
                continue;
            }
            let buckets = group.buckets.iter().skip_while(|bucket| !above(bucket.last()));
            for bucket in buckets.take_while(|bucket| below(bucket.first())) {
                if above(bucket.first()) && below(bucket.last()) {
                    found.many.push(bucket.union());
                    continue;
                }
                let start = bucket.entries.partition_point(|(value, _)| !above(value));
                let end = bucket.entries.partition_point(|(value, _)| below(value));
                found.add(bucket.entries.get(start..end).unwrap_or_default());
            }
        }
        found.union()
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
