//! How many points have which values, and how near the points of a sample are to each other.

mod indexed;
mod most;

use std::collections::{HashMap, HashSet};

use rand::seq::IteratorRandom;
use serde_json::Value;
use twofold_types::api::{FacetHit, FacetValue};
use twofold_types::{Filter, PointId, uuid_of};
use twofold_vector::Bitmap;

use self::most::Most;
use crate::collection::Collection;
use crate::error::Result;
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::query::{Example, Query, Ranking};
use crate::view::View;

/// The nearest of a sample for each of its points, by places in the sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// The sample, in the order of ids.
    pub ids: Vec<PointId>,
    /// For each of them the nearest others, with their scores.
    pub nearest: Vec<Vec<(usize, f32)>>,
}

impl Collection {
    /// The most frequent booleans, integers and strings at a key, among the points that match.
    pub fn facet(&self, key: &str, filter: Option<&Filter>, limit: usize) -> Result<Vec<FacetHit>> {
        let path = PayloadPath::parse(key)?;
        let view = self.view();
        view.check_listing(limit, filter)?;
        let mask = view.select(filter)?;
        if let Some(hits) = view.indexed_facet(key, &path, &mask, limit)? {
            return Ok(hits);
        }
        let mut most = Most::new(limit);
        for (value, count) in view.counted(&path, &mask)? {
            if most.wants(count, |other| value.cmp(other)) {
                most.add(count, value);
            }
        }
        Ok(most.into_hits())
    }

    /// Draws points that match and have the vector, and finds the nearest of them for each.
    pub fn matrix(&self, using: Option<&str>, filter: Option<&Filter>, sample: usize, limit: usize) -> Result<Matrix> {
        let view = self.view();
        view.check_listing(sample.saturating_mul(limit), filter)?;
        let schema = &view.state.schema;
        let name = match using {
            Some(name) => name,
            None => schema.default_vector()?,
        };
        let slot = schema.slot(name)?;
        let mut mask = view.select(filter)?;
        mask &= view.state.present(slot);
        let drawn: Vec<u32> = mask.iter().sample(&mut rand::rng(), sample);
        let mut drawn: Vec<(PointId, u32)> = drawn
            .into_iter()
            .map(|offset| (view.state.labels.get(PointOffset(offset)).id, offset))
            .collect();
        drawn.sort_unstable();
        if drawn.len() < 2 {
            return Ok(Matrix {
                ids: Vec::new(),
                nearest: Vec::new(),
            });
        }
        let places: HashMap<u32, usize> = drawn
            .iter()
            .enumerate()
            .map(|(place, (_, offset))| (*offset, place))
            .collect();
        let mask: Bitmap = places.keys().copied().collect();
        let nearest = drawn.iter().map(|(id, _)| {
            let target = Example::Point(*id);
            let mut query = Query::by(Ranking::Nearest { target, mmr: None }, limit);
            query.using = Some(name.to_owned());
            let (hits, _) = self.rank(&view, &query, mask.clone())?;
            Ok(hits.iter().map(|hit| (places[&hit.offset], hit.score)).collect())
        });
        let nearest = nearest.collect::<Result<_>>()?;
        Ok(Matrix {
            ids: drawn.into_iter().map(|(id, _)| id).collect(),
            nearest,
        })
    }
}

impl View<'_> {
    /// The values at a key of some points, by their payloads, and how many of the points have each.
    fn counted(&self, path: &PayloadPath, points: &Bitmap) -> Result<HashMap<FacetValue, u64>> {
        let mut counts: HashMap<FacetValue, u64> = HashMap::new();
        self.for_each_point(points, |_, record| {
            let payload = record.payload()?;
            let values: HashSet<FacetValue> = path.elements(&payload).filter_map(facet_value).collect();
            values
                .into_iter()
                .for_each(|value| *counts.entry(value).or_default() += 1);
            Ok(())
        })?;
        Ok(counts)
    }
}

fn facet_value(value: &Value) -> Option<FacetValue> {
    match value {
        Value::Bool(value) => Some(FacetValue::Bool(*value)),
        Value::Number(number) => number.as_i64().map(FacetValue::Integer),
        Value::String(text) => Some(FacetValue::Keyword(match uuid_of(text) {
            Some(id) => id.to_string(),
            None => text.clone(),
        })),
        _ => None,
    }
}
