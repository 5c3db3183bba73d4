//! A multivector that others are compared with.

use twofold_types::Distance;

use crate::kernel::{Lanes, kernels};

/// Lanes of a group.
const GROUP: usize = Lanes::ZERO.0.len();

/// The query of a MaxSim, laid out for its kernel.
#[derive(Debug, Clone)]
pub struct MaxSim {
    distance: Distance,
    dimensions: usize,
    vectors: usize,
    /// `[vectors / 16, dimensions]`, sixteen vectors across the lanes; the last group is filled up with zeros.
    groups: Vec<Lanes>,
}

impl MaxSim {
    /// For vectors of a query, `[n, dimensions]`.
    pub fn new(distance: Distance, dimensions: usize, query: &[f32]) -> Self {
        let vectors = query.len() / dimensions;
        let mut groups = vec![Lanes::ZERO; vectors.div_ceil(GROUP) * dimensions];
        for (vector, components) in query.chunks_exact(dimensions).enumerate() {
            let group = &mut groups[vector / GROUP * dimensions..][..dimensions];
            for (lanes, &component) in group.iter_mut().zip(components) {
                lanes.0[vector % GROUP] = component;
            }
        }
        Self {
            distance,
            dimensions,
            vectors,
            groups,
        }
    }

    /// How many vectors the query has.
    pub(super) fn vectors(&self) -> usize {
        self.vectors
    }

    /// For each vector of the query, how near the nearest of `rows`, `[n, dimensions]`, is.
    pub(super) fn nearest<'a>(&'a self, rows: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let groups = self.groups.chunks_exact(self.dimensions).enumerate();
        groups.flat_map(move |(group, query)| {
            let mut best = Lanes([f32::NEG_INFINITY; GROUP]);
            kernels().raise(self.distance, query, rows, &mut best);
            best.0.into_iter().take(self.vectors - group * GROUP)
        })
    }

    /// MaxSim with `rows`, `[n, dimensions]`: how near the nearest of them is to each vector of the query, added up.
    pub fn nearness(&self, rows: &[f32]) -> f32 {
        self.nearest(rows).sum()
    }
}
