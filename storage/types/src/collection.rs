//! Collections: what they are called and how they are configured.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{
    EmbeddingKind, EncoderParams, HnswConfig, OptimizersConfig, Payload, PooledVectorParams, StrictModeConfig,
};

/// The checked name of a collection: 1 to 255 characters, none of `/ \ < > : " | ? *`, no control characters, not `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct CollectionName(String);

/// A text that cannot name a collection.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "`{0}` cannot name a collection: 1 to 255 characters are accepted, without / \\ < > : \" | ? * and control characters"
)]
pub struct InvalidCollectionName(pub String);

impl CollectionName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CollectionName {
    type Err = InvalidCollectionName;

    fn from_str(name: &str) -> Result<Self, InvalidCollectionName> {
        let forbidden = |c: char| c.is_control() || "/\\<>:\"|?*".contains(c);
        let length = name.chars().count();
        if length == 0 || length > 255 || name == "." || name == ".." || name.contains(forbidden) {
            return Err(InvalidCollectionName(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }
}

impl<'de> Deserialize<'de> for CollectionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How two vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Distance {
    /// Cosine similarity. Vectors are stored normalised. Higher is nearer.
    Cosine,
    /// Dot product. Higher is nearer.
    Dot,
    /// Euclidean distance. Lower is nearer.
    Euclid,
    /// Manhattan (L1) distance. Lower is nearer.
    Manhattan,
}

impl Distance {
    /// Whether a higher score is nearer.
    pub fn higher_is_nearer(self) -> bool {
        matches!(self, Self::Cosine | Self::Dot)
    }
}

/// The shape of one vector of a collection.
///
/// Clients share this model between requests and answers and refuse keys they do not know, so what is Twofold's own
/// stands in [`EncoderParams`] beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VectorParams {
    /// Number of dimensions, 1 to 65,536.
    pub size: usize,
    /// How two such vectors are compared.
    pub distance: Distance,
    /// Whether vectors are kept on disk and read when they are needed. They are then searched by an index on disk as well, unless
    /// `quantization_config` asks for one in memory. In memory by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Accepted and answered, without meaning yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<serde_json::Value>,
    /// With `on_disk`, `always_ram` of `scalar`, `product` or `binary` keeps byte codes and an index in memory and full precision
    /// on disk. It has no other meaning: codes are what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<serde_json::Value>,
    /// What components are rounded to. In memory they take 32 bits whatever it is, those of multivectors 16 in `float16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatype: Option<Datatype>,
    /// Points have several such vectors each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivector_config: Option<MultivectorConfig>,
}

impl VectorParams {
    /// A vector of `size` dimensions compared by `distance`.
    pub fn new(size: usize, distance: Distance) -> Self {
        Self {
            size,
            distance,
            on_disk: None,
            hnsw_config: None,
            quantization_config: None,
            datatype: None,
            multivector_config: None,
        }
    }
}

/// The type of a vector's components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Datatype {
    /// 32-bit floating point.
    Float32,
    /// 16-bit floating point.
    Float16,
    /// Whole numbers from 0 to 255.
    Uint8,
}

/// How multivectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MultivectorConfig {
    /// The comparison.
    pub comparator: Comparator,
}

/// A comparison of multivectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Comparator {
    /// For each vector of the query, how near the nearest of the point is, added up.
    MaxSim,
}

/// The shape of one sparse vector of a collection. Clients refuse keys that they do not know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SparseVectorParams {
    /// Accepted and answered, without meaning: the index is in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<serde_json::Value>,
    /// What queries are multiplied with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Modifier>,
}

impl SparseVectorParams {
    /// Whether queries are multiplied with inverse document frequencies.
    pub fn has_idf(&self) -> bool {
        self.modifier == Some(Modifier::Idf)
    }
}

/// What the values of a sparse query are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Modifier {
    /// With nothing.
    None,
    /// With `ln((N - n + 0.5) / (n + 0.5) + 1)`, where `n` of `N` points have the dimension.
    Idf,
}

/// The vectors of a collection: one without a name, or several by name.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum VectorsConfig {
    /// The vector named `""`.
    Single(VectorParams),
    /// Vectors by name.
    Named(BTreeMap<String, VectorParams>),
}

impl VectorsConfig {
    /// The vectors by name, the unnamed one as `""`.
    pub fn into_named(self) -> BTreeMap<String, VectorParams> {
        match self {
            Self::Single(params) => BTreeMap::from([(String::new(), params)]),
            Self::Named(vectors) => vectors,
        }
    }
}

impl From<BTreeMap<String, VectorParams>> for VectorsConfig {
    fn from(mut vectors: BTreeMap<String, VectorParams>) -> Self {
        if vectors.len() == 1
            && let Some(params) = vectors.remove("")
        {
            return Self::Single(params);
        }
        Self::Named(vectors)
    }
}

impl<'de> Deserialize<'de> for VectorsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = serde_json::Value::deserialize(deserializer)?;
        let is_params = value.get("size").is_some_and(|size| !size.is_object())
            || value.get("distance").is_some_and(|d| d.is_string());
        if is_params {
            VectorParams::deserialize(value)
                .map(Self::Single)
                .map_err(D::Error::custom)
        } else {
            BTreeMap::deserialize(value).map(Self::Named).map_err(|error| {
                D::Error::custom(format!(
                    "{error}; `vectors` is an object with `size` and `distance`, or an object of such objects by name"
                ))
            })
        }
    }
}

/// How documents are cut into chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChunkingParams {
    /// Where they are cut. Default: `recursive`.
    #[serde(default, skip_serializing_if = "ChunkingStrategy::is_default")]
    pub strategy: ChunkingStrategy,
    /// The most tokens of a chunk, what `template` puts before it included, the model's prompt and special tokens not. Default:
    /// what the model takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// How many tokens at the end of a chunk are repeated at the start of the next. Default: an eighth of `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<usize>,
    /// What is encoded of a chunk: `{text}` stands at the end, and before it keys of the document's metadata may, as in
    /// `{title}: {text}`. Documents that lack one of the keys are encoded without it. Default: the text alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// Where documents are cut into chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChunkingStrategy {
    /// At paragraphs; where these are too long at sentences, then at words.
    #[default]
    Recursive,
    /// At sentences, as many a chunk as fit.
    Sentence,
    /// At headings and blocks of Markdown. Chunks know the headings that they stand below.
    Markdown,
    /// At blocks of source code, which begin in the first column after an empty line; where these are too long at lines.
    Code,
    /// Not at all: a document that is longer than the model takes becomes a dead letter.
    None,
}

impl ChunkingStrategy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Everything a collection was configured with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CollectionConfig {
    /// The vectors of one vector a point, by name; the unnamed one is `""`.
    pub vectors: BTreeMap<String, VectorParams>,
    /// The vectors of several vectors a point, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub multivectors: BTreeMap<String, VectorParams>,
    /// The sparse vectors by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparse_vectors: BTreeMap<String, SparseVectorParams>,
    /// The encoders by the name of the vector they fill.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub encoders: BTreeMap<String, EncoderParams>,
    /// How vectors of documents are pooled from their chunks, by the name of the vector.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pooled_vectors: BTreeMap<String, PooledVectorParams>,
    /// How documents are cut into chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunking: Option<ChunkingParams>,
    /// The caller's own notes on the collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
    /// What it refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_mode: Option<StrictModeConfig>,
    /// Without meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw: Option<HnswConfig>,
    /// Without meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizers: Option<OptimizersConfig>,
}

impl CollectionConfig {
    /// What is stored under the name of a vector; none where there is no such vector.
    pub fn kind(&self, vector: &str) -> Option<EmbeddingKind> {
        if self.vectors.contains_key(vector) {
            Some(EmbeddingKind::Dense)
        } else if self.multivectors.contains_key(vector) {
            Some(EmbeddingKind::Multi)
        } else {
            self.sparse_vectors
                .contains_key(vector)
                .then_some(EmbeddingKind::Sparse)
        }
    }

    /// The encoder of texts that a vector is compared with: the one that fills it, or what it is pooled from.
    pub fn encoder(&self, vector: &str) -> Option<&EncoderParams> {
        let filled = match self.pooled_vectors.get(vector) {
            Some(pooled) => &pooled.of,
            None => vector,
        };
        self.encoders.get(filled)
    }

    /// The names of all vectors.
    pub fn vector_names(&self) -> impl Iterator<Item = &String> {
        let with_vectors = self.vectors.keys().chain(self.multivectors.keys());
        with_vectors.chain(self.sparse_vectors.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_once() {
        assert!("docs".parse::<CollectionName>().is_ok());
        assert!("Büro 7.2_x-y".parse::<CollectionName>().is_ok());
        for bad in ["", "..", "a/b", "a\u{0}", "a:b", &"x".repeat(256)] {
            assert!(bad.parse::<CollectionName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn one_vector_and_named_vectors_are_told_apart() {
        let single: VectorsConfig = serde_json::from_str(r#"{"size": 3, "distance": "Dot"}"#).unwrap();
        assert_eq!(single, VectorsConfig::Single(VectorParams::new(3, Distance::Dot)));
        let named: VectorsConfig = serde_json::from_str(r#"{"size": {"size": 3, "distance": "Dot"}}"#).unwrap();
        assert!(matches!(named, VectorsConfig::Named(_)));
        let unnamed: VectorsConfig = serde_json::from_str(r#"{"": {"size": 3, "distance": "Dot"}}"#).unwrap();
        assert_eq!(VectorsConfig::from(unnamed.into_named()), single);
        let error = serde_json::from_str::<VectorsConfig>(r#"{"size": 3, "distance": "Hamming"}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("Cosine"), "{error}");
    }
}
