//! Payload indexes: what they hold and where.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{StemmingAlgorithm, Stopwords, TextTokenizer};

/// The type of a payload index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadSchemaType {
    /// Strings, matched exactly.
    Keyword,
    /// Integers, matched exactly or by range.
    Integer,
    /// Numbers, by range.
    Float,
    /// Booleans.
    Bool,
    /// Moments in time, by range.
    Datetime,
    /// UUIDs, matched in any spelling.
    Uuid,
    /// Places on Earth.
    Geo,
    /// Texts, matched by their words.
    Text,
}

/// Where a payload index is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// In memory.
    Pinned,
    /// In memory.
    Cached,
    /// On disk, read when it is needed.
    Cold,
}

/// What a payload index was asked for with. What has no meaning here is accepted and answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayloadIndexParams {
    /// The type of the values.
    #[serde(rename = "type")]
    pub data_type: PayloadSchemaType,
    /// Whether it is kept on disk: slower, without any memory. In memory by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Where it is kept; goes before `on_disk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Accepted without meaning for keywords and UUIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_tenant: Option<bool>,
    /// Accepted without meaning for numbers and moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_principal: Option<bool>,
    /// Accepted without meaning for integers, which can always be matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<bool>,
    /// Accepted without meaning for integers, which always have ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<bool>,
    /// Accepted without meaning for keywords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<bool>,
    /// Accepted without meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_hnsw: Option<bool>,
    /// How words of texts are found. Default: `word`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TextTokenizer>,
    /// Shorter words of texts are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_token_len: Option<usize>,
    /// Longer words of texts are left out; beginnings of words (`prefix`) are no longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_token_len: Option<usize>,
    /// Whether words match in any case. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowercase: Option<bool>,
    /// Accepted without meaning for texts: phrases are always matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrase_matching: Option<bool>,
    /// Whether letters of texts stand for those of ASCII that they are made of, as `a` for `ä` and `ss` for `ß`. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ascii_folding: Option<bool>,
    /// Words of texts that are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopwords: Option<Stopwords>,
    /// What words of texts are reduced to, stop words left out and before their length counts. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stemmer: Option<StemmingAlgorithm>,
}

impl PayloadIndexParams {
    /// Whether it is kept on disk.
    pub fn is_on_disk(&self) -> bool {
        match self.memory {
            Some(memory) => memory == Memory::Cold,
            None => self.on_disk.unwrap_or(false),
        }
    }

    /// The first parameter that is set and does not belong to the type.
    fn stranger(&self) -> Option<&'static str> {
        use PayloadSchemaType::{Datetime, Float, Integer, Keyword, Text, Uuid};
        let belongs: [(&str, bool, &[PayloadSchemaType]); 13] = [
            ("is_tenant", self.is_tenant.is_some(), &[Keyword, Uuid]),
            ("is_principal", self.is_principal.is_some(), &[Integer, Float, Datetime]),
            ("lookup", self.lookup.is_some(), &[Integer]),
            ("range", self.range.is_some(), &[Integer]),
            ("prefix", self.prefix.is_some(), &[Keyword]),
            ("tokenizer", self.tokenizer.is_some(), &[Text]),
            ("min_token_len", self.min_token_len.is_some(), &[Text]),
            ("max_token_len", self.max_token_len.is_some(), &[Text]),
            ("lowercase", self.lowercase.is_some(), &[Text]),
            ("phrase_matching", self.phrase_matching.is_some(), &[Text]),
            ("ascii_folding", self.ascii_folding.is_some(), &[Text]),
            ("stopwords", self.stopwords.is_some(), &[Text]),
            ("stemmer", self.stemmer.is_some(), &[Text]),
        ];
        let stranger = belongs
            .iter()
            .find(|(_, set, types)| *set && !types.contains(&self.data_type));
        stranger.map(|(name, ..)| *name)
    }
}

impl From<PayloadSchemaType> for PayloadIndexParams {
    fn from(data_type: PayloadSchemaType) -> Self {
        Self {
            data_type,
            on_disk: None,
            memory: None,
            is_tenant: None,
            is_principal: None,
            lookup: None,
            range: None,
            prefix: None,
            enable_hnsw: None,
            tokenizer: None,
            min_token_len: None,
            max_token_len: None,
            lowercase: None,
            phrase_matching: None,
            ascii_folding: None,
            stopwords: None,
            stemmer: None,
        }
    }
}

/// A payload index that is asked for: its type alone, or an object with parameters.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum PayloadFieldSchema {
    /// The type.
    Type(PayloadSchemaType),
    /// The type with parameters.
    Params(PayloadIndexParams),
}

impl PayloadFieldSchema {
    /// The parameters, where they were given.
    pub fn params(&self) -> Option<&PayloadIndexParams> {
        match self {
            Self::Type(_) => None,
            Self::Params(params) => Some(params),
        }
    }

    /// The type of the values.
    pub fn data_type(&self) -> PayloadSchemaType {
        match self {
            Self::Type(data_type) => *data_type,
            Self::Params(params) => params.data_type,
        }
    }
}

impl From<PayloadSchemaType> for PayloadFieldSchema {
    fn from(data_type: PayloadSchemaType) -> Self {
        Self::Type(data_type)
    }
}

impl From<PayloadIndexParams> for PayloadFieldSchema {
    fn from(params: PayloadIndexParams) -> Self {
        Self::Params(params)
    }
}

impl<'de> Deserialize<'de> for PayloadFieldSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if !value.is_object() {
            return PayloadSchemaType::deserialize(value)
                .map(Self::Type)
                .map_err(D::Error::custom);
        }
        let params = PayloadIndexParams::deserialize(value).map_err(D::Error::custom)?;
        match params.stranger() {
            Some(name) => Err(D::Error::custom(format!(
                "`{name}` is no parameter of an index of type {:?}",
                params.data_type
            ))),
            None => Ok(Self::Params(params)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_survive_the_wire() {
        for json in [
            r#""datetime""#,
            r#"{"type":"keyword","on_disk":true,"is_tenant":false}"#,
            r#"{"type":"integer","memory":"cold","lookup":true,"range":false}"#,
            r#"{"type":"uuid"}"#,
            r#"{"type":"text","ascii_folding":true,"stopwords":"german","stemmer":{"type":"snowball","language":"german"}}"#,
        ] {
            let schema: PayloadFieldSchema = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&schema).unwrap(), json);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |json: &str| {
            serde_json::from_str::<PayloadFieldSchema>(json)
                .unwrap_err()
                .to_string()
        };
        assert!(error(r#""place""#).contains("datetime"));
        assert!(error(r#"{"type":"place"}"#).contains("datetime"));
        assert!(error(r#"{"type":"bool","ondisk":true}"#).contains("ondisk"));
        assert!(error(r#"{"type":"bool","lookup":true}"#).contains("`lookup`"));
        assert!(error(r#"{"on_disk":true}"#).contains("type"));
    }

    #[test]
    fn memory_goes_before_on_disk() {
        let on_disk = |json: &str| {
            let schema: PayloadFieldSchema = serde_json::from_str(json).unwrap();
            schema.params().is_some_and(PayloadIndexParams::is_on_disk)
        };
        assert!(on_disk(r#"{"type":"bool","on_disk":true}"#));
        assert!(on_disk(r#"{"type":"bool","memory":"cold"}"#));
        assert!(!on_disk(r#"{"type":"bool","memory":"pinned","on_disk":true}"#));
        assert!(!on_disk(r#"{"type":"bool"}"#));
    }
}
