//! Documents to chunks that fit the model.

use text_splitter::{ChunkConfig, ChunkSizer, TextSplitter};
use twofold_encode::Tokenizer;
use twofold_types::{ChunkingParams, Role};

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Where it begins, in bytes of the document's text.
    pub(crate) start: usize,
    pub(crate) text: String,
}

impl Chunk {
    /// Where it ends, in bytes of the document's text.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

struct TokenCount<'a>(&'a Tokenizer);

impl ChunkSizer for TokenCount<'_> {
    fn size(&self, chunk: &str) -> usize {
        // What cannot be tokenised is reported when it is encoded; until then a byte stands for a token.
        self.0.count_tokens(chunk).unwrap_or(chunk.len())
    }
}

/// Cuts a text at paragraphs, sentences and words, into chunks that the model encodes whole.
pub(crate) fn chunk(text: &str, tokenizer: &Tokenizer, params: ChunkingParams) -> Vec<Chunk> {
    let prompt = tokenizer
        .count_tokens(tokenizer.prompts().of(Role::Document))
        .unwrap_or(0);
    let fits = tokenizer
        .max_tokens()
        .saturating_sub(tokenizer.special_tokens() + prompt)
        .max(1);
    let max_tokens = params.max_tokens.unwrap_or(fits).clamp(1, fits);
    let overlap = params.overlap.unwrap_or(max_tokens / 8).min(max_tokens - 1);
    let config = ChunkConfig::new(max_tokens)
        .with_sizer(TokenCount(tokenizer))
        .with_overlap(overlap)
        .expect("the overlap is below the size");
    let splitter = TextSplitter::new(config);
    splitter
        .chunk_indices(text)
        .map(|(start, text)| Chunk {
            start,
            text: text.to_owned(),
        })
        .collect()
}
