//! The postings of one segment: immutable arrays, list by list.

use std::collections::BTreeMap;

use twofold_types::SparseVector;

use crate::bitmap::Bitmap;

/// Postings of a block, whose extremes are known.
pub(super) const BLOCK: usize = 128;

/// The smallest and the largest value among some postings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Extent {
    const NONE: Self = Self {
        low: f32::INFINITY,
        high: f32::NEG_INFINITY,
    };

    fn of(values: &[f32]) -> Self {
        let widen = |extent: Self, &value: &f32| Self {
            low: extent.low.min(value),
            high: extent.high.max(value),
        };
        values.iter().fold(Self::NONE, widen)
    }

    /// The most that a value of these adds to a score, and not less than nothing.
    pub(super) fn bound(self, weight: f32) -> f32 {
        (self.low * weight).max(self.high * weight).max(0.0)
    }
}

/// The postings of some vectors. List `i` is that of dimension `dimensions[i]` and takes `starts[i]..starts[i + 1]` of
/// offsets and values; its blocks begin at `blocks[i]`.
#[derive(Debug, Default)]
pub(super) struct Postings {
    dimensions: Vec<u32>,
    starts: Vec<usize>,
    blocks: Vec<usize>,
    offsets: Vec<u32>,
    values: Vec<f32>,
    extents: Vec<Extent>,
    members: Bitmap,
}

/// One posting list, by ascending offsets.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<'a> {
    pub(super) offsets: &'a [u32],
    pub(super) values: &'a [f32],
    /// One for each block.
    pub(super) extents: &'a [Extent],
}

impl Postings {
    pub(super) fn build(vectors: &BTreeMap<u32, &SparseVector>) -> Self {
        let mut entries: Vec<(u32, u32, f32)> = vectors
            .iter()
            .flat_map(|(&offset, vector)| vector.iter().map(move |(dimension, value)| (dimension, offset, value)))
            .collect();
        // Stable: within a dimension the offsets ascend already.
        entries.sort_by_key(|(dimension, ..)| *dimension);
        let mut postings = Self {
            members: vectors.keys().copied().collect(),
            ..Self::default()
        };
        for list in entries.chunk_by(|a, b| a.0 == b.0) {
            postings.begin_list(list[0].0);
            postings.offsets.extend(list.iter().map(|(_, offset, _)| offset));
            postings.values.extend(list.iter().map(|(.., value)| value));
            postings.end_list();
        }
        postings.finish()
    }

    /// The living of several segments in one. A vector lives in one of them at most.
    pub(super) fn merge(parts: &[(&Self, &Bitmap)]) -> Self {
        let mut merged = Self::default();
        let mut members: Vec<u32> = Vec::new();
        for (postings, dead) in parts {
            members.extend(postings.members.iter().filter(|&offset| !dead.contains(offset)));
        }
        merged.members = members.into_iter().collect();
        let mut next = vec![0; parts.len()];
        let mut entries: Vec<(u32, f32)> = Vec::new();
        loop {
            let heads = parts.iter().zip(&next);
            let heads = heads.filter_map(|((postings, _), &list)| postings.dimensions.get(list));
            let Some(&dimension) = heads.min() else { break };
            entries.clear();
            for ((postings, dead), next) in parts.iter().zip(&mut next) {
                if postings.dimensions.get(*next) == Some(&dimension) {
                    let list = postings.list_at(*next);
                    let alive = list.offsets.iter().copied().zip(list.values.iter().copied());
                    entries.extend(alive.filter(|(offset, _)| !dead.contains(*offset)));
                    *next += 1;
                }
            }
            if !entries.is_empty() {
                // Quick where the parts follow one another.
                entries.sort_by_key(|(offset, _)| *offset);
                merged.begin_list(dimension);
                merged.offsets.extend(entries.iter().map(|(offset, _)| offset));
                merged.values.extend(entries.iter().map(|(_, value)| value));
                merged.end_list();
            }
        }
        merged.finish()
    }

    fn begin_list(&mut self, dimension: u32) {
        self.dimensions.push(dimension);
        self.starts.push(self.offsets.len());
        self.blocks.push(self.extents.len());
    }

    fn end_list(&mut self) {
        let start = self.starts.last().copied().unwrap_or_default();
        self.extents.extend(self.values[start..].chunks(BLOCK).map(Extent::of));
    }

    fn finish(mut self) -> Self {
        self.starts.push(self.offsets.len());
        self.blocks.push(self.extents.len());
        self.dimensions.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.blocks.shrink_to_fit();
        self.offsets.shrink_to_fit();
        self.values.shrink_to_fit();
        self.extents.shrink_to_fit();
        self
    }

    /// The offsets of the vectors, dead ones included.
    pub(super) fn members(&self) -> &Bitmap {
        &self.members
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(super) fn list(&self, dimension: u32) -> Option<List<'_>> {
        let place = self.dimensions.binary_search(&dimension).ok()?;
        Some(self.list_at(place))
    }

    fn list_at(&self, place: usize) -> List<'_> {
        let entries = self.starts[place]..self.starts[place + 1];
        List {
            offsets: &self.offsets[entries.clone()],
            values: &self.values[entries],
            extents: &self.extents[self.blocks[place]..self.blocks[place + 1]],
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&self.dimensions[..])
            + size_of_val(&self.starts[..])
            + size_of_val(&self.blocks[..])
            + size_of_val(&self.offsets[..])
            + size_of_val(&self.values[..])
            + size_of_val(&self.extents[..])
            + self.members.heap_bytes()
    }
}
