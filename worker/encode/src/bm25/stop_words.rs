//! The words of each language that are too frequent to tell documents apart: the Stopwords Corpus of NLTK, which are the lists
//! of the Snowball project (Porter et al.) as PostgreSQL has them, with its corrections.

use twofold_types::Language;

/// The stop words, one a line; there is no list for Tamil.
pub(super) fn stop_words(language: Language) -> &'static str {
    match language {
        Language::Arabic => include_str!("stop_words/arabic.txt"),
        Language::Danish => include_str!("stop_words/danish.txt"),
        Language::Dutch => include_str!("stop_words/dutch.txt"),
        Language::English => include_str!("stop_words/english.txt"),
        Language::Finnish => include_str!("stop_words/finnish.txt"),
        Language::French => include_str!("stop_words/french.txt"),
        Language::German => include_str!("stop_words/german.txt"),
        Language::Greek => include_str!("stop_words/greek.txt"),
        Language::Hungarian => include_str!("stop_words/hungarian.txt"),
        Language::Italian => include_str!("stop_words/italian.txt"),
        Language::Norwegian => include_str!("stop_words/norwegian.txt"),
        Language::Portuguese => include_str!("stop_words/portuguese.txt"),
        Language::Romanian => include_str!("stop_words/romanian.txt"),
        Language::Russian => include_str!("stop_words/russian.txt"),
        Language::Spanish => include_str!("stop_words/spanish.txt"),
        Language::Swedish => include_str!("stop_words/swedish.txt"),
        Language::Tamil => "",
        Language::Turkish => include_str!("stop_words/turkish.txt"),
    }
}
