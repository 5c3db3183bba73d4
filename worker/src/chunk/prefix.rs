//! What is put before every chunk of a document, out of its metadata.

use serde_json::Value;
use twofold_types::Document;

/// The part of a template before `{text}`, with the document's metadata in it; empty where the document lacks some of it.
pub(crate) fn render(template: Option<&str>, document: &Document) -> String {
    let template = template.and_then(|template| template.strip_suffix("{text}"));
    template
        .and_then(|template| fill(template, document))
        .unwrap_or_default()
}

fn fill(mut template: &str, document: &Document) -> Option<String> {
    let mut filled = String::new();
    while let Some((plain, rest)) = template.split_once('{') {
        let (key, rest) = rest.split_once('}')?;
        filled.push_str(plain);
        match document.metadata.as_ref()?.get(key)? {
            Value::Null => return None,
            Value::String(text) => filled.push_str(text),
            other => filled.push_str(&other.to_string()),
        }
        template = rest;
    }
    filled.push_str(template);
    Some(filled)
}

/// The longest beginning of a prefix that fits, by halves of what is left.
pub(super) fn shortened(mut prefix: String, fits: impl Fn(&str) -> bool) -> String {
    while !prefix.is_empty() && !fits(&prefix) {
        let mut half = prefix.len() / 2;
        while !prefix.is_char_boundary(half) {
            half -= 1;
        }
        prefix.truncate(half);
    }
    prefix
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_filled_from_metadata_or_left_out() {
        let document: Document =
            serde_json::from_value(json!({"text": "t", "metadata": {"title": "T", "n": 7}})).unwrap();
        assert_eq!(render(Some("{title}: {text}"), &document), "T: ");
        assert_eq!(render(Some("{n}. {title} {text}"), &document), "7. T ");
        assert_eq!(render(Some("{author}: {text}"), &document), "");
        assert_eq!(render(None, &document), "");
    }

    #[test]
    fn what_is_too_long_is_cut_where_characters_end() {
        assert_eq!(shortened("äöü".to_owned(), |prefix| prefix.len() <= 4), "ä");
        assert_eq!(shortened("abc".to_owned(), |_| true), "abc");
        assert_eq!(shortened("abc".to_owned(), |prefix| prefix.is_empty()), "");
    }
}
