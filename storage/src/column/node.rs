//! The tree of a column: values in order in the leaves, and in every node that is worth it the union of what lies below.
//!
//! A range is the union of a few whole nodes on every level and of single values at its two ends. Nodes are shared between
//! the states of a collection; a write copies those on one path and keeps their unions in step.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use twofold_vector::Union;

use super::points::{LIST, Points};
use super::value::Value;
use crate::posting::{EncodedRange, is_above, is_below};

/// Values of a leaf, at most.
const VALUES: usize = if cfg!(test) { 8 } else { 256 };

/// Postings of a leaf, at most, where it has more than one value: what the ends of a range cost.
const POSTINGS: u64 = if cfg!(test) { 64 } else { 8192 };

/// Nodes of a branch, at most.
const NODES: usize = if cfg!(test) { 4 } else { 8 };

/// Postings from which on a node keeps its union. For fewer it takes more memory than it saves time.
const KEPT: u64 = if cfg!(test) { 8 } else { 64 };

/// One value and its points.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) points: Points,
}

/// A part of a column: neighbouring values.
#[derive(Debug, Clone)]
pub(super) struct Node {
    content: Content,
    postings: u64,
    union: OnceLock<Points>,
}

#[derive(Debug, Clone)]
enum Content {
    Leaf(Vec<Entry>),
    /// None of them is empty.
    Branch(Vec<Arc<Node>>),
}

/// Where a new posting has come to stand.
pub(super) struct Place {
    /// It has made a new last value or a new last node.
    at_end: bool,
}

impl Default for Node {
    fn default() -> Self {
        Self::new(Content::Leaf(Vec::new()))
    }
}

fn find(entries: &[Entry], value: &[u8]) -> Result<usize, usize> {
    entries.binary_search_by(|entry| (*entry.value).cmp(value))
}

/// The node that holds a value or would.
fn child(nodes: &[Arc<Node>], value: &[u8]) -> usize {
    let after = nodes.partition_point(|node| node.first().is_some_and(|first| first <= value));
    after.saturating_sub(1)
}

impl Node {
    fn new(content: Content) -> Self {
        let postings = match &content {
            Content::Leaf(entries) => entries.iter().map(|entry| entry.points.len()).sum(),
            Content::Branch(nodes) => nodes.iter().map(|node| node.postings).sum(),
        };
        Self {
            content,
            postings,
            union: OnceLock::new(),
        }
    }

    /// A tree of values in ascending order, without doubles. Nodes have room for more.
    pub(super) fn from_sorted<E>(entries: impl Iterator<Item = Result<Entry, E>>) -> Result<Self, E> {
        let mut level = Vec::new();
        let (mut leaf, mut postings) = (Vec::new(), 0);
        for entry in entries {
            let entry = entry?;
            let more = entry.points.len();
            if leaf.len() >= VALUES * 3 / 4 || (postings + more > POSTINGS * 3 / 4 && !leaf.is_empty()) {
                level.push(Arc::new(Self::new(Content::Leaf(std::mem::take(&mut leaf)))));
                postings = 0;
            }
            postings += more;
            leaf.push(entry);
        }
        level.push(Arc::new(Self::new(Content::Leaf(leaf))));
        while level.len() > 1 {
            let branches = level.chunks(NODES * 3 / 4);
            level = branches
                .map(|nodes| Arc::new(Self::new(Content::Branch(nodes.to_vec()))))
                .collect();
        }
        Ok(level.pop().map(Arc::unwrap_or_clone).unwrap_or_default())
    }

    pub(super) fn postings(&self) -> u64 {
        self.postings
    }

    fn first(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Leaf(entries) => entries.first().map(|entry| &*entry.value),
            Content::Branch(nodes) => nodes.first()?.first(),
        }
    }

    fn last(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Leaf(entries) => entries.last().map(|entry| &*entry.value),
            Content::Branch(nodes) => nodes.last()?.last(),
        }
    }

    /// Adds a posting; none where it was there before. The caller [splits](Self::split) the node afterwards.
    pub(super) fn insert(&mut self, value: &[u8], offset: u32) -> Option<Place> {
        let place = match &mut self.content {
            Content::Leaf(entries) => match find(entries, value) {
                Ok(entry) => entries[entry]
                    .points
                    .insert(offset)
                    .then_some(Place { at_end: false })?,
                Err(entry) => {
                    let at_end = entry == entries.len();
                    let (value, points) = (value.into(), Points::One(offset));
                    entries.insert(entry, Entry { value, points });
                    Place { at_end }
                }
            },
            Content::Branch(nodes) => {
                let number = child(nodes, value);
                let node = Arc::make_mut(&mut nodes[number]);
                let place = node.insert(value, offset)?;
                let upper = node.split(&place);
                let at_end = upper.is_some() && number + 1 == nodes.len();
                if let Some(upper) = upper {
                    nodes.insert(number + 1, Arc::new(upper));
                }
                Place { at_end }
            }
        };
        self.postings += 1;
        if let Some(union) = self.union.get_mut() {
            union.insert(offset);
        }
        Some(place)
    }

    /// The upper part of a node that has become too large. What lies below a union has unions as well, so that it is quickly known
    /// whether a point is there.
    pub(super) fn split(&mut self, place: &Place) -> Option<Self> {
        let upper = match &mut self.content {
            Content::Leaf(entries) if entries.len() > VALUES || (self.postings > POSTINGS && entries.len() > 1) => {
                let cut = match place.at_end {
                    // Values often arrive in order: then the lower part stays as full as it is.
                    true => entries.len() - 1,
                    false => {
                        let mut lower = 0;
                        let half = entries.iter().position(|entry| {
                            lower += entry.points.len();
                            lower * 2 > self.postings
                        });
                        half.unwrap_or(0).clamp(1, entries.len() - 1)
                    }
                };
                Content::Leaf(entries.split_off(cut))
            }
            Content::Branch(nodes) if nodes.len() > NODES => {
                let cut = if place.at_end { NODES } else { NODES / 2 };
                Content::Branch(nodes.split_off(cut))
            }
            _ => return None,
        };
        let upper = Self::new(upper);
        self.postings -= upper.postings;
        if self.union.take().is_some() {
            self.make_unions();
            upper.make_unions();
        }
        Some(upper)
    }

    /// A node above two others.
    pub(super) fn above(lower: Self, upper: Self) -> Self {
        Self::new(Content::Branch(vec![Arc::new(lower), Arc::new(upper)]))
    }

    /// Takes a posting out; says whether it was there. The node may be empty then.
    pub(super) fn remove(&mut self, value: &[u8], offset: u32) -> bool {
        match &mut self.content {
            Content::Leaf(entries) => {
                let Ok(entry) = find(entries, value) else {
                    return false;
                };
                if !entries[entry].points.remove(offset) {
                    return false;
                }
                if entries[entry].points.len() == 0 {
                    entries.remove(entry);
                }
            }
            Content::Branch(nodes) => {
                let number = child(nodes, value);
                if !Arc::make_mut(&mut nodes[number]).remove(value, offset) {
                    return false;
                }
                if nodes[number].postings == 0 {
                    nodes.remove(number);
                }
            }
        }
        self.postings -= 1;
        let gone = self.union.get().is_some() && !self.parts_contain(offset);
        if gone && let Some(union) = self.union.get_mut() {
            union.remove(offset);
        }
        true
    }

    fn contains(&self, offset: u32) -> bool {
        match self.union.get() {
            Some(union) => union.contains(offset),
            None => self.parts_contain(offset),
        }
    }

    /// Whether a value has the point: it may have several.
    fn parts_contain(&self, offset: u32) -> bool {
        match &self.content {
            Content::Leaf(entries) => entries.iter().any(|entry| entry.points.contains(offset)),
            Content::Branch(nodes) => nodes.iter().any(|node| node.contains(offset)),
        }
    }

    /// The points of a value.
    pub(super) fn get(&self, value: &[u8]) -> Option<&Points> {
        match &self.content {
            Content::Leaf(entries) => Some(&entries[find(entries, value).ok()?].points),
            Content::Branch(nodes) => nodes.get(child(nodes, value))?.get(value),
        }
    }

    /// Calls `whole` with the largest nodes that lie in a range, and `single` with the values at its ends.
    pub(super) fn visit<'a>(
        &'a self,
        range: &EncodedRange,
        whole: &mut impl FnMut(&'a Self),
        single: &mut impl FnMut(&'a Points),
    ) {
        let (lower, upper) = range;
        let inside = |value: Option<&[u8]>| value.is_some_and(|value| is_above(lower, value) && is_below(upper, value));
        if inside(self.first()) && inside(self.last()) {
            return whole(self);
        }
        match &self.content {
            Content::Leaf(entries) => {
                let start = entries.partition_point(|entry| !is_above(lower, &entry.value));
                let end = entries.partition_point(|entry| is_below(upper, &entry.value));
                let entries = entries.get(start..end).unwrap_or_default();
                entries.iter().for_each(|entry| single(&entry.points));
            }
            Content::Branch(nodes) => {
                let start = nodes.partition_point(|node| node.last().is_some_and(|last| !is_above(lower, last)));
                let end = nodes.partition_point(|node| node.first().is_some_and(|first| is_below(upper, first)));
                let nodes = nodes.get(start..end).unwrap_or_default();
                nodes.iter().for_each(|node| node.visit(range, whole, single));
            }
        }
    }

    /// All points of the node.
    fn union(&self) -> &Points {
        self.union.get_or_init(|| {
            if self.postings > LIST as u64 {
                let mut union = Union::default();
                self.add_parts_to(&mut union);
                return Points::Many(Arc::new(union.into()));
            }
            let mut offsets = Vec::with_capacity(self.postings as usize);
            let Ok(()) = self.for_each(&mut |entry| {
                entry.points.for_each(|offset| offsets.push(offset));
                Ok::<_, Infallible>(())
            });
            offsets.sort_unstable();
            offsets.dedup();
            Points::from_sorted(offsets)
        })
    }

    /// Makes the union of a node that has none, and those below it.
    pub(super) fn make_unions(&self) {
        if !self.keeps_union() || self.union.get().is_some() {
            return;
        }
        if let Content::Branch(nodes) = &self.content {
            nodes.iter().for_each(|node| node.make_unions());
        }
        self.union();
    }

    fn keeps_union(&self) -> bool {
        let has_one_value = matches!(&self.content, Content::Leaf(entries) if entries.len() == 1);
        self.postings >= KEPT && !has_one_value
    }

    pub(super) fn add_to(&self, union: &mut Union) {
        if self.keeps_union() {
            self.union().add_to(union);
        } else {
            self.add_parts_to(union);
        }
    }

    fn add_parts_to(&self, union: &mut Union) {
        match &self.content {
            Content::Leaf(entries) => entries.iter().for_each(|entry| entry.points.add_to(union)),
            Content::Branch(nodes) => nodes.iter().for_each(|node| node.add_to(union)),
        }
    }

    /// Calls `visit` with every value in order.
    pub(super) fn for_each<E>(&self, visit: &mut impl FnMut(&Entry) -> Result<(), E>) -> Result<(), E> {
        match &self.content {
            Content::Leaf(entries) => entries.iter().try_for_each(visit),
            Content::Branch(nodes) => nodes.iter().try_for_each(|node| node.for_each(visit)),
        }
    }

    /// Calls `visit` with the values in a range, in order or the last first, until it has enough.
    pub(super) fn walk(
        &self,
        range: &EncodedRange,
        descending: bool,
        visit: &mut impl FnMut(&Entry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (lower, upper) = range;
        match &self.content {
            Content::Leaf(entries) => {
                let start = entries.partition_point(|entry| !is_above(lower, &entry.value));
                let end = entries.partition_point(|entry| is_below(upper, &entry.value));
                let mut entries = entries.get(start..end).unwrap_or_default().iter();
                match descending {
                    false => entries.try_for_each(visit),
                    true => entries.rev().try_for_each(visit),
                }
            }
            Content::Branch(nodes) => {
                let start = nodes.partition_point(|node| node.last().is_some_and(|last| !is_above(lower, last)));
                let end = nodes.partition_point(|node| node.first().is_some_and(|first| is_below(upper, first)));
                let mut nodes = nodes.get(start..end).unwrap_or_default().iter();
                let walk = |node: &Arc<Self>| node.walk(range, descending, visit);
                match descending {
                    false => nodes.try_for_each(walk),
                    true => nodes.rev().try_for_each(walk),
                }
            }
        }
    }

    /// Bytes on the heap, unions included.
    pub(super) fn heap_bytes(&self) -> usize {
        let content = match &self.content {
            Content::Leaf(entries) => {
                let parts = entries
                    .iter()
                    .map(|entry| entry.value.heap_bytes() + entry.points.heap_bytes());
                entries.capacity() * size_of::<Entry>() + parts.sum::<usize>()
            }
            Content::Branch(nodes) => {
                let parts = nodes.iter().map(|node| size_of::<Self>() + node.heap_bytes());
                nodes.capacity() * size_of::<Arc<Self>>() + parts.sum::<usize>()
            }
        };
        content + self.union.get().map_or(0, Points::heap_bytes)
    }
}
