//! Comparing every vector that counts.

use crate::arena::{Arena, QueryCode};
use crate::bitmap::Bitmap;
use crate::deadline::Watch;
use crate::kernel::nearness;
use crate::pool::{Best, Candidates};
use crate::probe::{Effort, Neighbour};

/// The nearest of `mask`, compared in full precision.
pub fn exact(arena: &Arena, query: &[f32], k: usize, mask: &Bitmap) -> (Vec<Neighbour>, Effort) {
    let mut effort = Effort::default();
    if k == 0 {
        return (Vec::new(), effort);
    }
    let mut best = Best::new(k);
    let near = nearness(arena.distance());
    let mut watch = Watch::every(4096);
    arena.scan(mask, |offset, row| {
        if watch.missed() {
            return;
        }
        effort.rows += 1;
        best.offer(near(query, row), offset);
    });
    (best.into_neighbours(), effort)
}

/// The nearest of `mask` by byte codes, the best of them compared in full precision. Practically exact, and a quarter of the
/// memory to read.
pub fn gather(arena: &Arena, query: &[f32], k: usize, mask: &Bitmap) -> (Vec<Neighbour>, Effort) {
    /// Few vectors are compared in full precision at once.
    const FEW: usize = 64;
    let Some(rotation) = arena.rotation().filter(|_| k > 0 && mask.len() as usize > FEW + 2 * k) else {
        return exact(arena, query, k, mask);
    };
    let mut effort = Effort::default();
    let code = QueryCode::new(rotation, query, 1.0);
    let mut candidates = Candidates::new(arena, &code, k);
    let mut offsets = Vec::with_capacity(mask.len() as usize);
    mask.for_each(|offset| {
        if arena.present().contains(offset) {
            offsets.push(offset);
        }
    });
    candidates.compare_all(&offsets, &mut effort);
    (candidates.nearest(query, &mut effort), effort)
}
