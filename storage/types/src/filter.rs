//! Filters: which points may be answered.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::schema::{OneOrMany, OrNull};
use crate::{Datetime, GeoBoundingBox, GeoPolygon, GeoRadius, Number, PointId, Slice};

/// A boolean combination of conditions. All parts that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// All of these hold.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<OneOrMany<Condition>>)]
    pub must: Vec<Condition>,
    /// At least one of these holds, where there are any.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<OneOrMany<Condition>>)]
    pub should: Vec<Condition>,
    /// None of these holds.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<OneOrMany<Condition>>)]
    pub must_not: Vec<Condition>,
    /// So many of these hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_should: Option<MinShould>,
}

/// Conditions of which some must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MinShould {
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// How many of them, at least 1.
    pub min_count: usize,
}

impl Filter {
    /// Both filters in one, part by part: alternatives of either are alternatives of the whole.
    pub fn merged(&self, other: &Self) -> Self {
        let both = |a: &[Condition], b: &[Condition]| [a, b].concat();
        Self {
            must: both(&self.must, &other.must),
            should: both(&self.should, &other.should),
            must_not: both(&self.must_not, &other.must_not),
            min_should: match (&self.min_should, &other.min_should) {
                (Some(a), Some(b)) => Some(MinShould {
                    conditions: both(&a.conditions, &b.conditions),
                    min_count: a.min_count.max(b.min_count),
                }),
                (a, b) => a.clone().or_else(|| b.clone()),
            },
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items
            .into_iter()
            .map(|item| Condition::deserialize(item).map_err(D::Error::custom))
            .collect(),
        item => Ok(vec![Condition::deserialize(item).map_err(D::Error::custom)?]),
    }
}

/// One condition of a filter.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Condition {
    /// A condition on the values at a payload key.
    Field(FieldCondition),
    /// The key is missing, null or an empty array.
    IsEmpty {
        /// Which key.
        is_empty: PayloadField,
    },
    /// The value at the key is null, or an array that holds null.
    IsNull {
        /// Which key.
        is_null: PayloadField,
    },
    /// The point is one of these.
    HasId {
        /// The ids.
        has_id: Vec<PointId>,
    },
    /// The point has a vector of this name.
    HasVector {
        /// The name.
        has_vector: String,
    },
    /// The point is in a slice of the ids.
    Slice {
        /// Which.
        slice: Slice,
    },
    /// An object in the array at a key matches a filter as a whole.
    Nested {
        /// Key and filter.
        nested: Nested,
    },
    /// A nested filter.
    #[schema(no_recursion)]
    Filter(Filter),
}

/// A filter of the objects in an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nested {
    /// The key of the array; `[]` at its end may be left out.
    pub key: String,
    /// The filter. Its keys are those of an object.
    #[schema(no_recursion)]
    pub filter: Filter,
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct IsEmpty {
            is_empty: PayloadField,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct IsNull {
            is_null: PayloadField,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct HasId {
            has_id: Vec<PointId>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct HasVector {
            has_vector: String,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct InSlice {
            slice: Slice,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct InNested {
            nested: Nested,
        }
        let value = Value::deserialize(deserializer)?;
        let Some(object) = value.as_object() else {
            return Err(D::Error::custom(format!("a condition is an object, not {value}")));
        };
        let has = |key: &str| object.contains_key(key);
        let condition = if has("key") {
            FieldCondition::deserialize(value).map(Self::Field)
        } else if has("is_empty") {
            IsEmpty::deserialize(value).map(|c| Self::IsEmpty { is_empty: c.is_empty })
        } else if has("is_null") {
            IsNull::deserialize(value).map(|c| Self::IsNull { is_null: c.is_null })
        } else if has("has_id") {
            HasId::deserialize(value).map(|c| Self::HasId { has_id: c.has_id })
        } else if has("has_vector") {
            HasVector::deserialize(value).map(|c| Self::HasVector {
                has_vector: c.has_vector,
            })
        } else if has("slice") {
            InSlice::deserialize(value).map(|c| Self::Slice { slice: c.slice })
        } else if has("nested") {
            InNested::deserialize(value).map(|c| Self::Nested { nested: c.nested })
        } else if has("must") || has("should") || has("must_not") || has("min_should") {
            Filter::deserialize(value).map(Self::Filter)
        } else {
            let keys: Vec<_> = object.keys().map(String::as_str).collect();
            return Err(D::Error::custom(format!(
                "unknown condition with keys [{}]: `key` with a test, `is_empty`, `is_null`, `has_id`, `has_vector`, `slice`, `nested` \
                 and `must`, `should`, `must_not`, `min_should` are accepted",
                keys.join(", ")
            )));
        };
        condition.map_err(D::Error::custom)
    }
}

/// A payload key, with `.` between the levels of nested objects and `[]` for the elements of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayloadField {
    /// The key.
    pub key: String,
}

/// A condition on the values at a payload key; of an array, any element may meet it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FieldCondition {
    /// The payload key.
    pub key: String,
    /// What its value must be.
    #[serde(flatten)]
    pub test: FieldTest,
}

/// The test of a [`FieldCondition`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldTest {
    /// A value equal to, or in, or not in the given ones.
    Match(Match),
    /// A number or a moment within bounds.
    Range(RangeTest),
    /// A place inside of a rectangle.
    GeoBoundingBox(GeoBoundingBox),
    /// A place inside of a circle.
    GeoRadius(GeoRadius),
    /// A place inside of an area.
    GeoPolygon(GeoPolygon),
    /// So many values.
    ValuesCount(ValuesCount),
    /// Whether the key is missing, null or an empty array.
    IsEmpty(bool),
    /// Whether the value is null, or an array that holds null.
    IsNull(bool),
}

/// Bounds of the number of values at a key: of the elements of an array, 1 for any other value, 0 for null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValuesCount {
    /// Less than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lt: Option<usize>,
    /// Less than or equal to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lte: Option<usize>,
    /// Greater than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gt: Option<usize>,
    /// Greater than or equal to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gte: Option<usize>,
}

impl ValuesCount {
    /// Whether a number lies within the bounds.
    pub fn contains(&self, count: usize) -> bool {
        self.lt.is_none_or(|bound| count < bound)
            && self.lte.is_none_or(|bound| count <= bound)
            && self.gt.is_none_or(|bound| count > bound)
            && self.gte.is_none_or(|bound| count >= bound)
    }
}

/// The names of [`FieldTest`]s.
const TESTS: [&str; 8] = [
    "match",
    "range",
    "geo_bounding_box",
    "geo_radius",
    "geo_polygon",
    "values_count",
    "is_empty",
    "is_null",
];

impl<'de> Deserialize<'de> for FieldCondition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Clients write out every test they know, with null for the ones that are not set.
        let mut object = serde_json::Map::deserialize(deserializer)?;
        object.retain(|_, value| !value.is_null());
        let key = match object.remove("key") {
            Some(Value::String(key)) => key,
            other => {
                return Err(D::Error::custom(format!(
                    "`key` is a string, not {}",
                    other.unwrap_or_default()
                )));
            }
        };
        fn of<T: serde::de::DeserializeOwned, E: serde::de::Error>(
            test: fn(T) -> FieldTest,
            value: Value,
        ) -> Result<FieldTest, E> {
            serde_json::from_value(value).map(test).map_err(E::custom)
        }
        let mut tests = object.into_iter();
        let (Some((name, value)), None) = (tests.next(), tests.next()) else {
            let accepted = TESTS.join("`, `");
            return Err(D::Error::custom(format!(
                "a condition on `{key}` takes one of `{accepted}`"
            )));
        };
        let test = match name.as_str() {
            "match" => of(FieldTest::Match, value),
            "range" => of(FieldTest::Range, value),
            "geo_bounding_box" => of(FieldTest::GeoBoundingBox, value),
            "geo_radius" => of(FieldTest::GeoRadius, value),
            "geo_polygon" => match serde_json::from_value::<GeoPolygon>(value) {
                Ok(polygon) if polygon.is_closed() => Ok(FieldTest::GeoPolygon(polygon)),
                Ok(_) => Err(D::Error::custom(
                    "a line of a `geo_polygon` has at least 4 points, of which the last is the first",
                )),
                Err(error) => Err(D::Error::custom(error)),
            },
            "values_count" => of(FieldTest::ValuesCount, value),
            "is_empty" => of(FieldTest::IsEmpty, value),
            "is_null" => of(FieldTest::IsNull, value),
            _ => Err(D::Error::custom(format!(
                "unknown test `{name}` of `{key}`: `{}` are accepted",
                TESTS.join("`, `")
            ))),
        }?;
        Ok(Self { key, test })
    }
}

/// Equality with given values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Equal to this.
    Value(MatchValue),
    /// Equal to one of these; nothing is, where there are none.
    Any(Vec<MatchValue>),
    /// There is a value that is none of these.
    Except(Vec<MatchValue>),
    /// A text with all the words of this.
    Text(String),
    /// A text with any of the words of this.
    TextAny(String),
    /// A text with the words of this, one after another.
    Phrase(String),
    /// A text that begins with this, letter by letter.
    Prefix(String),
    /// A text that holds this, letter by letter.
    Substring(String),
}

/// A value that can be matched exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(untagged)]
pub enum MatchValue {
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A string.
    Keyword(String),
}

impl<'de> Deserialize<'de> for MatchValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(value) => Ok(Self::Bool(value)),
            Value::String(value) => Ok(Self::Keyword(value)),
            Value::Number(number) if number.as_i64().is_some() => {
                Ok(Self::Integer(number.as_i64().unwrap_or_default()))
            }
            other => Err(D::Error::custom(format!(
                "cannot match {other}: a string, an integer or a boolean is accepted"
            ))),
        }
    }
}

impl MatchValue {
    /// Whether a payload value is this one.
    pub fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool(expected), Value::Bool(value)) => expected == value,
            (Self::Integer(expected), value) => Number::of(value) == Some(Number::from(*expected)),
            (Self::Keyword(expected), Value::String(value)) => {
                expected == value || uuid_of(value).is_some_and(|id| uuid_of(expected) == Some(id))
            }
            _ => false,
        }
    }
}

/// The UUID that a text spells: with or without hyphens, in any case, in braces or as a URN. Texts that spell the same one
/// are equal.
pub fn uuid_of(text: &str) -> Option<Uuid> {
    const SPELLINGS: std::ops::RangeInclusive<usize> = 32..=45;
    SPELLINGS.contains(&text.len()).then(|| Uuid::parse_str(text).ok())?
}

/// Bounds of numbers or of moments, as the bounds are written.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RangeTest {
    /// A number within bounds.
    Number(Range<Number>),
    /// A text that is a moment within bounds.
    Datetime(Range<Datetime>),
}

impl RangeTest {
    /// Whether a payload value lies within the bounds.
    pub fn contains(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Number(range), value) => Number::of(value).is_some_and(|number| range.contains(number)),
            (Self::Datetime(range), Value::String(text)) => text.parse().is_ok_and(|moment| range.contains(moment)),
            (Self::Datetime(_), _) => false,
        }
    }
}

impl<'de> Deserialize<'de> for RangeTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let has_text = value
            .as_object()
            .is_some_and(|bounds| bounds.values().any(Value::is_string));
        match has_text {
            true => Range::deserialize(value).map(Self::Datetime),
            false => Range::deserialize(value).map(Self::Number),
        }
        .map_err(D::Error::custom)
    }
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Range<T> {
    /// Less than.
    #[schema(value_type = OrNull<T>)]
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub lt: Option<T>,
    /// Less than or equal to.
    #[schema(value_type = OrNull<T>)]
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub lte: Option<T>,
    /// Greater than.
    #[schema(value_type = OrNull<T>)]
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub gt: Option<T>,
    /// Greater than or equal to.
    #[schema(value_type = OrNull<T>)]
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub gte: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T: PartialOrd> Range<T> {
    /// Whether a value lies within the bounds.
    pub fn contains(&self, value: T) -> bool {
        self.lt.as_ref().is_none_or(|bound| value < *bound)
            && self.lte.as_ref().is_none_or(|bound| value <= *bound)
            && self.gt.as_ref().is_none_or(|bound| value > *bound)
            && self.gte.as_ref().is_none_or(|bound| value >= *bound)
    }
}

#[cfg(test)]
mod tests;
