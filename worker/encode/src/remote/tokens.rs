//! How tokens are counted for a model whose tokenizer is not here.
//!
//! Chunks are cut and requests are filled by that count, so it errs on the long side: a piece of a word of up to four Latin letters
//! with the space before it, up to three digits, any other character. Beside OpenAI's cl100k_base, English prose has 1.2 to 1.4 times
//! its tokens, Chinese, Japanese, Thai and Hindi as many, Korean 0.9, emoji 0.7 and Burmese 0.5 times: for the last a `tokenizer` is to
//! be named, or a lower `max_tokens`.

use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use crate::{EncodeError, files};

const ESTIMATE: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {
        "type": "Split", "pattern": {"Regex": " ?[A-Za-z]{1,4}| ?[0-9]{1,3}|\\s+|[^A-Za-z0-9\\s]"},
        "behavior": "Isolated", "invert": false
    },
    "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"token": 0}, "unk_token": "token"}
}"#;

/// The estimate, as a tokenizer all of whose tokens are the same.
pub(super) fn estimate() -> Arc<tokenizers::Tokenizer> {
    static TOKENIZER: LazyLock<Arc<tokenizers::Tokenizer>> =
        LazyLock::new(|| Arc::new(tokenizers::Tokenizer::from_str(ESTIMATE).expect("the constant is a tokenizer")));
    TOKENIZER.clone()
}

/// The tokenizer in a file.
pub(super) fn read(path: &Path) -> Result<Arc<tokenizers::Tokenizer>, EncodeError> {
    let unusable = |source| EncodeError::Tokenizer {
        path: path.to_owned(),
        source,
    };
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(files::read(path)?).map_err(unusable)?;
    tokenizer.with_truncation(None).map_err(unusable)?.with_padding(None);
    Ok(Arc::new(tokenizer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_errs_on_the_long_side() {
        let count = |text: &str| estimate().encode(text, false).unwrap().len();
        // Tokens of cl100k_base.
        for (text, tokens) in [
            ("", 0),
            ("The cat sits on the mat.", 7),
            ("Москва - столица России.", 14),
            ("東京は日本の首都です", 10),
            ("1234567890", 4),
            ("fn main() {\n    println!(\"hello\");\n}", 10),
        ] {
            assert!(
                (tokens..=2 * tokens).contains(&count(text)),
                "{text:?}: {}",
                count(text)
            );
        }
    }
}
