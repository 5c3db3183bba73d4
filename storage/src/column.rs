//! A payload index in memory: for every value the points that have it, in the order of the values.
//!
//! It mirrors the postings in RocksDB, with the same encoded values. Like all of a state it is immutable once published;
//! what a write changes is copied, the nodes on the way to one value at a time.

mod checkpoint;
mod listing;
mod node;
mod points;
mod recent;
mod value;

use std::convert::Infallible;

use twofold_vector::{Bitmap, Union};

use self::node::{Entry, Node};
use self::points::Points;
use self::recent::Recent;
use crate::posting::{EncodedRange, Lookup};

/// A payload index in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Column {
    root: Node,
    /// How many postings have come or gone since it was read or made.
    changes: u64,
    recent: Recent,
}

impl Column {
    /// A column of postings in the order of values, then offsets, without doubles.
    pub(crate) fn from_sorted(postings: impl Iterator<Item = (Vec<u8>, u32)>) -> Self {
        let mut postings = postings.peekable();
        let entries = std::iter::from_fn(|| {
            let (value, offset) = postings.next()?;
            let mut offsets = vec![offset];
            while let Some((_, offset)) = postings.next_if(|(other, _)| *other == value) {
                offsets.push(offset);
            }
            Some(Ok::<_, Infallible>(Entry {
                value: value.as_slice().into(),
                points: Points::from_sorted(offsets),
            }))
        });
        let Ok(column) = Self::from_entries(entries);
        column
    }

    fn from_entries<E>(entries: impl Iterator<Item = Result<Entry, E>>) -> Result<Self, E> {
        let root = Node::from_sorted(entries)?;
        Ok(Self {
            root,
            ..Self::default()
        })
    }

    pub(crate) fn insert(&mut self, value: &[u8], offset: u32) {
        let Some(place) = self.root.insert(value, offset) else {
            return;
        };
        self.changed();
        if let Some(upper) = self.root.split(&place) {
            self.root = Node::above(std::mem::take(&mut self.root), upper);
        }
    }

    pub(crate) fn remove(&mut self, value: &[u8], offset: u32) {
        if self.root.remove(value, offset) {
            self.changed();
            if self.root.postings() == 0 {
                self.root = Node::default();
            }
        }
    }

    fn changed(&mut self) {
        self.changes += 1;
        self.recent.forget();
    }

    /// Makes the unions of all nodes, if it was not done before; otherwise the first ranges that need them do.
    pub(crate) fn make_unions(&self) {
        self.root.make_unions();
    }

    /// How many postings there are: of every point as many as it has values.
    pub(crate) fn postings(&self) -> u64 {
        self.root.postings()
    }

    /// How many postings have come or gone since it was read or made.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The points that a test looks for.
    pub(crate) fn find(&self, lookup: &Lookup) -> Bitmap {
        match lookup {
            // The tree has these at hand.
            Lookup::Any(values) if values.len() == 1 => self.any(values),
            _ => self.recent.get_or_find(lookup, || self.look_up(lookup)),
        }
    }

    fn look_up(&self, lookup: &Lookup) -> Bitmap {
        match lookup {
            Lookup::Any(values) => self.any(values),
            Lookup::Range(range) => self.range(range),
            Lookup::All { values, .. } => {
                let mut values: Vec<_> = values.iter().map(|value| self.root.get(value)).collect();
                values.sort_by_key(|points| points.map_or(0, Points::len));
                let mut values = values
                    .into_iter()
                    .map(|points| points.map(Bitmap::from).unwrap_or_default());
                let mut all = values.next().unwrap_or_default();
                values.for_each(|points| all &= &points);
                all
            }
            Lookup::Ranges(ranges) => {
                let mut union = Union::default();
                ranges.iter().for_each(|range| union.add(&self.range(range)));
                union.into()
            }
        }
    }

    /// How many points [`find`](Self::find) finds, at most; the exact number where no point has several values.
    pub(crate) fn count(&self, lookup: &Lookup) -> u64 {
        match lookup {
            Lookup::Any(values) => values
                .iter()
                .filter_map(|value| self.root.get(value))
                .map(Points::len)
                .sum(),
            Lookup::Range(range) => self.count_range(range),
            Lookup::All { values, .. } => {
                let values = values.iter().map(|value| self.root.get(value).map_or(0, Points::len));
                values.min().unwrap_or(0)
            }
            Lookup::Ranges(ranges) => ranges.iter().map(|range| self.count_range(range)).sum(),
        }
    }

    fn count_range(&self, range: &EncodedRange) -> u64 {
        let (mut whole, mut single) = (0, 0);
        self.root
            .visit(range, &mut |node| whole += node.postings(), &mut |points| {
                single += points.len();
            });
        whole + single
    }

    fn any(&self, values: &[Vec<u8>]) -> Bitmap {
        if let [value] = values {
            return self.root.get(value).map(Bitmap::from).unwrap_or_default();
        }
        let mut union = Union::default();
        for points in values.iter().filter_map(|value| self.root.get(value)) {
            points.add_to(&mut union);
        }
        union.into()
    }

    fn range(&self, range: &EncodedRange) -> Bitmap {
        let mut union = Union::default();
        let (mut whole, mut single) = (Vec::new(), Vec::new());
        self.root
            .visit(range, &mut |node| whole.push(node), &mut |points| single.push(points));
        whole.into_iter().for_each(|node| node.add_to(&mut union));
        single.into_iter().for_each(|points| points.add_to(&mut union));
        union.into()
    }

    fn for_each<E>(&self, visit: &mut impl FnMut(&Entry) -> Result<(), E>) -> Result<(), E> {
        self.root.for_each(visit)
    }

    /// Bytes on the heap, with those that clones share.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.root.heap_bytes() + self.recent.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;

    fn all(column: &Column) -> Bitmap {
        column.range(&(Bound::Unbounded, Bound::Unbounded))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_holds_what_was_put_and_not_removed(
            operations in proptest::collection::vec((0u8..4, 0u16..600, 0u32..40), 0..3000), bounds in (0u16..600, 0u16..600),
        ) {
            let (mut column, mut model) = (Column::default(), BTreeSet::new());
            let (mut published, mut published_points) = (column.clone(), Bitmap::new());
            for (number, (kind, value, offset)) in operations.into_iter().enumerate() {
                let bytes = value.to_be_bytes();
                if number % 7 == 0 {
                    // What is found before a change must not be what is found after it.
                    column.find(&Lookup::Range((Bound::Unbounded, Bound::Unbounded)));
                }
                if kind > 0 {
                    column.insert(&bytes, offset);
                    model.insert((value, offset));
                } else {
                    column.remove(&bytes, offset);
                    model.remove(&(value, offset));
                }
                if number % 500 == 0 {
                    // Unions that somebody asked for are kept in step, and a published column does not change.
                    prop_assert_eq!(all(&published), published_points);
                    published = column.clone();
                    published_points = all(&column);
                }
            }
            let points = |keep: &dyn Fn(u16) -> bool| -> Bitmap {
                model.iter().filter(|(value, _)| keep(*value)).map(|&(_, offset)| offset).collect()
            };
            let count = |keep: &dyn Fn(u16) -> bool| model.iter().filter(|(value, _)| keep(*value)).count() as u64;
            let (low, high) = bounds;
            let (l, h) = (low.to_be_bytes().to_vec(), high.to_be_bytes().to_vec());
            let sorted = model.iter().map(|(value, offset)| (value.to_be_bytes().to_vec(), *offset));
            let loaded = Column::from_sorted(sorted);
            let everything = Lookup::Range((Bound::Unbounded, Bound::Unbounded));
            prop_assert_eq!(column.find(&everything), points(&|_| true));
            for column in [&column, &loaded] {
                let closed = Lookup::Range((Bound::Included(l.clone()), Bound::Included(h.clone())));
                for _ in 0..2 {
                    prop_assert_eq!(column.find(&closed), points(&|value| low <= value && value <= high));
                }
                prop_assert_eq!(column.postings(), model.len() as u64);
                prop_assert_eq!(all(column), points(&|_| true));
                prop_assert_eq!(column.any(std::slice::from_ref(&l)), points(&|value| value == low));
                prop_assert_eq!(column.any(&[l.clone(), h.clone()]), points(&|value| value == low || value == high));
                prop_assert_eq!(column.count(&Lookup::Any(vec![l.clone()])), count(&|value| value == low));
                let closed = (Bound::Included(l.clone()), Bound::Included(h.clone()));
                prop_assert_eq!(column.range(&closed), points(&|value| low <= value && value <= high));
                prop_assert_eq!(column.count(&Lookup::Range(closed)), count(&|value| low <= value && value <= high));
                let open = (Bound::Excluded(l.clone()), Bound::Excluded(h.clone()));
                prop_assert_eq!(column.range(&open), points(&|value| low < value && value < high));
            }
        }
    }
}
