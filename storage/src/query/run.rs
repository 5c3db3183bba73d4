//! Carrying a query out: its prefetches, then its own ranking.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rand::seq::IteratorRandom;
use twofold_types::api::RecommendStrategy;
use twofold_types::{Distance, Embedding, Filter, ScoredPoint, SparseVector};
use twofold_vector::kernel::score;
use twofold_vector::{Bitmap, Effort, Neighbour, exact, gather};

use super::examples::{Examples, average};
use super::score::Scorer;
use super::{Found, Hit, Query, Ranking, fusion};
use crate::collection::Collection;
use crate::embedding::{checked, finished, flat};
use crate::error::{InvalidInput, Result, check_deadline};
use crate::index::Ask;
use crate::key::PointOffset;
use crate::label::Label;
use crate::plan::{Explanation, Plan, nanoseconds, plan};
use crate::state::Slot;
use crate::view::{Fetch, View};

/// The accuracy knob at which an index makes its usual effort.
const USUAL_EF: f32 = 128.0;

impl Collection {
    /// The hits of a query. `outer` is the filter of the queries that it is a prefetch of.
    pub(crate) fn run(&self, view: &View<'_>, query: &Query, outer: Option<&Filter>) -> Result<Found> {
        check_deadline()?;
        let filter = match (outer, &query.filter) {
            (Some(outer), Some(own)) => Some(Cow::Owned(outer.merged(own))),
            (filter, own) => filter.or(own.as_ref()).map(Cow::Borrowed),
        };
        let filter = filter.as_deref();
        let (mut sources, mut prefetches) = (Vec::new(), Vec::new());
        for prefetch in &query.prefetch {
            let found = self.run(view, prefetch, filter)?;
            sources.push(found.hits);
            prefetches.push(found.explanation);
        }
        let started = Instant::now();
        let fused = match &query.by {
            Ranking::Rrf(rrf) => Some(fusion::rrf(&sources, rrf)?),
            Ranking::Dbsf(weights) => Some(fusion::dbsf(&sources, weights.as_deref())?),
            Ranking::Formula { formula, defaults } => Some(view.by_formula(formula, defaults, &sources)?),
            _ => None,
        };
        if let Some(mut hits) = fused {
            if query.prefetch.is_empty() {
                return Err(InvalidInput::Query("fusion and formulas need a `prefetch`").into());
            }
            let of_a_vector = query.using.as_ref().is_some_and(|using| !using.is_empty());
            if of_a_vector && !matches!(query.by, Ranking::Formula { .. }) {
                return Err(InvalidInput::Query("fusion cannot be combined with `using`").into());
            }
            hits.truncate(query.wanted());
            hits.retain(|hit| query.score_threshold.is_none_or(|threshold| hit.score >= threshold));
            let plan = match query.by {
                Ranking::Formula { .. } => Plan::Formula,
                _ => Plan::Fusion,
            };
            let explanation = Explanation::new(plan, hits.len() as u64, hits.len() as u64);
            return Ok(Found {
                hits: skip(hits, query.offset),
                sources,
                explanation: explanation.timed(started, started).after(prefetches),
            });
        }
        let mut mask = view.select(filter)?;
        if !query.prefetch.is_empty() {
            let found: Bitmap = sources.iter().flatten().map(|hit| hit.offset).collect();
            mask &= &found;
        }
        let filtered = Instant::now();
        let (hits, explanation) = self.rank(view, query, mask)?;
        Ok(Found {
            hits: skip(hits, query.offset),
            sources,
            explanation: explanation.timed(started, filtered).after(prefetches),
        })
    }

    /// The best of the masked points, as many as are wanted.
    pub(crate) fn rank(&self, view: &View<'_>, query: &Query, mask: Bitmap) -> Result<(Vec<Hit>, Explanation)> {
        let ranked = self.ranked(view, query, mask)?;
        check_deadline()?;
        Ok(ranked)
    }

    /// The same, not whole where the deadline was missed.
    fn ranked(&self, view: &View<'_>, query: &Query, mut mask: Bitmap) -> Result<(Vec<Hit>, Explanation)> {
        let k = query.wanted();
        let matching = mask.len();
        let listed = |plan| Explanation::new(plan, matching, view.state.alive.len());
        match &query.by {
            Ranking::Id => return Ok((view.by_id(&mask, k)?, listed(Plan::Ids))),
            Ranking::OrderBy(order_by) => return Ok((view.by_value(order_by, &mask, k)?, listed(Plan::Payloads))),
            Ranking::Sample => {
                let mut drawn = mask.iter().sample(&mut rand::rng(), k);
                drawn.sort_unstable();
                let hits = drawn.into_iter().map(|offset| Hit::new(offset, 1.0));
                return Ok((hits.collect(), listed(Plan::Ids)));
            }
            _ => {}
        }
        let schema = view.state.schema.clone();
        let name = match &query.using {
            Some(name) => name.as_str(),
            None => schema.default_vector()?,
        };
        let slot = schema.slot(name)?;
        mask &= view.state.present(slot);
        if query.indexed_only {
            mask -= &view.state.unindexed(slot)?;
        }
        let mut examples = Examples::new(view, name, query.example_vector.as_deref());
        let scorer = match &query.by {
            Ranking::Nearest { target, mmr } => {
                let target = finished(&schema, name, examples.get(target)?);
                examples.leave_out(&mut mask);
                let candidates = mmr.map_or(k, |mmr| mmr.candidates_limit.unwrap_or(query.limit));
                let Some(mmr) = mmr else {
                    return self.nearest(view, query, slot, target, candidates, &mask);
                };
                let (hits, explanation) = self.nearest(view, query, slot, target.clone(), candidates, &mask)?;
                return Ok((view.diverse(slot, &target, mmr, hits, k)?, explanation));
            }
            Ranking::Recommend {
                positive,
                negative,
                strategy: RecommendStrategy::AverageVector,
            } => {
                let positive = examples.all(positive)?;
                let negative = examples.all(negative)?;
                examples.leave_out(&mut mask);
                let target = checked(&schema, name, average(positive, negative)?)?;
                return self.nearest(view, query, slot, target, k, &mask);
            }
            Ranking::Recommend {
                positive,
                negative,
                strategy,
            } => Scorer::recommend(examples.all(positive)?, examples.all(negative)?, *strategy)?,
            Ranking::Discover { target, context } => {
                let target = examples.get(target)?;
                Scorer::discover(target, examples.pairs(context)?)
            }
            Ranking::Context(context) => Scorer::context(examples.pairs(context)?)?,
            Ranking::Feedback {
                target,
                feedback,
                strategy,
            } => {
                let target = examples.get(target)?;
                let feedback = feedback
                    .iter()
                    .map(|(example, relevance)| Ok((examples.get(example)?, *relevance)));
                Scorer::feedback(target, feedback.collect::<Result<_>>()?, *strategy)
            }
            Ranking::Id
            | Ranking::OrderBy(_)
            | Ranking::Sample
            | Ranking::Rrf(_)
            | Ranking::Dbsf(_)
            | Ranking::Formula { .. } => return Ok((Vec::new(), listed(Plan::Ids))),
        };
        examples.leave_out(&mut mask);
        let scorer = scorer.map_examples(|example| {
            let example = checked(&schema, name, example)?;
            self.weighted(view, query, slot, example)
        })?;
        let mut hits = view.scored(slot, &scorer, &mask, k);
        hits.retain(|hit| query.score_threshold.is_none_or(|threshold| hit.score > threshold));
        Ok((
            hits,
            Explanation::new(Plan::Examples, mask.len(), view.state.present(slot).len()),
        ))
    }

    /// The points nearest to a vector, which is in the form that is stored.
    fn nearest(
        &self,
        view: &View<'_>,
        query: &Query,
        slot: Slot,
        target: Embedding,
        k: usize,
        mask: &Bitmap,
    ) -> Result<(Vec<Hit>, Explanation)> {
        let (matching, present) = (mask.len(), view.state.present(slot).len());
        let k = k.min(matching as usize);
        let target = self.weighted(view, query, slot, target)?;
        let effort = query.ef.map_or(1.0, |ef| (ef as f32 / USUAL_EF).max(1e-3));
        let (neighbours, distance, explanation) = match (slot, &target) {
            (Slot::Dense(number), Embedding::Dense(vector)) => {
                let ask = Ask {
                    state: &view.state,
                    number,
                    query: vector,
                    k,
                    mask,
                    effort: effort.powf(0.25),
                };
                let (neighbours, explanation) = self.nearest_dense(&ask, query.exact);
                (neighbours, ask.arena().distance(), explanation)
            }
            (Slot::Multi(number), Embedding::Multi(rows)) => {
                let multis = &view.state.multis[number];
                let rows = flat(rows);
                let in_stages = (!query.exact).then(|| multis.search(&rows, k, mask, effort)).flatten();
                let (plan, (neighbours, effort)) = match in_stages {
                    Some(found) => (Plan::Index("token_centroids"), found),
                    None => (Plan::MaxSim, multis.exact(&rows, k, mask)),
                };
                let explanation = Explanation::new(plan, matching, present);
                (neighbours, multis.distance(), explanation.with(effort))
            }
            (Slot::Sparse(number), Embedding::Sparse(vector)) => {
                let index = &view.state.sparse[number];
                let mask = (matching < present).then_some(mask);
                let (neighbours, effort) = index.search(vector, k, mask);
                let explanation = Explanation::new(Plan::Inverted, matching, present);
                (neighbours, Distance::Dot, explanation.with(effort))
            }
            _ => unreachable!("a checked vector is of the kind of its name"),
        };
        let near_enough = |&score: &f32| match query.score_threshold {
            Some(threshold) if distance.higher_is_nearer() => score > threshold,
            Some(threshold) => score < threshold,
            None => true,
        };
        let hits = neighbours.into_iter().filter_map(|Neighbour { offset, nearness }| {
            let score = Some(score(distance, nearness)).filter(near_enough)?;
            Some(Hit::new(offset, score))
        });
        Ok((hits.collect(), explanation))
    }

    /// A sparse query with the inverse document frequencies of its dimensions, where its vector has them.
    fn weighted(&self, view: &View<'_>, query: &Query, slot: Slot, vector: Embedding) -> Result<Embedding> {
        let (Slot::Sparse(number), Embedding::Sparse(sparse)) = (slot, &vector) else {
            return Ok(vector);
        };
        let mut params = view.state.schema.config.sparse_vectors.values();
        if !params.nth(number).is_some_and(|params| params.has_idf()) {
            return Ok(vector);
        }
        let index = &view.state.sparse[number];
        let (points, frequencies) = match &query.corpus {
            None => (index.present().len(), index.document_frequencies(sparse.indices())),
            Some(corpus) => {
                let mut corpus = view.select(Some(corpus))?;
                corpus &= index.present();
                (corpus.len(), index.document_frequencies_in(sparse.indices(), &corpus))
            }
        };
        let weight = |(value, frequency): (&f32, u64)| {
            let (points, frequency) = (points as f64, frequency as f64);
            value * (((points - frequency + 0.5) / (frequency + 0.5)) + 1.0).ln() as f32
        };
        let values = sparse.values().iter().zip(frequencies).map(weight).collect();
        let weighted = SparseVector::new(sparse.indices().to_vec(), values);
        Ok(Embedding::Sparse(
            weighted.expect("it has the indices of a sparse vector"),
        ))
    }

    /// The nearest by whichever way is the cheapest.
    fn nearest_dense(&self, ask: &Ask<'_>, exactly: bool) -> (Vec<Neighbour>, Explanation) {
        let arena = ask.arena();
        let (matching, present) = (ask.mask.len(), arena.present().len());
        let broken = &self.indexes[ask.number].broken;
        let index = ask.state.indexes[ask.number]
            .as_ref()
            .filter(|_| !broken.load(Ordering::Relaxed));
        let estimate = index.map(|index| index.estimate(matching, present, ask.k, ask.effort));
        let way = plan(
            exactly,
            arena.has_codes(),
            index.map(|index| index.kind()).zip(estimate),
        );
        let mut explanation = Explanation::new(way, matching, present);
        explanation.expected_index = estimate.and_then(|estimate| nanoseconds(estimate.index));
        explanation.expected_scan = estimate.and_then(|estimate| nanoseconds(estimate.scan));
        if let (Plan::Index(_), Some(index)) = (explanation.plan, index) {
            match index.search(ask) {
                Ok((neighbours, effort)) => return (neighbours, explanation.with(effort)),
                Err(error) => {
                    tracing::error!(collection = %self.name(), %error, "an index failed: every point is compared until it is built again");
                    broken.store(true, Ordering::Relaxed);
                    explanation.plan = plan(exactly, arena.has_codes(), None);
                }
            }
        }
        let (neighbours, effort): (_, Effort) = match (explanation.plan, index) {
            (Plan::Gather, Some(index)) => index.gather(ask),
            (Plan::Gather, None) => gather(arena, ask.query, ask.k, ask.mask),
            _ => exact(arena, ask.query, ask.k, ask.mask),
        };
        (neighbours, explanation.with(effort))
    }
}

fn skip(mut hits: Vec<Hit>, offset: usize) -> Vec<Hit> {
    hits.drain(..offset.min(hits.len()));
    hits
}

impl View<'_> {
    /// Hits as they are answered.
    pub(crate) fn scored_points(&self, hits: &[Hit], fetch: &Fetch) -> Result<Vec<ScoredPoint>> {
        let payloads = if fetch.needs_payload() {
            let offsets: Vec<_> = hits.iter().map(|hit| PointOffset(hit.offset)).collect();
            let records = self.points(&offsets)?.into_iter();
            records
                .map(|record| record.map_or(Ok(None), |record| fetch.payload(&record)))
                .collect::<Result<Vec<_>>>()?
        } else {
            vec![None; hits.len()]
        };
        // All labels first: they lie scattered, and so are fetched side by side.
        let labels: Vec<Label> = hits
            .iter()
            .map(|hit| self.state.labels.get(PointOffset(hit.offset)))
            .collect();
        let points = hits.iter().zip(labels).zip(payloads).map(|((hit, label), payload)| {
            let offset = PointOffset(hit.offset);
            Ok(ScoredPoint {
                id: label.id,
                version: label.version,
                score: hit.score,
                payload,
                vector: self.vectors(offset, fetch)?,
                order_value: hit.order,
            })
        });
        points.collect()
    }
}
