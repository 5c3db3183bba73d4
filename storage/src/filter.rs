//! Filters: from conditions to the bitmap of the points that match.
//!
//! Payload indexes narrow the points down, the condition with the fewest points first; what they cannot decide is decided on
//! the payloads of those that are left.

use std::collections::HashSet;

use serde_json::Value;
use twofold_types::{Condition, FieldTest, Filter, GeoPoint, Match, MinShould, Payload, PointId, Slice};
use twofold_vector::{Bitmap, Union};

use crate::error::{InvalidInput, Result, check_deadline};
use crate::key::PointOffset;
use crate::path::PayloadPath;
use crate::record::FieldKind;
use crate::state::{Schema, State};
use crate::view::View;
use crate::words::Words;

/// The most conditions that one filter may hold, nested ones counted.
const MAX_CONDITIONS: usize = 4096;

/// The deepest nesting that is accepted.
const MAX_DEPTH: usize = 32;

/// A filter whose keys were parsed.
pub(crate) struct CompiledFilter {
    must: Vec<Test>,
    should: Vec<Test>,
    must_not: Vec<Test>,
    /// Of these, so many.
    min_should: Option<(Vec<Test>, usize)>,
}

/// A point that a filter is decided on.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) payload: &'a Payload,
    /// None of an object inside of a payload.
    pub(crate) point: Option<(&'a State, PointOffset, PointId)>,
}

enum Test {
    Field {
        key: String,
        path: PayloadPath,
        test: FieldTest,
        /// What is looked for of texts, and how their words are found.
        sought: Option<(Words, Vec<String>)>,
    },
    HasVector(String),
    /// Of an array of objects.
    Nested(PayloadPath, CompiledFilter),
    IsEmpty(PayloadPath),
    IsNull(PayloadPath),
    HasId(HashSet<PointId>),
    Slice(Slice),
    Filter(CompiledFilter),
}

/// What the payload indexes know: no point outside of `points` matches, and where `exact`, all in it do. They live.
pub(crate) struct Narrowed {
    pub(crate) points: Bitmap,
    pub(crate) exact: bool,
}

impl CompiledFilter {
    pub(crate) fn new(filter: &Filter, schema: &Schema) -> Result<Self, InvalidInput> {
        Self::nested(filter, schema, &mut 0, 0)
    }

    fn nested(filter: &Filter, schema: &Schema, conditions: &mut usize, depth: usize) -> Result<Self, InvalidInput> {
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
                .map(|condition| Test::new(condition, schema, &mut *conditions, depth))
                .collect()
        };
        Ok(Self {
            must: compile(&filter.must)?,
            should: compile(&filter.should)?,
            must_not: compile(&filter.must_not)?,
            min_should: match &filter.min_should {
                Some(MinShould { min_count: 0, .. }) => {
                    return Err(InvalidInput::Query("`min_count` of `min_should` is at least 1"));
                }
                Some(min_should) => Some((compile(&min_should.conditions)?, min_should.min_count)),
                None => None,
            },
        })
    }

    /// Whether a point matches.
    pub(crate) fn matches(&self, subject: Subject<'_>) -> bool {
        let passes = |test: &Test| test.matches(subject);
        self.must.iter().all(passes)
            && (self.should.is_empty() || self.should.iter().any(passes))
            && !self.must_not.iter().any(passes)
            && self
                .min_should
                .as_ref()
                .is_none_or(|(tests, least)| tests.iter().filter(|test| passes(test)).take(*least).count() == *least)
    }

    /// The living points that match.
    pub(crate) fn select(&self, view: &View<'_>) -> Result<Bitmap> {
        let Narrowed { points, exact } = self.narrow(view, view.state.alive.len())?;
        check_deadline()?;
        if exact || points.is_empty() {
            return Ok(points);
        }
        let mut matching = Bitmap::new();
        view.for_each_point(&points, |offset, record| {
            let payload = record.payload()?;
            let subject = Subject {
                payload: &payload,
                point: Some((&view.state, offset, record.id())),
            };
            if self.matches(subject) {
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
        let mut must: Vec<&Test> = self.must.iter().collect();
        // Of a single one nothing is estimated.
        must.sort_by_cached_key(|test| test.estimate(view));
        for test in must {
            if narrowed.len() == 0 {
                break;
            }
            narrowed.keep(test.narrow(view, narrowed.len())?);
        }
        if !self.should.is_empty() && narrowed.len() > 0 {
            narrowed.keep(any_of(&self.should, view, narrowed.len())?);
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
        if let Some((tests, least)) = &self.min_should
            && narrowed.len() > 0
        {
            // At least one passes, however many must.
            let any = any_of(tests, view, narrowed.len())?;
            narrowed.keep(any.map(|Narrowed { points, exact }| Narrowed {
                points,
                exact: exact && *least == 1,
            }));
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

    /// Leaves out what a part of the filter excludes, as far as the indexes know.
    fn keep(&mut self, known: Option<Narrowed>) {
        let Some(narrowed) = known else {
            self.exact = false;
            return;
        };
        self.exact &= narrowed.exact;
        match &mut self.points {
            Some(points) => *points &= &narrowed.points,
            None => self.points = Some(narrowed.points),
        }
    }
}

/// The points that pass one of the tests, where the indexes know; `left` of them matter.
fn any_of(tests: &[Test], view: &View<'_>, left: u64) -> Result<Option<Narrowed>> {
    let any = tests.iter().map(|test| test.narrow(view, left));
    let any = any.collect::<Result<Option<Vec<_>>>>()?;
    Ok(any.map(|any| {
        let mut union = Union::default();
        any.iter().for_each(|of_test| union.add(&of_test.points));
        Narrowed {
            points: union.into(),
            exact: any.iter().all(|of_test| of_test.exact),
        }
    }))
}

impl Test {
    fn new(condition: &Condition, schema: &Schema, conditions: &mut usize, depth: usize) -> Result<Self, InvalidInput> {
        Ok(match condition {
            Condition::Field(field) => Self::Field {
                key: field.key.clone(),
                path: PayloadPath::parse(&field.key)?,
                sought: sought(schema, &field.key, &field.test),
                test: field.test.clone(),
            },
            Condition::IsEmpty { is_empty } => Self::IsEmpty(PayloadPath::parse(&is_empty.key)?),
            Condition::IsNull { is_null } => Self::IsNull(PayloadPath::parse(&is_null.key)?),
            Condition::HasId { has_id } => Self::HasId(has_id.iter().copied().collect()),
            Condition::Slice { slice } => Self::Slice(*slice),
            Condition::HasVector { has_vector } => Self::HasVector(has_vector.clone()),
            Condition::Nested { nested } => Self::Nested(
                PayloadPath::parse(&nested.key)?.to_array(),
                CompiledFilter::nested(&nested.filter, schema, conditions, depth + 1)?,
            ),
            Condition::Filter(filter) => Self::Filter(CompiledFilter::nested(filter, schema, conditions, depth + 1)?),
        })
    }

    fn matches(&self, subject: Subject<'_>) -> bool {
        let payload = subject.payload;
        match self {
            Self::Field {
                path,
                test: FieldTest::ValuesCount(bounds),
                ..
            } => {
                let values = path.get(payload);
                let mut counts = values.iter().map(|value| count(value));
                counts.any(|count| bounds.contains(count)) || values.is_empty() && bounds.contains(0)
            }
            Self::Field {
                path,
                test: FieldTest::IsEmpty(expected),
                ..
            } => is_empty(path, payload) == *expected,
            Self::Field {
                path,
                test: FieldTest::IsNull(expected),
                ..
            } => is_null(path, payload) == *expected,
            Self::Field { path, test, sought, .. } => path
                .elements(payload)
                .any(|value| field_matches(test, sought.as_ref(), value)),
            Self::IsEmpty(path) => is_empty(path, payload),
            Self::IsNull(path) => is_null(path, payload),
            Self::HasId(ids) => subject.point.is_some_and(|(_, _, id)| ids.contains(&id)),
            Self::Slice(slice) => subject.point.is_some_and(|(_, _, id)| slice.contains(id)),
            Self::HasVector(name) => subject.point.is_some_and(|(state, offset, _)| {
                let slot = state.schema.slot(name);
                slot.is_ok_and(|slot| state.present(slot).contains(offset.0))
            }),
            Self::Nested(path, filter) => {
                let arrays = path.get(payload).into_iter().filter_map(Value::as_array);
                let mut objects = arrays.flatten().filter_map(Value::as_object);
                objects.any(|object| {
                    filter.matches(Subject {
                        payload: object,
                        point: None,
                    })
                })
            }
            Self::Filter(filter) => filter.matches(subject),
        }
    }

    /// How many points pass, at most, as far as that is known without looking for them.
    fn estimate(&self, view: &View<'_>) -> u64 {
        match self {
            Self::Field { key, test, .. } => view.estimate(key, test).unwrap_or(u64::MAX),
            Self::HasId(ids) => ids.len() as u64,
            Self::Filter(filter) => filter.estimate(view),
            Self::HasVector(name) => match view.state.schema.slot(name) {
                Ok(slot) => view.state.present(slot).len(),
                Err(_) => 0,
            },
            Self::Slice(_) | Self::IsEmpty(_) | Self::IsNull(_) | Self::Nested(..) => u64::MAX,
        }
    }

    /// The points that pass, where the indexes know; `left` of them matter.
    fn narrow(&self, view: &View<'_>, left: u64) -> Result<Option<Narrowed>> {
        let exact = |points| Narrowed { points, exact: true };
        match self {
            Self::Field { key, test, .. } => view.postings(key, test, left),
            Self::HasId(ids) => {
                let ids: Vec<PointId> = ids.iter().copied().collect();
                let offsets = view.offsets(&ids)?.into_iter().flatten();
                Ok(Some(exact(offsets.map(|PointOffset(offset)| offset).collect())))
            }
            Self::Slice(slice) => {
                let State { alive, labels, .. } = &*view.state;
                let of_slice = |offset: &u32| slice.contains(labels.get(PointOffset(*offset)).id);
                Ok(Some(exact(alive.iter().filter(of_slice).collect())))
            }
            Self::Filter(filter) => filter.narrow(view, left).map(Some),
            Self::HasVector(name) => Ok(Some(exact(match view.state.schema.slot(name) {
                Ok(slot) => view.state.present(slot).clone(),
                Err(_) => Bitmap::new(),
            }))),
            Self::IsEmpty(_) | Self::IsNull(_) | Self::Nested(..) => Ok(None),
        }
    }
}

/// What a full-text test looks for. Where there is a text index, it says how words are found.
fn sought(schema: &Schema, key: &str, test: &FieldTest) -> Option<(Words, Vec<String>)> {
    let FieldTest::Match(Match::Text(text) | Match::TextAny(text) | Match::Phrase(text)) = test else {
        return None;
    };
    let field = schema.fields.iter().find(|field| field.key == key);
    let words = field.filter(|field| field.kind == FieldKind::Text);
    let words = words.map(|field| field.words.clone()).unwrap_or_default();
    let sought = match test {
        FieldTest::Match(Match::Phrase(_)) => words.of(text),
        _ => words.sought(text),
    };
    Some((words, sought))
}

/// How many values a value is.
fn count(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Array(elements) => elements.len(),
        _ => 1,
    }
}

fn is_empty(path: &PayloadPath, payload: &Payload) -> bool {
    path.get(payload).into_iter().all(|value| count(value) == 0)
}

fn is_null(path: &PayloadPath, payload: &Payload) -> bool {
    path.get(payload).into_iter().any(|value| match value {
        Value::Null => true,
        Value::Array(elements) => elements.iter().any(Value::is_null),
        _ => false,
    })
}

fn field_matches(test: &FieldTest, sought: Option<&(Words, Vec<String>)>, value: &Value) -> bool {
    let text = |holds: &dyn Fn(&Words, &[String], &str) -> bool| match (sought, value) {
        (Some((words, sought)), Value::String(text)) => holds(words, sought, text),
        _ => false,
    };
    match test {
        FieldTest::Match(Match::Value(expected)) => expected.matches(value),
        FieldTest::Match(Match::Any(any)) => any.iter().any(|expected| expected.matches(value)),
        FieldTest::Match(Match::Except(except)) => {
            !value.is_null() && !except.iter().any(|expected| expected.matches(value))
        }
        FieldTest::Match(Match::Text(_)) => text(&|words, sought, text| words.holds(text, sought, true)),
        FieldTest::Match(Match::TextAny(_)) => text(&|words, sought, text| words.holds(text, sought, false)),
        FieldTest::Match(Match::Phrase(_)) => text(&|words, sought, text| words.holds_phrase(text, sought)),
        FieldTest::Match(Match::Prefix(prefix)) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
        FieldTest::Match(Match::Substring(part)) => value.as_str().is_some_and(|text| text.contains(part)),
        FieldTest::Range(range) => range.contains(value),
        FieldTest::GeoBoundingBox(bounds) => GeoPoint::of(value).is_some_and(|point| bounds.contains(point)),
        FieldTest::GeoRadius(circle) => GeoPoint::of(value).is_some_and(|point| circle.contains(point)),
        FieldTest::GeoPolygon(polygon) => GeoPoint::of(value).is_some_and(|point| polygon.contains(point)),
        // Of all values at the key together, not of each.
        FieldTest::ValuesCount(_) | FieldTest::IsEmpty(_) | FieldTest::IsNull(_) => false,
    }
}
