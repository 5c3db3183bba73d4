//! Values of a column with their points, for facets and for pages in the order of values.

use std::ops::{Bound, ControlFlow};

use twofold_vector::Bitmap;

use super::Column;
use crate::posting::EncodedRange;

impl Column {
    /// The points of a value that are in a set.
    pub(crate) fn points_in(&self, value: &[u8], set: &Bitmap) -> Bitmap {
        let mut points = self.root.get(value).map(Bitmap::from).unwrap_or_default();
        points &= set;
        points
    }

    /// Calls `visit` with every value and how many of its points are in a set, until it has enough; without a set with how many it has.
    pub(crate) fn count_values(&self, set: Option<&Bitmap>, mut visit: impl FnMut(&[u8], u64) -> ControlFlow<()>) {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let _ = self.root.walk(&everything, false, &mut |entry| {
            let count = match set {
                Some(set) => entry.points.len_in(set),
                None => entry.points.len(),
            };
            match count {
                0 => ControlFlow::Continue(()),
                count => visit(&entry.value, count),
            }
        });
    }

    /// Calls `visit` with the values in a range and each of their points that is in a set, in order or the last value first, until it has
    /// enough.
    pub(crate) fn in_order(
        &self,
        range: &EncodedRange,
        descending: bool,
        set: &Bitmap,
        mut visit: impl FnMut(&[u8], u32) -> ControlFlow<()>,
    ) {
        let _ = self.root.walk(range, descending, &mut |entry| {
            entry.points.walk(|offset| match set.contains(offset) {
                true => visit(&entry.value, offset),
                false => ControlFlow::Continue(()),
            })
        });
    }
}
