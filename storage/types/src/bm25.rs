//! How BM25 weighs terms, and what a term is.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Language;

/// Options of the encoder `Qdrant/bm25`, by the names that other tools have for them. All of them change vectors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bm25Options {
    /// How soon further occurrences of a term stop to count; at least 0. Default: 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<f64>,
    /// How much the length of a document counts, 0 to 1. Default: 0.75.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub b: Option<f64>,
    /// Words of an average document, stop words not counted; above 0. Default: 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avg_len: Option<f64>,
    /// The language that words are stemmed in, and whose stop words are left out. Default: English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Whether words stay as they are, in any language; then no word is a stop word unless `stopwords` says so. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_stemmer: Option<bool>,
    /// Words that are left out, instead of those of the language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopwords: Option<BTreeSet<String>>,
}

impl Bm25Options {
    /// These, but for what `others` say.
    #[must_use]
    pub fn overruled_by(self, others: Self) -> Self {
        Self {
            k: others.k.or(self.k),
            b: others.b.or(self.b),
            avg_len: others.avg_len.or(self.avg_len),
            language: others.language.or(self.language),
            disable_stemmer: others.disable_stemmer.or(self.disable_stemmer),
            stopwords: others.stopwords.or(self.stopwords),
        }
    }
}

// No number in JSON is not a number, so equality is total.
impl Eq for Bm25Options {}

impl Hash for Bm25Options {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Adding 0 makes one of the two zeros, which are equal.
        [self.k, self.b, self.avg_len]
            .map(|number| number.map(|number| (number + 0.0).to_bits()))
            .hash(state);
        self.language.hash(state);
        self.disable_stemmer.hash(state);
        self.stopwords.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Bm25Options, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn options_survive_a_round_trip() {
        let json = r#"{"k":1.5,"avg_len":80.0,"language":"german","disable_stemmer":true,"stopwords":["der"]}"#;
        assert_eq!(serde_json::to_string(&parse(json).unwrap()).unwrap(), json);
        assert_eq!(serde_json::to_string(&Bm25Options::default()).unwrap(), "{}");
    }

    #[test]
    fn options_overrule_one_by_one() {
        let entry = parse(r#"{"k":1.5,"language":"german"}"#).unwrap();
        let overruled = entry.overruled_by(parse(r#"{"language":"french","b":0.5}"#).unwrap());
        assert_eq!(overruled, parse(r#"{"k":1.5,"b":0.5,"language":"french"}"#).unwrap());
    }

    #[test]
    fn what_is_wrong_is_told_what_is_accepted() {
        for (json, words) in [
            (r#"{"language": "klingon"}"#, "`tamil`"),
            (r#"{"k1": 1.2}"#, "`avg_len`"),
            (r#"{"stopwords": "english"}"#, "a sequence"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
