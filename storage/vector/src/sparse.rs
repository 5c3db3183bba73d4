//! An inverted index over sparse vectors.
//!
//! It is made of immutable segments. A write adds a small one and marks what it replaces as dead in the others; segments of
//! like size are merged, so there are few of them and every posting is copied a logarithmic number of times. Clones share
//! all segments, so that every published state of a collection can hold its own index.

mod postings;
mod search;

use std::collections::BTreeMap;
use std::sync::Arc;

use twofold_types::SparseVector;

use crate::bitmap::Bitmap;
use postings::Postings;

/// Segments of one class of size that are merged at once. A class holds sizes up to this many times the one before.
const FAN: usize = 8;

/// A segment of which one in this many vectors is dead is written anew.
const DEAD_SHARE: u64 = 4;

/// Postings that a write may merge by itself; more are left to [`SparseIndex::compact`].
const SMALL: usize = 1 << 18;

/// An inverted index over the sparse vectors of a collection, by point offset.
#[derive(Debug, Clone, Default)]
pub struct SparseIndex {
    segments: Vec<Segment>,
    present: Bitmap,
}

#[derive(Debug, Clone)]
struct Segment {
    postings: Arc<Postings>,
    /// Vectors that were replaced or taken out since.
    dead: Bitmap,
}

/// A merge that was prepared on one state of an index and is put into a later one.
pub struct Compaction {
    merged: Vec<Segment>,
    postings: Postings,
}

impl SparseIndex {
    /// The offsets that have a vector.
    pub fn present(&self) -> &Bitmap {
        &self.present
    }

    /// How many postings the index holds, dead ones included.
    pub fn postings(&self) -> usize {
        self.segments.iter().map(|segment| segment.postings.len()).sum()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let segments = self.segments.iter();
        segments
            .map(|segment| segment.postings.heap_bytes() + segment.dead.heap_bytes())
            .sum::<usize>()
            + self.present.heap_bytes()
    }

    /// Puts vectors in, in place of those that were there, and takes out those that are none.
    pub fn apply<'a>(&mut self, changes: impl IntoIterator<Item = (u32, Option<&'a SparseVector>)>) {
        let mut vectors = BTreeMap::new();
        for (offset, vector) in changes {
            if self.present.remove(offset) {
                for segment in &mut self.segments {
                    if segment.postings.members().contains(offset) {
                        segment.dead.insert(offset);
                    }
                }
            }
            if let Some(vector) = vector {
                self.present.insert(offset);
                vectors.insert(offset, vector);
            }
        }
        if !vectors.is_empty() {
            self.segments.push(Segment {
                postings: Arc::new(Postings::build(&vectors)),
                dead: Bitmap::new(),
            });
        }
        self.segments
            .retain(|segment| segment.dead.len() < segment.postings.members().len());
        while let Some(compaction) = self.prepare(|postings| postings <= SMALL) {
            self.replace(compaction);
        }
    }

    /// A merge that is due and that no write has done because of its size; takes long.
    pub fn compact(&self) -> Option<Compaction> {
        self.prepare(|_| true)
    }

    /// Puts a merge in the place of what it was made of. Vectors that have died since are dead in it as well.
    pub fn replace(&mut self, compaction: Compaction) {
        let mut dead = Bitmap::new();
        let (mut gone, mut place) = (0, self.segments.len());
        for before in &compaction.merged {
            let now = self
                .segments
                .iter()
                .position(|now| Arc::ptr_eq(&now.postings, &before.postings));
            let Some(position) = now else {
                // All of it has died.
                before.postings.members().for_each(|offset| {
                    if !before.dead.contains(offset) {
                        dead.insert(offset);
                    }
                });
                continue;
            };
            self.segments[position].dead.for_each(|offset| {
                if !before.dead.contains(offset) {
                    dead.insert(offset);
                }
            });
            self.segments.remove(position);
            gone += 1;
            place = place.min(position);
        }
        let alive = compaction.postings.members().len() > dead.len();
        if alive && gone > 0 {
            let segment = Segment {
                postings: Arc::new(compaction.postings),
                dead,
            };
            self.segments.insert(place.min(self.segments.len()), segment);
        }
    }

    /// The merge that is due next, if its size is allowed: the class of the smallest segments that is full, or a segment with
    /// many dead.
    fn prepare(&self, allowed: impl Fn(usize) -> bool) -> Option<Compaction> {
        let mut classes: BTreeMap<u32, Vec<&Segment>> = BTreeMap::new();
        for segment in &self.segments {
            let class = segment.postings.len().max(1).ilog(FAN);
            classes.entry(class).or_default().push(segment);
        }
        let full = classes.into_values().filter(|class| class.len() >= FAN);
        let rotten = self
            .segments
            .iter()
            .filter(|segment| segment.dead.len() * DEAD_SHARE > segment.postings.members().len())
            .map(|segment| vec![segment]);
        let size = |class: &Vec<&Segment>| class.iter().map(|segment| segment.postings.len()).sum();
        let due = full.chain(rotten).find(|class| allowed(size(class)))?;
        let parts: Vec<_> = due.iter().map(|segment| (&*segment.postings, &segment.dead)).collect();
        Some(Compaction {
            postings: Postings::merge(&parts),
            merged: due.into_iter().cloned().collect(),
        })
    }

    /// In how many vectors each of these dimensions is.
    pub fn document_frequencies(&self, dimensions: &[u32]) -> Vec<u64> {
        let frequency = |&dimension: &u32| {
            let lists = self.segments.iter();
            lists.map(|segment| segment.alive_in(dimension)).sum()
        };
        dimensions.iter().map(frequency).collect()
    }

    /// In how many vectors of `corpus` each of these dimensions is.
    pub fn document_frequencies_in(&self, dimensions: &[u32], corpus: &Bitmap) -> Vec<u64> {
        let frequency = |&dimension: &u32| {
            let lists = self.segments.iter().filter_map(|segment| {
                let list = segment.postings.list(dimension)?;
                let counts = |offset: &&u32| corpus.contains(**offset) && !segment.dead.contains(**offset);
                Some(list.offsets.iter().filter(counts).count() as u64)
            });
            lists.sum()
        };
        dimensions.iter().map(frequency).collect()
    }
}

impl Segment {
    /// How many living vectors have a dimension.
    fn alive_in(&self, dimension: u32) -> u64 {
        let Some(list) = self.postings.list(dimension) else {
            return 0;
        };
        let len = list.offsets.len() as u64;
        let dead = self.dead.len();
        let gone = if dead == 0 {
            0
        } else if dead * 16 < len {
            let dead = self.dead.iter();
            dead.filter(|offset| list.offsets.binary_search(offset).is_ok()).count() as u64
        } else {
            let offsets = list.offsets.iter();
            offsets.filter(|&&offset| self.dead.contains(offset)).count() as u64
        };
        len - gone
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe::Neighbour;

    fn sparse(entries: &BTreeMap<u32, i8>) -> SparseVector {
        let (indices, values) = entries.iter().map(|(&index, &value)| (index, f32::from(value))).unzip();
        SparseVector::new(indices, values).unwrap()
    }

    /// The nearest by the definition: those that share a dimension with the query, best first, equals in the order of offsets.
    fn by_definition(model: &BTreeMap<u32, SparseVector>, query: &SparseVector, k: usize) -> Vec<Neighbour> {
        let mut all: Vec<Neighbour> = model
            .iter()
            .filter_map(|(&offset, vector)| {
                let mut nearness = None;
                for (index, weight) in query.iter() {
                    if let Ok(place) = vector.indices().binary_search(&index) {
                        nearness = Some(nearness.unwrap_or(0.0) + weight * vector.values()[place]);
                    }
                }
                Some(Neighbour {
                    offset,
                    nearness: nearness?,
                })
            })
            .collect();
        all.sort_by(|a, b| b.nearness.total_cmp(&a.nearness).then(a.offset.cmp(&b.offset)));
        all.truncate(k);
        all
    }

    fn vectors() -> impl Strategy<Value = BTreeMap<u32, i8>> {
        proptest::collection::btree_map(0u32..40, -3i8..8, 0..9)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn answers_are_those_of_comparing_every_vector(
            writes in proptest::collection::vec(proptest::collection::vec((0u32..9000, proptest::option::weighted(0.8, vectors())), 0..60), 1..60),
            queries in proptest::collection::vec((vectors(), 1usize..40, 1u32..5), 6),
        ) {
            let (mut index, mut model) = (SparseIndex::default(), BTreeMap::new());
            for (number, write) in writes.into_iter().enumerate() {
                let write: BTreeMap<u32, Option<SparseVector>> =
                    write.into_iter().map(|(offset, entries)| (offset, entries.as_ref().map(sparse))).collect();
                let compaction = (number % 7 == 3).then(|| index.compact()).flatten();
                index.apply(write.iter().map(|(&offset, vector)| (offset, vector.as_ref())));
                compaction.into_iter().for_each(|compaction| index.replace(compaction));
                for (offset, vector) in write {
                    match vector {
                        Some(vector) => model.insert(offset, vector),
                        None => model.remove(&offset),
                    };
                }
            }
            prop_assert_eq!(index.present(), &model.keys().copied().collect::<Bitmap>());
            for (entries, k, share) in queries {
                let query = sparse(&entries);
                let frequencies: Vec<u64> = query.indices().iter()
                    .map(|dimension| model.values().filter(|v| v.indices().contains(dimension)).count() as u64).collect();
                prop_assert_eq!(index.document_frequencies(query.indices()), frequencies);
                prop_assert_eq!(index.search(&query, k, None).0, by_definition(&model, &query, k));
                let mask: Bitmap = model.keys().copied().filter(|offset| offset % share == 0).collect();
                let part = model.iter().filter(|(offset, _)| *offset % share == 0).map(|(&o, v)| (o, v.clone())).collect();
                prop_assert_eq!(index.search(&query, k, Some(&mask)).0, by_definition(&part, &query, k));
                let few: Bitmap = mask.iter().take(5).collect();
                let part = part.into_iter().take(5).collect();
                prop_assert_eq!(index.search(&query, k, Some(&few)).0, by_definition(&part, &query, k));
                let mut scores = vec![0.0; 9000];
                index.add_products(&query, &mut scores);
                for (offset, vector) in &model {
                    let one = BTreeMap::from([(*offset, vector.clone())]);
                    let expected = by_definition(&one, &query, 1).first().map_or(0.0, |n| n.nearness);
                    prop_assert_eq!(scores[*offset as usize], expected);
                }
            }
        }
    }

    #[test]
    fn segments_stay_few_and_a_published_index_does_not_change() {
        let mut index = SparseIndex::default();
        let one = sparse(&BTreeMap::from([(7, 1)]));
        for offset in 0..2000 {
            index.apply([(offset, Some(&one))]);
        }
        assert!(index.segments.len() <= FAN * 4, "{}", index.segments.len());
        let published = index.clone();
        index.apply((0..1999).map(|offset| (offset, None)));
        assert_eq!(index.search(&one, 10, None).0.len(), 1);
        assert_eq!(published.search(&one, 5000, None).0.len(), 2000);
        assert!(index.postings() < 10, "the dead are cleared away");
    }
}
