//! The vectors of one point.

use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt;

/// The vectors of one point, one after another. Clones share them.
#[derive(Debug, Clone)]
pub(super) enum Rows {
    Full(Arc<[f32]>),
    Half(Arc<[f16]>),
}

impl Rows {
    pub(super) fn new(components: &[f32], halves: bool) -> Self {
        match halves {
            false => Self::Full(components.into()),
            true => Self::Half(components.iter().map(|&component| to_half(component)).collect()),
        }
    }

    /// How many components they have.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Full(components) => components.len(),
            Self::Half(components) => components.len(),
        }
    }

    /// Their components; `full` is where those of 16 bits are widened.
    pub(super) fn in_full<'a>(&'a self, full: &'a mut Vec<f32>) -> &'a [f32] {
        match self {
            Self::Full(components) => components,
            Self::Half(components) => {
                full.resize(components.len(), 0.0);
                components.convert_to_f32_slice(full);
                full
            }
        }
    }

    /// Whether these are the same in memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Full(mine), Self::Full(theirs)) => Arc::ptr_eq(mine, theirs),
            (Self::Half(mine), Self::Half(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        }
    }
}

fn to_half(x: f32) -> f16 {
    f16::from_f32(x.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

/// The nearest number that 16-bit floating point has, within its bounds.
pub fn round_to_half(x: f32) -> f32 {
    to_half(x).to_f32()
}
