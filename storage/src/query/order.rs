//! Points in the order of their ids, or of the values at a payload key.

use serde_json::Value;
use twofold_types::api::{Direction, OrderBy, StartFrom};
use twofold_types::{Datetime, Number, OrderValue};
use twofold_vector::{Bitmap, Watch};

use super::Hit;
use crate::error::{Result, check_deadline};
use crate::path::PayloadPath;
use crate::rocks::Cf;
use crate::view::{View, offset_of};

impl View<'_> {
    /// The first of the masked points by id.
    pub(super) fn by_id(&self, mask: &Bitmap, k: usize) -> Result<Vec<Hit>> {
        let mut hits = Vec::new();
        let mut watch = Watch::every(4096);
        for entry in self.snapshot.scan(Cf::Ids, &self.collection.key(), &[]) {
            if watch.missed() {
                check_deadline()?;
            }
            if hits.len() >= k {
                break;
            }
            let offset = offset_of(&entry?.1)?.0;
            if mask.contains(offset) {
                hits.push(Hit::new(offset, 1.0));
            }
        }
        Ok(hits)
    }

    /// The first of the masked points by the numbers and moments at a key; a point with several is there with each.
    pub(crate) fn by_value(&self, order_by: &OrderBy, mask: &Bitmap, k: usize) -> Result<Vec<Hit>> {
        let path = PayloadPath::parse(&order_by.key)?;
        let descending = order_by.direction == Some(Direction::Desc);
        let start = order_by.start_from.map(|start| match start {
            StartFrom::Number(number) => number,
            StartFrom::Datetime(moment) => moment.microseconds().into(),
        });
        let mut values: Vec<(Number, OrderValue, u32)> = Vec::new();
        self.for_each_point(mask, |offset, record| {
            let payload = record.payload()?;
            let first = values.len();
            for value in path.elements(&payload) {
                let Some((number, value)) = order_value(value) else {
                    continue;
                };
                let begun = start.is_none_or(|start| match descending {
                    true => number <= start,
                    false => number >= start,
                });
                if begun && values[first..].iter().all(|(known, ..)| *known != number) {
                    values.push((number, value, offset.0));
                }
            }
            Ok(())
        })?;
        values.sort_by(|(a, _, a_offset), (b, _, b_offset)| {
            let by_value = a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
            let by_value = if descending { by_value.reverse() } else { by_value };
            by_value.then(a_offset.cmp(b_offset))
        });
        let hits = values.into_iter().take(k).map(|(_, value, offset)| Hit {
            offset,
            score: 1.0,
            order: Some(value),
        });
        Ok(hits.collect())
    }
}

fn order_value(value: &Value) -> Option<(Number, OrderValue)> {
    match value {
        Value::String(text) => {
            let moment = text.parse::<Datetime>().ok()?.microseconds();
            Some((moment.into(), OrderValue::Integer(moment)))
        }
        value => {
            let number = Number::of(value)?;
            let order = match value.as_i64() {
                Some(integer) => OrderValue::Integer(integer),
                None => OrderValue::Float(value.as_f64()?),
            };
            Some((number, order))
        }
    }
}
