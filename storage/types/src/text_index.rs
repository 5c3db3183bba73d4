//! How a text index finds the words of a text.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::Language;

/// What the words of a text are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextTokenizer {
    /// Whatever stands between anything but letters and digits.
    #[default]
    Word,
    /// Whatever stands between spaces.
    Whitespace,
    /// The beginnings of words; the words of a query match as beginnings.
    Prefix,
    /// Words, and every character of scripts that are written without spaces.
    Multilingual,
}

/// Words that are left out: those of a language, or an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Stopwords {
    /// Those of a language.
    Language(Language),
    /// Those of several languages, and others.
    Set(StopwordsSet),
}

/// Words of several languages that are left out, and others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopwordsSet {
    /// The languages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<Language>>,
    /// The other words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Vec<String>>,
}

impl Stopwords {
    /// The words, as they are listed.
    pub fn words(&self) -> Vec<&str> {
        let (languages, custom) = match self {
            Self::Language(language) => (std::slice::from_ref(language), &[][..]),
            Self::Set(set) => (
                set.languages.as_deref().unwrap_or_default(),
                set.custom.as_deref().unwrap_or_default(),
            ),
        };
        let mut words: Vec<&str> = custom.iter().map(String::as_str).collect();
        for language in languages {
            language.stop_words().for_each(|word| words.push(word));
        }
        words
    }
}

impl<'de> Deserialize<'de> for Stopwords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            set @ Value::Object(_) => StopwordsSet::deserialize(set).map(Self::Set),
            language => Language::deserialize(language).map(Self::Language),
        }
        .map_err(|error| {
            D::Error::custom(format!(
                "{error}; `stopwords` is a language, or an object with `languages` and `custom`"
            ))
        })
    }
}

/// What words are reduced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum StemmingAlgorithm {
    /// Their stems by the Snowball algorithm of a language.
    Snowball {
        /// The language.
        language: Language,
    },
    /// Nothing: they stay as they are.
    None,
}

impl StemmingAlgorithm {
    /// The language whose stems words are reduced to.
    pub fn language(self) -> Option<Language> {
        match self {
            Self::Snowball { language } => Some(language),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_stopwords_survives_the_wire() {
        for json in [
            r#""german""#,
            r#"{"languages":["german","english"],"custom":["Oslo"]}"#,
            r#"{"custom":["Oslo"]}"#,
            "{}",
        ] {
            let stopwords: Stopwords = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&stopwords).unwrap(), json);
        }
        let both: Stopwords = serde_json::from_str(r#"{"languages":["german"],"custom":["Oslo"]}"#).unwrap();
        let words = both.words();
        assert!(words.contains(&"und") && words.contains(&"Oslo") && !words.contains(&"the"));
    }

    #[test]
    fn mistakes_are_told_what_is_accepted() {
        let stopwords = |json: &str| serde_json::from_str::<Stopwords>(json).unwrap_err().to_string();
        assert!(stopwords(r#""klingon""#).contains("`tamil`"));
        assert!(stopwords("7").contains("`languages`"));
        assert!(stopwords(r#"{"words":["a"]}"#).contains("`custom`"));
        let stemmer = |json: &str| serde_json::from_str::<StemmingAlgorithm>(json).unwrap_err().to_string();
        assert!(stemmer(r#"{"type":"porter"}"#).contains("`snowball`"));
        assert!(stemmer(r#"{"type":"snowball","language":"armenian"}"#).contains("`tamil`"));
        assert!(stemmer(r#"{"type":"snowball"}"#).contains("`language`"));
    }
}
