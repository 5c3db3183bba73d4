//! Facets of indexed keys, counted in the column. Payloads are read only of points with values that the index does not hold.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::ControlFlow;

use twofold_types::api::{FacetHit, FacetValue};
use twofold_vector::{Bitmap, Watch};

use super::facet_value;
use super::most::Most;
use crate::column::Column;
use crate::error::{Result, check_deadline};
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::posting::{Decoded, Field, OTHER, decode, encode_facet};
use crate::view::{VALUES_PER_READ, View};

impl View<'_> {
    /// The most frequent values of a key among some points, as its column tells; none without one, or where it is quicker to read the
    /// payloads.
    pub(super) fn indexed_facet(
        &self,
        key: &str,
        path: &PayloadPath,
        mask: &Bitmap,
        limit: usize,
    ) -> Result<Option<Vec<FacetHit>>> {
        let Some((field, column)) = self.column(key) else {
            return Ok(None);
        };
        if !field.has_facets() || mask.len().saturating_mul(VALUES_PER_READ) < column.postings() {
            return Ok(None);
        }
        let others = column.points_in(OTHER, mask);
        let mut rest = mask.clone();
        rest -= &others;
        let of_others = self.counted(path, &others)?.into_iter();
        let mut of_others: HashMap<Vec<u8>, (FacetValue, u64)> = of_others
            .map(|(value, count)| (encode_facet(&value), (value, count)))
            .collect();
        let all = rest.len() == self.state.alive.len();
        let mut most = Most::new(limit);
        let mut watch = Watch::every(4096);
        let mut failed = Ok(());
        column.count_values((!all).then_some(&rest), |encoded, count| {
            let mut step = || -> Result<()> {
                if watch.missed() {
                    check_deadline()?;
                }
                let Some(decoded) = decode(encoded) else {
                    return Ok(());
                };
                let also = match of_others.is_empty() {
                    true => None,
                    false => of_others.remove(encoded),
                };
                let count = count + also.as_ref().map_or(0, |(_, also)| *also);
                let mut value = match (also, decoded) {
                    (Some((value, _)), _) => Some(value),
                    // Nothing but its count has to be known of most.
                    (None, Decoded::Digest) if most.wants(count, |_| Ordering::Less) => {
                        self.spelled(field, column, encoded, &rest)?
                    }
                    (None, _) => None,
                };
                let order = |other: &FacetValue| match &value {
                    Some(value) => value.cmp(other),
                    None => compare(decoded, other),
                };
                if most.wants(count, order)
                    && let Some(value) = value.take().or_else(|| value_of(decoded))
                {
                    most.add(count, value);
                }
                Ok(())
            };
            match step() {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Err(error);
                    ControlFlow::Break(())
                }
            }
        });
        failed?;
        for (value, count) in of_others.into_values() {
            if most.wants(count, |other| value.cmp(other)) {
                most.add(count, value);
            }
        }
        Ok(Some(most.into_hits()))
    }

    /// A value that only a payload tells.
    fn spelled(&self, field: &Field, column: &Column, encoded: &[u8], points: &Bitmap) -> Result<Option<FacetValue>> {
        let Some(offset) = column.points_in(encoded, points).min() else {
            return Ok(None);
        };
        let Some(record) = self.point(PointOffset(offset))? else {
            return Ok(None);
        };
        Ok(field.value_at(&record.payload()?, encoded).and_then(facet_value))
    }
}

/// What an encoding alone tells.
fn value_of(decoded: Decoded<'_>) -> Option<FacetValue> {
    match decoded {
        Decoded::Keyword(text) => Some(FacetValue::Keyword(text.to_owned())),
        Decoded::Uuid(id) => Some(FacetValue::Keyword(id.to_string())),
        Decoded::Integer(value) => Some(FacetValue::Integer(value)),
        Decoded::Bool(value) => Some(FacetValue::Bool(value)),
        Decoded::Digest => None,
    }
}

/// The order of a value among others, without making it where that is not needed.
fn compare(decoded: Decoded<'_>, other: &FacetValue) -> Ordering {
    match (decoded, other) {
        (Decoded::Keyword(text), FacetValue::Keyword(other)) => text.cmp(other.as_str()),
        (decoded, other) => value_of(decoded).map_or(Ordering::Greater, |value| value.cmp(other)),
    }
}
