//! Moments in time as payloads and filters write them.

use std::fmt;
use std::str::FromStr;

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::Offset;
use jiff::{SignedDuration, civil};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in microseconds since 1970. Written as RFC 3339 (`2024-02-29T12:30:00.5+01:00`); without an offset it is UTC,
/// without a time it is midnight, and a space may stand for the `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Datetime(i64);

/// A text that is no [`Datetime`].
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "`{0}` is no date: RFC 3339 (`2024-02-29T12:30:00Z`), the same without an offset, and `2024-02-29` are accepted"
)]
pub struct InvalidDatetime(pub String);

const EPOCH: civil::DateTime = civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl Datetime {
    /// Microseconds since 1970.
    pub fn microseconds(self) -> i64 {
        self.0
    }
}

impl FromStr for Datetime {
    type Err = InvalidDatetime;

    fn from_str(text: &str) -> Result<Self, InvalidDatetime> {
        let invalid = || InvalidDatetime(text.to_owned());
        // The parser takes more forms of ISO 8601 than RFC 3339 has, basic ones like `20240229` among them.
        let dashed = text.as_bytes().get(4) == Some(&b'-') && text.as_bytes().get(7) == Some(&b'-');
        if !dashed {
            return Err(invalid());
        }
        let pieces = DateTimeParser::new().parse_pieces(text).map_err(|_| invalid())?;
        if pieces.time_zone_annotation().is_some() {
            return Err(invalid());
        }
        let time = pieces.time().unwrap_or(civil::Time::midnight());
        let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
        // In civil time, as a timestamp ends before the last day of the year 9999, which stands for `never` in many places.
        let local = pieces.date().to_datetime(time).duration_since(EPOCH);
        let moment = local - SignedDuration::from_secs(offset.seconds().into());
        EPOCH.checked_add(moment).map_err(|_| invalid())?;
        i64::try_from(moment.as_micros()).map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for Datetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = EPOCH.checked_add(SignedDuration::from_micros(self.0));
        write!(f, "{}Z", moment.expect("it was made from one"))
    }
}

impl Serialize for Datetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Datetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<i64> {
        text.parse::<Datetime>().ok().map(Datetime::microseconds)
    }

    #[test]
    fn one_moment_is_the_same_in_every_spelling() {
        let moment = micros("2024-02-29T12:30:00Z");
        assert_eq!(moment, Some(1_709_209_800_000_000));
        for same in [
            "2024-02-29t12:30:00z",
            "2024-02-29T13:30:00+01:00",
            "2024-02-29T13:30:00+0100",
            "2024-02-29T13:30:00+01",
            "2024-02-29 12:30:00",
            "2024-02-29T12:30",
            "2024-02-29T12:30:00.000000",
        ] {
            assert_eq!(micros(same), moment, "{same}");
        }
        assert_eq!(micros("1970-01-02"), Some(86_400_000_000));
        assert_eq!(micros("1969-12-31T23:59:59.999999Z"), Some(-1));
        for bad in [
            "",
            "2024",
            "20240229",
            "2024-02-30",
            "12:30:00",
            "2024-02-29T12:30:00Z[Europe/Oslo]",
            "2024-02-29T25:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "today",
        ] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_survives_the_wire() {
        for text in [
            "2024-02-29T12:30:00.123456Z",
            "0001-01-01",
            "9999-12-31T23:59:59.999999Z",
        ] {
            let moment: Datetime = text.parse().unwrap();
            assert_eq!(moment.to_string().parse::<Datetime>().unwrap(), moment);
        }
    }
}
