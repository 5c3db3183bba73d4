//! Searching: lists in the order of their centroids, 1-bit estimates, byte codes, full precision.
//!
//! How many lists are read is decided as the search goes. What a vector of a list is worth to a query varies around what
//! the centroid is worth, the more the longer the residuals of the list are and the farther the query is:
//!
//! ```text
//! <y, q> - |y|²/2  =  <c, q> - |c|²/2 - |r|²/2 + <r, q - c>
//! mean                score of the list - spread/2
//! deviation           in proportion to sqrt(spread * (|q - c|² + spread/2)): of <r, q - c>, and of |r|²/2
//! ```
//!
//! Lists are read in the order of mean + slack * deviation, until that falls below the estimate of the worst of the wanted
//! points. The slack is calibrated for every index ([`crate::calibrate`]). The error of an estimate is in proportion to the
//! scale of its code, so those are compared further that may be wanted if the error is some deviations large. A query from
//! elsewhere, a filter or a large number of wanted points leave worse candidates, and the search reads on by itself.

use twofold_types::Distance;

use crate::arena::{Arena, QueryCode};
use crate::bitmap::Bitmap;
use crate::calibrate::Reach;
use crate::centroids::Row;
use crate::exact::gather;
use crate::ivf::Ivf;
use crate::kernel::{BLOCK, Passed, kernels, planes};
use crate::pool::{Candidates, ordered, unordered};

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

/// A mask avoids a query if, among codes that may be nearer than what is wanted, this many times as many matches would be expected
/// as there are, and so many more. After a number of codes it is clear that it does not.
const AVOIDED: f32 = 1.5;
const AVOIDED_MORE: f32 = 6.0;
const AVOIDED_SAMPLE: usize = 512;

/// A mask that leaves less than this counts as a filter.
const FILTERED: f32 = 0.95;

/// A query is far from all vectors if its squared distance to every centroid is this many times that of the centroid's own.
const FAR: f32 = 4.0;

/// Candidates far from the query are all about equally far: a search reaches this many times farther for them.
const WIDE_SLACK: f32 = 4.0;

/// The deviation of the error of an estimate, in scales of the code times the length of what the query has beyond the
/// origin: sqrt(1 - 2/pi).
const DEVIATION: f32 = 0.603;

/// Deviations of that error that are allowed for. Fewer lose some of the nearest, more help little.
const MARGIN: f32 = 2.2;

/// The same for an effort. Candidates cost little beside lists, so less effort saves few of them.
fn margin(effort: f32) -> f32 {
    MARGIN * effort.max(0.75)
}

/// Of fewer vectors than this all are compared by their byte codes at once.
const SKETCHED: u64 = 400;

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
        self.search_within(arena, query, probe, self.reach)
    }

    pub(crate) fn search_within(
        &self,
        arena: &Arena,
        query: &[f32],
        probe: Probe<'_>,
        reach: Reach,
    ) -> (Vec<Neighbour>, Effort) {
        let mut effort = Effort::default();
        if probe.k == 0 {
            return (Vec::new(), effort);
        }
        let code = self.query_code(query);
        let mut candidates = Candidates::new(arena, &code, probe.k);
        candidates.compare_all(&masked_overlay(probe), &mut effort);
        self.read_lists(&code, probe, reach, &mut candidates, &mut effort);
        (candidates.nearest(query, &mut effort), effort)
    }

    /// The same by comparing every masked vector: by its sketch, the best by byte codes, the best of these in full precision.
    pub fn gather(&self, arena: &Arena, query: &[f32], probe: Probe<'_>) -> (Vec<Neighbour>, Effort) {
        let Probe { k, mask, .. } = probe;
        let Some(sketches) = self
            .sketches
            .as_ref()
            .filter(|_| k > 0 && mask.len() > SKETCHED + 4 * k as u64)
        else {
            return gather(arena, query, k, mask);
        };
        let code = self.query_code(query);
        let beyond = self.beyond(&code);
        let margin = margin(probe.effort) * beyond.deviation;
        let base = kernels().dot(&self.origin, &code.rotated);
        let beyond = planes(&beyond.vector);
        let mut effort = Effort::default();
        let mut candidates = Candidates::new(arena, &code, k);
        candidates.compare_all(&masked_overlay(probe), &mut effort);
        let mut offsets = Vec::with_capacity(mask.len() as usize);
        mask.for_each(|offset| offsets.push(offset));
        effort.codes = offsets.len();
        sketches.estimate(&beyond, margin, &offsets, |offsets, estimates| {
            let least = candidates.threshold() - base;
            for (&offset, &estimate) in offsets.iter().zip(estimates) {
                if estimate > least {
                    candidates.offer(base + estimate, offset);
                }
            }
            candidates.settle(&mut effort);
        });
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
        candidates: &mut Candidates<'_>,
        effort: &mut Effort,
    ) {
        let mask = probe.mask;
        let share = mask.len() as f32 / self.len.max(1) as f32;
        let slack = reach.slack(probe.k, share < FILTERED) * probe.effort;
        let beyond = self.beyond(code);
        let margin = margin(probe.effort) * beyond.deviation;
        let beyond = kernels().scan_query(&beyond.vector).raised(margin);
        let (mut scores, mut sums) = (Vec::new(), Vec::new());
        let row = Row {
            code: &code.biased,
            step: code.step,
            lift: 0.0,
        };
        self.centroids.scores(row, &mut scores, &mut sums);
        // Squared distances are this much less twice a score.
        let pole = kernels().dot(&code.rotated, &code.rotated);
        let uncounted = self.uncounted();
        let promise = |score: f32, spread: f32, slack: f32| {
            score - spread / 2.0 + uncounted + slack * (spread * ((pole - 2.0 * score).max(0.0) + spread / 2.0)).sqrt()
        };
        // A query far from all vectors finds its nearest about equally far, in many lists.
        let far = scores
            .iter()
            .zip(&self.spreads)
            .all(|(score, spread)| pole - 2.0 * score > FAR * spread);
        let mut wide = far && self.lists.len() > 1;
        let slack = if wide { slack * WIDE_SLACK } else { slack };
        let lists = scores.iter().zip(&self.spreads);
        let promises: Vec<f32> = lists.map(|(&score, &spread)| promise(score, spread, slack)).collect();
        let mut order = Order::new(promises.into_iter().zip(0..));
        let (mut near, mut matched) = (0usize, 0usize);
        let mut passed = Passed::new();
        while let Some((worth, list)) = order.next() {
            if worth < candidates.threshold() {
                break;
            }
            if let Some((_, next)) = order.peek() {
                self.lists[next].prefetch();
            }
            let list_codes = &self.lists[list];
            effort.lists += 1;
            effort.codes += list_codes.len();
            let base = scores[list] + self.centroids.half(list);
            let (codes, offsets) = (list_codes.codes(), list_codes.offsets());
            let mut block = 0;
            while block * BLOCK < offsets.len() {
                block = kernels().scan(codes, &beyond, base, candidates.threshold(), block, &mut passed);
                for (worth, place) in passed.iter() {
                    let offset = offsets[place];
                    if mask.contains(offset) {
                        candidates.offer(worth, offset);
                    }
                }
                candidates.settle(effort);
                if !wide && near < AVOIDED_SAMPLE {
                    let nearer = passed.iter().filter(|&(worth, _)| worth >= candidates.threshold());
                    nearer.for_each(|(_, place)| {
                        near += 1;
                        matched += usize::from(mask.contains(offsets[place]));
                    });
                }
                passed.len = 0;
            }
            // The mask avoids the query. Its nearest then are not the best of few lists but the stragglers of many.
            if !wide && near as f32 * share > AVOIDED * matched as f32 + AVOIDED_MORE {
                wide = true;
                let wider = |list: usize| promise(scores[list], self.spreads[list], slack * WIDE_SLACK);
                order = Order::new(order.rest().map(|list| (wider(list), list)));
            }
        }
    }
}

/// What the index has not followed may be worth anything.
fn masked_overlay(probe: Probe<'_>) -> Vec<u32> {
    let overlay = probe.overlay.iter();
    overlay.filter(|&offset| probe.mask.contains(offset)).collect()
}

/// Lists from the nearest on, sorted as far as they are asked for.
struct Order {
    keys: Vec<u64>,
    /// How many at the front are in order.
    sorted: usize,
    next: usize,
}

impl Order {
    fn new(promises: impl Iterator<Item = (f32, usize)>) -> Self {
        let keys = promises.map(|(promise, list)| u64::from(ordered(promise)) << 32 | list as u64);
        Self {
            keys: keys.collect(),
            sorted: 0,
            next: 0,
        }
    }

    fn peek(&mut self) -> Option<(f32, usize)> {
        const STEP: usize = 64;
        if self.next == self.sorted && self.sorted < self.keys.len() {
            // Ever larger steps, so that a search through all lists stays cheap.
            let count = self.sorted.max(STEP).min(self.keys.len() - self.sorted);
            let rest = &mut self.keys[self.sorted..];
            if count < rest.len() {
                rest.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
            }
            rest[..count].sort_unstable_by(|a, b| b.cmp(a));
            self.sorted += count;
        }
        let &key = self.keys.get(self.next)?;
        Some((unordered((key >> 32) as u32), key as u32 as usize))
    }

    /// The lists that are left, in no order.
    fn rest(&self) -> impl Iterator<Item = usize> {
        self.keys[self.next..].iter().map(|&key| key as u32 as usize)
    }

    fn next(&mut self) -> Option<(f32, usize)> {
        let next = self.peek()?;
        self.next += 1;
        Some(next)
    }
}
