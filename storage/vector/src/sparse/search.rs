//! Searching the inverted index: exact, by windows of offsets.
//!
//! In each window the lists are bounded by the extremes of their blocks. Lists that together cannot bring a point among the
//! best (MaxScore) are not scanned: they are looked up for the points that the others found, as long as those may still be
//! wanted. What is left of the others is added up in an array with a place for each offset of the window.

use twofold_types::SparseVector;

use super::postings::{BLOCK, List};
use super::{Segment, SparseIndex};
use crate::bitmap::Bitmap;
use crate::deadline::Watch;
use crate::pool::Best;
use crate::probe::{Effort, Neighbour};

/// Offsets of a window.
const WINDOW: usize = 4096;

/// So many postings are scanned in the time in which one point is looked up in a list.
const SCANNED_PER_LOOKUP: usize = 16;

/// How much larger a sum may become by adding in another order.
const SLACK: f32 = 1.0 + 1e-5;

/// One list of the query, and how far it has been read.
struct Cursor<'a> {
    weight: f32,
    list: List<'a>,
    next: usize,
    /// The end of the postings in this window.
    end: usize,
    /// The most that a posting in this window adds.
    bound: f32,
}

impl<'a> Cursor<'a> {
    fn new(weight: f32, list: List<'a>) -> Self {
        Self {
            weight,
            list,
            next: 0,
            end: 0,
            bound: 0.0,
        }
    }

    /// Goes to the window that ends before `end`.
    fn enter(&mut self, end: u64) {
        self.next = self.end;
        let rest = &self.list.offsets[self.next..];
        self.end = self.next + first_at(rest, end);
        self.bound = match self.next < self.end {
            true => self.list.extents[self.next / BLOCK..=(self.end - 1) / BLOCK]
                .iter()
                .map(|extent| extent.bound(self.weight))
                .fold(0.0, f32::max),
            false => 0.0,
        };
    }

    /// What the list adds to the score of an offset of this window. Offsets are asked for in ascending order.
    fn look_up(&mut self, offset: u32) -> Option<f32> {
        self.next += first_at(&self.list.offsets[self.next..self.end], u64::from(offset));
        (self.next < self.end && self.list.offsets[self.next] == offset)
            .then(|| self.weight * self.list.values[self.next])
    }
}

/// The place of the first offset that is not below `end`, which is expected to be near the beginning.
fn first_at(offsets: &[u32], end: u64) -> usize {
    let mut step = 1;
    let mut low = 0;
    while low + step <= offsets.len() && u64::from(offsets[low + step - 1]) < end {
        low += step;
        step *= 2;
    }
    let high = (low + step).min(offsets.len());
    low + offsets[low..high].partition_point(|&offset| u64::from(offset) < end)
}

impl SparseIndex {
    /// The `k` vectors with the largest products with the query, of those that share a dimension with it, best first; equals in
    /// the order of their offsets. With `mask`, which must hold none but living points, only of those.
    pub fn search(&self, query: &SparseVector, k: usize, mask: Option<&Bitmap>) -> (Vec<Neighbour>, Effort) {
        let mut effort = Effort::default();
        let mut best = Best::new(k);
        if k == 0 {
            return (Vec::new(), effort);
        }
        // The largest first: what it finds spares work in the others.
        let mut segments: Vec<&Segment> = self.segments.iter().collect();
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.postings.len()));
        for segment in segments {
            let lists = query
                .iter()
                .filter_map(|(dimension, weight)| Some(Cursor::new(weight, segment.postings.list(dimension)?)));
            let mut cursors: Vec<Cursor<'_>> = lists.collect();
            if cursors.is_empty() {
                continue;
            }
            let postings: usize = cursors.iter().map(|cursor| cursor.list.offsets.len()).sum();
            effort.lists += cursors.len();
            match mask {
                Some(mask) if mask.len() as usize * cursors.len() * SCANNED_PER_LOOKUP < postings => {
                    segment.look_up(&mut cursors, mask, &mut best, &mut effort);
                }
                mask => segment.scan(&mut cursors, mask, &mut best, &mut effort),
            }
        }
        (best.into_neighbours(), effort)
    }

    /// Adds the products of the query with all vectors to `scores`, by offset.
    pub fn add_products(&self, query: &SparseVector, scores: &mut [f32]) {
        for segment in &self.segments {
            for (dimension, weight) in query.iter() {
                let Some(list) = segment.postings.list(dimension) else {
                    continue;
                };
                for (&offset, value) in list.offsets.iter().zip(list.values) {
                    if !segment.dead.contains(offset)
                        && let Some(score) = scores.get_mut(offset as usize)
                    {
                        *score += weight * value;
                    }
                }
            }
        }
    }
}

impl Segment {
    /// Looks every point of a small mask up.
    fn look_up(&self, cursors: &mut [Cursor<'_>], mask: &Bitmap, best: &mut Best, effort: &mut Effort) {
        for cursor in &mut *cursors {
            cursor.end = cursor.list.offsets.len();
        }
        for offset in mask.iter() {
            if self.dead.contains(offset) {
                continue;
            }
            let mut score = None;
            for cursor in &mut *cursors {
                if let Some(product) = cursor.look_up(offset) {
                    score = Some(score.unwrap_or(0.0) + product);
                }
            }
            effort.rows += 1;
            if let Some(score) = score {
                best.offer(score, offset);
            }
        }
    }

    fn scan(&self, cursors: &mut [Cursor<'_>], mask: Option<&Bitmap>, best: &mut Best, effort: &mut Effort) {
        let mut scores = vec![0.0f32; WINDOW];
        let mut touched = [0u64; WINDOW / 64];
        let mut bounds = vec![0.0f32; cursors.len()];
        let mut watch = Watch::every(64);
        while !watch.missed() {
            let heads = cursors.iter().filter_map(|cursor| cursor.list.offsets.get(cursor.end));
            let Some(&first) = heads.min() else { return };
            let window = first - first % WINDOW as u32;
            cursors
                .iter_mut()
                .for_each(|cursor| cursor.enter(u64::from(window) + WINDOW as u64));
            cursors.sort_by(|a, b| a.bound.total_cmp(&b.bound));
            // What a list and all with smaller bounds add at most.
            let mut sum = 0.0;
            for (bound, cursor) in bounds.iter_mut().zip(&*cursors) {
                sum += cursor.bound * SLACK;
                *bound = sum;
            }
            let spared = bounds.partition_point(|&bound| bound < best.worst());
            let (spared, scanned) = cursors.split_at_mut(spared);
            if scanned.is_empty() {
                continue;
            }
            for cursor in scanned {
                let window_postings = cursor.next..cursor.end;
                effort.codes += window_postings.len();
                let offsets = &cursor.list.offsets[window_postings.clone()];
                for (&offset, value) in offsets.iter().zip(&cursor.list.values[window_postings]) {
                    let place = (offset % WINDOW as u32) as usize;
                    scores[place] += cursor.weight * value;
                    touched[place / 64] |= 1 << (place % 64);
                }
            }
            for (word, bits) in touched.iter_mut().enumerate() {
                let mut left = std::mem::take(bits);
                while left != 0 {
                    let place = word * 64 + left.trailing_zeros() as usize;
                    left &= left - 1;
                    let score = std::mem::take(&mut scores[place]);
                    self.consider(window + place as u32, score, spared, &bounds, mask, best, effort);
                }
            }
        }
    }

    /// Offers a point that the scanned lists found, with what the spared lists add.
    #[expect(
        clippy::too_many_arguments,
        reason = "the inner loop of one search, not an interface"
    )]
    fn consider(
        &self,
        offset: u32,
        mut score: f32,
        spared: &mut [Cursor<'_>],
        bounds: &[f32],
        mask: Option<&Bitmap>,
        best: &mut Best,
        effort: &mut Effort,
    ) {
        let worst = best.worst();
        let hopeless = |score: f32, spared: usize| match spared {
            0 => score < worst,
            spared => (score + bounds[spared - 1]) * if score > 0.0 { SLACK } else { 1.0 } < worst,
        };
        if hopeless(score, spared.len())
            || self.dead.contains(offset)
            || mask.is_some_and(|mask| !mask.contains(offset))
        {
            return;
        }
        effort.rows += 1;
        for place in (0..spared.len()).rev() {
            if hopeless(score, place + 1) {
                return;
            }
            score += spared[place].look_up(offset).unwrap_or(0.0);
        }
        best.offer(score, offset);
    }
}
