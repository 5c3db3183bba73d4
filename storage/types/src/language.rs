//! Languages: the words that say little in each, and the stems of the others.

use std::borrow::Cow;

use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A language with a Snowball stemmer, by its English name or its ISO 639-1 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Language {
    #[serde(alias = "ar")]
    Arabic,
    #[serde(alias = "da")]
    Danish,
    #[serde(alias = "nl")]
    Dutch,
    #[default]
    #[serde(alias = "en")]
    English,
    #[serde(alias = "fi")]
    Finnish,
    #[serde(alias = "fr")]
    French,
    #[serde(alias = "de")]
    German,
    #[serde(alias = "el")]
    Greek,
    #[serde(alias = "hu")]
    Hungarian,
    #[serde(alias = "it")]
    Italian,
    #[serde(alias = "no")]
    Norwegian,
    #[serde(alias = "pt")]
    Portuguese,
    #[serde(alias = "ro")]
    Romanian,
    #[serde(alias = "ru")]
    Russian,
    #[serde(alias = "es")]
    Spanish,
    #[serde(alias = "sv")]
    Swedish,
    #[serde(alias = "ta")]
    Tamil,
    #[serde(alias = "tr")]
    Turkish,
}

impl Language {
    /// The words that are too frequent to tell documents apart, in lower case; none are known of Tamil.
    ///
    /// They are the Stopwords Corpus of NLTK: the lists of the Snowball project (Porter et al.) as PostgreSQL has them, with its
    /// corrections.
    pub fn stop_words(self) -> impl Iterator<Item = &'static str> {
        let one_a_line = match self {
            Self::Arabic => include_str!("language/stop_words/arabic.txt"),
            Self::Danish => include_str!("language/stop_words/danish.txt"),
            Self::Dutch => include_str!("language/stop_words/dutch.txt"),
            Self::English => include_str!("language/stop_words/english.txt"),
            Self::Finnish => include_str!("language/stop_words/finnish.txt"),
            Self::French => include_str!("language/stop_words/french.txt"),
            Self::German => include_str!("language/stop_words/german.txt"),
            Self::Greek => include_str!("language/stop_words/greek.txt"),
            Self::Hungarian => include_str!("language/stop_words/hungarian.txt"),
            Self::Italian => include_str!("language/stop_words/italian.txt"),
            Self::Norwegian => include_str!("language/stop_words/norwegian.txt"),
            Self::Portuguese => include_str!("language/stop_words/portuguese.txt"),
            Self::Romanian => include_str!("language/stop_words/romanian.txt"),
            Self::Russian => include_str!("language/stop_words/russian.txt"),
            Self::Spanish => include_str!("language/stop_words/spanish.txt"),
            Self::Swedish => include_str!("language/stop_words/swedish.txt"),
            Self::Tamil => "",
            Self::Turkish => include_str!("language/stop_words/turkish.txt"),
        };
        one_a_line.lines()
    }

    /// The stem of a word in lower case.
    pub fn stem(self, word: &str) -> Cow<'_, str> {
        // Making one only picks a function.
        Stemmer::create(match self {
            Self::Arabic => Algorithm::Arabic,
            Self::Danish => Algorithm::Danish,
            Self::Dutch => Algorithm::Dutch,
            Self::English => Algorithm::English,
            Self::Finnish => Algorithm::Finnish,
            Self::French => Algorithm::French,
            Self::German => Algorithm::German,
            Self::Greek => Algorithm::Greek,
            Self::Hungarian => Algorithm::Hungarian,
            Self::Italian => Algorithm::Italian,
            Self::Norwegian => Algorithm::Norwegian,
            Self::Portuguese => Algorithm::Portuguese,
            Self::Romanian => Algorithm::Romanian,
            Self::Russian => Algorithm::Russian,
            Self::Spanish => Algorithm::Spanish,
            Self::Swedish => Algorithm::Swedish,
            Self::Tamil => Algorithm::Tamil,
            Self::Turkish => Algorithm::Turkish,
        })
        .stem(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_has_two_names_its_stems_and_its_stop_words() {
        let named = |name: &str| serde_json::from_value::<Language>(name.into()).unwrap();
        assert_eq!(named("german"), named("de"));
        assert_eq!(serde_json::to_value(named("de")).unwrap(), "german");
        assert_eq!(named("en").stem("running"), "run");
        assert!(named("en").stop_words().any(|word| word == "the"));
    }
}
