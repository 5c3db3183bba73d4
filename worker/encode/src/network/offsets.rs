//! What is added to attention scores because of the distance between query and key, and which distances are seen at all.
//!
//! ALiBi, relative position bias, causal and local attention are one thing here: a number per head and distance. For one
//! query the numbers of neighbouring keys are neighbours in the table, so a row of scores gets a slice of it.

use candle_core::{Device, Result, Tensor};

use super::packed::MASKED;
use crate::weights::Weights;

/// Which keys a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Its whole text.
    All,
    /// Itself and what is before it.
    Before,
    /// What is at most so many tokens away, on either side.
    Around(usize),
}

impl Reach {
    /// The lowest and the highest distance, key minus query, that is seen in texts of at most `positions` tokens.
    pub fn distances(self, positions: usize) -> (isize, isize) {
        let most = positions as isize - 1;
        match self {
            Self::All => (-most, most),
            Self::Before => (-most, 0),
            Self::Around(away) => (-(away as isize), away as isize),
        }
    }

    fn sees(self, distance: isize) -> bool {
        match self {
            Self::All => true,
            Self::Before => distance <= 0,
            Self::Around(most) => distance.unsigned_abs() <= most,
        }
    }
}

/// A number for every head and distance.
#[derive(Clone)]
pub(super) struct Offsets {
    /// `[heads, 2 positions - 1]`, or `[1, 2 positions - 1]` where all heads have the same: column `positions - 1 + d`
    /// belongs to the key d tokens behind the query.
    table: Tensor,
    positions: usize,
}

impl Offsets {
    /// `bias` gives the number of a head and a distance, key minus query; what is out of reach is masked.
    pub fn new(heads: usize, positions: usize, reach: Reach, bias: impl Fn(usize, isize) -> f32) -> Result<Self> {
        let last = positions as isize - 1;
        let number = |head, distance| {
            if reach.sees(distance) {
                bias(head, distance)
            } else {
                MASKED
            }
        };
        let table: Vec<f32> = (0..heads)
            .flat_map(|head| (-last..=last).map(move |distance| (head, distance)))
            .map(|(head, distance)| number(head, distance))
            .collect();
        Ok(Self {
            table: Tensor::from_vec(table, (heads, 2 * positions - 1), &Device::Cpu)?,
            positions,
        })
    }

    /// The same beside `weights`.
    pub fn beside(&self, weights: &Weights) -> Result<Self> {
        Ok(Self {
            table: weights.beside(&self.table)?,
            positions: self.positions,
        })
    }

    pub fn table(&self) -> &Tensor {
        &self.table
    }

    /// The longest text's tokens.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// For every pair of positions below `len`: `[heads or 1, len, len]`.
    pub fn matrix(&self, len: usize) -> Result<Tensor> {
        // Made on the device: of long texts it is large.
        let device = self.table.device();
        let (first, end) = (self.positions as u32 - 1, (self.positions - 1 + len) as u32);
        let keys = Tensor::arange(first, end, device)?;
        let queries = Tensor::arange(0, len as u32, device)?;
        let columns = keys.unsqueeze(0)?.broadcast_sub(&queries.unsqueeze(1)?)?;
        self.table
            .index_select(&columns.flatten_all()?, 1)?
            .reshape((self.table.dim(0)?, len, len))
    }
}

/// The slope of each head in ALiBi (Press et al. 2021, arXiv:2108.12409): a geometric series that starts at its own ratio,
/// 2^(-8/n) for n heads; where n is no power of two, that of the power below, then every second of the power above.
pub(super) fn alibi_slopes(heads: usize) -> Vec<f32> {
    let series = |n: usize| (1..=n).map(move |i| (-8.0 * i as f64 / n as f64).exp2() as f32);
    let below = if heads.is_power_of_two() {
        heads
    } else {
        heads.next_power_of_two() / 2
    };
    series(below).chain(series(2 * below).step_by(2)).take(heads).collect()
}

/// The bucket of a distance, key minus query, as T5 and MPNet sort them: half of the buckets for each side, half of these
/// for single distances and the others, ever wider, up to distance 128.
pub(super) fn bucket(distance: isize, buckets: usize) -> usize {
    const FARTHEST: f32 = 128.0;
    let side = buckets / 2;
    let exact = side / 2;
    let n = distance.unsigned_abs();
    let within = if n < exact {
        n
    } else {
        let share = (n as f32 / exact as f32).ln() / (FARTHEST / exact as f32).ln();
        (exact + (share * (side - exact) as f32) as usize).min(side - 1)
    };
    if distance > 0 { side + within } else { within }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_paper() {
        assert_eq!(alibi_slopes(8)[..3], [0.5, 0.25, 0.125]);
        let twelve = alibi_slopes(12);
        assert_eq!(twelve[7], 1.0 / 256.0);
        assert!((twelve[8] - 0.5f32.sqrt()).abs() < 1e-6 && (twelve[9] - 0.5f32.powf(1.5)).abs() < 1e-6);
    }

    #[test]
    fn buckets_widen_with_the_distance_and_know_the_side() {
        let of = |distance| bucket(distance, 32);
        assert_eq!(
            [0, -1, -7, -8, -11, -12, -127, -5000].map(of),
            [0, 1, 7, 8, 8, 9, 15, 15]
        );
        assert_eq!([1, 7, 8, 128].map(of), [17, 23, 24, 31]);
    }
}
