//! The centroids of inverted lists, and k-means over byte codes.

use crate::arena::quantise;
use crate::kernel::{BIAS, SLICE, kernels};
use crate::list::{Entry, List};

/// Rows that are compared together come in multiples of this.
const GROUP: usize = 8;

/// Rounds of k-means. Lists move little after these.
const ROUNDS: usize = 4;

/// Centroids in the rotated space. For Dot they have one more component, the *lift*: vectors are thought of as extended to
/// a common length, so that the nearest by product is the nearest by distance (Bachrach et al., 2014).
#[derive(Debug, Clone, Default)]
pub(crate) struct Centroids {
    size: usize,
    /// `[n, size]`
    exact: Vec<f32>,
    lifts: Vec<f32>,
    /// `[n, size]` in steps, `n` rounded up to whole groups.
    bytes: Vec<i8>,
    /// What the bias of a row adds to a product; as many as there are rows of `bytes`.
    excess: Vec<i32>,
    /// By centroid: what a step is worth, half of the squared length.
    steps: Vec<f32>,
    halves: Vec<f32>,
}

/// A row to be compared with centroids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Its biased byte code.
    pub(crate) code: &'a [u8],
    pub(crate) step: f32,
    pub(crate) lift: f32,
}

impl Centroids {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// The origin alone.
    pub(crate) fn zero(size: usize) -> Self {
        let mut centroids = Self::new(size);
        centroids.push(&vec![0.0; size], 0.0);
        centroids
    }

    pub(crate) fn len(&self) -> usize {
        self.lifts.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        // Besides their components and steps, centroids have four numbers each.
        (self.exact.capacity() + 4 * self.len()) * size_of::<f32>() + self.bytes.capacity()
    }

    pub(crate) fn get(&self, centroid: usize) -> (&[f32], f32) {
        (
            &self.exact[centroid * self.size..(centroid + 1) * self.size],
            self.lifts[centroid],
        )
    }

    /// Half of the squared length of a centroid.
    pub(crate) fn half(&self, centroid: usize) -> f32 {
        self.halves[centroid]
    }

    pub(crate) fn push(&mut self, components: &[f32], lift: f32) {
        let centroid = self.len();
        let padded = (centroid + 1).next_multiple_of(GROUP);
        self.exact.resize((centroid + 1) * self.size, 0.0);
        self.bytes.resize(padded * self.size, 0);
        self.lifts.push(0.0);
        self.steps.push(0.0);
        self.excess.resize(padded, 0);
        self.halves.push(0.0);
        self.set(centroid, components, lift);
    }

    pub(crate) fn set(&mut self, centroid: usize, components: &[f32], lift: f32) {
        let range = centroid * self.size..(centroid + 1) * self.size;
        self.exact[range.clone()].copy_from_slice(components);
        self.steps[centroid] = quantise(components, &mut self.bytes[range.clone()]);
        self.excess[centroid] = BIAS * self.bytes[range].iter().map(|&byte| i32::from(byte)).sum::<i32>();
        self.lifts[centroid] = lift;
        self.halves[centroid] = (kernels().dot(components, components) + lift * lift) / 2.0;
    }

    /// Removes a centroid; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, centroid: usize) {
        let last = self.len() - 1;
        if centroid != last {
            let (components, lift) = self.get(last);
            let (components, lift) = (components.to_vec(), lift);
            self.set(centroid, &components, lift);
        }
        self.lifts.truncate(last);
        self.steps.truncate(last);
        self.excess.truncate(last.next_multiple_of(GROUP));
        self.excess[last..].fill(0);
        self.halves.truncate(last);
        self.exact.truncate(last * self.size);
        self.bytes.truncate(last.next_multiple_of(GROUP) * self.size);
        self.bytes[last * self.size..].fill(0);
    }

    /// How near a row is to each centroid: its product with it less half of the centroid's squared length, which is in the
    /// order of the distance.
    pub(crate) fn scores(&self, row: Row<'_>, scores: &mut Vec<f32>, sums: &mut Vec<i32>) {
        sums.resize(self.bytes.len() / self.size, 0);
        kernels().dots_bytes(row.code, &self.bytes, &self.excess, sums);
        scores.clear();
        let factors = self.steps.iter().zip(self.halves.iter().zip(&self.lifts));
        scores.extend(
            sums.iter()
                .zip(factors)
                .map(|(&sum, (&step, (&half, &lift)))| sum as f32 * (step * row.step) + lift * row.lift - half),
        );
    }

    /// The same for one centroid.
    pub(crate) fn score(&self, row: Row<'_>, centroid: usize) -> f32 {
        let bytes = &self.bytes[centroid * self.size..(centroid + 1) * self.size];
        let sum = kernels().dot_bytes(row.code, bytes, self.excess[centroid]);
        sum as f32 * (self.steps[centroid] * row.step) + self.lifts[centroid] * row.lift - self.halves[centroid]
    }

    /// The nearest centroid.
    pub(crate) fn nearest(&self, row: Row<'_>, scores: &mut Vec<f32>, sums: &mut Vec<i32>) -> u32 {
        self.scores(row, scores, sums);
        let best = largest(scores);
        scores.iter().position(|&score| score == best).unwrap_or(0) as u32
    }

    /// k-means over rows: begins with `k` of them, evenly spread over their order.
    pub(crate) fn train(size: usize, k: usize, rows: &[Row<'_>], threads: usize, cancel: &dyn Fn() -> bool) -> Self {
        let mut centroids = Self::new(size);
        let mut components = vec![0.0; size];
        for centroid in 0..k.min(rows.len()) {
            let row = &rows[centroid * rows.len() / k.min(rows.len())];
            decode(row, &mut components);
            centroids.push(&components, row.lift);
        }
        let k = centroids.len();
        if k < 2 {
            return centroids.averaged(rows, &vec![0; rows.len()]);
        }
        for _ in 0..ROUNDS {
            if cancel() {
                break;
            }
            let nearest = centroids.assign(rows, threads);
            centroids = centroids.averaged(rows, &nearest);
        }
        centroids
    }

    /// The nearest centroid of every row.
    pub(crate) fn assign(&self, rows: &[Row<'_>], threads: usize) -> Vec<u32> {
        in_parallel(rows, threads, WORTH_A_THREAD, |rows| {
            let (mut scores, mut sums) = (Vec::new(), Vec::new());
            rows.iter()
                .map(|&row| self.nearest(row, &mut scores, &mut sums))
                .collect()
        })
    }

    /// The means of the rows of each centroid. One without rows takes half of the rows of the largest.
    fn averaged(&self, rows: &[Row<'_>], nearest: &[u32]) -> Self {
        let k = self.len().max(1);
        let mut sums = vec![0.0f32; k * self.size];
        let mut lifts = vec![0.0f64; k];
        let mut counts = vec![0u32; k];
        for (row, &centroid) in rows.iter().zip(nearest) {
            let centroid = centroid as usize;
            let sum = &mut sums[centroid * self.size..(centroid + 1) * self.size];
            for (sum, &byte) in sum.iter_mut().zip(row.code) {
                *sum += (f32::from(byte) - 128.0) * row.step;
            }
            lifts[centroid] += f64::from(row.lift);
            counts[centroid] += 1;
        }
        let means = sums.chunks_exact_mut(self.size).zip(&mut lifts);
        for ((sum, lift), &count) in means.zip(&counts).filter(|(_, count)| **count > 1) {
            sum.iter_mut().for_each(|component| *component /= count as f32);
            *lift /= f64::from(count);
        }
        let mut by_count: Vec<usize> = (0..k).collect();
        by_count.sort_unstable_by_key(|&centroid| std::cmp::Reverse(counts[centroid]));
        let mut largest = by_count.iter();
        let mut means = Self::new(self.size);
        for (centroid, &count) in counts.iter().enumerate() {
            let from = match count {
                0 => *largest.next().expect("there are as many as centroids"),
                _ => centroid,
            };
            let mut mean = sums[from * self.size..(from + 1) * self.size].to_vec();
            if from != centroid {
                // A small step to a side, so that the next round shares the rows between the two.
                mean.iter_mut()
                    .enumerate()
                    .for_each(|(i, x)| *x *= if (i + centroid) % 2 == 0 { 1.02 } else { 0.98 });
            }
            means.push(&mean, lifts[from] as f32);
        }
        means
    }

    /// 1-bit codes of the centroids in their order, around an origin; estimates of them are of their scores.
    pub(crate) fn codes(&self, origin: &[f32]) -> List {
        let mut codes = List::with_capacity(self.size / SLICE, self.len());
        for (centroid, components) in self.exact.chunks_exact(self.size).enumerate() {
            let half = self.halves[centroid];
            codes.push(&Entry::new(centroid as u32, components, half, origin, origin));
        }
        codes
    }

    /// Everything that has to be kept: the components, and a lift for each centroid.
    pub(crate) fn parts(&self) -> (&[f32], &[f32]) {
        (&self.exact, &self.lifts)
    }

    pub(crate) fn from_parts(size: usize, exact: &[f32], lifts: &[f32]) -> Self {
        let mut centroids = Self::new(size);
        for (components, &lift) in exact.chunks_exact(size).zip(lifts) {
            centroids.push(components, lift);
        }
        centroids
    }
}

/// The largest of many numbers.
fn largest(scores: &[f32]) -> f32 {
    const LANES: usize = 16;
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &score) in lanes.iter_mut().zip(chunk) {
            *lane = larger(score, *lane);
        }
    }
    rest.iter().chain(&lanes).copied().fold(f32::NEG_INFINITY, larger)
}

/// The places of the `N` largest of many numbers, the largest first; fewer where there are not as many.
pub(crate) fn largest_places<const N: usize>(scores: &[f32]) -> impl Iterator<Item = usize> {
    let mut best = [(f32::NEG_INFINITY, usize::MAX); N];
    for (place, &score) in scores.iter().enumerate() {
        if score > best[N - 1].0 {
            let rank = best.partition_point(|&(other, _)| other >= score);
            best[rank..].rotate_right(1);
            best[rank] = (score, place);
        }
    }
    best.into_iter()
        .map(|(_, place)| place)
        .filter(|&place| place != usize::MAX)
}

/// The components that a byte code stands for.
pub(crate) fn decode(row: &Row<'_>, components: &mut [f32]) {
    for (component, &byte) in components.iter_mut().zip(row.code) {
        *component = (f32::from(byte) - 128.0) * row.step;
    }
}

/// Items that are worth a thread.
pub(crate) const WORTH_A_THREAD: usize = 4096;

/// Cuts `items` for so many threads and joins what each returns, in order; fewer than `least` stay with one.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    least: usize,
    work: impl Fn(&[T]) -> Vec<R> + Sync,
) -> Vec<R> {
    if threads <= 1 || items.len() < least {
        return work(items);
    }
    let work = &work;
    std::thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(threads));
        let handles: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let results = handles.into_iter().map(|handle| handle.join());
        results
            .flat_map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(points: &[[i32; 2]]) -> Vec<[u8; 64]> {
        points
            .iter()
            .map(|point| {
                let mut code = [128u8; 64];
                code[0] = (128 + point[0]) as u8;
                code[1] = (128 + point[1]) as u8;
                code
            })
            .collect()
    }

    #[test]
    fn clusters_are_found_and_rows_go_to_the_nearest() {
        let points: Vec<[i32; 2]> = (0..90)
            .map(|i| {
                let (x, y) = [(100, 0), (-100, 10), (0, -90)][i % 3];
                [x + (i as i32 / 3) % 5, y + (i as i32 / 3) % 3]
            })
            .collect();
        let codes = rows(&points);
        let rows: Vec<Row<'_>> = codes
            .iter()
            .map(|code| Row {
                code,
                step: 0.5,
                lift: 0.0,
            })
            .collect();
        let centroids = Centroids::train(64, 3, &rows, 1, &|| false);
        let nearest = centroids.assign(&rows, 1);
        for (i, &centroid) in nearest.iter().enumerate() {
            assert_eq!(centroid, nearest[i % 3], "row {i}");
        }
        assert_ne!(nearest[0], nearest[1]);
        assert_ne!(nearest[1], nearest[2]);
        let (mean, _) = centroids.get(nearest[0] as usize);
        assert!(
            (mean[0] - 51.0).abs() < 0.5 && (mean[1] - 0.5).abs() < 0.5,
            "{:?}",
            &mean[..2]
        );
    }

    #[test]
    fn the_last_takes_the_place_of_a_removed_one() {
        let mut centroids = Centroids::new(64);
        for i in 0..9 {
            let mut components = [0.0; 64];
            components[i] = 1.0 + i as f32;
            centroids.push(&components, i as f32);
        }
        centroids.swap_remove(2);
        assert_eq!(centroids.len(), 8);
        assert_eq!(centroids.get(2).0[8], 9.0);
        assert_eq!(centroids.get(2).1, 8.0);
        let code = rows(&[[0, 0]]);
        let (mut scores, mut sums) = (Vec::new(), Vec::new());
        centroids.scores(
            Row {
                code: &code[0],
                step: 1.0,
                lift: 1.0,
            },
            &mut scores,
            &mut sums,
        );
        assert_eq!(scores.len(), 8);
        assert_eq!(scores[2], 8.0 - (81.0 + 64.0) / 2.0);
    }
}
