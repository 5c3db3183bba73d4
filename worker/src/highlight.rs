//! The sentences of a passage that match best.

use std::cmp::Reverse;
use std::collections::HashSet;

use twofold_encode::{BM25, Bm25Encoder, Encoder};
use twofold_types::api::Highlight;
use twofold_types::{CollectionConfig, EncoderParams, ModelId, Role};
use unicode_segmentation::UnicodeSegmentation;

use crate::error::{Result, WorkerError};

/// Sentences of one passage at most.
const MOST: usize = 3;

/// Finds sentences by the words that they share with what was asked. Words are those of BM25: stems, without stop words.
pub(crate) struct Highlighter {
    words: Bm25Encoder,
    asked: HashSet<u32>,
}

impl Highlighter {
    /// For a question to a collection, in the language of its BM25 encoder, where it has one.
    pub(crate) fn new(config: &CollectionConfig, asked: &str) -> Result<Self> {
        let mut encoders = config.encoders.values();
        let bm25 = encoders.find(|params| Bm25Encoder::is_meant(&params.model)).cloned();
        let params = bm25.unwrap_or_else(|| EncoderParams::new(ModelId::new(BM25)));
        let words = Bm25Encoder::new(&params).map_err(|source| WorkerError::Model {
            model: params.model,
            source,
        })?;
        let asked = terms(&words, asked)?.into_iter().collect();
        Ok(Self { words, asked })
    }

    /// Sentences with words of the question: those with the most different ones first, of these those with the fewest others.
    pub(crate) fn highlights(&self, text: &str) -> Result<Vec<Highlight>> {
        let mut found = Vec::new();
        for (start, sentence) in text.split_sentence_bound_indices() {
            let terms = terms(&self.words, sentence)?;
            let shared: HashSet<&u32> = terms.iter().filter(|term| self.asked.contains(term)).collect();
            if shared.is_empty() {
                continue;
            }
            let start = start + (sentence.len() - sentence.trim_start().len());
            let sentence = sentence.trim();
            let highlight = Highlight {
                start,
                end: start + sentence.len(),
                text: sentence.to_owned(),
                words: shared.len(),
            };
            found.push((terms.len(), highlight));
        }
        found.sort_by_key(|(terms, highlight)| (Reverse(highlight.words), *terms));
        Ok(found.into_iter().map(|(_, highlight)| highlight).take(MOST).collect())
    }
}

fn terms(words: &Bm25Encoder, text: &str) -> Result<Vec<u32>> {
    let mut tokens = words
        .tokenizer(Role::Query)
        .tokenize(&[text], Role::Query)
        .map_err(|error| WorkerError::Encoding(error.to_string()))?;
    Ok(tokens.pop().map_or(Vec::new(), |tokens| tokens.ids().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn highlights(config: &CollectionConfig, asked: &str, text: &str) -> Vec<(usize, String)> {
        let highlighter = Highlighter::new(config, asked).unwrap();
        let found = highlighter.highlights(text).unwrap().into_iter();
        found
            .map(|highlight| {
                assert_eq!(&text[highlight.start..highlight.end], highlight.text);
                (highlight.words, highlight.text)
            })
            .collect()
    }

    #[test]
    fn sentences_come_by_the_stems_that_they_share() {
        let text =
            "  Yeast makes gas. The bread rises because the yeast makes gas. \u{c4}pfel!\nNobody rose. Breads.  ";
        let found = highlights(&CollectionConfig::default(), "Why does bread rise with yeast?", text);
        let expected = [
            (3, "The bread rises because the yeast makes gas."),
            (1, "Breads."),
            (1, "Yeast makes gas."),
        ];
        assert_eq!(found, expected.map(|(words, text)| (words, text.to_owned())));
    }

    #[test]
    fn stop_words_match_nothing() {
        assert!(highlights(&CollectionConfig::default(), "what is the", "What is it? The cat.").is_empty());
        assert!(highlights(&CollectionConfig::default(), "cat", "").is_empty());
    }

    #[test]
    fn a_collection_has_the_language_of_its_bm25() {
        let german = r#"{"model": "Qdrant/bm25", "options": {"language": "german"}}"#;
        let config = CollectionConfig {
            encoders: [("words".to_owned(), serde_json::from_str(german).unwrap())].into(),
            ..CollectionConfig::default()
        };
        let found = |config| highlights(config, "die Hunde", "Die Katze schl\u{e4}ft. Ein Hund bellt.");
        assert_eq!(found(&config), [(1, "Ein Hund bellt.".to_owned())]);
        // In English "die" is a word like any other, and the stem of "Hunde" happens to be the same.
        assert_eq!(
            found(&CollectionConfig::default()),
            [
                (1, "Die Katze schl\u{e4}ft.".to_owned()),
                (1, "Ein Hund bellt.".to_owned())
            ]
        );
    }
}
