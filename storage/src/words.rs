//! The words of texts: what full-text conditions compare.

mod folding;

use std::collections::HashSet;

use twofold_types::{Language, PayloadIndexParams, TextTokenizer};

use self::folding::folded;

/// How the words of a text are found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    tokenizer: TextTokenizer,
    /// Words match only in the same case.
    cased: bool,
    /// Letters stand for those of ASCII that they are made of.
    folded: bool,
    stopwords: HashSet<String>,
    /// Words are reduced to their stems in it.
    stemmed: Option<Language>,
    shortest: usize,
    longest: Option<usize>,
}

impl Words {
    pub(crate) fn new(params: &PayloadIndexParams) -> Self {
        let mut words = Self {
            tokenizer: params.tokenizer.unwrap_or_default(),
            cased: params.lowercase == Some(false),
            folded: params.ascii_folding == Some(true),
            stopwords: HashSet::new(),
            stemmed: params.stemmer.and_then(|stemmer| stemmer.language()),
            shortest: params.min_token_len.unwrap_or(0),
            longest: params.max_token_len,
        };
        let stopwords = params.stopwords.iter().flat_map(|stopwords| stopwords.words());
        words.stopwords = stopwords.map(|word| words.normal(word)).collect();
        words
    }

    /// The words of a text in order.
    pub(crate) fn of(&self, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        match self.tokenizer {
            TextTokenizer::Whitespace => text.split_whitespace().for_each(|word| self.add(word, &mut words)),
            TextTokenizer::Word | TextTokenizer::Prefix => {
                let parts = text.split(|c: char| !c.is_alphanumeric());
                parts.for_each(|word| self.add(word, &mut words));
            }
            TextTokenizer::Multilingual => {
                for part in text.split(|c: char| !c.is_alphanumeric()) {
                    let mut rest = part;
                    while let Some(at) = rest.find(is_written_without_spaces) {
                        let (before, from) = rest.split_at(at);
                        let length = from.chars().next().map_or(0, char::len_utf8);
                        let (character, after) = from.split_at(length);
                        self.add(before, &mut words);
                        self.add(character, &mut words);
                        rest = after;
                    }
                    self.add(rest, &mut words);
                }
            }
        }
        words
    }

    /// A word in the form in which it is compared, whole.
    fn normal(&self, word: &str) -> String {
        let word = match self.folded {
            true => folded(word),
            false => word.to_owned(),
        };
        match self.cased {
            true => word,
            false => word.to_lowercase(),
        }
    }

    fn add(&self, word: &str, words: &mut Vec<String>) {
        let mut word = self.normal(word);
        if self.stopwords.contains(&word) {
            return;
        }
        if let Some(language) = self.stemmed {
            word = language.stem(&word).into_owned();
        }
        let length = word.chars().count();
        let too_long = self.tokenizer != TextTokenizer::Prefix && self.longest.is_some_and(|longest| length > longest);
        if length > 0 && length >= self.shortest && !too_long {
            words.push(word);
        }
    }

    /// Under what a text is found, in order and without doubles.
    pub(crate) fn indexed(&self, text: &str) -> Vec<String> {
        let mut words = self.of(text);
        if self.tokenizer == TextTokenizer::Prefix {
            let whole = std::mem::take(&mut words);
            for word in whole {
                let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
                let ends = ends
                    .take(self.longest.unwrap_or(usize::MAX))
                    .skip(self.shortest.max(1) - 1);
                words.extend(ends.map(|end| word[..end].to_owned()));
            }
        }
        words.sort_unstable();
        words.dedup();
        words
    }

    /// What a query looks for: its words, of prefixes as much as is indexed.
    pub(crate) fn sought(&self, text: &str) -> Vec<String> {
        let mut words = self.of(text);
        if let (TextTokenizer::Prefix, Some(longest)) = (self.tokenizer, self.longest) {
            words
                .iter_mut()
                .for_each(|word| *word = word.chars().take(longest).collect());
        }
        words
    }

    /// Whether a text has all, or any, of the words.
    pub(crate) fn holds(&self, text: &str, words: &[String], all: bool) -> bool {
        let indexed = self.indexed(text);
        let has = |word: &String| indexed.binary_search(word).is_ok();
        match all {
            true => !words.is_empty() && words.iter().all(has),
            false => words.iter().any(has),
        }
    }

    /// Whether a text has the words one after another.
    pub(crate) fn holds_phrase(&self, text: &str, words: &[String]) -> bool {
        !words.is_empty() && self.of(text).windows(words.len()).any(|window| window == words)
    }
}

/// Chinese characters, kana, and the scripts of Thailand, Laos, Burma and Cambodia.
fn is_written_without_spaces(c: char) -> bool {
    matches!(u32::from(c), 0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x323af)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(params: serde_json::Value) -> Words {
        Words::new(&serde_json::from_value(params).unwrap())
    }

    #[test]
    fn every_tokenizer_finds_its_words() {
        let text = "The Quick-brown fox_1 検索x";
        assert_eq!(
            Words::default().of(text),
            ["the", "quick", "brown", "fox", "1", "検索x"]
        );
        let spaces = words(json!({"type": "text", "tokenizer": "whitespace", "lowercase": false}));
        assert_eq!(spaces.of(text), ["The", "Quick-brown", "fox_1", "検索x"]);
        let multilingual =
            words(json!({"type": "text", "tokenizer": "multilingual", "stopwords": {"custom": ["The"]}}));
        assert_eq!(multilingual.of(text), ["quick", "brown", "fox", "1", "検", "索", "x"]);
        let prefix = words(json!({"type": "text", "tokenizer": "prefix", "min_token_len": 2, "max_token_len": 4}));
        assert_eq!(prefix.indexed("quick fox a"), ["fo", "fox", "qu", "qui", "quic"]);
        assert!(prefix.holds("quick fox", &prefix.sought("quicker fo"), true));
        let short = words(json!({"type": "text", "min_token_len": 2, "max_token_len": 4}));
        assert_eq!(short.of("a quick fox"), ["fox"]);
    }

    #[test]
    fn words_are_folded_left_out_and_reduced_to_their_stems_before_their_length_counts() {
        let german = words(json!({
            "type": "text", "ascii_folding": true, "stopwords": {"languages": ["german"], "custom": ["Städte"]},
            "stemmer": {"type": "snowball", "language": "german"}, "min_token_len": 3, "max_token_len": 4,
        }));
        // Without folding these would be a stop word and two words.
        assert_eq!(german.of("Für die STADTE und Häusern, Straßenbahnen"), ["haus"]);
        assert!(german.holds_phrase("die Häuser der Gaste", &german.of("haus gäste")));
        let english =
            words(json!({"type": "text", "stopwords": "en", "stemmer": {"type": "snowball", "language": "en"}}));
        assert_eq!(english.of("The runner was running"), ["runner", "run"]);
        let plain = words(json!({"type": "text", "stemmer": {"type": "none"}}));
        assert_eq!(plain.of("running für"), ["running", "für"]);
    }

    #[test]
    fn a_phrase_is_in_order_and_nothing_is_found_for_no_words() {
        let words = Words::default();
        assert!(words.holds_phrase("the Quick brown fox", &words.of("quick BROWN")));
        assert!(!words.holds_phrase("the quick brown fox", &words.of("brown quick")));
        assert!(words.holds("brown, quick", &words.of("quick brown"), true));
        assert!(
            !words.holds("brown", &words.of("quick brown"), true)
                && words.holds("brown", &words.of("quick brown"), false)
        );
        assert!(!words.holds("a", &[], true) && !words.holds("a", &[], false) && !words.holds_phrase("a", &[]));
    }
}
