//! Text to terms: words in lower case, without the stop words among them, reduced to their stems, each as a number.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use twofold_types::{Bm25Options, Language};

use super::murmur3::murmur3;
use crate::{Prompts, Tokens};

/// Letters and digits of any script; the marks that some scripts write vowels with end a word, as in the original.
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").expect("it is a regular expression"));

/// Longer words, in characters, are left out: they are no words.
const LONGEST: usize = 40;

/// Makes tokens of words. There are as many tokens as terms may have numbers, and no text is too long.
pub struct Words {
    stop_words: HashSet<Cow<'static, str>>,
    /// Words are reduced to their stems in it.
    stemmed: Option<Language>,
}

impl Words {
    /// More words than any text has.
    pub(crate) const MAX: usize = u32::MAX as usize;

    pub(super) fn new(options: &Bm25Options) -> Self {
        let language = options.language.unwrap_or_default();
        let stems = !options.disable_stemmer.unwrap_or_default();
        let stop_words = match &options.stopwords {
            Some(words) => words.iter().map(|word| word.to_lowercase().into()).collect(),
            None if stems => language.stop_words().map(Cow::Borrowed).collect(),
            None => HashSet::new(),
        };
        Self {
            stop_words,
            stemmed: stems.then_some(language),
        }
    }

    /// The terms of a text, in its order.
    pub(crate) fn tokenize(&self, text: &str) -> Tokens {
        let mut terms = Vec::new();
        for word in WORD.find_iter(text) {
            let lower = word.as_str().to_lowercase();
            // Of a few letters lower case has a mark.
            terms.extend(WORD.find_iter(&lower).filter_map(|word| self.term(word.as_str())));
        }
        Tokens::of_terms(terms)
    }

    /// How many words a text has, stop words included: what a chunk is measured by.
    pub(crate) fn count(&self, text: &str) -> usize {
        WORD.find_iter(text).count()
    }

    pub(crate) fn prompts(&self) -> &Prompts {
        static NONE: LazyLock<Prompts> = LazyLock::new(Prompts::default);
        &NONE
    }

    /// The number of a word's stem; none of a word that is left out.
    fn term(&self, word: &str) -> Option<u32> {
        if word == "_" || self.stop_words.contains(word) || word.chars().count() > LONGEST {
            return None;
        }
        let stem = match self.stemmed {
            Some(language) => language.stem(word),
            None => Cow::Borrowed(word),
        };
        // The magnitude of the hash as a signed number.
        (!stem.is_empty()).then(|| murmur3(stem.as_bytes()).cast_signed().unsigned_abs())
    }
}
