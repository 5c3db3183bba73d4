//! Documents to chunks that fit the model.
//!
//! Whatever the strategy: chunks come in the order of the text, together they have all of it but white space between them,
//! and none is longer than the model takes, with everything that is put before it.

mod headings;
mod pack;
pub(crate) mod prefix;

use std::ops::Range;

use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};
use twofold_encode::Tokenizer;
use twofold_types::{ChunkingParams, ChunkingStrategy, Document, Role};
use unicode_segmentation::UnicodeSegmentation;

use headings::Headings;
use pack::{pack, trimmed};

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Where it begins, in bytes of the document's text.
    pub(crate) start: usize,
    pub(crate) text: String,
    /// The headings that it stands below, the highest first; of Markdown only.
    pub(crate) headings: Vec<String>,
    /// It with what is put before it, where there is something.
    prefixed: Option<String>,
}

impl Chunk {
    /// Where it ends, in bytes of the document's text.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// What is encoded.
    pub(crate) fn encoded_text(&self) -> &str {
        self.prefixed.as_deref().unwrap_or(&self.text)
    }
}

/// What of a text is in none of its chunks, in its order: with the chunks, it is the text again.
pub(crate) fn gaps(text: &str, chunks: &[Chunk]) -> String {
    let (mut gaps, mut covered) = (String::new(), 0);
    for chunk in chunks {
        gaps.push_str(text.get(covered..chunk.start).unwrap_or_default());
        covered = covered.max(chunk.end());
    }
    gaps.push_str(text.get(covered..).unwrap_or_default());
    gaps
}

/// A document that must not be cut and is longer than the model takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text has {received} tokens, but the model takes {most}, and the strategy `none` does not cut it")]
pub(crate) struct TooLong {
    received: usize,
    most: usize,
}

/// Measures a piece in tokens, together with what stands before it.
struct Sizer<'a> {
    tokenizer: &'a Tokenizer,
    /// The model's prompt and the document's prefix.
    before: String,
}

impl Sizer<'_> {
    fn tokens(&self, piece: &str) -> usize {
        // What cannot be tokenised is reported when it is encoded; until then a byte stands for a token.
        let counted = match self.before.is_empty() {
            true => self.tokenizer.count_tokens(piece),
            false => self.tokenizer.count_tokens(&format!("{}{piece}", self.before)),
        };
        counted.unwrap_or(self.before.len() + piece.len())
    }
}

impl ChunkSizer for &Sizer<'_> {
    fn size(&self, piece: &str) -> usize {
        self.tokens(piece)
    }
}

/// Cuts a document as its collection wants it, into chunks that the model encodes whole.
pub(crate) fn chunk(
    document: &Document,
    tokenizer: &Tokenizer,
    params: &ChunkingParams,
) -> Result<Vec<Chunk>, TooLong> {
    let text = document.text.as_str();
    let prompt = tokenizer.prompts().of(Role::Document);
    let bare = Sizer {
        tokenizer,
        before: prompt.to_owned(),
    };
    // Everything but special tokens, which the tokenizer adds.
    let takes = tokenizer.max_tokens().saturating_sub(tokenizer.special_tokens()).max(1);
    let prompt_tokens = bare.tokens("");
    let most = match params.max_tokens {
        Some(asked) => asked.saturating_add(prompt_tokens).min(takes),
        None => takes,
    };
    // Half of a chunk at least is the text's own.
    let prefix = prefix::render(params.template.as_deref(), document);
    let prefix = prefix::shortened(prefix, |prefix| {
        bare.tokens(prefix) <= prompt_tokens + (most - prompt_tokens.min(most)) / 2
    });
    let sizer = Sizer {
        tokenizer,
        before: format!("{prompt}{prefix}"),
    };
    let before = sizer.tokens("");
    let most = most.max(before + 1);
    let room = most - before;
    let overlap = params.overlap.unwrap_or(room / 8).min(room - 1);
    let limits = Limits {
        sizer: &sizer,
        most,
        // What is repeated is measured with what stands before it, as everything is.
        overlap: before + overlap,
    };
    let ranges = match params.strategy {
        ChunkingStrategy::Recursive => limits.recursive(text, 0..text.len()),
        ChunkingStrategy::Markdown => limits.markdown(text),
        ChunkingStrategy::Sentence => limits.sentences(text),
        ChunkingStrategy::Code => limits.blocks(text),
        ChunkingStrategy::None => {
            let range = trimmed(text, 0..text.len());
            let received = sizer.tokens(&text[range.clone()]);
            if received > takes {
                return Err(TooLong { received, most: takes });
            }
            vec![range]
        }
    };
    let headings = match params.strategy {
        ChunkingStrategy::Markdown => Headings::of(text),
        _ => Headings::default(),
    };
    let ranges = ranges.into_iter().filter(|range| !range.is_empty());
    let ranges = ranges.flat_map(|range| limits.enforced(text, range));
    // Of a piece that was cut once more, the one after it may repeat what stands alone by now.
    let mut covered = 0;
    let ranges = ranges.filter(|range| {
        let adds = range.end > covered;
        covered = covered.max(range.end);
        adds
    });
    let chunks = ranges.map(|range| Chunk {
        start: range.start,
        headings: headings.at(range.start),
        prefixed: (!prefix.is_empty()).then(|| format!("{prefix}{}", &text[range.clone()])),
        text: text[range].to_owned(),
    });
    Ok(chunks.collect())
}

/// How large pieces may be, in tokens as the sizer counts them.
#[derive(Clone, Copy)]
struct Limits<'a> {
    sizer: &'a Sizer<'a>,
    most: usize,
    overlap: usize,
}

impl Limits<'_> {
    fn config(&self) -> ChunkConfig<&Sizer<'_>> {
        ChunkConfig::new(self.most)
            .with_sizer(self.sizer)
            .with_overlap(self.overlap)
            .expect("the overlap is below the size")
    }

    /// A piece, or halves of it that fit: tokenizers know some words whole that are many tokens when they are cut, which those
    /// who cut do not expect.
    fn enforced(&self, text: &str, range: Range<usize>) -> Vec<Range<usize>> {
        let piece = &text[range.clone()];
        let middle = piece.char_indices().nth(piece.chars().count() / 2);
        match middle {
            Some((middle, _)) if middle > 0 && self.sizer.tokens(piece) > self.most => {
                let halves = [range.start..range.start + middle, range.start + middle..range.end];
                let halves = halves.into_iter().map(|half| trimmed(text, half));
                halves.flat_map(|half| self.enforced(text, half)).collect()
            }
            _ if range.is_empty() => Vec::new(),
            _ => vec![range],
        }
    }

    /// At paragraphs, sentences, words.
    fn recursive(&self, text: &str, range: Range<usize>) -> Vec<Range<usize>> {
        let splitter = TextSplitter::new(self.config());
        let pieces = splitter.chunk_indices(&text[range.clone()]);
        pieces
            .map(|(start, piece)| range.start + start..range.start + start + piece.len())
            .collect()
    }

    /// At headings, blocks, and then as above.
    fn markdown(&self, text: &str) -> Vec<Range<usize>> {
        let splitter = MarkdownSplitter::new(self.config());
        let pieces = splitter.chunk_indices(text);
        pieces.map(|(start, piece)| start..start + piece.len()).collect()
    }

    /// Whole sentences.
    fn sentences(&self, text: &str) -> Vec<Range<usize>> {
        let sentences = text
            .split_sentence_bound_indices()
            .map(|(start, sentence)| start..start + sentence.len());
        pack(text, sentences.collect(), self, |range| self.recursive(text, range))
    }

    /// Whole blocks of source code: what begins in the first column after an empty line. Where that is too much, whole lines.
    fn blocks(&self, text: &str) -> Vec<Range<usize>> {
        let lines = lines(text);
        let mut blocks: Vec<Range<usize>> = Vec::new();
        let mut after_empty = true;
        for line in &lines {
            let is_empty = text[line.clone()].trim().is_empty();
            let begins = after_empty && !is_empty && !text[line.clone()].starts_with(char::is_whitespace);
            match blocks.last_mut() {
                Some(block) if !begins => block.end = line.end,
                _ => blocks.push(line.clone()),
            }
            after_empty = is_empty;
        }
        pack(text, blocks, self, |block| {
            let own = lines
                .iter()
                .filter(|line| line.start >= block.start && line.end <= block.end);
            pack(text, own.cloned().collect(), self, |line| self.recursive(text, line))
        })
    }
}

fn lines(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        start += line.len();
        start - line.len()..start
    });
    lines.collect()
}

#[cfg(test)]
mod tests;
