//! The inverted-file index: vectors in lists by their nearest centroid, as 1-bit codes.
//!
//! An index is immutable: following changes makes a new one that shares the lists that did not change, so searches go on
//! with the one they have. Small collections have a single list (a flat scan of codes); larger ones are trained to some
//! multiple of the square root of their size, and trained again when they have outgrown that. Between trainings, lists that
//! grow far beyond the others are split and their surroundings sorted anew, and lists that wither are dissolved (the idea of
//! LIRE in SPFresh, Xu et al., 2023), so that the lists follow the data wherever it drifts.

mod homes;
mod maintenance;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use twofold_types::Distance;

use crate::arena::Arena;
use crate::bitmap::Bitmap;
use crate::calibrate::{Costs, Reach};
use crate::centroids::{Centroids, Row, WORTH_A_THREAD, decode, in_parallel, largest_places};
use crate::kernel::{SLICE, kernels};
use crate::list::{Entry, List};
use crate::rotation::Rotation;
use crate::sketch::Sketches;
use crate::subset::Subsets;
use homes::{Home, Homes, NONE};

/// Up to this many vectors one list is as fast as many.
pub(crate) const FLAT_LIMIT: u64 = 16_384;

/// Lists per square root of the number of vectors.
const LISTS_PER_ROOT: f64 = 3.0;

/// Rows that a centroid is trained on.
const ROWS_PER_LIST: usize = 48;

/// An index is trained again when it holds this many times the vectors that it was trained on.
const OUTGROWN: u64 = 4;

/// The same, in tenths, when nothing else is to be done.
const OUTGROWN_AT_REST: u64 = 15;

/// A search is calibrated again when one vector in this many has changed.
const RECALIBRATED: u64 = 4;

/// Vectors that are coded at once.
const BATCH: usize = 1 << 16;

/// Candidates for a second list, the first among them.
const SPILL_CANDIDATES: usize = 9;

/// The fewest bits of a code.
const CODE_BITS: usize = 256;

/// An inverted-file index.
#[derive(Debug, Clone)]
pub struct Ivf {
    pub(crate) distance: Distance,
    /// The rotation of byte codes, in whose space the centroids are.
    pub(crate) rotation: Arc<Rotation>,
    /// 1-bit codes say too little of vectors with few components: these are rotated once more, in a larger space.
    pub(crate) expansion: Option<Arc<Rotation>>,
    /// For Dot, the squared length to which vectors are thought of as extended; 0 for the others.
    pub(crate) radius_squared: f32,
    /// The mean, in the space of 1-bit codes.
    pub(crate) origin: Arc<Vec<f32>>,
    pub(crate) centroids: Arc<Centroids>,
    /// 1-bit codes of the centroids in their order, around the origin; none of short vectors, whose byte codes are as soon compared, and of
    /// a single list.
    pub(crate) centroid_codes: Option<Arc<List>>,
    pub(crate) lists: Vec<Arc<List>>,
    /// The mean squared distance of vectors from their centroids.
    pub(crate) spread: f32,
    /// None where they would not be smaller than byte codes.
    pub(crate) sketches: Option<Sketches>,
    pub(crate) subsets: Subsets,
    pub(crate) homes: Homes,
    pub(crate) len: u64,
    pub(crate) trained_on: u64,
    /// Vectors that came or went since the training, and since the calibration.
    pub(crate) changed: [u64; 2],
    /// How far a search goes, as calibrated.
    pub(crate) reach: Reach,
    /// What a search costs on this machine, as measured.
    pub(crate) costs: Costs,
}

/// Where a vector goes.
struct Placed {
    home: Home,
    entries: Vec<Entry>,
    sketch: Option<Entry>,
}

/// Says whether a long computation is to be given up.
pub type Cancel<'a> = &'a dyn Fn() -> bool;

/// The mean squared distance of the vectors of lists from their centroids.
fn spread(lists: &[Arc<List>]) -> f32 {
    let weighted = lists.iter().map(|list| f64::from(list.spread()) * list.len() as f64);
    let entries: usize = lists.iter().map(|list| list.len()).sum();
    (weighted.sum::<f64>() / entries.max(1) as f64) as f32
}

/// How many lists suit so many vectors.
fn lists_for(len: u64) -> usize {
    if len <= FLAT_LIMIT {
        return 1;
    }
    (LISTS_PER_ROOT * (len as f64).sqrt()) as usize
}

impl Ivf {
    /// Trains an index on the vectors of an arena that keeps byte codes, and fills it, by so many threads. None if it was
    /// cancelled.
    pub fn build(arena: &Arena, threads: usize, cancel: Cancel<'_>) -> Option<Self> {
        let rotation = arena.rotation().expect("an index is built on byte codes").clone();
        let len = arena.present().len();
        let lists = lists_for(len);
        let radius_squared = match arena.distance() {
            Distance::Dot => {
                let mut most = 0.0f32;
                arena
                    .present()
                    .for_each(|offset| most = most.max(2.0 * arena.code(offset).1.half_norm));
                most
            }
            _ => 0.0,
        };
        let expansion = expansion(&rotation);
        let code_size = expansion.as_ref().unwrap_or(&rotation).size();
        let mut index = Self {
            distance: arena.distance(),
            radius_squared,
            expansion,
            origin: Arc::new(vec![0.0; code_size]),
            centroids: Arc::new(Centroids::new(rotation.size())),
            centroid_codes: None,
            lists: Vec::new(),
            spread: 0.0,
            sketches: sketches(&rotation),
            subsets: Subsets::default(),
            homes: Homes::default(),
            len: 0,
            trained_on: len,
            changed: [0; 2],
            reach: Reach::EVERYTHING,
            costs: Costs::default(),
            rotation,
        };
        let wanted = (lists * ROWS_PER_LIST).max(FLAT_LIMIT as usize) as u64;
        let stride = len.div_ceil(wanted).max(1) as usize;
        let sample: Vec<u32> = arena.present().iter().step_by(stride).collect();
        let rows: Vec<Row<'_>> = sample.iter().map(|&offset| index.row(arena, offset)).collect();
        let mean = Centroids::train(index.rotation.size(), 1, &rows, threads, cancel);
        let centroids = match (lists, mean.len()) {
            (_, 0) => Centroids::zero(index.rotation.size()),
            (1, _) => mean.clone(),
            _ => Centroids::train(index.rotation.size(), lists, &rows, threads, cancel),
        };
        if mean.len() > 0 {
            index.origin = Arc::new(index.expand(mean.get(0).0).into_owned());
        }
        index.lists = (0..centroids.len())
            .map(|_| Arc::new(List::new(code_size / SLICE)))
            .collect();
        index.centroids = Arc::new(centroids);
        let all: Vec<u32> = arena.present().iter().collect();
        for offsets in all.chunks(BATCH) {
            if cancel() {
                return None;
            }
            index.place(arena, offsets, threads);
        }
        index.maintain(arena, cancel);
        index.centroid_codes = index.coded_centroids();
        index.calibrate(arena);
        (!cancel()).then_some(index)
    }

    /// How many vectors it holds.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds no vector.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let lists: usize = self.lists.iter().map(|list| list.heap_bytes()).sum();
        let sketches = self.sketches.as_ref().map_or(0, Sketches::heap_bytes);
        let codes = self.centroid_codes.as_ref().map_or(0, |codes| codes.heap_bytes());
        lists + self.homes.heap_bytes() + sketches + self.centroids.heap_bytes() + codes + self.subsets.heap_bytes()
    }

    /// How many lists it has.
    pub fn lists(&self) -> usize {
        self.lists.len()
    }

    /// Whether vectors are in two lists: always, where there are several.
    pub(crate) fn spills(&self) -> bool {
        self.lists.len() > 1
    }

    /// Whether the collection has become so different from what the index was trained on that it should be trained again; at
    /// rest, when there is nothing else to do, that is sooner the case.
    pub fn is_outgrown(&self, at_rest: bool) -> bool {
        let trained = self.trained_on.max(FLAT_LIMIT);
        let tenths = if at_rest { OUTGROWN_AT_REST } else { OUTGROWN * 10 };
        self.len * 10 > trained * tenths
            || self.changed[0] > trained * OUTGROWN
            || (self.lists.len() > 1 && self.len * OUTGROWN * 2 < trained)
    }

    /// The index after a change: every offset of `changed` is taken out, and put back as far as the arena has a vector for it.
    pub fn follow(&self, arena: &Arena, changed: &Bitmap, threads: usize, cancel: Cancel<'_>) -> Self {
        let mut next = self.clone();
        let offsets: Vec<u32> = changed.iter().collect();
        for offsets in offsets.chunks(BATCH) {
            next.place(arena, offsets, threads);
        }
        next.maintain(arena, cancel);
        next.changed = next.changed.map(|count| count + changed.len());
        next.subsets = self.subsets.following(self, &next, changed);
        if next.changed[1] * RECALIBRATED > next.len {
            next.changed[1] = 0;
            next.calibrate(arena);
        }
        next
    }

    /// The vector at an offset as centroids see it.
    pub(crate) fn row<'a>(&self, arena: &'a Arena, offset: u32) -> Row<'a> {
        let (code, factors) = arena.code(offset);
        Row {
            code,
            step: factors.step,
            lift: self.lift(factors.half_norm),
        }
    }

    /// What a rotated vector is in the space of 1-bit codes.
    pub(crate) fn expand<'a>(&self, rotated: &'a [f32]) -> Cow<'a, [f32]> {
        match &self.expansion {
            None => Cow::Borrowed(rotated),
            Some(expansion) => {
                let mut expanded = vec![0.0; expansion.size()];
                expansion.apply(rotated, &mut expanded);
                Cow::Owned(expanded)
            }
        }
    }

    /// Half of a squared length, where it counts for how near a vector is: by Cosine and Dot all are as long.
    fn counted(&self, half_norm: impl Fn() -> f32) -> f32 {
        match self.distance {
            Distance::Cosine | Distance::Dot => 0.0,
            Distance::Euclid | Distance::Manhattan => half_norm(),
        }
    }

    /// Half of the squared length of vectors where it does not count.
    pub(crate) fn uncounted(&self) -> f32 {
        match self.distance {
            Distance::Cosine => 0.5,
            Distance::Dot => self.radius_squared / 2.0,
            Distance::Euclid | Distance::Manhattan => 0.0,
        }
    }

    fn lift(&self, half_norm: f32) -> f32 {
        match self.distance {
            Distance::Dot => (self.radius_squared - 2.0 * half_norm).max(0.0).sqrt(),
            _ => 0.0,
        }
    }

    /// Takes offsets out of their lists and puts those that have a vector where they belong now.
    fn place(&mut self, arena: &Arena, offsets: &[u32], threads: usize) {
        let mut leaving: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for &offset in offsets {
            let home = self.homes.get(offset);
            if home[0] != NONE {
                self.len -= 1;
                self.homes.set(offset, [NONE; 2]);
                if let Some(sketches) = &mut self.sketches {
                    sketches.remove(offset);
                }
                for list in home.into_iter().filter(|&list| list != NONE) {
                    leaving.entry(list).or_default().push(offset);
                }
            }
        }
        for (list, offsets) in leaving {
            let list = Arc::make_mut(&mut self.lists[list as usize]);
            offsets.iter().for_each(|&offset| list.remove(offset));
        }
        let present: Vec<u32> = offsets
            .iter()
            .copied()
            .filter(|&offset| arena.present().contains(offset))
            .collect();
        let index = &*self;
        let placed = in_parallel(&present, threads, WORTH_A_THREAD, |offsets| index.code(arena, offsets));
        for Placed { home, entries, sketch } in placed {
            self.homes.set(entries[0].offset, home);
            self.len += 1;
            for (list, entry) in home.into_iter().zip(&entries) {
                Arc::make_mut(&mut self.lists[list as usize]).push(entry);
            }
            if let Some((sketches, sketch)) = self.sketches.as_mut().zip(sketch) {
                sketches.set(&sketch);
            }
        }
        self.spread = spread(&self.lists);
    }

    /// The sketch of the vector at an offset.
    fn sketch(&self, arena: &Arena, offset: u32) -> Entry {
        let (code, factors) = arena.code(offset);
        let half_norm = self.counted(|| factors.half_norm);
        let mut rotated = vec![0.0; code.len()];
        decode(&self.row(arena, offset), &mut rotated);
        Entry::new(offset, &self.expand(&rotated), half_norm, &self.origin, &self.origin)
    }

    /// The sketches of a mask as a list around the origin.
    pub(crate) fn flat(&self, arena: &Arena, mask: &Bitmap) -> List {
        let mut list = List::with_capacity(self.origin.len() / SLICE, mask.len() as usize);
        match &self.sketches {
            Some(sketches) => sketches.add_to(&mut list, mask),
            None => mask.for_each(|offset| list.push(&self.sketch(arena, offset))),
        }
        list
    }

    /// The 1-bit codes of the centroids as these are.
    fn coded_centroids(&self) -> Option<Arc<List>> {
        let coded = self.expansion.is_none() && self.spills();
        coded.then(|| Arc::new(self.centroids.codes(&self.origin)))
    }

    /// The lists that offsets belong to, with their codes there.
    fn code(&self, arena: &Arena, offsets: &[u32]) -> Vec<Placed> {
        let mut rotated = vec![0.0; self.rotation.size()];
        let (mut scores, mut sums) = (Vec::new(), Vec::new());
        let code = |&offset: &u32| {
            let row = self.row(arena, offset);
            self.rotation.apply(arena.row(offset), &mut rotated);
            let half_norm = self.counted(|| kernels().dot(&rotated, &rotated) / 2.0);
            let coded = self.expand(&rotated);
            let entry = |list: u32| {
                let (centroid, _) = self.centroids.get(list as usize);
                Entry::new(offset, &coded, half_norm, &self.expand(centroid), &self.origin)
            };
            let nearest = self.centroids.nearest(row, &mut scores, &mut sums);
            let second = if self.spills() {
                self.spill_list(&rotated, row.lift, nearest, &scores)
            } else {
                NONE
            };
            let entries = [nearest, second]
                .into_iter()
                .filter(|&list| list != NONE)
                .map(entry)
                .collect();
            Placed {
                home: [nearest, second],
                entries,
                sketch: self.sketches.is_some().then(|| self.sketch(arena, offset)),
            }
        };
        offsets.iter().map(code).collect()
    }

    /// A second list, whose residual points elsewhere than that of the first: a query that is far from one is then likely
    /// to be near the other (SOAR: Sun et al., 2023).
    fn spill_list(&self, rotated: &[f32], lift: f32, nearest: u32, scores: &[f32]) -> u32 {
        let (centroid, centroid_lift) = self.centroids.get(nearest as usize);
        let residual: Vec<f32> = rotated.iter().zip(centroid).map(|(y, c)| y - c).collect();
        let residual_lift = lift - centroid_lift;
        let squared = kernels().dot(&residual, &residual) + residual_lift * residual_lift;
        let along = kernels().dot(rotated, &residual) + lift * residual_lift;
        let norm = kernels().dot(rotated, rotated) + lift * lift;
        let mut best = (f32::INFINITY, NONE);
        for candidate in largest_places::<SPILL_CANDIDATES>(scores).filter(|&list| list != nearest as usize) {
            let (other, other_lift) = self.centroids.get(candidate);
            let parallel = along - kernels().dot(other, &residual) - other_lift * residual_lift;
            let loss = norm - 2.0 * scores[candidate] + parallel * parallel / squared.max(f32::MIN_POSITIVE);
            if loss < best.0 {
                best = (loss, candidate as u32);
            }
        }
        best.1
    }

    /// Finds the home of every offset in the lists, and what else follows from them; none where one is in more lists than it
    /// can be, or has no vector.
    pub(crate) fn completed(mut self, arena: &Arena) -> Option<Self> {
        for (number, list) in self.lists.iter().enumerate() {
            for &offset in list.offsets() {
                let home = match self.homes.get(offset) {
                    [NONE, _] => {
                        self.len += 1;
                        [number as u32, NONE]
                    }
                    [first, NONE] if first != number as u32 => [first, number as u32],
                    _ => return None,
                };
                self.homes.set(offset, home);
            }
        }
        self.spread = spread(&self.lists);
        self.centroid_codes = self.coded_centroids();
        if let Some(mut sketches) = self.sketches.take() {
            for offset in arena.present().iter() {
                if self.homes.get(offset)[0] != NONE {
                    sketches.set(&self.sketch(arena, offset));
                }
            }
            self.sketches = Some(sketches);
        }
        Some(self)
    }

    /// Checks that lists, homes and centroids agree with each other and with what an arena holds.
    pub fn check(&self, arena: &Arena) -> Result<(), String> {
        let mut seen = BTreeMap::<u32, Vec<u32>>::new();
        for (number, list) in self.lists.iter().enumerate() {
            for &offset in list.offsets() {
                seen.entry(offset).or_default().push(number as u32);
            }
        }
        for (&offset, lists) in &seen {
            let mut home: Vec<u32> = self
                .homes
                .get(offset)
                .into_iter()
                .filter(|&list| list != NONE)
                .collect();
            home.sort_unstable();
            if home != *lists {
                return Err(format!(
                    "offset {offset} is in the lists {lists:?} and at home in {home:?}"
                ));
            }
        }
        let held: Bitmap = seen.keys().copied().collect();
        if held != *arena.present() || held.len() != self.len {
            return Err(format!(
                "{} vectors are in lists, {} counted, {} in the arena",
                held.len(),
                self.len,
                arena.present().len()
            ));
        }
        if self.centroid_codes != self.coded_centroids() {
            return Err("the codes of centroids do not follow them".to_owned());
        }
        Ok(())
    }
}

/// The sketches of an index over so rotated vectors; none where byte codes are as short.
pub(crate) fn sketches(rotation: &Rotation) -> Option<Sketches> {
    (rotation.size() >= CODE_BITS).then(|| Sketches::new(rotation.size()))
}

/// The second rotation of vectors whose byte codes are too short.
pub(crate) fn expansion(rotation: &Rotation) -> Option<Arc<Rotation>> {
    (rotation.size() < CODE_BITS).then(|| Arc::new(Rotation::new(rotation.size(), CODE_BITS)))
}

#[cfg(test)]
mod tests;
