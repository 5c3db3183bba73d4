//! Filters: which points may be answered.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::PointId;

/// A boolean combination of conditions. All parts that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// All of these hold.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub must: Vec<Condition>,
    /// At least one of these holds, where there are any.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub should: Vec<Condition>,
    /// None of these holds.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub must_not: Vec<Condition>,
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// A nested filter.
    Filter(Filter),
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
        } else if has("must") || has("should") || has("must_not") {
            Filter::deserialize(value).map(Self::Filter)
        } else {
            let keys: Vec<_> = object.keys().map(String::as_str).collect();
            return Err(D::Error::custom(format!(
                "unknown condition with keys [{}]: `key` with `match` or `range`, `is_empty`, `is_null`, `has_id` \
                 and nested `must`, `should`, `must_not` are accepted",
                keys.join(", ")
            )));
        };
        condition.map_err(D::Error::custom)
    }
}

/// A payload key, with `.` between the levels of nested objects and `[]` for the elements of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadField {
    /// The key.
    pub key: String,
}

/// A condition on the values at a payload key; of an array, any element may meet it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldCondition {
    /// The payload key.
    pub key: String,
    /// What its value must be.
    #[serde(flatten)]
    pub test: FieldTest,
}

/// The test of a [`FieldCondition`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldTest {
    /// A value equal to, or in, or not in the given ones.
    Match(Match),
    /// A number within bounds.
    Range(Range),
}

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
        let mut tests = object.into_iter();
        let test = match (tests.next(), tests.next()) {
            (Some((name, value)), None) if name == "match" => Match::deserialize(value)
                .map(FieldTest::Match)
                .map_err(D::Error::custom)?,
            (Some((name, value)), None) if name == "range" => Range::deserialize(value)
                .map(FieldTest::Range)
                .map_err(D::Error::custom)?,
            (Some((name, _)), None) => {
                return Err(D::Error::custom(format!(
                    "unknown test `{name}` of `{key}`: `match` and `range` are accepted"
                )));
            }
            _ => {
                return Err(D::Error::custom(format!(
                    "a condition on `{key}` takes one of `match` and `range`"
                )));
            }
        };
        Ok(Self { key, test })
    }
}

/// Equality with given values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Equal to this.
    Value(MatchValue),
    /// Equal to one of these; nothing is, where there are none.
    Any(Vec<MatchValue>),
    /// There is a value that is none of these.
    Except(Vec<MatchValue>),
}

/// A value that can be matched exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
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
            (Self::Integer(expected), Value::Number(value)) => {
                value.as_i64() == Some(*expected) || (value.is_f64() && value.as_f64() == Some(*expected as f64))
            }
            (Self::Keyword(expected), Value::String(value)) => expected == value,
            _ => false,
        }
    }
}

/// Bounds of a number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Less than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lt: Option<f64>,
    /// Less than or equal to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lte: Option<f64>,
    /// Greater than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gt: Option<f64>,
    /// Greater than or equal to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gte: Option<f64>,
}

impl Range {
    /// Whether a number lies within the bounds.
    pub fn contains(&self, value: f64) -> bool {
        self.lt.is_none_or(|bound| value < bound)
            && self.lte.is_none_or(|bound| value <= bound)
            && self.gt.is_none_or(|bound| value > bound)
            && self.gte.is_none_or(|bound| value >= bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        serde_json::from_str::<Filter>(json).unwrap_err().to_string()
    }

    #[test]
    fn a_filter_survives_the_wire() {
        let json = r#"{"must":[{"key":"a","match":{"value":"x"}},{"key":"n","range":{"gte":1.0}},{"has_id":[1]}],
            "should":[{"must_not":[{"is_empty":{"key":"b"}}]}],"must_not":[{"key":"c","match":{"any":[1,2]}}]}"#;
        let filter: Filter = serde_json::from_str(json).unwrap();
        let back: Filter = serde_json::from_str(&serde_json::to_string(&filter).unwrap()).unwrap();
        assert_eq!(filter, back);
    }

    #[test]
    fn one_condition_stands_for_a_list_and_null_for_none() {
        let filter: Filter =
            serde_json::from_str(r#"{"must":{"key":"a","match":{"value":true},"range":null},"should":null}"#).unwrap();
        assert_eq!(filter.must.len(), 1);
        assert!(filter.should.is_empty());
    }

    #[test]
    fn mistakes_are_named_with_what_is_accepted() {
        assert!(error(r#"{"must":[{"kex":"a"}]}"#).contains("[kex]"));
        assert!(error(r#"{"must":[{"key":"a","match":{"value":1.5}}]}"#).contains("a string, an integer or a boolean"));
        assert!(error(r#"{"must":[{"key":"a","near":{}}]}"#).contains("`match` and `range`"));
        assert!(error(r#"{"most":[]}"#).contains("most"));
    }
}
