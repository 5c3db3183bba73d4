//! Points in the order of their ids, or of the values at a payload key.

use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use serde_json::Value;
use twofold_types::api::{Direction, OrderBy, StartFrom};
use twofold_types::{Datetime, Number, OrderValue, PointId};
use twofold_vector::{Bitmap, Watch};

use super::Hit;
use crate::error::{Result, check_deadline};
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::posting::OTHER;
use crate::rocks::Cf;
use crate::view::{VALUES_PER_READ, View, offset_of};

/// So many ids are looked at in memory in the time of one that is read.
const IDS_PER_READ: u64 = 16;

/// The order that is asked for.
struct Order<'a> {
    key: &'a str,
    path: PayloadPath,
    descending: bool,
    start: Option<StartFrom>,
}

/// A value that points are ordered by, as it compares and as it is answered, and a point that has it.
type Ordered = (Number, OrderValue, u32);

impl View<'_> {
    /// The first points by id, from `start` on: of a set, or of all.
    pub(crate) fn first_by_id(
        &self,
        set: Option<&Bitmap>,
        start: Option<PointId>,
        k: usize,
    ) -> Result<Vec<PointOffset>> {
        // Ids are read in their order, unless few of them are of the set.
        let most = set.map_or(u64::MAX, |set| (set.len() / IDS_PER_READ).saturating_add(k as u64));
        let mut found = Vec::new();
        let mut watch = Watch::every(4096);
        let key = start.map_or(Vec::new(), |id| self.collection.id_key(id));
        for (read, entry) in (0..).zip(self.snapshot.scan(Cf::Ids, &self.collection.key(), &key)) {
            if watch.missed() {
                check_deadline()?;
            }
            if found.len() >= k {
                return Ok(found);
            }
            let offset = offset_of(&entry?.1)?;
            match set {
                Some(set) if read > most => return self.first_of(set, start, k),
                Some(set) if !set.contains(offset.0) => {}
                _ => found.push(offset),
            }
        }
        Ok(found)
    }

    /// The same, by the ids that are in memory.
    fn first_of(&self, set: &Bitmap, start: Option<PointId>, k: usize) -> Result<Vec<PointOffset>> {
        let mut watch = Watch::every(4096);
        // The last on top.
        let mut first: BinaryHeap<(PointId, u32)> = BinaryHeap::new();
        for offset in set.iter() {
            if watch.missed() {
                check_deadline()?;
            }
            let id = self.state.labels.get(PointOffset(offset)).id;
            if start.is_some_and(|start| id < start) {
                continue;
            }
            if first.len() < k {
                first.push((id, offset));
            } else if first.peek().is_some_and(|(last, _)| id < *last) {
                first.pop();
                first.push((id, offset));
            }
        }
        let first = first.into_sorted_vec().into_iter();
        Ok(first.map(|(_, offset)| PointOffset(offset)).collect())
    }

    /// The first of the masked points by id.
    pub(super) fn by_id(&self, mask: &Bitmap, k: usize) -> Result<Vec<Hit>> {
        let set = (mask.len() < self.state.alive.len()).then_some(mask);
        let first = self.first_by_id(set, None, k)?.into_iter();
        Ok(first.map(|offset| Hit::new(offset.0, 1.0)).collect())
    }

    /// The first of the masked points by the numbers and moments at a key; a point with several is there with each.
    pub(crate) fn by_value(&self, order_by: &OrderBy, mask: &Bitmap, k: usize) -> Result<Vec<Hit>> {
        let order = Order {
            key: &order_by.key,
            path: PayloadPath::parse(&order_by.key)?,
            descending: order_by.direction == Some(Direction::Desc),
            start: order_by.start_from,
        };
        let mut values = match self.indexed_order(&order, mask, k)? {
            Some(values) => values,
            None => self.ordered(&order, mask)?,
        };
        values.sort_by(|(a, _, a_offset), (b, _, b_offset)| {
            let by_value = a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
            let by_value = if order.descending { by_value.reverse() } else { by_value };
            by_value.then(a_offset.cmp(b_offset))
        });
        let hits = values.into_iter().take(k).map(|(_, value, offset)| Hit {
            offset,
            score: 1.0,
            order: Some(value),
        });
        Ok(hits.collect())
    }

    /// The values of some points, by their payloads.
    fn ordered(&self, order: &Order<'_>, points: &Bitmap) -> Result<Vec<Ordered>> {
        let start = order.start.map(|start| match start {
            StartFrom::Number(number) => number,
            StartFrom::Datetime(moment) => moment.microseconds().into(),
        });
        let mut values: Vec<Ordered> = Vec::new();
        self.for_each_point(points, |offset, record| {
            let payload = record.payload()?;
            let first = values.len();
            for value in order.path.elements(&payload) {
                let Some((number, value)) = order_value(value) else {
                    continue;
                };
                let begun = start.is_none_or(|start| match order.descending {
                    true => number <= start,
                    false => number >= start,
                });
                if begun && values[first..].iter().all(|(known, ..)| *known != number) {
                    values.push((number, value, offset.0));
                }
            }
            Ok(())
        })?;
        Ok(values)
    }

    /// At least the first `k` values in the order, as a column tells; none without one, or where it is quicker to read the payloads.
    fn indexed_order(&self, order: &Order<'_>, mask: &Bitmap, k: usize) -> Result<Option<Vec<Ordered>>> {
        let Some((field, column)) = self.column(order.key) else {
            return Ok(None);
        };
        let Some(range) = field.ordered_range(order.start, order.descending) else {
            return Ok(None);
        };
        if mask.len().saturating_mul(VALUES_PER_READ) < column.postings() {
            return Ok(None);
        }
        // Points with values that the index does not hold.
        let others = column.points_in(OTHER, mask);
        let mut rest = mask.clone();
        rest -= &others;
        let mut first: Vec<(Vec<u8>, PointOffset)> = Vec::new();
        let (mut watch, mut checked) = (Watch::every(4096), Ok(()));
        column.in_order(&range, order.descending, &rest, |value, offset| {
            if watch.missed() {
                checked = check_deadline();
            }
            if first.len() >= k || checked.is_err() {
                return ControlFlow::Break(());
            }
            first.push((value.to_vec(), PointOffset(offset)));
            ControlFlow::Continue(())
        });
        checked?;
        let offsets: Vec<PointOffset> = first.iter().map(|(_, offset)| *offset).collect();
        let mut values = self.ordered(order, &others)?;
        for ((encoded, offset), record) in first.into_iter().zip(self.points(&offsets)?) {
            let Some(record) = record else { continue };
            let payload = record.payload()?;
            // The encoding does not tell 1 from 1.0.
            if let Some((number, value)) = field.value_at(&payload, &encoded).and_then(order_value) {
                values.push((number, value, offset.0));
            }
        }
        Ok(Some(values))
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
