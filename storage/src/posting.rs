//! Payload indexes: which values of a payload are indexed, and as which keys.
//!
//! A posting is a key without a value: field, type tag, the value in an encoding whose byte order is the order of the
//! values, point offset. It is written in the batch that writes the payload.

use std::ops::Bound;

use serde_json::Value;
use twofold_types::{MatchValue, Payload, Range};

use crate::error::InvalidInput;
use crate::key::{CollectionId, PointOffset};
use crate::path::PayloadPath;
use crate::record::{FieldKind, FieldRecord};

/// Longer strings stand in the index by a digest.
const INLINE_KEYWORD: usize = 64;

/// Integers up to here are told apart as 64-bit floats.
const EXACT_INTEGER: u64 = 1 << 53;

/// The ends of a range of encoded values.
pub(crate) type EncodedRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A payload index in use.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) number: u16,
    pub(crate) key: String,
    pub(crate) kind: FieldKind,
    path: PayloadPath,
}

impl Field {
    pub(crate) fn new(record: &FieldRecord) -> Result<Self, InvalidInput> {
        let path = PayloadPath::parse(&record.key)?;
        Ok(Self {
            number: record.number,
            key: record.key.clone(),
            kind: record.kind,
            path,
        })
    }

    /// The keys under which a point with this payload is found, sorted and without doubles.
    pub(crate) fn postings(&self, collection: CollectionId, payload: &Payload, offset: PointOffset) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = self
            .path
            .elements(payload)
            .filter_map(|value| self.encode(value))
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

    fn encode(&self, value: &Value) -> Option<Vec<u8>> {
        match (self.kind, value) {
            (FieldKind::Keyword, Value::String(text)) => Some(encode_keyword(text)),
            (FieldKind::Bool, Value::Bool(value)) => Some(vec![b'b', u8::from(*value)]),
            // Both number types hold every number, so that a range means the same with and without an index.
            (FieldKind::Integer | FieldKind::Float, Value::Number(number)) => number.as_f64().map(encode_number),
            _ => None,
        }
    }

    /// The encoded value whose postings are exactly the points that match; none where the index cannot tell.
    pub(crate) fn encode_match(&self, value: &MatchValue) -> Option<Vec<u8>> {
        match (self.kind, value) {
            (FieldKind::Keyword, MatchValue::Keyword(text)) => Some(encode_keyword(text)),
            (FieldKind::Bool, MatchValue::Bool(value)) => Some(vec![b'b', u8::from(*value)]),
            (FieldKind::Integer | FieldKind::Float, MatchValue::Integer(value))
                if value.unsigned_abs() < EXACT_INTEGER =>
            {
                Some(encode_number(*value as f64))
            }
            _ => None,
        }
    }

    /// The encoded values at the ends of a range; none where this index holds no numbers.
    pub(crate) fn encode_range(&self, range: &Range) -> Option<EncodedRange> {
        if !matches!(self.kind, FieldKind::Integer | FieldKind::Float) {
            return None;
        }
        let lower = match (range.gt, range.gte) {
            (Some(gt), Some(gte)) if gte > gt => Bound::Included(encode_number(gte)),
            (Some(gt), _) => Bound::Excluded(encode_number(gt)),
            (None, Some(gte)) => Bound::Included(encode_number(gte)),
            (None, None) => Bound::Included(vec![b'n']),
        };
        let upper = match (range.lt, range.lte) {
            (Some(lt), Some(lte)) if lte < lt => Bound::Included(encode_number(lte)),
            (Some(lt), _) => Bound::Excluded(encode_number(lt)),
            (None, Some(lte)) => Bound::Included(encode_number(lte)),
            (None, None) => Bound::Included(vec![b'n', 0xff]),
        };
        Some((lower, upper))
    }
}

fn encode_keyword(text: &str) -> Vec<u8> {
    if text.len() <= INLINE_KEYWORD {
        [&[b'k', text.len() as u8], text.as_bytes()].concat()
    } else {
        [
            b"h".as_slice(),
            uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).as_bytes(),
        ]
        .concat()
    }
}

/// Flips bits so that the byte order is the numeric order; -0 is 0.
fn encode_number(number: f64) -> Vec<u8> {
    let bits = (number + 0.0).to_bits();
    let ordered = if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits };
    let mut encoded = vec![b'n'];
    encoded.extend(ordered.to_be_bytes());
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_numbers_sort_as_numbers() {
        let numbers = [
            f64::MIN,
            -1e9,
            -1.5,
            -1.0,
            -f64::MIN_POSITIVE,
            0.0,
            1e-9,
            1.0,
            2.0,
            1e300,
            f64::MAX,
        ];
        let encoded: Vec<_> = numbers.iter().map(|&number| encode_number(number)).collect();
        assert!(encoded.is_sorted());
        assert_eq!(encode_number(-0.0), encode_number(0.0));
        assert!(encoded.iter().all(|number| *number < vec![b'n', 0xff, 0xff]));
    }

    #[test]
    fn no_keyword_is_the_beginning_of_another() {
        let words = ["", "a", "ab", "abc", &"x".repeat(64), &"x".repeat(65), &"x".repeat(66)];
        let encoded: Vec<_> = words.iter().map(|word| encode_keyword(word)).collect();
        for (i, a) in encoded.iter().enumerate() {
            for (j, b) in encoded.iter().enumerate() {
                assert!(i == j || !b.starts_with(a), "{} {}", words[i], words[j]);
            }
        }
    }
}
