//! Scores made of how near a point is to several examples.

use twofold_types::Embedding;
use twofold_types::api::{FeedbackStrategy, RecommendStrategy};
use twofold_vector::{Bitmap, MaxSim, Watch, kernel};

use super::{Hit, sort};
use crate::embedding::flat;
use crate::error::{InvalidInput, Result};
use crate::state::Slot;
use crate::view::View;

/// Examples, and how the nearness to them makes a score. Higher is better, whatever the distance.
pub(super) struct Scorer {
    examples: Vec<Embedding>,
    rule: Rule,
}

/// How nearness makes a score. Examples are by their places.
enum Rule {
    /// The nearest of all: for it if it is one of the first so many, else against it.
    Best { positive: usize },
    /// The sum over the first so many, less that over the others.
    Sum { positive: usize },
    /// The first is the target, then follow pairs. A pair counts 1 or -1, the target less than 1.
    Discover,
    /// Pairs: what is on the wrong side counts by how far it is.
    Context,
    /// The first is the target with its weight, then the others by two with the weight of their difference.
    Feedback {
        target: f32,
        pairs: Vec<(usize, usize, f32)>,
    },
}

impl Scorer {
    pub(super) fn recommend(
        positive: Vec<Embedding>,
        negative: Vec<Embedding>,
        strategy: RecommendStrategy,
    ) -> Result<Self, InvalidInput> {
        if positive.is_empty() && negative.is_empty() {
            return Err(InvalidInput::Query("a recommendation needs at least one example"));
        }
        let count = positive.len();
        Ok(Self {
            examples: positive.into_iter().chain(negative).collect(),
            rule: match strategy {
                RecommendStrategy::BestScore => Rule::Best { positive: count },
                _ => Rule::Sum { positive: count },
            },
        })
    }

    pub(super) fn discover(target: Embedding, context: Vec<(Embedding, Embedding)>) -> Self {
        let pairs = context
            .into_iter()
            .flat_map(|(positive, negative)| [positive, negative]);
        Self {
            examples: std::iter::once(target).chain(pairs).collect(),
            rule: Rule::Discover,
        }
    }

    pub(super) fn context(context: Vec<(Embedding, Embedding)>) -> Result<Self, InvalidInput> {
        if context.is_empty() {
            return Err(InvalidInput::Query("`context` needs at least one pair"));
        }
        let pairs = context
            .into_iter()
            .flat_map(|(positive, negative)| [positive, negative]);
        Ok(Self {
            examples: pairs.collect(),
            rule: Rule::Context,
        })
    }

    pub(super) fn feedback(
        target: Embedding,
        feedback: Vec<(Embedding, f32)>,
        FeedbackStrategy::Naive(weights): FeedbackStrategy,
    ) -> Self {
        let mut pairs = Vec::new();
        for (better, (_, high)) in feedback.iter().enumerate() {
            for (worse, (_, low)) in feedback.iter().enumerate() {
                let difference = high - low;
                if difference > 0.0 {
                    pairs.push((better + 1, worse + 1, difference.powf(weights.b) * weights.c));
                }
            }
        }
        let examples = feedback.into_iter().map(|(example, _)| example);
        Self {
            examples: std::iter::once(target).chain(examples).collect(),
            rule: Rule::Feedback {
                target: weights.a,
                pairs,
            },
        }
    }

    pub(super) fn map_examples(self, map: impl FnMut(Embedding) -> Result<Embedding>) -> Result<Self> {
        Ok(Self {
            examples: self.examples.into_iter().map(map).collect::<Result<_>>()?,
            rule: self.rule,
        })
    }

    fn score(&self, nearness: &[f32]) -> f32 {
        let best = |part: &[f32]| part.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        match &self.rule {
            Rule::Best { positive } => {
                let (positive, negative) = nearness.split_at(*positive);
                let (positive, negative) = (best(positive), best(negative));
                match positive > negative {
                    true => scaled(positive),
                    false => -scaled(negative),
                }
            }
            Rule::Sum { positive } => {
                let (positive, negative) = nearness.split_at(*positive);
                positive.iter().sum::<f32>() - negative.iter().sum::<f32>()
            }
            Rule::Discover => {
                let rank = |pair: &[f32; 2]| match pair[0].partial_cmp(&pair[1]) {
                    Some(std::cmp::Ordering::Greater) => 1.0,
                    Some(std::cmp::Ordering::Equal) => 0.0,
                    _ => -1.0,
                };
                let (pairs, _) = nearness[1..].as_chunks::<2>();
                pairs.iter().map(rank).sum::<f32>() + scaled(nearness[0])
            }
            Rule::Context => {
                let loss = |pair: &[f32; 2]| sigmoid((pair[0] - pair[1] - f32::EPSILON).min(0.0));
                nearness.as_chunks::<2>().0.iter().map(loss).sum()
            }
            Rule::Feedback { target, pairs } => {
                let differences = pairs.iter();
                let differences =
                    differences.map(|&(better, worse, weight)| weight * (nearness[better] - nearness[worse]));
                target * nearness[0] + differences.sum::<f32>()
            }
        }
    }
}

/// From -1 to 1, quicker than the usual one.
fn sigmoid(x: f32) -> f32 {
    match x.is_finite() {
        true => x / (1.0 + x.abs()),
        false => x,
    }
}

/// From 0 to 1.
fn scaled(x: f32) -> f32 {
    0.5 * (sigmoid(x) + 1.0)
}

impl View<'_> {
    /// The `k` best of the masked points, all of them compared with every example.
    pub(super) fn scored(&self, slot: Slot, scorer: &Scorer, mask: &Bitmap, k: usize) -> Vec<Hit> {
        let mut hits = Vec::with_capacity(mask.len() as usize);
        let mut nearness = vec![0.0; scorer.examples.len()];
        let mut watch = Watch::every(256);
        match slot {
            Slot::Dense(number) => {
                let arena = &self.state.arenas[number];
                let near = kernel::nearness(arena.distance());
                let examples: Vec<&[f32]> = scorer.examples.iter().filter_map(as_dense).collect();
                arena.scan(mask, |offset, row| {
                    if watch.missed() {
                        return;
                    }
                    for (nearness, example) in nearness.iter_mut().zip(&examples) {
                        *nearness = near(example, row);
                    }
                    hits.push(Hit::new(offset, scorer.score(&nearness)));
                });
            }
            Slot::Multi(number) => {
                let multis = &self.state.multis[number];
                let examples = scorer.examples.iter().filter_map(as_rows);
                let examples = examples.map(|rows| MaxSim::new(multis.distance(), multis.dimensions(), &rows));
                let examples: Vec<MaxSim> = examples.collect();
                multis.scan(mask, |offset, rows| {
                    for (nearness, example) in nearness.iter_mut().zip(&examples) {
                        *nearness = example.nearness(rows);
                    }
                    hits.push(Hit::new(offset, scorer.score(&nearness)));
                });
            }
            Slot::Sparse(number) => {
                let index = &self.state.sparse[number];
                let products = scorer.examples.iter().map(|example| {
                    let mut products = vec![0.0; self.state.next_offset as usize];
                    if let Embedding::Sparse(example) = example {
                        index.add_products(example, &mut products);
                    }
                    products
                });
                let products: Vec<Vec<f32>> = products.collect();
                mask.for_each(|offset| {
                    for (nearness, products) in nearness.iter_mut().zip(&products) {
                        *nearness = products[offset as usize];
                    }
                    hits.push(Hit::new(offset, scorer.score(&nearness)));
                });
            }
        }
        sort(&mut hits);
        hits.truncate(k);
        hits
    }
}

fn as_dense(embedding: &Embedding) -> Option<&[f32]> {
    match embedding {
        Embedding::Dense(vector) => Some(vector),
        _ => None,
    }
}

fn as_rows(embedding: &Embedding) -> Option<Vec<f32>> {
    match embedding {
        Embedding::Multi(rows) => Some(flat(rows)),
        _ => None,
    }
}
