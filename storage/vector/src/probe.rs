//! Searching: lists in the order of their centroids, 1-bit estimates, byte codes, full precision.
//!
//! How many lists are read is decided as the search goes. What a vector of a list is worth to a query varies around what
//! the centroid is worth, the more the longer the residuals of the list are and the farther the query is:
//!
//! ```text
//! <y, q> - |y|²/2  =  <c, q> - |c|²/2 - |r|²/2 + <r, q - c>
//! mean                score of the list - spread/2
//! deviation           in proportion to sqrt(spread) * |q - c|
//! ```
//!
//! Lists are read in the order of mean + slack * deviation, until that falls below the worst candidate that is still wanted.
//! The slack is calibrated for every index. A query from elsewhere, a filter or a large number of wanted points leave worse
//! candidates, and the search reads on by itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use twofold_types::Distance;

use crate::arena::{Arena, QueryCode};
use crate::bitmap::Bitmap;
use crate::centroids::Row;
use crate::ivf::{Costs, Ivf, Reach};
use crate::kernel::{Passed, kernels, nearness};
use crate::list::plane_query;

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
    /// Effort relative to the calibrated one: 1 for the default, 2 for twice the candidates and lists farther out.
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

/// A mask avoids a query if, among this many codes near it, matches are this many times rarer than elsewhere.
const AVOIDED_SAMPLE: usize = 2048;
const AVOIDED: f32 = 4.0;

/// A query is far from all vectors if its squared distance to every centroid is this many times that of the centroid's own.
const FAR: f32 = 4.0;

/// Candidates far from the query are all about equally far: a search reaches this many times farther for them, and keeps this
/// many times as many, as estimates cannot tell them apart.
const WIDE_SLACK: f32 = 4.0;
const WIDE_CANDIDATES: usize = 8;

/// With a filter, estimates hand on this many times the candidates.
const FILTERED_CANDIDATES: f32 = 2.0;

/// Numbers of candidates that a stage hands on at most.
struct Funnel;

impl Funnel {
    /// By 1-bit codes.
    fn estimated(k: usize, factor: f32, distance: Distance) -> usize {
        let usual = match distance {
            Distance::Manhattan => 200 + 6 * k,
            _ => 60 + 4 * k,
        };
        ((usual as f32 * factor) as usize).max(k)
    }

    /// By byte codes. They say little of the order by Manhattan beyond that by Euclid.
    fn coded(k: usize, distance: Distance) -> usize {
        match distance {
            Distance::Manhattan => 100 + 4 * k,
            _ => 64 + 2 * k,
        }
    }
}

/// Floats in the order of unsigned numbers.
fn ordered(x: f32) -> u32 {
    let bits = x.to_bits();
    bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000)
}

fn unordered(bits: u32) -> f32 {
    f32::from_bits(if bits & 0x8000_0000 != 0 {
        bits ^ 0x8000_0000
    } else {
        !bits
    })
}

fn key(estimate: f32, offset: u32) -> u64 {
    // Equals are kept in the order of their offsets.
    u64::from(ordered(estimate)) << 32 | u64::from(!offset)
}

fn offset_of(key: u64) -> u32 {
    !(key as u32)
}

/// The best candidates so far.
#[derive(Debug)]
struct Pool {
    keys: Vec<u64>,
    size: usize,
    threshold: f32,
}

impl Pool {
    fn new(size: usize) -> Self {
        Self {
            keys: Vec::with_capacity(4 * size + 64),
            size,
            threshold: f32::NEG_INFINITY,
        }
    }

    #[inline]
    fn push(&mut self, estimate: f32, offset: u32) {
        if estimate > self.threshold {
            self.keys.push(key(estimate, offset));
            if self.keys.len() >= 4 * self.size + 64 {
                self.shrink();
            }
        }
    }

    fn widen(&mut self, times: usize) {
        self.size *= times;
        self.threshold = f32::NEG_INFINITY;
    }

    /// Keeps the best, and raises the threshold to the last of them.
    fn shrink(&mut self) {
        if self.keys.len() <= self.size {
            return;
        }
        self.keys.select_nth_unstable_by(self.size - 1, |a, b| b.cmp(a));
        self.keys.truncate(self.size);
        self.threshold = unordered((self.keys[self.size - 1] >> 32) as u32);
    }
}

/// The `k` best of what is offered.
struct Best {
    heap: BinaryHeap<Reverse<u64>>,
    k: usize,
}

impl Best {
    fn new(k: usize) -> Self {
        Self {
            heap: BinaryHeap::with_capacity(k.min(4096) + 1),
            k,
        }
    }

    fn offer(&mut self, nearness: f32, offset: u32) {
        let key = key(nearness, offset);
        if self.heap.len() < self.k {
            self.heap.push(Reverse(key));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && key > worst.0
        {
            *worst = Reverse(key);
        }
    }

    /// The nearness below which nothing more is taken.
    fn worst(&self) -> f32 {
        match self.heap.peek() {
            Some(Reverse(key)) if self.heap.len() == self.k => unordered((key >> 32) as u32),
            _ => f32::NEG_INFINITY,
        }
    }

    fn into_neighbours(self) -> Vec<Neighbour> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted
            .map(|Reverse(key)| Neighbour {
                offset: offset_of(key),
                nearness: unordered((key >> 32) as u32),
            })
            .collect()
    }
}

/// The nearest by full precision among candidates that byte codes have put in order. As many are compared as their errors
/// call for.
fn rescore(
    arena: &Arena,
    code: &QueryCode,
    query: &[f32],
    candidates: &[u32],
    k: usize,
    effort: &mut Effort,
) -> Vec<Neighbour> {
    /// How far ahead of the comparison memory is asked for.
    const AHEAD: usize = 8;
    /// Deviations of the error of a byte code that are allowed for.
    const DEVIATIONS: f32 = 3.0;
    effort.bytes += candidates.len();
    let kept = Funnel::coded(k, arena.distance()).max(candidates.len() / 16);
    let mut pool = Pool::new(kept);
    candidates
        .iter()
        .take(AHEAD)
        .for_each(|&offset| arena.prefetch_code(offset));
    for (i, &offset) in candidates.iter().enumerate() {
        if let Some(&ahead) = candidates.get(i + AHEAD) {
            arena.prefetch_code(ahead);
        }
        pool.push(arena.estimate(code, offset), offset);
    }
    pool.shrink();
    pool.keys.sort_unstable_by(|a, b| b.cmp(a));
    let near = nearness(arena.distance());
    let mut best = Best::new(k);
    pool.keys
        .iter()
        .take(AHEAD / 2)
        .for_each(|&key| arena.prefetch_row(offset_of(key)));
    for (i, &key) in pool.keys.iter().enumerate() {
        let offset = offset_of(key);
        if i >= k {
            let estimate = unordered((key >> 32) as u32) + DEVIATIONS * arena.error(code, offset);
            if arena.nearness_of_estimate(code, estimate) < best.worst() {
                break;
            }
        }
        if let Some(&ahead) = pool.keys.get(i + AHEAD / 2) {
            arena.prefetch_row(offset_of(ahead));
        }
        effort.rows += 1;
        best.offer(near(query, arena.row(offset)), offset);
    }
    best.into_neighbours()
}

/// The nearest of `mask`, compared in full precision.
pub fn exact(arena: &Arena, query: &[f32], k: usize, mask: &Bitmap) -> (Vec<Neighbour>, Effort) {
    let mut effort = Effort::default();
    if k == 0 {
        return (Vec::new(), effort);
    }
    let mut best = Best::new(k);
    let near = nearness(arena.distance());
    arena.scan(mask, |offset, row| {
        effort.rows += 1;
        best.offer(near(query, row), offset);
    });
    (best.into_neighbours(), effort)
}

/// The nearest of `mask` by byte codes, the best of them compared in full precision. Practically exact, and a quarter of the
/// memory to read.
pub fn gather(arena: &Arena, query: &[f32], k: usize, mask: &Bitmap) -> (Vec<Neighbour>, Effort) {
    let count = mask.len() as usize;
    let Some(rotation) = arena
        .rotation()
        .filter(|_| k > 0 && count > Funnel::coded(k, arena.distance()))
    else {
        return exact(arena, query, k, mask);
    };
    let mut effort = Effort::default();
    let mut candidates = Vec::with_capacity(count);
    mask.for_each(|offset| {
        if arena.present().contains(offset) {
            candidates.push(offset);
        }
    });
    let code = QueryCode::new(rotation, query, 1.0);
    (rescore(arena, &code, query, &candidates, k, &mut effort), effort)
}

impl Ivf {
    /// The nearest of the masked vectors that are in the index or in the overlay; fewer than `k` only where no more are there.
    pub fn search(&self, arena: &Arena, query: &[f32], probe: Probe<'_>) -> (Vec<Neighbour>, Effort) {
        self.search_within(arena, query, probe, self.reach)
    }

    fn search_within(&self, arena: &Arena, query: &[f32], probe: Probe<'_>, reach: Reach) -> (Vec<Neighbour>, Effort) {
        let mut effort = Effort::default();
        let Probe { k, mask, overlay, .. } = probe;
        if k == 0 {
            return (Vec::new(), effort);
        }
        let code = self.query_code(query);
        let share = mask.len() as f32 / self.len.max(1) as f32;
        let copies = 1 + usize::from(self.spills());
        // A filter may exclude just the nearest; of what is left, more is about equally far.
        let filtered = if share < 0.95 { FILTERED_CANDIDATES } else { 1.0 };
        let factor = reach.candidates * probe.effort.max(0.25) * filtered;
        let estimated = Funnel::estimated(k, factor, self.distance);
        let mut pool = Pool::new(estimated * copies);
        self.read_lists(
            &code,
            mask,
            share,
            reach.slack_for(share) * probe.effort,
            &mut pool,
            &mut effort,
        );
        pool.shrink();
        let mut candidates: Vec<u32> = pool.keys.iter().map(|&key| offset_of(key)).collect();
        overlay.for_each(|offset| {
            if mask.contains(offset) {
                candidates.push(offset);
            }
        });
        // An offset may be there twice: from two lists, or from a list and the overlay.
        candidates.sort_unstable();
        candidates.dedup();
        let found = rescore(arena, &code, query, &candidates, k, &mut effort);
        (found, effort)
    }

    /// The query as the index sees it. For Dot its length does not matter, so it gets that of the vectors.
    fn query_code(&self, query: &[f32]) -> QueryCode {
        let length = kernels().dot(query, query).sqrt();
        if self.distance == Distance::Dot && length > 0.0 && self.radius_squared > 0.0 {
            return QueryCode::new(&self.rotation, query, self.radius_squared.sqrt() / length);
        }
        QueryCode::new(&self.rotation, query, 1.0)
    }

    fn read_lists(
        &self,
        code: &QueryCode,
        mask: &Bitmap,
        share: f32,
        slack: f32,
        pool: &mut Pool,
        effort: &mut Effort,
    ) {
        let planes = plane_query(&self.expand(&code.rotated), &self.origin);
        let (mut scores, mut sums) = (Vec::new(), Vec::new());
        let row = Row {
            code: &code.biased,
            step: code.step,
            lift: 0.0,
        };
        self.centroids.scores(row, &mut scores, &mut sums);
        // Squared distances are this much less twice a score.
        let pole = kernels().dot(&code.rotated, &code.rotated) + self.radius_squared;
        let promise = |list: usize, slack: f32| {
            let (score, spread) = (scores[list], self.lists[list].spread());
            score - spread / 2.0 + slack * (spread * (pole - 2.0 * score).max(0.0)).sqrt()
        };
        // A query far from all vectors finds its nearest about equally far, in many lists.
        let far = (0..self.lists.len()).all(|list| pole - 2.0 * scores[list] > FAR * self.lists[list].spread());
        let mut wide = far && self.lists.len() > 1;
        let slack = if wide { slack * WIDE_SLACK } else { slack };
        if wide {
            pool.widen(WIDE_CANDIDATES);
        }
        let mut order = Order::new((0..self.lists.len()).map(|list| (promise(list, slack), list)));
        let (mut compared, mut matched) = (0usize, 0usize);
        let mut passed = Passed::new();
        while let Some((worth, list)) = order.next() {
            // An unsettled pool only has too low a threshold.
            if worth < pool.threshold {
                break;
            }
            if let Some((_, next)) = order.peek() {
                self.lists[next].prefetch();
            }
            let (centroid, _) = self.centroids.get(list);
            let list_codes = &self.lists[list];
            effort.lists += 1;
            effort.codes += list_codes.len();
            let base = kernels().dot(centroid, &code.rotated);
            let (codes, offsets) = (list_codes.codes(), list_codes.offsets());
            let mut block = 0;
            while block * crate::kernel::BLOCK < offsets.len() {
                block = kernels().scan(codes, &planes, base, pool.threshold, block, &mut passed);
                compared += passed.len;
                for i in 0..passed.len {
                    let offset = offsets[passed.places[i] as usize];
                    if mask.contains(offset) {
                        matched += 1;
                        pool.push(passed.estimates[i], offset);
                    }
                }
                passed.len = 0;
            }
            // The mask avoids the query. Its nearest then are not the best of few lists but the stragglers of many.
            if !wide && compared >= AVOIDED_SAMPLE && (matched as f32) < compared as f32 * share / AVOIDED {
                wide = true;
                pool.widen(WIDE_CANDIDATES);
                order = Order::new(order.rest().map(|list| (promise(list, slack * WIDE_SLACK), list)));
            }
        }
    }

    /// Finds how far a search has to go, on vectors of the index itself.
    pub(crate) fn calibrate(&mut self, arena: &Arena) {
        const SAMPLE: usize = 96;
        /// Numbers of wanted points, with the sample that is enough for each.
        const WANTED: [(usize, usize); 3] = [(10, SAMPLE), (100, 32), (1000, 8)];
        /// Candidates are as many as lose this little beside lists that are not read.
        const CANDIDATES_RECALL: f64 = 0.993;
        const RECALL: f64 = 0.98;
        /// Filters may go with the vectors, which the sample's do not: a margin for that.
        const FILTERED_RECALL: f64 = 0.99;
        /// A slack at which all but hopeless lists are read.
        const LARGEST: f32 = 4.0;
        let stride = (arena.present().len() as usize / SAMPLE).max(1);
        let sample: Vec<u32> = arena
            .present()
            .iter()
            .skip(stride / 2)
            .step_by(stride)
            .take(SAMPLE)
            .collect();
        if sample.is_empty() {
            return;
        }
        let nothing = Bitmap::new();
        let find = |offset: u32, k: usize, mask: &Bitmap, reach: Reach| -> Vec<u32> {
            let probe = Probe {
                k: k + 1,
                mask,
                overlay: &nothing,
                effort: 1.0,
            };
            let (found, _) = self.search_within(arena, arena.row(offset), probe, reach);
            found
                .into_iter()
                .map(|neighbour| neighbour.offset)
                .filter(|&other| other != offset)
                .take(k)
                .collect()
        };
        let truths = |k: usize, sample: &[u32], mask: &Bitmap| -> Vec<Vec<u32>> {
            let candidates = if k > 100 { 4.0 } else { 32.0 };
            let everything = Reach {
                slack: Reach::EVERYTHING,
                filtered: 1.0,
                candidates,
            };
            sample.iter().map(|&offset| find(offset, k, mask, everything)).collect()
        };
        let recall = |sample: &[u32], truth: &[Vec<u32>], k: usize, mask: &Bitmap, reach: Reach| {
            let found = sample.iter().zip(truth).map(|(&offset, truth)| {
                let found: Bitmap = find(offset, k, mask, reach).into_iter().collect();
                truth.iter().filter(|&&offset| found.contains(offset)).count()
            });
            let total: usize = truth.iter().map(Vec::len).sum();
            found.sum::<usize>() as f64 / total.max(1) as f64
        };
        // The smallest number that is enough, from below: a large one reads everything.
        let smallest = |mut low: f32, start: f32, enough: &dyn Fn(f32) -> bool| {
            let mut high = start;
            while high < LARGEST && !enough(high) {
                (low, high) = (high, high * 1.5);
            }
            for _ in 0..3 {
                let middle = (low + high) / 2.0;
                *(if enough(middle) { &mut high } else { &mut low }) = middle;
            }
            high
        };
        let mut reach = Reach {
            slack: Reach::EVERYTHING,
            filtered: 1.0,
            candidates: 1.0,
        };
        let mut slack = 0.0f32;
        for (k, count) in WANTED {
            if self.len < 4 * k as u64 {
                break;
            }
            let (sample, mask) = (&sample[..count.min(sample.len())], arena.present());
            let truth = truths(k, sample, mask);
            if k == WANTED[0].0 {
                while reach.candidates < 16.0 && recall(sample, &truth, k, mask, reach) < CANDIDATES_RECALL {
                    reach.candidates *= 1.5;
                }
            }
            slack = smallest(slack, slack.max(0.1), &|slack| {
                recall(sample, &truth, k, mask, Reach { slack, ..reach }) >= RECALL
            });
            if k == WANTED[0].0 {
                let tenth: Bitmap = mask.iter().step_by(10).collect();
                let truth = truths(k, sample, &tenth);
                let enough = |filtered: f32| {
                    recall(
                        sample,
                        &truth,
                        k,
                        &tenth,
                        Reach {
                            slack,
                            filtered,
                            ..reach
                        },
                    ) >= FILTERED_RECALL
                };
                reach.filtered = smallest(0.0, 0.3, &enough).min(1.0);
            }
        }
        self.reach = Reach { slack, ..reach };
        self.measure(arena, &sample);
    }

    /// Measures what searches cost here.
    fn measure(&mut self, arena: &Arena, sample: &[u32]) {
        const PASSES: usize = 3;
        let sample = &sample[..sample.len().min(16)];
        let nothing = Bitmap::new();
        let fastest = |work: &dyn Fn(u32)| {
            let pass = || {
                let start = std::time::Instant::now();
                sample.iter().for_each(|&offset| work(offset));
                start.elapsed().as_nanos() as f32 / sample.len() as f32
            };
            (0..PASSES).map(|_| pass()).fold(f32::MAX, f32::min)
        };
        let every = |nth: usize| -> Bitmap { arena.present().iter().step_by(nth).collect() };
        let masks = [arena.present().clone(), every(10), every(100)];
        let mut costs = Costs::default();
        for (cost, mask) in costs.search.iter_mut().zip(&masks) {
            *cost = fastest(&|offset| {
                let probe = Probe {
                    k: 10,
                    mask,
                    overlay: &nothing,
                    effort: 1.0,
                };
                std::hint::black_box(self.search(arena, arena.row(offset), probe));
            });
        }
        let few = every((arena.present().len() as usize / 2_000).max(1));
        let gathered = fastest(&|offset| {
            std::hint::black_box(gather(arena, arena.row(offset), 10, &few));
        });
        costs.gather = gathered / few.len().max(1) as f32;
        self.costs = costs;
    }

    /// What a search of some effort is expected to cost, in nanoseconds, where so many of the vectors count.
    pub fn search_cost(&self, matching: u64, k: usize, effort: f32) -> f64 {
        let share = (matching as f64 / self.len.max(1) as f64).clamp(1e-9, 1.0);
        let [all, tenth, hundredth] = self.costs.search.map(|cost| f64::from(cost).max(1.0));
        // Straight lines between what was measured, on logarithmic scales.
        let decades = -share.log10();
        let (from, to, start) = if decades < 1.0 {
            (all, tenth, 0.0)
        } else {
            (tenth, hundredth, 1.0)
        };
        let searched = from * (to / from).max(1.0).powf(decades - start);
        let estimated = |k| Funnel::estimated(k, self.reach.candidates, self.distance) as f64;
        let more = estimated(k) - estimated(10);
        searched * f64::from(effort * effort) + more.max(0.0) * 2.0 * f64::from(self.costs.gather)
    }

    /// What comparing so many vectors by their byte codes is expected to cost, in nanoseconds.
    pub fn gather_cost(&self, matching: u64) -> f64 {
        matching as f64 * f64::from(self.costs.gather)
    }
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
