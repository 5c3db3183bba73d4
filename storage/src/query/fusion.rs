//! Fusing the hits of several queries into one ranking.

use std::collections::HashMap;

use twofold_types::api::Rrf;

use super::{Hit, sort};
use crate::error::InvalidInput;

/// How much ranks further down count, where it is not said.
const DEFAULT_K: u32 = 2;

/// Reciprocal rank fusion: the sum of `1 / ((rank + 1) / weight + k - 1)` over the queries, ranks from 0 on.
pub(super) fn rrf(sources: &[Vec<Hit>], params: &Rrf) -> Result<Vec<Hit>, InvalidInput> {
    let weights = params.weights.as_deref();
    if weights.is_some_and(|weights| weights.len() != sources.len()) {
        return Err(InvalidInput::Query(
            "`weights` of `rrf` are as many as there are prefetches",
        ));
    }
    let k = f64::from(params.k.unwrap_or(DEFAULT_K));
    let mut sums = Sums::default();
    for (number, source) in sources.iter().enumerate() {
        let weight = weights.map_or(1.0, |weights| f64::from(weights[number]));
        for (rank, hit) in source.iter().enumerate() {
            sums.add(
                hit.offset,
                match weight > 0.0 {
                    true => 1.0 / ((rank as f64 + 1.0) / weight + k - 1.0),
                    false => 0.0,
                },
            );
        }
    }
    Ok(sums.into_hits())
}

/// Distribution-based score fusion: the sum of scores, each relative to three standard deviations around the mean of its query.
pub(super) fn dbsf(sources: &[Vec<Hit>]) -> Vec<Hit> {
    let mut sums = Sums::default();
    for source in sources {
        let count = source.len() as f64;
        let mean = source.iter().map(|hit| f64::from(hit.score)).sum::<f64>() / count;
        let squares: f64 = source.iter().map(|hit| (f64::from(hit.score) - mean).powi(2)).sum();
        let deviation = (squares / (count - 1.0)).sqrt();
        for hit in source {
            sums.add(
                hit.offset,
                match source.len() > 1 && deviation > 0.0 {
                    true => (f64::from(hit.score) - mean) / (6.0 * deviation) + 0.5,
                    false => 0.5,
                },
            );
        }
    }
    sums.into_hits()
}

#[derive(Default)]
struct Sums(HashMap<u32, f64>);

impl Sums {
    fn add(&mut self, offset: u32, score: f64) {
        *self.0.entry(offset).or_default() += score;
    }

    fn into_hits(self) -> Vec<Hit> {
        let hits = self.0.into_iter().map(|(offset, score)| Hit::new(offset, score as f32));
        let mut hits: Vec<Hit> = hits.collect();
        sort(&mut hits);
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(scores: &[(u32, f32)]) -> Vec<Hit> {
        scores.iter().map(|&(offset, score)| Hit::new(offset, score)).collect()
    }

    #[test]
    fn ranks_count_and_not_scores() {
        let sources = [hits(&[(7, 9.0), (3, 1.0)]), hits(&[(3, 0.2)])];
        let fused = rrf(&sources, &Rrf::default()).unwrap();
        assert_eq!(fused, hits(&[(3, 5.0 / 6.0), (7, 0.5)]));
        let weighted = Rrf {
            k: Some(1),
            weights: Some(vec![4.0, 0.0]),
        };
        assert_eq!(rrf(&sources, &weighted).unwrap(), hits(&[(7, 4.0), (3, 2.0)]));
        assert!(rrf(&sources[..1], &weighted).is_err());
    }

    #[test]
    fn scores_count_relative_to_their_spread() {
        let fused = dbsf(&[
            hits(&[(1, 3.0), (2, 1.0)]),
            hits(&[(2, 5.0)]),
            hits(&[(4, 1.0), (5, 1.0)]),
            Vec::new(),
        ]);
        let offset = 1.0 / (6.0 * 2f32.sqrt());
        assert_eq!(fused[0].offset, 2);
        assert!((fused[0].score - (1.0 - offset)).abs() < 1e-6);
        assert!((fused[1].score - (0.5 + offset)).abs() < 1e-6 && fused[1].offset == 1);
        assert_eq!(fused[2..], hits(&[(4, 0.5), (5, 0.5)]));
    }
}
