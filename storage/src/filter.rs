//! Filters: from conditions to the bitmap of the points that match.
//!
//! Payload indexes narrow the points down, the condition with the fewest points first; what they cannot decide is decided on
//! the payloads of those that are left.

use std::collections::HashSet;

use serde_json::Value;
use twofold_types::{Condition, FieldTest, Filter, Match, Payload, PointId};
use twofold_vector::{Bitmap, Union};

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

/// What the payload indexes know: no point outside of `points` matches, and where `exact`, all in it do. They live.
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
        let Narrowed { points, exact } = self.narrow(view, view.state.alive.len())?;
        if exact || points.is_empty() {
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

    /// How many points match, at most, as far as that is known without looking for them.
    fn estimate(&self, view: &View<'_>) -> u64 {
        let must = self.must.iter().map(|test| test.estimate(view));
        let should = self.should.iter().map(|test| test.estimate(view));
        let should = should.reduce(u64::saturating_add);
        must.chain(should).min().unwrap_or(u64::MAX)
    }

    /// What is left of `left` points that the rest of a filter leaves.
    fn narrow(&self, view: &View<'_>, left: u64) -> Result<Narrowed> {
        let mut narrowed = Left {
            points: None,
            exact: true,
            others: left,
        };
        let mut must: Vec<(u64, &Test)> = self.must.iter().map(|test| (test.estimate(view), test)).collect();
        must.sort_by_key(|(estimate, _)| *estimate);
        for (_, test) in must {
            if narrowed.len() == 0 {
                break;
            }
            match test.narrow(view, narrowed.len())? {
                Some(of_test) => narrowed.keep(of_test),
                None => narrowed.exact = false,
            }
        }
        if !self.should.is_empty() && narrowed.len() > 0 {
            let any = self.should.iter().map(|test| test.narrow(view, narrowed.len()));
            match any.collect::<Result<Option<Vec<_>>>>()? {
                Some(any) => {
                    let mut union = Union::default();
                    any.iter().for_each(|of_test| union.add(&of_test.points));
                    narrowed.keep(Narrowed {
                        points: union.into(),
                        exact: any.iter().all(|of_test| of_test.exact),
                    });
                }
                None => narrowed.exact = false,
            }
        }
        for test in &self.must_not {
            if narrowed.len() == 0 {
                break;
            }
            match test.narrow(view, narrowed.len())? {
                Some(Narrowed { points, exact: true }) => *narrowed.points_mut(view) -= &points,
                _ => narrowed.exact = false,
            }
        }
        Ok(Narrowed {
            exact: narrowed.exact || narrowed.len() == 0,
            points: narrowed.points.unwrap_or_else(|| view.state.alive.clone()),
        })
    }
}

/// The points that are left while conditions are looked up; without `points`, all that live.
struct Left {
    points: Option<Bitmap>,
    exact: bool,
    /// How many the rest of the filter leaves.
    others: u64,
}

impl Left {
    fn len(&self) -> u64 {
        let own = self.points.as_ref().map_or(u64::MAX, Bitmap::len);
        own.min(self.others)
    }

    fn points_mut(&mut self, view: &View<'_>) -> &mut Bitmap {
        self.points.get_or_insert_with(|| view.state.alive.clone())
    }

    fn keep(&mut self, narrowed: Narrowed) {
        self.exact &= narrowed.exact;
        match &mut self.points {
            Some(points) => *points &= &narrowed.points,
            None => self.points = Some(narrowed.points),
        }
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

    /// How many points pass, at most, as far as that is known without looking for them.
    fn estimate(&self, view: &View<'_>) -> u64 {
        match self {
            Self::Field { key, test, .. } => view.estimate(key, test).unwrap_or(u64::MAX),
            Self::HasId(ids) => ids.len() as u64,
            Self::Filter(filter) => filter.estimate(view),
            Self::IsEmpty(_) | Self::IsNull(_) => u64::MAX,
        }
    }

    /// The points that pass, where the indexes know; `left` of them matter.
    fn narrow(&self, view: &View<'_>, left: u64) -> Result<Option<Narrowed>> {
        let exact = |points| Narrowed { points, exact: true };
        match self {
            Self::Field { key, test, .. } => Ok(view.postings(key, test, left)?.map(exact)),
            Self::HasId(ids) => {
                let ids: Vec<PointId> = ids.iter().copied().collect();
                let offsets = view.offsets(&ids)?.into_iter().flatten();
                Ok(Some(exact(offsets.map(|PointOffset(offset)| offset).collect())))
            }
            Self::Filter(filter) => filter.narrow(view, left).map(Some),
            Self::IsEmpty(_) | Self::IsNull(_) => Ok(None),
        }
    }
}

fn field_matches(test: &FieldTest, value: &Value) -> bool {
    match test {
        FieldTest::Match(Match::Value(expected)) => expected.matches(value),
        FieldTest::Match(Match::Any(any)) => any.iter().any(|expected| expected.matches(value)),
        FieldTest::Match(Match::Except(except)) => !except.iter().any(|expected| expected.matches(value)),
        FieldTest::Range(range) => range.contains(value),
    }
}
