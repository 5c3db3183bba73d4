//! How alike two embeddings are.

/// The cosine of the angle between two vectors of one length: 1 for the same direction, 0 for unrelated ones. 0 as well
/// if either is all zeroes, which has no direction.
///
/// # Panics
/// If the lengths differ: such vectors are of different models, and any number would be wrong.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of different models cannot be compared");
    let (mut dot, mut aa, mut bb) = (0.0f64, 0.0f64, 0.0f64);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x), f64::from(y));
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    let norms = (aa * bb).sqrt();
    if norms == 0.0 { 0.0 } else { (dot / norms) as f32 }
}

#[cfg(test)]
mod tests {
    use super::cosine;

    #[test]
    fn length_does_not_matter_and_direction_does() {
        assert_eq!(cosine(&[3.0, 0.0], &[0.5, 0.0]), 1.0);
        assert_eq!(cosine(&[3.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!(cosine(&[1.0, 1.0], &[-1.0, -1.0]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), 0.0);
    }
}
