//! The vectors of a document's chunks as one. `docs/decisions/0018-pooled-vectors.md` has the formulas and where they are from.

use twofold_types::{ChunkPooling, PooledVectorParams};

/// Pools vectors of one length, `[n, dimensions]`; none where there are none. What comes of finite vectors is finite.
pub(crate) fn pool(params: &PooledVectorParams, vectors: &[Vec<f32>]) -> Option<Vec<f32>> {
    let first = vectors.first()?;
    Some(match params.method {
        ChunkPooling::Mean => rounded(&mean(vectors)),
        ChunkPooling::Max => vectors[1..].iter().fold(first.clone(), |mut largest, vector| {
            for (largest, component) in largest.iter_mut().zip(vector) {
                *largest = largest.max(*component);
            }
            largest
        }),
        ChunkPooling::Attention => {
            let scoring = match &params.scoring_vector {
                Some(scoring) => scoring.iter().copied().map(f64::from).collect(),
                None => mean(vectors),
            };
            let scale = f64::from(params.scale.unwrap_or(PooledVectorParams::DEFAULT_SCALE));
            let scores: Vec<f64> = vectors.iter().map(|vector| scale * cosine(vector, &scoring)).collect();
            rounded(&weighted_sum(vectors, &softmax(&scores)))
        }
    })
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f64> {
    let weight = 1.0 / vectors.len() as f64;
    weighted_sum(vectors, &vec![weight; vectors.len()])
}

fn weighted_sum(vectors: &[Vec<f32>], weights: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for (vector, weight) in vectors.iter().zip(weights) {
        for (sum, component) in sum.iter_mut().zip(vector) {
            *sum += weight * f64::from(*component);
        }
    }
    sum
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f64::MIN, f64::max);
    let shares: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let whole: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / whole).collect()
}

/// 0 where one of them is zero.
fn cosine(vector: &[f32], other: &[f64]) -> f64 {
    let (mut dot, mut square, mut other_square) = (0.0, 0.0, 0.0);
    for (x, y) in vector.iter().copied().map(f64::from).zip(other) {
        dot += x * y;
        square += x * x;
        other_square += y * y;
    }
    match square.sqrt() * other_square.sqrt() {
        0.0 => 0.0,
        lengths => dot / lengths,
    }
}

fn rounded(vector: &[f64]) -> Vec<f32> {
    let most = f64::from(f32::MAX);
    vector
        .iter()
        .map(|component| component.clamp(-most, most) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(method: ChunkPooling, scoring: Option<&[f32]>, scale: Option<f32>, vectors: &[&[f32]]) -> Vec<f32> {
        let params = PooledVectorParams {
            of: String::new(),
            method,
            scoring_vector: scoring.map(<[f32]>::to_vec),
            scale,
        };
        let vectors: Vec<Vec<f32>> = vectors.iter().map(|vector| vector.to_vec()).collect();
        pool(&params, &vectors).unwrap()
    }

    #[test]
    fn mean_and_max_are_by_component() {
        let vectors: &[&[f32]] = &[&[1.0, -4.0], &[3.0, -2.0], &[-1.0, -3.0]];
        assert_eq!(pooled(ChunkPooling::Mean, None, None, vectors), [1.0, -3.0]);
        assert_eq!(pooled(ChunkPooling::Max, None, None, vectors), [3.0, -2.0]);
    }

    #[test]
    fn attention_is_to_what_is_near_the_scoring_vector() {
        let vectors: &[&[f32]] = &[&[2.0, 0.0], &[0.0, 3.0]];
        // Cosines 1 and 0, so e to 1 at a scale of ln 3 is 3 to 1.
        let toward_the_first = pooled(ChunkPooling::Attention, Some(&[5.0, 0.0]), Some(3f32.ln()), vectors);
        for (component, expected) in toward_the_first.iter().zip([1.5, 0.75]) {
            assert!((component - expected).abs() < 1e-6, "{toward_the_first:?}");
        }
        // The mean is (1, 1.5), nearer to the second.
        let toward_the_mean = pooled(ChunkPooling::Attention, None, Some(1e6), vectors);
        assert_eq!(toward_the_mean, [0.0, 3.0]);
        assert_eq!(pooled(ChunkPooling::Attention, None, Some(0.0), vectors), [1.0, 1.5]);
    }

    #[test]
    fn what_is_finite_stays_finite() {
        let vectors: &[&[f32]] = &[&[f32::MAX, 0.0], &[f32::MAX, 0.0], &[f32::MAX, 0.0]];
        let opposite: &[&[f32]] = &[&[1.0, 0.0], &[-1.0, 0.0], &[0.0, 0.0]];
        for method in [ChunkPooling::Mean, ChunkPooling::Max, ChunkPooling::Attention] {
            for vectors in [vectors, opposite] {
                for scale in [None, Some(f32::MAX)] {
                    let pooled = pooled(method, None, scale, vectors);
                    assert!(pooled.iter().all(|component| component.is_finite()), "{pooled:?}");
                }
            }
        }
    }
}
