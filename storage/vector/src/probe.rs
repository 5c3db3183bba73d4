//! Searching: lists in the order of their centroids, 1-bit estimates, byte codes, full precision.
//!
//! Lists are read from the one of the nearest centroid on. How many is decided as the search goes: with `d_i` the distance of
//! the query to the centroid of rank `i` and `p` that to the worst of the wanted points that were found so far, until
//!
//! ```text
//! i * ((d_i² - d_1²) / p)²  >  limit
//! ```
//!
//! `(d_i² - d_1²) / p` tells how unlikely a ball of radius `p` around the query reaches into the list, the rank that the lists
//! before it hold most of what is near; each alone reads a half more for the same recall, and so does a bound on what a list
//! may hold. The limit is calibrated for every index ([`crate::calibrate`]) and several numbers of wanted points; a filter takes
//! the largest. Where a filter lets few of the codes near the query through, or the query is far from everything, lists are
//! read until a bound on what they may hold falls below what was found. Codes are compared further where the error of their
//! estimate, in proportion to the scale of the code, may hide that they are wanted.

use twofold_types::Distance;

use crate::arena::{Arena, QueryCode};
use crate::bitmap::Bitmap;
use crate::calibrate::{MOST_CALIBRATED, Reach};
use crate::centroids::Row;
use crate::exact::gather;
use crate::ivf::Ivf;
use crate::kernel::{BLOCK, Passed, ScanQuery, kernels, planes, prefetch};
use crate::list::List;
use crate::pool::{Candidates, about, for_each_picked, ordered, unordered};
use crate::subset::Subset;

/// A point found, with how near it is: higher is nearer for every distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// The point.
    pub offset: u32,
    /// In full precision.
    pub nearness: f32,
}

/// What a search asks for.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// How many neighbours.
    pub k: usize,
    /// The only offsets that count.
    pub mask: &'a Bitmap,
    /// Offsets that the index has not followed: they are compared beside what it finds.
    pub overlay: &'a Bitmap,
    /// Effort relative to the calibrated one, which is 1: more reads lists farther out and believes estimates less.
    pub effort: f32,
}

/// What a search did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// Lists that were read.
    pub lists: usize,
    /// 1-bit codes that were compared.
    pub codes: usize,
    /// Byte codes that were compared.
    pub bytes: usize,
    /// Vectors that were compared in full precision.
    pub rows: usize,
}

/// A mask that leaves less than this counts as a filter.
const FILTERED: f32 = 0.95;

/// A query is far from all vectors if its squared distance to every centroid is this many times the spread of a list.
const FAR: f32 = 4.0;

/// By how many times the deviation of what its list may hold a vector may be nearer than its centroid, where it may be in any.
const ANYWHERE: f32 = 2.0;

/// A mask avoids the query if this many times as many matches are expected among the codes near it as there are, and so many
/// more.
const AVOIDED: f32 = 2.0;
const AVOIDED_MORE: f32 = 6.0;

/// The deviation of the error of an estimate, in scales of the code times the length of what the query has beyond the
/// origin: sqrt(1 - 2/pi).
const DEVIATION: f32 = 0.603;

/// Deviations of that error that are allowed for. Fewer lose some of the nearest, more help little.
const MARGIN: f32 = 2.2;

/// The least effort that candidates of lists are chosen with: they cost little beside the lists, so that less would save little.
const LEAST_OF_LISTS: f32 = 0.75;

/// The same where no lists are read, and candidates are what a search costs.
const LEAST_OF_GATHERED: f32 = 0.25;

/// Of fewer vectors than this all are compared by their byte codes at once.
pub(crate) const SKETCHED: u64 = 400;

/// A query as 1-bit codes meet it.
struct Beyond {
    /// What it has beyond the origin.
    vector: Vec<f32>,
    /// Its length times [`DEVIATION`].
    deviation: f32,
}

impl Ivf {
    /// The nearest of the masked vectors that are in the index or in the overlay; fewer than `k` only where no more are there.
    pub fn search(&self, arena: &Arena, query: &[f32], probe: Probe<'_>) -> (Vec<Neighbour>, Effort) {
        self.search_within(
            arena,
            query,
            probe,
            self.reach,
            self.subsets.of(self, probe.mask).as_deref(),
        )
    }

    pub(crate) fn search_within(
        &self,
        arena: &Arena,
        query: &[f32],
        probe: Probe<'_>,
        reach: Reach,
        subset: Option<&Subset>,
    ) -> (Vec<Neighbour>, Effort) {
        let mut effort = Effort::default();
        if probe.k == 0 {
            return (Vec::new(), effort);
        }
        let code = self.query_code(query);
        let mut candidates = Candidates::new(arena, &code, probe.k);
        candidates.compare_all(&masked_overlay(probe), &mut effort);
        self.read_lists(&code, probe, reach, subset, &mut candidates, &mut effort);
        (candidates.nearest(query, &mut effort), effort)
    }

    /// The same by comparing every masked vector: by its sketch, the best by byte codes, the best of these in full precision. Short
    /// vectors have sketches only where a mask comes again: byte codes are as soon fetched.
    pub fn gather(&self, arena: &Arena, query: &[f32], probe: Probe<'_>) -> (Vec<Neighbour>, Effort) {
        self.gather_within(arena, query, probe, self.subsets.of(self, probe.mask).as_deref())
    }

    pub(crate) fn gather_within(
        &self,
        arena: &Arena,
        query: &[f32],
        probe: Probe<'_>,
        subset: Option<&Subset>,
    ) -> (Vec<Neighbour>, Effort) {
        let Probe { k, mask, .. } = probe;
        let few = k == 0 || mask.len() <= SKETCHED + 4 * k as u64;
        let copied = subset.filter(|_| !few);
        let copied = copied.map(|subset| subset.flat(|mask| self.flat(arena, mask)));
        let sketches = self.sketches.as_ref().filter(|_| !few);
        if copied.is_none() && sketches.is_none() {
            return gather(arena, query, k, mask);
        }
        let code = self.query_code(query);
        let beyond = self.beyond(&code);
        let margin = MARGIN * probe.effort.max(LEAST_OF_GATHERED) * beyond.deviation;
        let base = kernels().dot(&self.origin, &self.expand(&code.rotated));
        let mut effort = Effort::default();
        let mut candidates = Candidates::new(arena, &code, k);
        candidates.compare_all(&masked_overlay(probe), &mut effort);
        if let Some(copied) = copied {
            let query_scan = kernels().scan_query(&beyond.vector).raised(margin);
            Scan::new(&query_scan, &mut candidates, &mut effort).list(copied, base, |_| true);
        } else if let Some(sketches) = sketches {
            let beyond = planes(&beyond.vector);
            let mut offsets = Vec::with_capacity(mask.len() as usize);
            mask.for_each(|offset| offsets.push(offset));
            effort.codes = offsets.len();
            sketches.estimate(&beyond, base, margin, &offsets, |offsets, worths| {
                candidates.offer(worths, |place| Some(offsets[place]), &mut effort);
            });
        }
        (candidates.nearest(query, &mut effort), effort)
    }

    /// The query as the index sees it. For Dot its length does not matter, so it gets that of the vectors.
    fn query_code(&self, query: &[f32]) -> QueryCode {
        let length = kernels().dot(query, query).sqrt();
        if self.distance == Distance::Dot && length > 0.0 && self.radius_squared > 0.0 {
            return QueryCode::new(&self.rotation, query, self.radius_squared.sqrt() / length);
        }
        QueryCode::new(&self.rotation, query, 1.0)
    }

    fn beyond(&self, code: &QueryCode) -> Beyond {
        let expanded = self.expand(&code.rotated);
        let vector: Vec<f32> = expanded.iter().zip(self.origin.iter()).map(|(q, m)| q - m).collect();
        Beyond {
            deviation: kernels().dot(&vector, &vector).sqrt() * DEVIATION,
            vector,
        }
    }

    /// Offers what lists hold that may be among the nearest.
    fn read_lists(
        &self,
        code: &QueryCode,
        probe: Probe<'_>,
        reach: Reach,
        subset: Option<&Subset>,
        candidates: &mut Candidates<'_>,
        effort: &mut Effort,
    ) {
        let mask = probe.mask;
        let beyond = self.beyond(code);
        let margin = MARGIN * probe.effort.max(LEAST_OF_LISTS) * beyond.deviation;
        let beyond = kernels().scan_query(&beyond.vector).raised(margin);
        let row = Row {
            code: &code.biased,
            step: code.step,
            lift: 0.0,
        };
        let mut scan = Scan::new(&beyond, candidates, effort);
        let estimates = self.centroid_codes.as_ref();
        let estimates = estimates.and_then(|codes| scan.all(codes, kernels().dot(&self.origin, &code.rotated)));
        let estimated = estimates.is_some();
        let worths = estimates.unwrap_or_else(|| {
            let mut scores = Vec::new();
            self.centroids.scores(row, &mut scores, &mut Vec::new());
            scores
        });
        let mut order = Order::new(&worths, |list| match estimated {
            true => self.centroids.score(row, list),
            false => worths[list],
        });
        let Some((nearest, _)) = order.peek() else {
            return;
        };
        // Squared distances are this much less twice a score, or a worth.
        let pole = kernels().dot(&code.rotated, &code.rotated);
        let uncounted = 2.0 * self.uncounted();
        let spread = self.spread;
        // Far from the query all vectors are about equally far.
        let mut anywhere = pole - 2.0 * nearest > FAR * spread;
        let mut near = Near::new(mask.len() as f32 / self.len.max(1) as f32);
        let filtered = near.overall < FILTERED;
        // Wanting so many of the points that a filter lets through is like wanting so many of all, or more: it may exclude just the
        // cluster of the query.
        let wanted = match filtered {
            true => (probe.k as f32 / near.overall).max(MOST_CALIBRATED),
            false => probe.k as f32,
        };
        let limit = probe.effort.powi(4) * reach.limit(wanted);
        let part = |list: usize| match subset {
            Some(subset) => subset.known(list),
            None => Some(&*self.lists[list]),
        };
        while let Some((score, list)) = order.next() {
            let done = if anywhere {
                let deviation = (spread * ((pole - 2.0 * score).max(0.0) + spread / 2.0)).sqrt();
                score + (uncounted - spread) / 2.0 + ANYWHERE * deviation < scan.candidates.threshold()
            } else {
                let radius_squared = (pole + uncounted - 2.0 * scan.candidates.threshold()).max(f32::MIN_POSITIVE);
                let farther = 2.0 * (nearest - score);
                scan.effort.lists as f32 * farther * farther / radius_squared > limit
            };
            if done {
                break;
            }
            scan.effort.lists += 1;
            if let Some(next) = order.ahead(0).and_then(part) {
                next.prefetch();
            }
            if let Some(later) = order.ahead(1).and_then(part) {
                prefetch(std::slice::from_ref(later));
            }
            let base = score + self.centroids.half(list);
            match subset {
                Some(subset) => {
                    let part = subset.list(self, list);
                    scan.list(&part.list, base, |_| true);
                    near.saw(part.of, part.list.len());
                }
                None => {
                    let counts = |offset| mask.contains(offset);
                    let nearer = |offset| near.saw(1, counts(offset).into());
                    scan.list_seeing(&self.lists[list], base, counts, filtered.then_some(nearer));
                }
            }
            anywhere |= near.is_avoided();
        }
    }
}

/// A query that meets lists.
struct Scan<'s, 'a> {
    query: &'s ScanQuery,
    candidates: &'s mut Candidates<'a>,
    effort: &'s mut Effort,
    passed: Passed,
}

impl<'s, 'a> Scan<'s, 'a> {
    fn new(query: &'s ScanQuery, candidates: &'s mut Candidates<'a>, effort: &'s mut Effort) -> Self {
        Self {
            query,
            candidates,
            effort,
            passed: Passed::new(),
        }
    }

    /// What each code of a list may be worth; none where numbers overflow.
    fn all(&mut self, list: &List, base: f32) -> Option<Vec<f32>> {
        let mut worths = Vec::with_capacity(list.len());
        let mut block = 0;
        while block * BLOCK < list.len() {
            block = kernels().scan(
                list.codes(),
                self.query,
                base,
                f32::NEG_INFINITY,
                block,
                &mut self.passed,
            );
            worths.extend_from_slice(self.passed.as_slices().0);
            self.passed.len = 0;
        }
        (worths.len() == list.len()).then_some(worths)
    }

    /// Compares what a list holds that may be among the nearest and counts.
    #[inline]
    fn list(&mut self, list: &List, base: f32, counts: impl Fn(u32) -> bool) {
        self.list_seeing(list, base, counts, None::<fn(u32)>);
    }

    /// The same, and says of which codes it may still be so after they were compared further, whether they count or not.
    #[inline]
    fn list_seeing(
        &mut self,
        list: &List,
        base: f32,
        counts: impl Fn(u32) -> bool,
        mut nearer: Option<impl FnMut(u32)>,
    ) {
        let (codes, offsets) = (list.codes(), list.offsets());
        self.effort.codes += list.len();
        let mut block = 0;
        while block * BLOCK < offsets.len() {
            let threshold = self.candidates.threshold();
            block = kernels().scan(codes, self.query, base, threshold, block, &mut self.passed);
            let (worths, places) = self.passed.as_slices();
            let offset = |place: usize| offsets[places[place] as usize];
            let counted = |place| Some(offset(place)).filter(|&offset| counts(offset));
            self.candidates.offer(worths, counted, self.effort);
            if let Some(nearer) = &mut nearer {
                let threshold = self.candidates.threshold();
                let near = (0..worths.len()).filter(|&place| worths[place] >= threshold);
                near.for_each(|place| nearer(offset(place)));
            }
            self.passed.len = 0;
        }
    }
}

/// How many of the codes near a query a mask lets through.
struct Near {
    /// The share of all that it lets through.
    overall: f32,
    seen: f32,
    matched: f32,
}

impl Near {
    fn new(overall: f32) -> Self {
        Self {
            overall: overall.max(f32::MIN_POSITIVE),
            seen: 0.0,
            matched: 0.0,
        }
    }

    #[inline]
    fn saw(&mut self, codes: usize, matched: usize) {
        self.seen += codes as f32;
        self.matched += matched as f32;
    }

    /// Whether the mask avoids the query. Its nearest then are not the best of few lists but the stragglers of many.
    fn is_avoided(&self) -> bool {
        self.seen * self.overall > AVOIDED * self.matched + AVOIDED_MORE
    }
}

/// What the index has not followed may be worth anything.
fn masked_overlay(probe: Probe<'_>) -> Vec<u32> {
    let overlay = probe.overlay.iter();
    overlay.filter(|&offset| probe.mask.contains(offset)).collect()
}

/// Lists from the nearest on, found as far as they are asked for: each time about twice as many by their estimates, which are put
/// in the order of their scores.
struct Order<'a, S> {
    /// What each list is worth, or may be.
    estimates: &'a [f32],
    /// What a list is worth.
    score: S,
    /// Scores and lists.
    found: Vec<u64>,
    /// Lists whose estimates reach this are found; in the beginning there is no such number.
    least: f32,
    next: usize,
    highest: Vec<f32>,
}

impl<'a, S: Fn(usize) -> f32> Order<'a, S> {
    /// Lists that most searches do with.
    const FEW: usize = 16;

    fn new(estimates: &'a [f32], score: S) -> Self {
        Self {
            estimates,
            score,
            found: Vec::with_capacity(2 * Self::FEW),
            least: f32::NAN,
            next: 0,
            highest: Vec::new(),
        }
    }

    fn find(&mut self) {
        let (first, reached) = (self.found.len(), self.least);
        self.least = about((2 * first).max(Self::FEW), self.estimates, &mut self.highest);
        // Where numbers overflowed, an estimate may be none: such a list comes last.
        let last = self.least == f32::NEG_INFINITY;
        let picked = |estimate: f32| {
            let found = estimate >= reached;
            !found & (last | (estimate >= self.least))
        };
        for_each_picked(self.estimates, picked, |list| {
            let score = ordered((self.score)(list));
            self.found.push(u64::from(score) << 32 | list as u64);
        });
        self.found[first..].sort_unstable_by(|a, b| b.cmp(a));
    }

    fn peek(&mut self) -> Option<(f32, usize)> {
        if self.next == self.found.len() && self.least != f32::NEG_INFINITY {
            self.find();
        }
        let &key = self.found.get(self.next)?;
        Some((unordered((key >> 32) as u32), key as u32 as usize))
    }

    /// The list that comes after so many others, where that is known already.
    fn ahead(&self, others: usize) -> Option<usize> {
        let key = self.found.get(self.next + others)?;
        Some(*key as u32 as usize)
    }

    fn next(&mut self) -> Option<(f32, usize)> {
        let next = self.peek()?;
        self.next += 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_lists_come_once_and_the_nearest_first(
            scores in proptest::collection::vec(prop_oneof![Just(f32::NAN), Just(0.5), -1.0f32..1.0], 0..300),
        ) {
            let mut order = Order::new(&scores, |list| scores[list]);
            let lists: Vec<(f32, usize)> = std::iter::from_fn(|| order.next()).collect();
            let numbers: Vec<f32> = lists.iter().map(|(score, _)| *score).filter(|score| !score.is_nan()).collect();
            prop_assert!(numbers.is_sorted_by(|a, b| a >= b));
            let mut seen: Vec<usize> = lists.iter().map(|(_, list)| *list).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..scores.len()).collect::<Vec<_>>());
            prop_assert!(lists.iter().all(|&(score, list)| score.to_bits() == scores[list].to_bits()));
        }

        #[test]
        fn estimates_find_the_lists_and_scores_order_them(
            lists in proptest::collection::vec((-1.0f32..1.0, -0.1f32..0.1), 0..300),
        ) {
            let estimates: Vec<f32> = lists.iter().map(|(score, error)| score + error).collect();
            let mut order = Order::new(&estimates, |list| lists[list].0);
            let (mut seen, mut worst) = (vec![false; lists.len()], f32::INFINITY);
            while let Some((score, list)) = order.next() {
                prop_assert_eq!(score, lists[list].0);
                prop_assert!(!std::mem::replace(&mut seen[list], true));
                worst = worst.min(estimates[list]);
                // What is better but not found yet was estimated to be worse than what was.
                let missed = (0..lists.len()).filter(|&other| !seen[other] && lists[other].0 > score);
                prop_assert!(missed.into_iter().all(|other| estimates[other] <= worst));
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
        }
    }
}
