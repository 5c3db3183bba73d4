//! A random orthogonal rotation, which spreads what a vector says evenly over its components.
//!
//! After it every component carries about the same, so that signs alone say much of a direction and a common step suits
//! all components of a byte code. It is fixed by the number of dimensions: codes made on one machine are read on another.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::kernel::kernels;

/// Components come in multiples of this, a register of bytes.
const MULTIPLE: usize = 64;

/// Random signs and a Hadamard transform, in rounds. Where the size is no power of two, the transform covers the first
/// and the last components in turn, the largest power of two that fits.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    size: usize,
    window: usize,
    /// `[rounds, size]`, with the scale of the transform inside of its window.
    signs: Vec<f32>,
}

impl Rotation {
    /// The same as a [new](Self::new) one, shared by all who need it: 2,000 collections of one model have one.
    pub(crate) fn shared(dimensions: usize, least: usize) -> Arc<Self> {
        type Known = BTreeMap<usize, Weak<Rotation>>;
        static KNOWN: Mutex<Known> = Mutex::new(Known::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let size = dimensions.max(least).next_multiple_of(MULTIPLE);
        if let Some(rotation) = known.get(&size).and_then(Weak::upgrade) {
            return rotation;
        }
        let rotation = Arc::new(Self::new(dimensions, least));
        known.insert(size, Arc::downgrade(&rotation));
        rotation
    }

    /// A rotation of vectors, which are extended by zeros to at least `least` components.
    pub(crate) fn new(dimensions: usize, least: usize) -> Self {
        let size = dimensions.max(least).next_multiple_of(MULTIPLE);
        let window = 1 << size.ilog2();
        let rounds = if window == size { 2 } else { 4 };
        // SplitMix64: a few lines that never change.
        let mut state = 0x7477_6f66_6f6c_6421_u64;
        let mut sign = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            if (mixed ^ (mixed >> 31)) & 1 == 0 { 1.0 } else { -1.0 }
        };
        let mut signs: Vec<f32> = (0..rounds * size).map(|_| sign()).collect();
        let scale = 1.0 / (window as f32).sqrt();
        for (round, signs) in signs.chunks_exact_mut(size).enumerate() {
            let transformed = &mut signs[place(size, window, round)];
            transformed.iter_mut().for_each(|sign| *sign *= scale);
        }
        Self { size, window, signs }
    }

    /// Components of a rotated vector.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Rotates `vector` into `rotated`, which is [`size`](Self::size) long.
    pub(crate) fn apply(&self, vector: &[f32], rotated: &mut [f32]) {
        rotated[..vector.len()].copy_from_slice(vector);
        rotated[vector.len()..].fill(0.0);
        for (round, signs) in self.signs.chunks_exact(self.size).enumerate() {
            kernels().transform(rotated, signs, place(self.size, self.window, round));
        }
    }
}

/// What the transform of a round covers.
fn place(size: usize, window: usize, round: usize) -> Range<usize> {
    let first = if round.is_multiple_of(2) { 0 } else { size - window };
    first..first + window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_products_and_spreads_components() {
        for dimensions in [1, 50, 64, 100, 384, 784] {
            let rotation = Rotation::new(dimensions, 0);
            let vector = |seed: usize| -> Vec<f32> {
                (0..dimensions)
                    .map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0)
                    .collect()
            };
            let rotate = |vector: &[f32]| {
                let mut rotated = vec![0.0; rotation.size()];
                rotation.apply(vector, &mut rotated);
                rotated
            };
            let (a, b) = (vector(1), vector(2));
            let (before, after) = (kernels().dot(&a, &b), kernels().dot(&rotate(&a), &rotate(&b)));
            assert!(
                (before - after).abs() < 1e-3 * (1.0 + before.abs()),
                "{dimensions}: {before} {after}"
            );
            let mut peak = vec![0.0; dimensions];
            peak[0] = 1.0;
            let largest = rotate(&peak).iter().fold(0.0f32, |most, x| most.max(x.abs()));
            assert!(
                largest < 8.0 / (rotation.size() as f32).sqrt(),
                "{dimensions}: {largest}"
            );
        }
    }
}
