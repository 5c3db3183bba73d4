//! Several reads of one state.

use std::time::Instant;

use twofold_types::{PointId, Record, ScoredPoint};
use twofold_vector::Bitmap;

use crate::collection::Collection;
use crate::error::Result;
use crate::key::PointOffset;
use crate::plan::Explanation;
use crate::query::{Found, Query};
use crate::view::{Fetch, View};

/// One consistent state of a collection, for requests that read it more than once: what is written while it lives is not seen.
pub struct Reading<'a> {
    pub(crate) collection: &'a Collection,
    pub(crate) view: View<'a>,
}

impl Collection {
    /// Its state as of now.
    pub fn reading(&self) -> Reading<'_> {
        Reading {
            collection: self,
            view: self.view(),
        }
    }

    /// The best points of a query, best first, and how they were found. Every write that was acknowledged before is considered.
    pub fn query(&self, query: &Query, fetch: &Fetch) -> Result<(Vec<ScoredPoint>, Explanation)> {
        self.reading().query(query, fetch)
    }
}

impl Reading<'_> {
    /// The best points of a query, best first, and how they were found.
    pub fn query(&self, query: &Query, fetch: &Fetch) -> Result<(Vec<ScoredPoint>, Explanation)> {
        self.view.state.strict().check_read()?;
        self.view.state.strict().check_query(query)?;
        let Found {
            hits, mut explanation, ..
        } = self.collection.run(&self.view, query, None)?;
        let found = Instant::now();
        let points = self.view.scored_points(&hits, fetch)?;
        explanation.fetching = found.elapsed();
        Ok((points, explanation))
    }

    /// The points with these ids, as far as they exist, in the order of the ids.
    pub fn get(&self, ids: &[PointId], fetch: &Fetch) -> Result<Vec<Record>> {
        let offsets: Vec<PointOffset> = self.view.offsets(ids)?.into_iter().flatten().collect();
        let points = offsets.iter().zip(self.view.points(&offsets)?);
        points
            .filter_map(|(&offset, point)| Some(self.view.record(offset, &point?, fetch)))
            .collect()
    }

    /// The scores that a query without prefetches gives to these points, as far as it finds them, best first.
    pub fn scores(&self, ids: &[PointId], query: &Query) -> Result<Vec<(PointId, f32)>> {
        let offsets = self.view.offsets(ids)?.into_iter().flatten();
        let mask: Bitmap = offsets.map(|offset| offset.0).collect();
        let (hits, _) = self.collection.rank(&self.view, query, mask)?;
        let labels = &self.view.state.labels;
        let scored = hits
            .iter()
            .map(|hit| (labels.get(PointOffset(hit.offset)).id, hit.score));
        Ok(scored.collect())
    }
}
