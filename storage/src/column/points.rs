//! The points that have one value, or one of several.

use std::ops::ControlFlow;
use std::sync::Arc;

use twofold_vector::{Bitmap, Union};

/// So many points stand in a list, at most; a bitmap takes over from there.
pub(super) const LIST: usize = if cfg!(test) { 16 } else { 1024 };

/// The points that have one value, or one of several, cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Points {
    /// Most values of a column like dates or titles have one.
    One(u32),
    /// In ascending order.
    List(Arc<Vec<u32>>),
    Many(Arc<Bitmap>),
}

impl Points {
    /// Points in ascending order, without doubles.
    pub(super) fn from_sorted(offsets: Vec<u32>) -> Self {
        match offsets[..] {
            [one] => Self::One(one),
            _ if offsets.len() <= LIST => Self::List(Arc::new(offsets)),
            _ => Self::Many(Arc::new(offsets.into_iter().collect())),
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::List(list) => list.len() as u64,
            Self::Many(points) => points.len(),
        }
    }

    pub(super) fn contains(&self, offset: u32) -> bool {
        match self {
            Self::One(one) => *one == offset,
            Self::List(list) => list.binary_search(&offset).is_ok(),
            Self::Many(points) => points.contains(offset),
        }
    }

    /// How many of them are in a set.
    pub(super) fn len_in(&self, set: &Bitmap) -> u64 {
        match self {
            Self::One(one) => u64::from(set.contains(*one)),
            Self::List(list) => list.iter().filter(|&&offset| set.contains(offset)).count() as u64,
            Self::Many(points) => points.intersection_len(set),
        }
    }

    /// Adds a point; says whether it was not there before.
    pub(super) fn insert(&mut self, offset: u32) -> bool {
        match self {
            Self::One(one) if *one == offset => false,
            Self::One(one) => {
                let pair = vec![offset.min(*one), offset.max(*one)];
                *self = Self::List(Arc::new(pair));
                true
            }
            Self::List(list) => match list.binary_search(&offset) {
                Ok(_) => false,
                Err(_) if list.len() == LIST => {
                    let mut points: Bitmap = list.iter().copied().collect();
                    points.insert(offset);
                    *self = Self::Many(Arc::new(points));
                    true
                }
                Err(place) => {
                    Arc::make_mut(list).insert(place, offset);
                    true
                }
            },
            Self::Many(points) => Arc::make_mut(points).insert(offset),
        }
    }

    /// Takes a point out; says whether it was there. None may be left.
    pub(super) fn remove(&mut self, offset: u32) -> bool {
        match self {
            Self::One(one) if *one == offset => {
                *self = Self::List(Arc::default());
                true
            }
            Self::One(_) => false,
            Self::List(list) => match list.binary_search(&offset) {
                Ok(place) => {
                    Arc::make_mut(list).remove(place);
                    true
                }
                Err(_) => false,
            },
            Self::Many(points) => {
                let removed = Arc::make_mut(points).remove(offset);
                if points.len() as usize <= LIST / 2 {
                    *self = Self::from_sorted(points.iter().collect());
                }
                removed
            }
        }
    }

    /// Calls `visit` with them in ascending order, until it has enough.
    pub(super) fn walk(&self, mut visit: impl FnMut(u32) -> ControlFlow<()>) -> ControlFlow<()> {
        match self {
            Self::One(one) => visit(*one),
            Self::List(list) => list.iter().copied().try_for_each(visit),
            Self::Many(points) => points.iter().try_for_each(visit),
        }
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(u32)) {
        match self {
            Self::One(one) => visit(*one),
            Self::List(list) => list.iter().copied().for_each(visit),
            Self::Many(points) => points.for_each(visit),
        }
    }

    pub(super) fn add_to(&self, union: &mut Union) {
        match self {
            Self::One(one) => union.insert(*one),
            Self::List(list) => list.iter().for_each(|&offset| union.insert(offset)),
            Self::Many(points) => union.add(points),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::List(list) => size_of::<Vec<u32>>() + list.capacity() * size_of::<u32>(),
            Self::Many(points) => size_of::<Bitmap>() + points.heap_bytes(),
        }
    }
}

impl From<&Points> for Bitmap {
    fn from(points: &Points) -> Self {
        match points {
            Points::One(one) => [*one].into_iter().collect(),
            Points::List(list) => list.iter().copied().collect(),
            Points::Many(points) => Bitmap::clone(points),
        }
    }
}
