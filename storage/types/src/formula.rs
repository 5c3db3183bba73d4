//! Formulas: scores of the caller's own, made of scores, payload values and conditions.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{Condition, GeoPoint};

/// An expression: a number, the name of a variable, a condition that counts 1 where it holds and 0 elsewhere, or an
/// operation.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Expression {
    /// A number.
    Constant(f64),
    /// `$score`, `$score[1]` (of the second prefetch), or a payload key.
    Variable(String),
    /// An operation.
    Operation(Box<Operation>),
    /// A condition.
    Condition(Box<Condition>),
}

/// An operation of an [`Expression`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are called what they do")]
#[schema(no_recursion)]
pub enum Operation {
    Mult(Vec<Expression>),
    Sum(Vec<Expression>),
    Max(Vec<Expression>),
    Min(Vec<Expression>),
    Neg(Expression),
    Abs(Expression),
    Div(Quotient),
    Sqrt(Expression),
    Pow(Power),
    Exp(Expression),
    Log10(Expression),
    Ln(Expression),
    Acosh(Expression),
    /// Metres.
    GeoDistance(GeoDistance),
    /// Seconds since 1970 of a moment.
    Datetime(String),
    /// The same of the moment at a payload key.
    DatetimeKey(String),
    LinDecay(Decay),
    ExpDecay(Decay),
    GaussDecay(Decay),
}

const OPERATIONS: [&str; 19] = [
    "mult",
    "sum",
    "max",
    "min",
    "neg",
    "abs",
    "div",
    "sqrt",
    "pow",
    "exp",
    "log10",
    "ln",
    "acosh",
    "geo_distance",
    "datetime",
    "datetime_key",
    "lin_decay",
    "exp_decay",
    "gauss_decay",
];

/// `left / right`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(no_recursion)]
pub struct Quotient {
    /// What is divided.
    pub left: Expression,
    /// By what.
    pub right: Expression,
    /// What stands for a division by zero, which is an error otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_zero_default: Option<f64>,
}

/// `base ^ exponent`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(no_recursion)]
pub struct Power {
    /// The base.
    pub base: Expression,
    /// The exponent.
    pub exponent: Expression,
}

/// The distance of a point on Earth from that at a payload key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoDistance {
    /// The point.
    pub origin: GeoPoint,
    /// The payload key.
    pub to: String,
}

/// 1 where `x` is `target`, and less the farther it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(no_recursion)]
pub struct Decay {
    /// What decays.
    pub x: Expression,
    /// Where it is 1. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Expression>,
    /// How far from it the decay is `midpoint`. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Default: 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub midpoint: Option<f64>,
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => Ok(Self::Constant(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(name) => Ok(Self::Variable(name)),
            value @ Value::Object(_) => {
                let mut keys = value.as_object().into_iter().flat_map(serde_json::Map::keys);
                if keys.any(|key| OPERATIONS.contains(&key.as_str())) {
                    Operation::deserialize(value).map(|operation| Self::Operation(Box::new(operation)))
                } else {
                    Condition::deserialize(value).map(|condition| Self::Condition(Box::new(condition)))
                }
                .map_err(D::Error::custom)
            }
            value => Err(D::Error::custom(format!(
                "an expression is a number, a variable, a condition, or an object with one of [{}], not {value}",
                OPERATIONS.join(", ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_survive_the_wire() {
        let json = r#"{"sum":["$score[1]",{"mult":[0.5,{"key":"a","match":{"any":["h1"]}}]},{"gauss_decay":{"x":{"geo_distance":{"origin":{"lon":1.0,"lat":2.0},"to":"geo"}},"scale":5000.0}},{"div":{"left":1.0,"right":"x","by_zero_default":0.0}},{"neg":{"datetime_key":"at"}}]}"#;
        let expression: Expression = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&expression).unwrap(), json);
    }

    #[test]
    fn mistakes_are_named_with_what_is_accepted() {
        let error = |json: &str| serde_json::from_str::<Expression>(json).unwrap_err().to_string();
        assert!(error("[1]").contains("gauss_decay"));
        assert!(error(r#"{"sum": 1}"#).contains("sequence"));
        assert!(error(r#"{"lin_decay": {"x": 1, "mid": 2}}"#).contains("mid"));
        assert!(error(r#"{"sine": 1}"#).contains("sine"));
    }
}
