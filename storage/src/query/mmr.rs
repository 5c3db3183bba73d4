//! Maximal marginal relevance: hits that are near the target and far from each other.

use twofold_types::Embedding;
use twofold_types::api::Mmr;
use twofold_vector::{kernel, max_sim};

use super::Hit;
use crate::embedding::flat;
use crate::error::{InvalidInput, Result, check_deadline};
use crate::key::PointOffset;
use crate::state::Slot;
use crate::view::View;

const DEFAULT_DIVERSITY: f32 = 0.5;

/// Candidates at most: every two of them are compared.
const MAX_CANDIDATES: usize = 4096;

impl View<'_> {
    /// The `k` hits that are chosen one after the other, each the best by its relevance less its similarity to those before.
    pub(super) fn diverse(
        &self,
        slot: Slot,
        target: &Embedding,
        mmr: &Mmr,
        hits: Vec<Hit>,
        k: usize,
    ) -> Result<Vec<Hit>> {
        let diversity = mmr.diversity.unwrap_or(DEFAULT_DIVERSITY);
        if !(0.0..=1.0).contains(&diversity) {
            return Err(InvalidInput::Query("`diversity` of `mmr` is within 0 and 1").into());
        }
        if hits.len() > MAX_CANDIDATES {
            return Err(InvalidInput::Limit {
                what: "candidates of `mmr`",
                received: hits.len(),
                limit: MAX_CANDIDATES,
            }
            .into());
        }
        let vectors = hits.iter().map(|hit| self.vector(slot, PointOffset(hit.offset)));
        let vectors = vectors.collect::<Result<Vec<_>>>()?;
        // MaxSim is not symmetric: the target is compared with a candidate, a candidate with what was chosen.
        let relevance = vectors.iter().map(|vector| match vector {
            Some(vector) => self.similarity(slot, target, vector),
            None => f32::NEG_INFINITY,
        });
        let relevance: Vec<f32> = relevance.collect();
        let mut nearest_chosen = vec![f32::NEG_INFINITY; hits.len()];
        let mut pending: Vec<usize> = (0..hits.len()).collect();
        let mut chosen: Vec<Hit> = Vec::new();
        while chosen.len() < k && !pending.is_empty() {
            check_deadline()?;
            let worth = |candidate: usize| match chosen.is_empty() {
                true => relevance[candidate],
                false => (1.0 - diversity) * relevance[candidate] - diversity * nearest_chosen[candidate],
            };
            // The last of equals, and the last takes its place: the order that other engines have.
            let best = (0..pending.len()).max_by(|&a, &b| worth(pending[a]).total_cmp(&worth(pending[b])));
            let Some(best) = best else { break };
            let best = pending.swap_remove(best);
            chosen.push(hits[best]);
            if let Some(vector) = &vectors[best] {
                for &candidate in &pending {
                    let near = match &vectors[candidate] {
                        Some(candidate) => self.similarity(slot, candidate, vector),
                        None => f32::NEG_INFINITY,
                    };
                    nearest_chosen[candidate] = nearest_chosen[candidate].max(near);
                }
            }
        }
        Ok(chosen)
    }

    /// How near two vectors are, higher being nearer.
    fn similarity(&self, slot: Slot, a: &Embedding, b: &Embedding) -> f32 {
        match (slot, a, b) {
            (Slot::Dense(number), Embedding::Dense(a), Embedding::Dense(b)) => {
                kernel::nearness(self.state.arenas[number].distance())(a, b)
            }
            (Slot::Multi(number), Embedding::Multi(a), Embedding::Multi(b)) => {
                let multis = &self.state.multis[number];
                max_sim(multis.distance(), multis.dimensions(), &flat(a), &flat(b))
            }
            (Slot::Sparse(_), Embedding::Sparse(a), Embedding::Sparse(b)) => {
                let shared = a.iter().filter_map(|(index, value)| {
                    let place = b.indices().binary_search(&index).ok()?;
                    Some(value * b.values()[place])
                });
                shared.sum()
            }
            _ => f32::NEG_INFINITY,
        }
    }
}
