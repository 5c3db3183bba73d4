//! How many points have which values, and how near the points of a sample are to each other.

use std::collections::{HashMap, HashSet};

use rand::seq::IteratorRandom;
use serde_json::Value;
use twofold_types::api::{FacetHit, FacetValue};
use twofold_types::{Filter, PointId, uuid_of};
use twofold_vector::Bitmap;

use crate::collection::Collection;
use crate::error::Result;
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::query::{Example, Query, Ranking};

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
        let mut counts: HashMap<FacetValue, u64> = HashMap::new();
        view.for_each_point(&view.select(filter)?, |_, record| {
            let payload = record.payload()?;
            let values: HashSet<FacetValue> = path.elements(&payload).filter_map(facet_value).collect();
            values
                .into_iter()
                .for_each(|value| *counts.entry(value).or_default() += 1);
            Ok(())
        })?;
        let hits = counts.into_iter().map(|(value, count)| FacetHit { value, count });
        let mut hits: Vec<FacetHit> = hits.collect();
        hits.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
        hits.truncate(limit);
        Ok(hits)
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
