//! Payload indexes: which values of a payload are indexed, and as which keys.
//!
//! A posting is a key without a value: field, type tag, the value in an encoding whose byte order is the order of the
//! values, point offset. It is written in the batch that writes the payload.

use std::ops::Bound;

use serde_json::Value;
use twofold_types::api::{FacetValue, StartFrom};
use twofold_types::{
    Datetime, FieldTest, GeoBoundingBox, GeoPoint, Match, MatchValue, Number, Payload, PayloadIndexParams, Range,
    RangeTest, uuid_of,
};

use crate::error::Result;
use crate::key::{CollectionId, PointOffset};
use crate::path::PayloadPath;
use crate::place::{self, place};
use crate::record::{FieldKind, FieldRecord};
use crate::words::Words;

/// Longer strings stand in the index by a digest.
const INLINE_KEYWORD: usize = 64;

/// The ends of a range of encoded values.
pub(crate) type EncodedRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Stands for every value at the key that the index does not hold as it is: before all encoded values, and inside of no range.
pub(crate) const OTHER: &[u8] = b"!";

/// Whether an encoded value is above the lower end of a range.
pub(crate) fn is_above(lower: &Bound<Vec<u8>>, value: &[u8]) -> bool {
    match lower {
        Bound::Included(bound) => value >= bound.as_slice(),
        Bound::Excluded(bound) => value > bound.as_slice(),
        Bound::Unbounded => true,
    }
}

/// Whether an encoded value is below the upper end of a range.
pub(crate) fn is_below(upper: &Bound<Vec<u8>>, value: &[u8]) -> bool {
    match upper {
        Bound::Included(bound) => value <= bound.as_slice(),
        Bound::Excluded(bound) => value < bound.as_slice(),
        Bound::Unbounded => true,
    }
}

/// What a test looks for in an index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Lookup {
    /// One of these encoded values.
    Any(Vec<Vec<u8>>),
    /// An encoded value inside of these bounds.
    Range(EncodedRange),
    /// All of these encoded values; `exact` where that is all that the test asks for.
    All { values: Vec<Vec<u8>>, exact: bool },
    /// An encoded value inside of one of these bounds.
    Ranges(Vec<EncodedRange>),
}

impl Lookup {
    /// Whether all points that are found pass the test, and not only all that pass are found.
    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Self::Any(_) | Self::Range(_) => true,
            Self::All { exact, .. } => *exact,
            Self::Ranges(_) => false,
        }
    }
}

/// A payload index in use.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) number: u16,
    pub(crate) key: String,
    pub(crate) kind: FieldKind,
    /// What it was asked for with, where that was more than its type.
    pub(crate) params: Option<PayloadIndexParams>,
    /// How the words of texts are found.
    pub(crate) words: Words,
    path: PayloadPath,
}

impl Field {
    pub(crate) fn new(record: &FieldRecord) -> Result<Self> {
        let params = record.params()?;
        Ok(Self {
            number: record.number,
            key: record.key.clone(),
            kind: record.kind,
            words: params.as_ref().map(Words::new).unwrap_or_default(),
            params,
            path: PayloadPath::parse(&record.key)?,
        })
    }

    /// Whether there is no column in memory: it is answered from the postings.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.params.as_ref().is_some_and(PayloadIndexParams::is_on_disk)
    }

    /// The keys under which a point with this payload is found, sorted and without doubles.
    pub(crate) fn postings(&self, collection: CollectionId, payload: &Payload, offset: PointOffset) -> Vec<Vec<u8>> {
        let other = self.path.elements(payload).any(|value| self.is_other(value));
        let other = other.then(|| OTHER.to_vec());
        let mut keys: Vec<Vec<u8>> = self
            .path
            .elements(payload)
            .flat_map(|value| self.encode(value))
            .chain(other)
            .map(|value| {
                [
                    self.value_prefix(collection, &value).as_slice(),
                    &offset.0.to_be_bytes(),
                ]
                .concat()
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// What the keys of a value begin with.
    pub(crate) fn value_prefix(&self, collection: CollectionId, value: &[u8]) -> Vec<u8> {
        [&collection.field_prefix(self.number), value].concat()
    }

    /// The encoded value in a key.
    pub(crate) fn value_of_key<'a>(&self, collection: CollectionId, key: &'a [u8]) -> &'a [u8] {
        let prefix = collection.field_prefix(self.number).len();
        key.get(prefix..key.len().saturating_sub(size_of::<u32>()))
            .unwrap_or_default()
    }

    /// What stands for a value in the index: nothing, its encoding, or those of its words.
    fn encode(&self, value: &Value) -> Vec<Vec<u8>> {
        let encoded = match (self.kind, value) {
            (FieldKind::Text, Value::String(text)) => {
                let words = self.words.indexed(text);
                return words.iter().map(|word| encode_word(word)).collect();
            }
            (FieldKind::Keyword, Value::String(text)) => Some(encode_keyword(text)),
            (FieldKind::Uuid, Value::String(text)) => uuid_of(text).map(encode_uuid),
            (FieldKind::Datetime, Value::String(text)) => text.parse().ok().map(encode_datetime),
            (FieldKind::Bool, Value::Bool(value)) => Some(encode_bool(*value)),
            (FieldKind::Geo, value) => GeoPoint::of(value).map(|point| encode_place(place(point))),
            // Both number types hold every number, so that a range means the same with and without an index.
            (FieldKind::Integer | FieldKind::Float, value) => Number::of(value).map(encode_number),
            _ => None,
        };
        encoded.into_iter().collect()
    }

    /// Whether facets or orders tell a value that cannot be told from its encoding, or has none.
    fn is_other(&self, value: &Value) -> bool {
        match (self.kind, value) {
            // They are counted and ordered by nothing that indexes of these types hold.
            (FieldKind::Text | FieldKind::Geo, _) => false,
            // The encoding is that of the integer.
            (FieldKind::Integer, Value::Number(number)) => {
                number.is_f64() && Number::of(value).is_some_and(|number| integer_of(number).is_some())
            }
            (FieldKind::Float, Value::Number(_)) | (FieldKind::Keyword, Value::String(_)) => false,
            (FieldKind::Uuid, Value::String(text)) => uuid_of(text).is_none(),
            (FieldKind::Datetime, Value::String(_)) | (FieldKind::Bool, Value::Bool(_)) => false,
            (_, value) => matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_)),
        }
    }

    /// Whether it tells how many points have which of the values that facets count.
    pub(crate) fn has_facets(&self) -> bool {
        matches!(
            self.kind,
            FieldKind::Keyword | FieldKind::Uuid | FieldKind::Integer | FieldKind::Bool
        )
    }

    /// The encoded values from one on, or up to one, in the order of which points are listed; none where the index has no such order.
    pub(crate) fn ordered_range(&self, start: Option<StartFrom>, descending: bool) -> Option<EncodedRange> {
        let start = match (self.kind, start) {
            (FieldKind::Integer | FieldKind::Float | FieldKind::Datetime, None) => None,
            (FieldKind::Integer | FieldKind::Float, Some(StartFrom::Number(number))) => Some(encode_number(number)),
            (FieldKind::Integer | FieldKind::Float, Some(StartFrom::Datetime(moment))) => {
                Some(encode_number(moment.microseconds().into()))
            }
            (FieldKind::Datetime, Some(StartFrom::Datetime(moment))) => Some(encode_datetime(moment)),
            _ => return None,
        };
        let start = start.map(Bound::Included);
        Some(match descending {
            false => (start.unwrap_or(Bound::Excluded(OTHER.to_vec())), Bound::Unbounded),
            true => (Bound::Excluded(OTHER.to_vec()), start.unwrap_or(Bound::Unbounded)),
        })
    }

    /// The first of a payload's values that has an encoding.
    pub(crate) fn value_at<'a>(&self, payload: &'a Payload, encoded: &[u8]) -> Option<&'a Value> {
        let mut values = self.path.elements(payload);
        values.find(|value| self.encode(value).iter().any(|own| own == encoded))
    }

    /// What finds the points that pass a test, and perhaps more; none where the index cannot tell.
    pub(crate) fn lookup(&self, test: &FieldTest) -> Option<Lookup> {
        match test {
            FieldTest::Match(Match::Value(value)) => Some(Lookup::Any(vec![self.encode_match(value)?])),
            FieldTest::Match(Match::Any(values)) => {
                let mut values = values
                    .iter()
                    .map(|value| self.encode_match(value))
                    .collect::<Option<Vec<_>>>()?;
                values.sort_unstable();
                values.dedup();
                Some(Lookup::Any(values))
            }
            FieldTest::Match(Match::Text(text)) if self.kind == FieldKind::Text => {
                let values = self.sought(text);
                // Several words may be spread over several texts.
                let exact = values.len() <= 1;
                Some(Lookup::All { values, exact })
            }
            FieldTest::Match(Match::Phrase(text)) if self.kind == FieldKind::Text => {
                let exact = self.words.of(text).len() <= 1;
                let values = self.sought(text);
                Some(Lookup::All { values, exact })
            }
            FieldTest::Match(Match::TextAny(text)) if self.kind == FieldKind::Text => {
                Some(Lookup::Any(self.sought(text)))
            }
            FieldTest::GeoBoundingBox(bounds) => self.places(bounds),
            FieldTest::GeoRadius(circle) => self.places(&circle.bounds()),
            FieldTest::GeoPolygon(polygon) => self.places(&polygon.bounds()),
            FieldTest::Match(_) | FieldTest::ValuesCount(_) | FieldTest::IsEmpty(_) | FieldTest::IsNull(_) => None,
            FieldTest::Range(RangeTest::Number(range)) => matches!(self.kind, FieldKind::Integer | FieldKind::Float)
                .then(|| Lookup::Range(encode_range(range, b"n", encode_number))),
            FieldTest::Range(RangeTest::Datetime(range)) => {
                (self.kind == FieldKind::Datetime).then(|| Lookup::Range(encode_range(range, b"d", encode_datetime)))
            }
        }
    }

    /// The words of a query, in order and without doubles.
    fn sought(&self, text: &str) -> Vec<Vec<u8>> {
        let mut words: Vec<_> = self.words.sought(text).iter().map(|word| encode_word(word)).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    fn places(&self, bounds: &GeoBoundingBox) -> Option<Lookup> {
        let included = |place| Bound::Included(encode_place(place));
        let ranges = (self.kind == FieldKind::Geo).then(|| place::ranges(bounds))?;
        let ranges = ranges.into_iter().map(|(low, high)| (included(low), included(high)));
        Some(Lookup::Ranges(ranges.collect()))
    }

    fn encode_match(&self, value: &MatchValue) -> Option<Vec<u8>> {
        match (self.kind, value) {
            (FieldKind::Keyword, MatchValue::Keyword(text)) => Some(encode_keyword(text)),
            (FieldKind::Uuid, MatchValue::Keyword(text)) => uuid_of(text).map(encode_uuid),
            (FieldKind::Bool, MatchValue::Bool(value)) => Some(encode_bool(*value)),
            (FieldKind::Integer | FieldKind::Float, MatchValue::Integer(value)) => {
                Some(encode_number(Number::from(*value)))
            }
            _ => None,
        }
    }
}

/// What every encoded value of a type is above of is its tag.
fn encode_range<T: PartialOrd + Copy>(range: &Range<T>, tag: &[u8], encode: impl Fn(T) -> Vec<u8>) -> EncodedRange {
    let lower = match (range.gt, range.gte) {
        (Some(gt), Some(gte)) if gte > gt => Bound::Included(encode(gte)),
        (Some(gt), _) => Bound::Excluded(encode(gt)),
        (None, Some(gte)) => Bound::Included(encode(gte)),
        (None, None) => Bound::Excluded(tag.to_vec()),
    };
    let upper = match (range.lt, range.lte) {
        (Some(lt), Some(lte)) if lte < lt => Bound::Included(encode(lte)),
        (Some(lt), _) => Bound::Excluded(encode(lt)),
        (None, Some(lte)) => Bound::Included(encode(lte)),
        (None, None) => Bound::Unbounded,
    };
    (lower, upper)
}

/// A value that facets count, as its encoding tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    Keyword(&'a str),
    Uuid(uuid::Uuid),
    Integer(i64),
    Bool(bool),
    /// A text that the encoding does not tell.
    Digest,
}

/// What an encoding stands for; none where facets do not count such values.
pub(crate) fn decode(encoded: &[u8]) -> Option<Decoded<'_>> {
    let (tag, rest) = encoded.split_first()?;
    match tag {
        b'k' => Some(Decoded::Keyword(std::str::from_utf8(rest.get(1..)?).ok()?)),
        b'u' => Some(Decoded::Uuid(uuid::Uuid::from_slice(rest).ok()?)),
        b'h' => Some(Decoded::Digest),
        b'b' => Some(Decoded::Bool(*rest.first()? == 1)),
        b'n' => {
            let (float, above) = rest.split_first_chunk::<8>()?;
            let ordered = u64::from_be_bytes(*float);
            let bits = if ordered >> 63 == 1 {
                ordered ^ (1 << 63)
            } else {
                !ordered
            };
            let above = u16::from_be_bytes(*above.first_chunk()?);
            integer_at(f64::from_bits(bits), above).map(Decoded::Integer)
        }
        _ => None,
    }
}

/// The encoding of a value that facets count.
pub(crate) fn encode_facet(value: &FacetValue) -> Vec<u8> {
    match value {
        FacetValue::Bool(value) => encode_bool(*value),
        FacetValue::Integer(value) => encode_number(Number::from(*value)),
        FacetValue::Keyword(text) => encode_keyword(text),
    }
}

/// The integer that a number is.
fn integer_of(number: Number) -> Option<i64> {
    let (float, above) = number.parts();
    integer_at(float, above)
}

fn integer_at(float: f64, above: u16) -> Option<i64> {
    // Floats of this size and beyond are no integers of 64 bits, but for the least of these.
    const BEYOND: f64 = (1u128 << 63) as f64;
    let whole = float.fract() == 0.0 && (-BEYOND..BEYOND).contains(&float);
    whole.then(|| i64::try_from(float as i128 + i128::from(above)).ok())?
}

/// Texts that spell the same UUID are equal.
fn encode_keyword(text: &str) -> Vec<u8> {
    if let Some(id) = uuid_of(text) {
        encode_uuid(id)
    } else if text.len() <= INLINE_KEYWORD {
        [&[b'k', text.len() as u8], text.as_bytes()].concat()
    } else {
        let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes());
        [b"h".as_slice(), digest.as_bytes()].concat()
    }
}

fn encode_word(word: &str) -> Vec<u8> {
    match word.len() <= INLINE_KEYWORD {
        true => [&[b't', word.len() as u8], word.as_bytes()].concat(),
        false => [
            b"l".as_slice(),
            uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, word.as_bytes()).as_bytes(),
        ]
        .concat(),
    }
}

fn encode_place(place: u64) -> Vec<u8> {
    [b"g".as_slice(), &place.to_be_bytes()].concat()
}

fn encode_uuid(id: uuid::Uuid) -> Vec<u8> {
    [b"u".as_slice(), id.as_bytes()].concat()
}

fn encode_bool(value: bool) -> Vec<u8> {
    vec![b'b', u8::from(value)]
}

/// Flips the sign bit, so that the byte order is the order in time.
fn encode_datetime(moment: Datetime) -> Vec<u8> {
    let ordered = moment.microseconds() as u64 ^ (1 << 63);
    [b"d".as_slice(), &ordered.to_be_bytes()].concat()
}

/// Flips bits of the float, so that the byte order is the numeric order; how far the number is above it follows.
fn encode_number(number: Number) -> Vec<u8> {
    let (float, rest) = number.parts();
    let bits = float.to_bits();
    let ordered = if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits };
    [b"n".as_slice(), &ordered.to_be_bytes(), &rest.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_values_sort_as_values() {
        let far = 1i64 << 53;
        let floats = [f64::MIN, -1e19, -1.5, -f64::MIN_POSITIVE, 1e-9, 1.5, 1e19, f64::MAX].map(Number::from);
        let integers = [
            i64::MIN,
            -far - 1,
            -far,
            -1,
            0,
            1,
            far,
            far + 1,
            far + 2,
            i64::MAX - 1,
            i64::MAX,
        ];
        let mut numbers = [&floats[..], &integers.map(Number::from)].concat();
        numbers.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let encoded: Vec<_> = numbers.iter().map(|&number| encode_number(number)).collect();
        assert!(encoded.is_sorted_by(|a, b| a < b));
        assert_eq!(encode_number(Number::from(-0.0)), encode_number(Number::from(0i64)));
        let moments = [
            "0001-01-01",
            "1969-12-31T23:59:59.999999Z",
            "1970-01-01",
            "1970-01-01T00:00:00.000001Z",
            "9999-01-01",
        ];
        let encoded: Vec<_> = moments
            .iter()
            .map(|moment| encode_datetime(moment.parse().unwrap()))
            .collect();
        assert!(encoded.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn what_facets_count_is_told_by_its_encoding() {
        for integer in [
            i64::MIN,
            -(1 << 53) - 1,
            -7,
            0,
            1,
            (1 << 53) + 1,
            i64::MAX - 1,
            i64::MAX,
        ] {
            let encoded = encode_facet(&FacetValue::Integer(integer));
            assert_eq!(decode(&encoded), Some(Decoded::Integer(integer)));
        }
        for float in [0.5, -1e300, 1e300, f64::INFINITY, 9_223_372_036_854_775_808.0] {
            assert_eq!(decode(&encode_number(float.into())), None, "{float}");
        }
        assert_eq!(decode(&encode_number(u64::MAX.into())), None);
        let id = uuid::Uuid::from_u128(7);
        for (text, decoded) in [
            ("", Decoded::Keyword("")),
            ("schön", Decoded::Keyword("schön")),
            (&id.to_string(), Decoded::Uuid(id)),
            (&"x".repeat(65), Decoded::Digest),
        ] {
            let encoded = encode_facet(&FacetValue::Keyword(text.to_owned()));
            assert_eq!(decode(&encoded), Some(decoded), "{text}");
            assert!(encoded.as_slice() > OTHER);
        }
        assert_eq!(decode(&encode_bool(true)), Some(Decoded::Bool(true)));
        assert_eq!(decode(OTHER), None);
    }

    #[test]
    fn no_keyword_is_the_beginning_of_another() {
        let words = [
            "",
            "a",
            "ab",
            "abc",
            "00000000-0000-0000-0000-00000000000a",
            &"x".repeat(64),
            &"x".repeat(65),
            &"x".repeat(66),
        ];
        let encoded: Vec<_> = words.iter().map(|word| encode_keyword(word)).collect();
        for (i, a) in encoded.iter().enumerate() {
            for (j, b) in encoded.iter().enumerate() {
                assert!(i == j || !b.starts_with(a), "{} {}", words[i], words[j]);
            }
        }
    }
}
