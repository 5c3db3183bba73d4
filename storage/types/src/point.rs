//! Points: what a collection holds.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Embedding, ModelId, SparseVector};

/// The caller's name for a point: an unsigned 64-bit integer or a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PointId {
    /// An unsigned integer.
    Num(u64),
    /// A UUID, read with or without dashes and written with them.
    Uuid(Uuid),
}

/// A text that is neither an unsigned integer nor a UUID.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is not a point id: an unsigned 64-bit integer or a UUID is accepted")]
pub struct InvalidPointId(pub String);

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Num(num) => num.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

impl FromStr for PointId {
    type Err = InvalidPointId;

    fn from_str(text: &str) -> Result<Self, InvalidPointId> {
        if let Ok(num) = text.parse() {
            return Ok(Self::Num(num));
        }
        Uuid::parse_str(text)
            .map(Self::Uuid)
            .map_err(|_| InvalidPointId(text.to_owned()))
    }
}

impl From<u64> for PointId {
    fn from(num: u64) -> Self {
        Self::Num(num)
    }
}

impl From<Uuid> for PointId {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

impl Serialize for PointId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Num(num) => serializer.serialize_u64(*num),
            Self::Uuid(uuid) => serializer.collect_str(uuid),
        }
    }
}

impl<'de> Deserialize<'de> for PointId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = PointId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a point id: an unsigned 64-bit integer or a UUID")
            }

            fn visit_u64<E: de::Error>(self, num: u64) -> Result<PointId, E> {
                Ok(PointId::Num(num))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PointId, E> {
                Uuid::parse_str(text)
                    .map(PointId::Uuid)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// A JSON object stored with a point.
pub type Payload = serde_json::Map<String, serde_json::Value>;

/// A text that the server encodes: accepted wherever a vector is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TextInput {
    /// What is encoded.
    pub text: String,
    /// The model that encodes it; the collection's own encoder of that vector when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// Options of the model. Those of `Qdrant/bm25` ([`Bm25Options`](crate::Bm25Options)) overrule, one by one, what the encoder of
    /// the vector has; of other models they are accepted and have no meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<serde_json::Value>,
}

/// One vector as it is sent: ready, or as text to be encoded.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum VectorInput {
    /// `[0.1, 0.2, ...]`
    Dense(Vec<f32>),
    /// `{"text": "...", "model": "..."}`
    Text(TextInput),
    /// `{"indices": [7, 30], "values": [0.5, 1.2]}`
    Sparse(SparseVector),
    /// `[[0.1, 0.2, ...], ...]`
    Multi(Vec<Vec<f32>>),
}

impl From<Embedding> for VectorInput {
    fn from(embedding: Embedding) -> Self {
        match embedding {
            Embedding::Dense(vector) => Self::Dense(vector),
            Embedding::Sparse(vector) => Self::Sparse(vector),
            Embedding::Multi(vectors) => Self::Multi(vectors),
        }
    }
}

/// The vectors of one point as they are sent: one for the unnamed vector, or several by name.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum VectorsInput {
    /// The vector named `""`.
    Single(VectorInput),
    /// Vectors by name.
    Named(BTreeMap<String, VectorInput>),
}

impl VectorsInput {
    /// The vectors by name, the unnamed one as `""`.
    pub fn into_named(self) -> BTreeMap<String, VectorInput> {
        match self {
            Self::Single(vector) => BTreeMap::from([(String::new(), vector)]),
            Self::Named(vectors) => vectors,
        }
    }
}

impl From<Vec<f32>> for VectorsInput {
    fn from(vector: Vec<f32>) -> Self {
        Self::Single(VectorInput::Dense(vector))
    }
}

const VECTOR_FORMS: &str = "a vector: an array of numbers, an array of such arrays, an object with `indices` and `values`, or \
                            an object {\"text\": \"...\", \"model\": \"...\"}";

/// An element of an array that is a vector or a multivector.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "a vector holds numbers or arrays of numbers")]
enum Element {
    Number(f32),
    Row(Vec<f32>),
}

fn dense_or_multi<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<VectorInput, A::Error> {
    const MIXED: &str = "a vector holds numbers or arrays of numbers, not both";
    let capacity = seq.size_hint().unwrap_or(0).min(65_536);
    match seq.next_element()? {
        None => Ok(VectorInput::Dense(Vec::new())),
        Some(Element::Number(first)) => {
            let mut values = Vec::with_capacity(capacity + 1);
            values.push(first);
            while let Some(value) = seq.next_element()? {
                values.push(value);
            }
            Ok(VectorInput::Dense(values))
        }
        Some(Element::Row(first)) => {
            let mut rows = vec![first];
            while let Some(element) = seq.next_element()? {
                match element {
                    Element::Row(row) => rows.push(row),
                    Element::Number(_) => return Err(de::Error::custom(MIXED)),
                }
            }
            Ok(VectorInput::Multi(rows))
        }
    }
}

impl<'de> Deserialize<'de> for VectorInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;
        impl<'de> Visitor<'de> for InputVisitor {
            type Value = VectorInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(VECTOR_FORMS)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<VectorInput, A::Error> {
                dense_or_multi(seq)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorInput, A::Error> {
                let (mut indices, mut values) = (None, None);
                let mut text = Payload::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "indices" => indices = Some(map.next_value()?),
                        "values" => values = Some(map.next_value()?),
                        _ => {
                            text.insert(key, map.next_value()?);
                        }
                    }
                }
                match (indices, values, text.keys().next()) {
                    (Some(indices), Some(values), None) => SparseVector::new(indices, values)
                        .map(VectorInput::Sparse)
                        .map_err(de::Error::custom),
                    (None, None, _) => TextInput::deserialize(serde_json::Value::Object(text))
                        .map(VectorInput::Text)
                        .map_err(de::Error::custom),
                    _ => Err(de::Error::custom(
                        "a sparse vector takes the keys `indices` and `values`",
                    )),
                }
            }
        }
        deserializer.deserialize_any(InputVisitor)
    }
}

impl<'de> Deserialize<'de> for VectorsInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;
        impl<'de> Visitor<'de> for InputVisitor {
            type Value = VectorsInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{VECTOR_FORMS}, or an object of such vectors by name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<VectorsInput, A::Error> {
                dense_or_multi(seq).map(VectorsInput::Single)
            }

            // `text` as a string marks a text to encode; a vector that happens to be named `text` holds an array or object.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorsInput, A::Error> {
                let mut named = BTreeMap::new();
                let mut text = None;
                let mut rest = Payload::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "text" | "model" | "options" => {
                            let value: serde_json::Value = map.next_value()?;
                            match value {
                                serde_json::Value::String(value) if key == "text" => text = Some(value),
                                value => {
                                    rest.insert(key, value);
                                }
                            }
                        }
                        _ => {
                            named.insert(key, map.next_value()?);
                        }
                    }
                }
                if let Some(text) = text {
                    if let Some(name) = named.keys().next() {
                        return Err(de::Error::custom(format!(
                            "`{name}` beside `text`: a text takes the keys `text`, `model` and `options`"
                        )));
                    }
                    rest.insert("text".to_owned(), text.into());
                    let input = TextInput::deserialize(serde_json::Value::Object(rest)).map_err(de::Error::custom)?;
                    return Ok(VectorsInput::Single(VectorInput::Text(input)));
                }
                for (name, value) in rest {
                    let vector = VectorInput::deserialize(value).map_err(de::Error::custom)?;
                    named.insert(name, vector);
                }
                Ok(VectorsInput::Named(named))
            }
        }
        deserializer.deserialize_any(InputVisitor)
    }
}

/// A point as it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PointStruct {
    /// The caller's id; an existing point of that id is replaced as a whole.
    pub id: PointId,
    /// Its vectors.
    pub vector: VectorsInput,
    /// Its payload.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Payload>,
}

/// The vectors of a point as they are answered: the unnamed one bare, or all by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum VectorsOutput {
    /// The vector named `""`.
    Single(Embedding),
    /// Vectors by name.
    Named(BTreeMap<String, Embedding>),
}

impl From<BTreeMap<String, Embedding>> for VectorsOutput {
    fn from(mut vectors: BTreeMap<String, Embedding>) -> Self {
        match vectors.remove("") {
            Some(vector) if vectors.is_empty() => Self::Single(vector),
            Some(vector) => {
                vectors.insert(String::new(), vector);
                Self::Named(vectors)
            }
            None => Self::Named(vectors),
        }
    }
}

/// A value that gives points their order: a number, or a moment in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum OrderValue {
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
}

/// A stored point as it is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// The caller's id.
    pub id: PointId,
    /// The payload, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Payload>,
    /// The vectors, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<VectorsOutput>,
    /// The value that gave the point its place, where points are in the order of a payload key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_value: Option<OrderValue>,
}

/// A point found by a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoredPoint {
    /// The caller's id.
    pub id: PointId,
    /// The sequence number of the write that last touched the point.
    pub version: u64,
    /// The similarity (Cosine, Dot: higher is nearer) or distance (Euclid, Manhattan: lower is nearer).
    pub score: f32,
    /// The payload, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Payload>,
    /// The vectors, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<VectorsOutput>,
    /// The value that gave the point its place, where points are in the order of a payload key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_value: Option<OrderValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_every_accepted_form() {
        let dashed: PointId = serde_json::from_str("\"550e8400-e29b-41d4-a716-446655440000\"").unwrap();
        let bare: PointId = serde_json::from_str("\"550e8400e29b41d4a716446655440000\"").unwrap();
        assert_eq!(dashed, bare);
        assert_eq!(
            serde_json::to_string(&bare).unwrap(),
            "\"550e8400-e29b-41d4-a716-446655440000\""
        );
        assert_eq!(
            serde_json::from_str::<PointId>("18446744073709551615").unwrap(),
            PointId::Num(u64::MAX)
        );
        let error = serde_json::from_str::<PointId>("-1").unwrap_err().to_string();
        assert!(error.contains("unsigned 64-bit integer or a UUID"), "{error}");
    }

    #[test]
    fn a_text_and_a_vector_named_text_are_told_apart() {
        let text: VectorsInput = serde_json::from_str(r#"{"model": "m", "text": "hello"}"#).unwrap();
        assert!(matches!(text, VectorsInput::Single(VectorInput::Text(_))));
        let named: VectorsInput = serde_json::from_str(r#"{"text": [1.0], "image": {"text": "a"}}"#).unwrap();
        let named = named.into_named();
        assert_eq!(named["text"], VectorInput::Dense(vec![1.0]));
        assert!(matches!(named["image"], VectorInput::Text(_)));
        let kinds: VectorsInput = serde_json::from_str(
            r#"{"s": {"values": [0.5], "indices": [7]}, "m": [[1, 2.5], [3, 4]], "indices": [1]}"#,
        )
        .unwrap();
        let kinds = kinds.into_named();
        assert!(matches!(kinds["s"], VectorInput::Sparse(_)));
        assert_eq!(kinds["m"], VectorInput::Multi(vec![vec![1.0, 2.5], vec![3.0, 4.0]]));
        assert_eq!(kinds["indices"], VectorInput::Dense(vec![1.0]));
        for bad in [
            "[1, [2]]",
            "[[1], 2]",
            r#"{"s": {"indices": [1]}}"#,
            r#"{"s": {"indices": [1], "values": [1], "text": "a"}}"#,
        ] {
            assert!(serde_json::from_str::<VectorsInput>(bad).is_err(), "{bad}");
        }
        let error = serde_json::from_str::<VectorsInput>(r#""oops""#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("array of numbers"), "{error}");
    }
}
