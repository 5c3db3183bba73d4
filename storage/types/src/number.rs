//! Numbers by their exact value.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A number of a payload or a filter. Integers are not rounded: all of 64 bits are told apart, also from floats.
///
/// It is kept as the largest float that is not above it and how far above that it is, so it compares and sorts part by
/// part. Floats of the size of 64-bit integers are 2,048 apart at most.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Number {
    float: f64,
    rest: u16,
}

impl Number {
    /// The number that a JSON value is; none where it is something else.
    pub fn of(value: &Value) -> Option<Self> {
        let number = value.as_number()?;
        match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Some(integer.into()),
            (None, Some(integer)) => Some(integer.into()),
            (None, None) => number.as_f64().map(Self::from),
        }
    }

    fn integer(integer: i128, nearest: f64) -> Self {
        let float = match nearest as i128 > integer {
            true => nearest.next_down(),
            false => nearest,
        };
        let rest = (integer - float as i128) as u16;
        Self { float, rest }
    }

    /// The largest float that is not above it, and how far above that it is.
    pub fn parts(self) -> (f64, u16) {
        (self.float, self.rest)
    }
}

impl From<i64> for Number {
    fn from(integer: i64) -> Self {
        Self::integer(integer.into(), integer as f64)
    }
}

impl From<u64> for Number {
    fn from(integer: u64) -> Self {
        Self::integer(integer.into(), integer as f64)
    }
}

impl From<f64> for Number {
    fn from(float: f64) -> Self {
        // Adding 0 makes one of the two zeros.
        Self {
            float: float + 0.0,
            rest: 0,
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.rest {
            0 => serializer.serialize_f64(self.float),
            rest => {
                let integer = self.float as i128 + i128::from(rest);
                match (i64::try_from(integer), u64::try_from(integer)) {
                    (Ok(integer), _) => serializer.serialize_i64(integer),
                    (_, Ok(integer)) => serializer.serialize_u64(integer),
                    _ => serializer.serialize_f64(self.float),
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::of(&value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not a number")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_and_floats_sort_by_their_exact_value() {
        let far = 1i64 << 53;
        let ascending = [
            json!(f64::MIN),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(-far - 1),
            json!(-far),
            json!(-1.5),
            json!(-1),
            json!(-f64::MIN_POSITIVE),
            json!(0),
            json!(1e-9),
            json!(1),
            json!(far - 1),
            json!(far),
            json!(far + 1),
            json!(far + 2),
            json!(far + 3),
            json!(i64::MAX - 1),
            json!(i64::MAX),
            json!(1u64 << 63),
            json!((1u64 << 63) + 1),
            json!(u64::MAX),
            json!(1e300),
        ];
        let numbers: Vec<Number> = ascending.iter().map(|value| Number::of(value).unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert_eq!(Number::from(-0.0), Number::from(0i64));
        assert_eq!(Number::from(9_007_199_254_740_992.0), Number::from(far));
        assert_eq!(Number::of(&json!("1")), None);
    }

    #[test]
    fn a_number_survives_the_wire() {
        for integer in [0, 1, -7, (1 << 53) + 1, i64::MAX, i64::MIN, i64::MIN + 1] {
            let number = Number::from(integer);
            let text = serde_json::to_string(&number).unwrap();
            assert_eq!(serde_json::from_str::<Number>(&text).unwrap(), number, "{text}");
        }
        for float in [0.5, -1e300, 1e17] {
            let text = serde_json::to_string(&Number::from(float)).unwrap();
            assert_eq!(serde_json::from_str::<Number>(&text).unwrap(), float.into(), "{text}");
        }
    }
}
