//! Searching: the plan, the exact scan, the ANN index with its overlay, and the hits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;
use twofold_types::{Distance, Filter, PointId, ScoredPoint};

use crate::ann::Probe;
use crate::arena::Arena;
use crate::collection::Collection;
use crate::error::{InvalidInput, Result};
use crate::kernel::{nearness, score};
use crate::key::PointOffset;
use crate::view::{Fetch, View};
use crate::write::checked_query;

/// What a search looks for.
#[derive(Debug, Clone)]
pub enum Target {
    /// The points nearest to this vector.
    Vector(Vec<f32>),
    /// The points nearest to this point, without it.
    Point(PointId),
}

/// A search in one vector of a collection.
#[derive(Debug, Clone)]
pub struct Search {
    /// What is looked for.
    pub target: Target,
    /// In which vector; the unnamed or only one when absent.
    pub using: Option<String>,
    /// Only points that match.
    pub filter: Option<Filter>,
    /// How many points are answered.
    pub limit: usize,
    /// How many of the nearest are skipped.
    pub offset: usize,
    /// Only points at least this near.
    pub score_threshold: Option<f32>,
    /// Scan every candidate.
    pub exact: bool,
    /// The accuracy knob of the ANN index.
    pub ef: Option<usize>,
    /// What of the points is answered.
    pub fetch: Fetch,
}

/// How candidates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Every candidate is compared.
    Scan,
    /// The ANN index proposes.
    Ask,
}

/// The index is asked only where a scan is slow and most of the points are candidates: with fewer, arroy itself falls back to
/// comparing every candidate, and does so from disk.
fn plan(candidates: u64, present: u64, dimensions: u64, exact: bool, exact_scan_components: u64) -> Plan {
    if exact || candidates * dimensions <= exact_scan_components || candidates * 2 <= present {
        Plan::Scan
    } else {
        Plan::Ask
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Hit {
    nearness: f32,
    offset: u32,
}

impl Eq for Hit {}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Equally near points are answered in the order of their offsets.
        self.nearness
            .total_cmp(&other.nearness)
            .then(other.offset.cmp(&self.offset))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The `k` nearest of `candidates`, nearest first.
fn nearest(arena: &Arena, distance: Distance, query: &[f32], candidates: &RoaringBitmap, k: usize) -> Vec<Hit> {
    let near = nearness(distance);
    let mut heap: BinaryHeap<Reverse<Hit>> = BinaryHeap::with_capacity(k.min(candidates.len() as usize) + 1);
    arena.scan(candidates, |offset, vector| {
        let hit = Hit {
            nearness: near(query, vector),
            offset,
        };
        if heap.len() < k {
            heap.push(Reverse(hit));
        } else if let Some(mut farthest) = heap.peek_mut()
            && hit > farthest.0
        {
            *farthest = Reverse(hit);
        }
    });
    heap.into_sorted_vec().into_iter().map(|Reverse(hit)| hit).collect()
}

impl Collection {
    /// The nearest points, nearest first. Every write that was acknowledged before is considered.
    pub fn search(&self, search: &Search) -> Result<Vec<ScoredPoint>> {
        let view = self.view();
        let schema = view.state.schema.clone();
        let name = match &search.using {
            Some(name) => name.as_str(),
            None => schema.default_vector()?,
        };
        let number = usize::from(schema.vector_number(name)?);
        let distance = schema.config.vectors[name].distance;
        let mut candidates = view.select(search.filter.as_ref())?;
        let query = match &search.target {
            Target::Vector(vector) => checked_query(&view, name, vector.clone())?,
            Target::Point(id) => {
                let offset = view
                    .offsets(&[*id])?
                    .pop()
                    .flatten()
                    .ok_or(InvalidInput::PointNotFound(*id))?;
                candidates.remove(offset.0);
                let missing = InvalidInput::VectorMissing {
                    id: *id,
                    vector: name.to_owned(),
                };
                view.state.arenas[number].get(offset).ok_or(missing)?.to_vec()
            }
        };
        let k = search.limit.saturating_add(search.offset);
        let hits = self.hits(&view, number, distance, &query, candidates, k, search);
        let hits = hits
            .into_iter()
            .skip(search.offset)
            .map(|hit| (hit.offset, score(distance, hit.nearness)));
        let near_enough = |&(_, score): &(u32, f32)| match search.score_threshold {
            Some(threshold) if distance.higher_is_nearer() => score >= threshold,
            Some(threshold) => score <= threshold,
            None => true,
        };
        let hits: Vec<_> = hits.filter(near_enough).collect();
        let offsets: Vec<_> = hits.iter().map(|&(offset, _)| PointOffset(offset)).collect();
        let points = view.points(&offsets)?;
        let found = hits
            .into_iter()
            .zip(points)
            .filter_map(|((offset, score), point)| Some((PointOffset(offset), score, point?)));
        found
            .map(|(offset, score, point)| {
                Ok(ScoredPoint {
                    id: point.id(),
                    version: point.version,
                    score,
                    payload: search.fetch.payload(&point)?,
                    vector: view.vectors(offset, &search.fetch),
                })
            })
            .collect()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one search that were already worked out"
    )]
    fn hits(
        &self,
        view: &View<'_>,
        number: usize,
        distance: Distance,
        query: &[f32],
        candidates: RoaringBitmap,
        k: usize,
        search: &Search,
    ) -> Vec<Hit> {
        let arena = &view.state.arenas[number];
        let (present, dimensions) = (arena.present().len(), arena.dimensions() as u64);
        let candidates = candidates & arena.present();
        let scan = |offsets: &RoaringBitmap| nearest(arena, distance, query, offsets, k);
        if plan(
            candidates.len(),
            present,
            dimensions,
            search.exact,
            self.options.exact_scan_components,
        ) == Plan::Scan
        {
            return scan(&candidates);
        }
        let probe = Probe {
            query,
            k,
            ef: search.ef,
            candidates: Some(&candidates),
        };
        let Some(proposal) = self.indexes[number].search(&probe) else {
            return scan(&candidates);
        };
        // What changed after the index followed is compared beside what the index proposes.
        let overlay = view.state.touched_since(proposal.applied);
        scan(&((proposal.offsets | overlay) & candidates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_asked_only_for_many_candidates_out_of_many() {
        assert_eq!(plan(1_000, 1_000, 10, false, 10_000), Plan::Scan);
        assert_eq!(plan(1_001, 1_001, 10, false, 10_000), Plan::Ask);
        assert_eq!(plan(1_001, 1_001, 10, true, 10_000), Plan::Scan);
        assert_eq!(plan(2_000, 4_000, 10, false, 10_000), Plan::Scan);
    }

    #[test]
    fn the_nearest_come_first_and_equals_in_order() {
        let mut arena = Arena::new(1);
        for (offset, component) in [(0, 1.0), (1, 3.0), (2, 3.0), (3, 2.0)] {
            arena.set(PointOffset(offset), &[component]);
        }
        let all = RoaringBitmap::from([0, 1, 2, 3]);
        let offsets = |k| {
            nearest(&arena, Distance::Dot, &[1.0], &all, k)
                .iter()
                .map(|hit| hit.offset)
                .collect::<Vec<_>>()
        };
        assert_eq!(offsets(3), [1, 2, 3]);
        assert_eq!(offsets(9), [1, 2, 3, 0]);
        assert_eq!(offsets(0), [0; 0]);
    }
}
