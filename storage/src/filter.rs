//! Filters: from conditions to the bitmap of the points that match.
//!
//! Payload indexes narrow the points down; what they cannot decide is decided on the payloads of those that are left.

use std::collections::HashSet;

use serde_json::Value;
use twofold_types::{Condition, FieldTest, Filter, Match, Payload, PointId};
use twofold_vector::Bitmap;

use crate::error::{InvalidInput, Result};
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::view::View;

/// The most conditions that one filter may hold, nested ones counted.
const MAX_CONDITIONS: usize = 4096;

/// The deepest nesting that is accepted.
const MAX_DEPTH: usize = 32;

/// A filter whose keys were parsed.
pub(crate) struct CompiledFilter {
    must: Vec<Test>,
    should: Vec<Test>,
    must_not: Vec<Test>,
}

enum Test {
    Field {
        key: String,
        path: PayloadPath,
        test: FieldTest,
    },
    IsEmpty(PayloadPath),
    IsNull(PayloadPath),
    HasId(HashSet<PointId>),
    Filter(CompiledFilter),
}

/// What the payload indexes know: no point outside of `points` matches, and where `exact`, all in it do.
struct Narrowed {
    points: Bitmap,
    exact: bool,
}

impl CompiledFilter {
    pub(crate) fn new(filter: &Filter) -> Result<Self, InvalidInput> {
        Self::nested(filter, &mut 0, 0)
    }

    fn nested(filter: &Filter, conditions: &mut usize, depth: usize) -> Result<Self, InvalidInput> {
        if depth > MAX_DEPTH {
            return Err(InvalidInput::Limit {
                what: "nesting of a filter",
                received: depth,
                limit: MAX_DEPTH,
            });
        }
        let mut compile = |list: &[Condition]| -> Result<Vec<Test>, InvalidInput> {
            *conditions += list.len();
            let received = *conditions;
            if received > MAX_CONDITIONS {
                return Err(InvalidInput::Limit {
                    what: "conditions of a filter",
                    received,
                    limit: MAX_CONDITIONS,
                });
            }
            list.iter()
                .map(|condition| Test::new(condition, &mut *conditions, depth))
                .collect()
        };
        Ok(Self {
            must: compile(&filter.must)?,
            should: compile(&filter.should)?,
            must_not: compile(&filter.must_not)?,
        })
    }

    /// Whether a point matches.
    fn matches(&self, id: PointId, payload: &Payload) -> bool {
        self.must.iter().all(|test| test.matches(id, payload))
            && (self.should.is_empty() || self.should.iter().any(|test| test.matches(id, payload)))
            && !self.must_not.iter().any(|test| test.matches(id, payload))
    }

    /// The living points that match.
    pub(crate) fn select(&self, view: &View<'_>) -> Result<Bitmap> {
        let alive = &view.state.alive;
        let narrowed = self.narrow(view)?;
        let mut points = narrowed.points;
        points &= alive;
        if narrowed.exact || points.is_empty() {
            return Ok(points);
        }
        let mut matching = Bitmap::new();
        view.for_each_point(&points, |offset, record| {
            if self.matches(record.id(), &record.payload()?) {
                matching.insert(offset.0);
            }
            Ok(())
        })?;
        Ok(matching)
    }

    fn narrow(&self, view: &View<'_>) -> Result<Narrowed> {
        let mut points = view.state.alive.clone();
        let mut exact = true;
        for test in &self.must {
            match test.narrow(view)? {
                Some(narrowed) => {
                    points &= &narrowed.points;
                    exact &= narrowed.exact;
                }
                None => exact = false,
            }
        }
        if !self.should.is_empty() {
            match self
                .should
                .iter()
                .map(|test| test.narrow(view))
                .collect::<Result<Option<Vec<_>>>>()?
            {
                Some(any) => {
                    exact &= any.iter().all(|narrowed| narrowed.exact);
                    let mut union = Bitmap::new();
                    any.iter().for_each(|narrowed| union |= &narrowed.points);
                    points &= &union;
                }
                None => exact = false,
            }
        }
        for test in &self.must_not {
            match test.narrow(view)? {
                Some(Narrowed {
                    points: excluded,
                    exact: true,
                }) => points -= &excluded,
                _ => exact = false,
            }
        }
        Ok(Narrowed { points, exact })
    }
}

impl Test {
    fn new(condition: &Condition, conditions: &mut usize, depth: usize) -> Result<Self, InvalidInput> {
        Ok(match condition {
            Condition::Field(field) => Self::Field {
                key: field.key.clone(),
                path: PayloadPath::parse(&field.key)?,
                test: field.test.clone(),
            },
            Condition::IsEmpty { is_empty } => Self::IsEmpty(PayloadPath::parse(&is_empty.key)?),
            Condition::IsNull { is_null } => Self::IsNull(PayloadPath::parse(&is_null.key)?),
            Condition::HasId { has_id } => Self::HasId(has_id.iter().copied().collect()),
            Condition::Filter(filter) => Self::Filter(CompiledFilter::nested(filter, conditions, depth + 1)?),
        })
    }

    fn matches(&self, id: PointId, payload: &Payload) -> bool {
        match self {
            Self::Field { path, test, .. } => path.elements(payload).any(|value| field_matches(test, value)),
            Self::IsEmpty(path) => path.get(payload).into_iter().all(|value| match value {
                Value::Null => true,
                Value::Array(elements) => elements.is_empty(),
                _ => false,
            }),
            Self::IsNull(path) => path.get(payload).into_iter().any(|value| match value {
                Value::Null => true,
                Value::Array(elements) => elements.iter().any(Value::is_null),
                _ => false,
            }),
            Self::HasId(ids) => ids.contains(&id),
            Self::Filter(filter) => filter.matches(id, payload),
        }
    }

    fn narrow(&self, view: &View<'_>) -> Result<Option<Narrowed>> {
        let exact = |points| Ok(Some(Narrowed { points, exact: true }));
        match self {
            Self::Field { key, test, .. } => match view.postings(key, test) {
                Some(points) => exact(points),
                None => Ok(None),
            },
            Self::HasId(ids) => {
                let ids: Vec<PointId> = ids.iter().copied().collect();
                let offsets = view.offsets(&ids)?;
                exact(
                    offsets
                        .into_iter()
                        .flatten()
                        .map(|PointOffset(offset)| offset)
                        .collect(),
                )
            }
            Self::Filter(filter) => filter.narrow(view).map(Some),
            Self::IsEmpty(_) | Self::IsNull(_) => Ok(None),
        }
    }
}

fn field_matches(test: &FieldTest, value: &Value) -> bool {
    match test {
        FieldTest::Match(Match::Value(expected)) => expected.matches(value),
        FieldTest::Match(Match::Any(any)) => any.iter().any(|expected| expected.matches(value)),
        FieldTest::Match(Match::Except(except)) => !except.iter().any(|expected| expected.matches(value)),
        FieldTest::Range(range) => value.as_f64().is_some_and(|number| range.contains(number)),
    }
}
