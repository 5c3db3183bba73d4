//! Fusing the hits of several queries into one ranking.

use std::collections::HashMap;

use twofold_types::api::Rrf;

use super::{Hit, sort};
use crate::error::InvalidInput;

/// How much ranks further down count, where it is not said.
const DEFAULT_K: u32 = 2;

/// Reciprocal rank fusion: the sum of `1 / ((rank + 1) / weight + k - 1)` over the queries, ranks from 0 on.
pub(super) fn rrf(sources: &[Vec<Hit>], params: &Rrf) -> Result<Vec<Hit>, InvalidInput> {
    let weights = weights(params.weights.as_deref(), sources.len())?;
    let k = f64::from(params.k.unwrap_or(DEFAULT_K));
    let mut sums = Sums::default();
    for (source, weight) in sources.iter().zip(weights) {
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

/// Distribution-based score fusion: the weighted sum of scores, each relative to three standard deviations around the mean of its
/// query.
pub(super) fn dbsf(sources: &[Vec<Hit>], of_each: Option<&[f32]>) -> Result<Vec<Hit>, InvalidInput> {
    let mut sums = Sums::default();
    for (source, weight) in sources.iter().zip(weights(of_each, sources.len())?) {
        let count = source.len() as f64;
        let mean = source.iter().map(|hit| f64::from(hit.score)).sum::<f64>() / count;
        let squares: f64 = source.iter().map(|hit| (f64::from(hit.score) - mean).powi(2)).sum();
        let deviation = (squares / (count - 1.0)).sqrt();
        for hit in source {
            let relative = match source.len() > 1 && deviation > 0.0 {
                true => (f64::from(hit.score) - mean) / (6.0 * deviation) + 0.5,
                false => 0.5,
            };
            sums.add(hit.offset, weight * relative);
        }
    }
    Ok(sums.into_hits())
}

/// One weight for each source; 1 where there are none.
fn weights(weights: Option<&[f32]>, sources: usize) -> Result<Vec<f64>, InvalidInput> {
    match weights {
        Some(weights) if weights.len() != sources => Err(InvalidInput::Query(
            "`weights` of a fusion are as many as there are prefetches",
        )),
        Some(weights) => Ok(weights.iter().copied().map(f64::from).collect()),
        None => Ok(vec![1.0; sources]),
    }
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
        let sources = [
            hits(&[(1, 3.0), (2, 1.0)]),
            hits(&[(2, 5.0)]),
            hits(&[(4, 1.0), (5, 1.0)]),
            Vec::new(),
        ];
        let fused = dbsf(&sources, None).unwrap();
        let offset = 1.0 / (6.0 * 2f32.sqrt());
        assert_eq!(fused[0].offset, 2);
        assert!((fused[0].score - (1.0 - offset)).abs() < 1e-6);
        assert!((fused[1].score - (0.5 + offset)).abs() < 1e-6 && fused[1].offset == 1);
        assert_eq!(fused[2..], hits(&[(4, 0.5), (5, 0.5)]));
        let weighted = dbsf(&sources, Some(&[0.0, 0.0, 3.0, 1.0])).unwrap();
        assert_eq!(weighted, hits(&[(4, 1.5), (5, 1.5), (1, 0.0), (2, 0.0)]));
        assert!(dbsf(&sources, Some(&[1.0])).is_err());
    }
}
