//! How far searches go, and what they cost: found by searching for vectors of the index itself.

use std::hint::black_box;
use std::time::Instant;

use crate::arena::Arena;
use crate::bitmap::Bitmap;
use crate::ivf::Ivf;
use crate::probe::Probe;

/// Vectors that are searched for.
const SAMPLE: usize = 96;

/// Numbers of wanted points that are calibrated, with the sample that is enough for each.
const WANTED: [(usize, usize); 6] = [(1, SAMPLE), (4, SAMPLE), (10, SAMPLE), (30, 48), (100, 24), (1000, 8)];

/// The largest of these numbers.
pub(crate) const MOST_CALIBRATED: f32 = WANTED[WANTED.len() - 1].0 as f32;

/// How far a search has to go for the recall that is aimed at: the limit of [`crate::probe`] by the number of wanted points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reach(pub(crate) [f32; WANTED.len()]);

impl Reach {
    /// Every list is read.
    pub(crate) const EVERYTHING: Self = Self([f32::INFINITY; WANTED.len()]);

    /// The limit for so many wanted points: that of the next number that is calibrated, as points in clusters are hardest to find where
    /// a cluster ends.
    pub(crate) fn limit(&self, wanted: f32) -> f32 {
        let knot = WANTED.iter().position(|&(known, _)| known as f32 >= wanted);
        match knot {
            Some(knot) => self.0[knot],
            None => self.0[WANTED.len() - 1] * wanted / MOST_CALIBRATED,
        }
    }
}

/// What searches cost, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Costs {
    /// A search for ten where all vectors count, every tenth, and every hundredth.
    pub(crate) search: [f32; 3],
    /// Comparing masked vectors alone: what it takes at all, and one of them.
    pub(crate) gather: [f32; 2],
}

/// Every so many of the present vectors.
fn every(arena: &Arena, nth: usize) -> Bitmap {
    arena.present().iter().step_by(nth.max(1)).collect()
}

impl Ivf {
    /// Finds how far a search has to go.
    pub(crate) fn calibrate(&mut self, arena: &Arena) {
        let present = arena.present();
        let stride = (present.len() as usize / SAMPLE).max(1);
        let sample: Vec<u32> = present.iter().skip(stride / 2).step_by(stride).take(SAMPLE).collect();
        if sample.is_empty() {
            return;
        }
        // A single list is always read.
        if self.lists.len() > 1 {
            self.reach = self.calibrated(arena, &sample);
        }
        self.measure(arena, &sample);
    }

    /// The reach that finds enough of what lies around a sample of the vectors.
    fn calibrated(&self, arena: &Arena, sample: &[u32]) -> Reach {
        const RECALL: f64 = 0.98;
        let wanted = WANTED.into_iter().filter(|&(k, _)| self.len >= 4 * k as u64);
        // What is nearest to a vector of the sample is found once, for the largest number it is tried with.
        let nearest = |(place, &offset): (usize, &u32)| -> Vec<u32> {
            let tried = wanted.clone().filter(|&(_, count)| place < count);
            let most = tried.map(|(k, _)| k).max().unwrap_or(0);
            self.others(arena, offset, most, Reach::EVERYTHING).collect()
        };
        let nearest: Vec<Vec<u32>> = sample.iter().enumerate().map(nearest).collect();
        let mut reach = Reach::EVERYTHING;
        let mut last: Option<f32> = None;
        for (limit, (k, count)) in reach.0.iter_mut().zip(WANTED) {
            if self.len >= 4 * k as u64 {
                let trial = Trial::new(self, arena, sample.iter().zip(&nearest).take(count), k);
                let enough = |limit| trial.recall(Reach([limit; WANTED.len()])) >= RECALL;
                // More are never nearer than fewer.
                last = Some(smallest(self.spread, &enough).max(last.unwrap_or(0.0)));
            }
            if let Some(last) = last {
                *limit = last;
            }
        }
        reach
    }

    /// What a search for `k` beside a vector of the index itself finds, nearest first.
    fn others(&self, arena: &Arena, offset: u32, k: usize, reach: Reach) -> impl Iterator<Item = u32> + use<> {
        let probe = Probe {
            k: k + 1,
            mask: arena.present(),
            overlay: &Bitmap::new(),
            effort: 1.0,
        };
        let (found, _) = self.search_within(arena, arena.row(offset), probe, reach, None);
        let others = found.into_iter().map(|neighbour| neighbour.offset);
        others.filter(move |&other| other != offset).take(k)
    }

    /// Measures what searches cost here.
    fn measure(&mut self, arena: &Arena, sample: &[u32]) {
        const PASSES: usize = 3;
        let sample = &sample[..sample.len().min(16)];
        let nothing = Bitmap::new();
        let fastest = |mask: &Bitmap, work: &dyn Fn(&[f32], Probe<'_>)| {
            let probe = Probe {
                k: 10,
                mask,
                overlay: &nothing,
                effort: 1.0,
            };
            let pass = || {
                let start = Instant::now();
                sample.iter().for_each(|&offset| work(arena.row(offset), probe));
                start.elapsed().as_nanos() as f32 / sample.len() as f32
            };
            (0..PASSES).map(|_| pass()).fold(f32::MAX, f32::min)
        };
        let search = |mask: &Bitmap| {
            fastest(mask, &|query, probe| {
                drop(black_box(self.search_within(arena, query, probe, self.reach, None)))
            })
        };
        let gather = |mask: &Bitmap| {
            fastest(mask, &|query, probe| {
                drop(black_box(self.gather_within(arena, query, probe, None)))
            })
        };
        let costs = [1, 10, 100].map(|nth| search(&every(arena, nth)));
        let len = arena.present().len() as usize;
        let (few, many) = (every(arena, len / 1_000), every(arena, len / 8_000));
        let (cost_few, cost_many) = (gather(&few), gather(&many));
        let more = many.len().saturating_sub(few.len());
        let each = if more > 0 {
            (cost_many - cost_few).max(0.0) / more as f32
        } else {
            cost_few / few.len().max(1) as f32
        };
        self.costs = Costs {
            search: costs,
            gather: [(cost_few - each * few.len() as f32).max(0.0), each.max(0.1)],
        };
    }

    /// What a search of some effort is expected to cost, in nanoseconds, where so many of the vectors count.
    pub fn search_cost(&self, matching: u64, k: usize, effort: f32) -> f64 {
        /// Nanoseconds for one more wanted point: its candidates by byte codes, itself in full precision.
        const WANTED: f64 = 400.0;
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
        // What every search begins with is not less for fewer lists, whose number grows about with the root of the limit.
        let start = f64::from(self.costs.gather[0]).min(searched);
        start + (searched - start) * f64::from(effort.powi(2)) + k.saturating_sub(10) as f64 * WANTED
    }

    /// What comparing so many vectors one by one is expected to cost, in nanoseconds.
    pub fn gather_cost(&self, matching: u64) -> f64 {
        let [start, each] = self.costs.gather.map(f64::from);
        start + matching as f64 * each
    }
}

/// Searches for vectors of the index, with what they should find.
struct Trial<'a> {
    index: &'a Ivf,
    arena: &'a Arena,
    k: usize,
    sample: Vec<(u32, Bitmap)>,
}

impl<'a> Trial<'a> {
    /// Of offsets with what is nearest to each, at least `k` where there are as many.
    fn new(index: &'a Ivf, arena: &'a Arena, sample: impl Iterator<Item = (&'a u32, &'a Vec<u32>)>, k: usize) -> Self {
        let truth = |nearest: &Vec<u32>| nearest.iter().take(k).copied().collect();
        Self {
            index,
            arena,
            k,
            sample: sample.map(|(&offset, nearest)| (offset, truth(nearest))).collect(),
        }
    }

    fn recall(&self, reach: Reach) -> f64 {
        let found = self.sample.iter().map(|(offset, truth)| {
            let others = self.index.others(self.arena, *offset, self.k, reach);
            others.filter(|&other| truth.contains(other)).count()
        });
        let wanted: u64 = self.sample.iter().map(|(_, truth)| truth.len()).sum();
        found.sum::<usize>() as f64 / wanted.max(1) as f64
    }
}

/// About the smallest limit that is enough, found from a likely one on.
fn smallest(likely: f32, enough: &dyn Fn(f32) -> bool) -> f32 {
    const STEP: f32 = 4.0;
    /// Steps after which everything is read, or nothing but the nearest list.
    const STEPS: i32 = 12;
    let mut high = likely.max(f32::MIN_POSITIVE);
    let (most, least) = (high * STEP.powi(STEPS), high / STEP.powi(STEPS));
    while high < most && !enough(high) {
        high *= STEP;
    }
    while high > least && enough(high / STEP) {
        high /= STEP;
    }
    let mut low = high / STEP;
    for _ in 0..3 {
        let middle = (low * high).sqrt();
        *(if enough(middle) { &mut high } else { &mut low }) = middle;
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_next_number_and_grow_beyond_the_last() {
        let reach = Reach([1.0, 2.0, 2.0, 4.0, 8.0, 80.0]);
        let wanted = [1.0, 4.0, 7.0, 10.0, 11.0, 100.0, 300.0, 1000.0, 2000.0];
        let limits = wanted.map(|wanted| reach.limit(wanted));
        assert_eq!(limits, [1.0, 2.0, 2.0, 2.0, 4.0, 8.0, 80.0, 80.0, 160.0]);
        assert_eq!(Reach::EVERYTHING.limit(50.0), f32::INFINITY);
    }

    #[test]
    fn a_search_costs_what_was_measured_and_never_less_than_its_start() {
        let mut arena = Arena::new(2, twofold_types::Distance::Euclid, true);
        (0..1_000).for_each(|offset| arena.set(offset, &[offset as f32, 1.0]));
        let mut index = Ivf::build(&arena, 1, &|| false).unwrap();
        index.costs = Costs {
            search: [100.0, 200.0, 400.0],
            gather: [50.0, 1.0],
        };
        let cost = |matching, k, effort| index.search_cost(matching, k, effort).round();
        assert_eq!(
            [1_000, 100, 10].map(|matching| cost(matching, 10, 1.0)),
            [100.0, 200.0, 400.0]
        );
        assert_eq!([0.0, 0.5, 2.0].map(|effort| cost(100, 10, effort)), [50.0, 88.0, 650.0]);
        assert_eq!(cost(100, 11, 0.0), 450.0);
        assert_eq!(index.gather_cost(100), 150.0);
    }

    #[test]
    fn the_smallest_limit_that_is_enough_is_found_from_anywhere() {
        for needed in [1e-3, 0.7, 1.0, 3e4] {
            let found = smallest(1.0, &|limit| limit >= needed);
            assert!(found >= needed && found < needed * 1.5, "{found} for {needed}");
        }
    }
}
