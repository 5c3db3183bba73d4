//! Paths of endpoints, with names percent-encoded.

use std::fmt::Write;
use std::time::Duration;

use twofold_types::api::ChangesPosition;

use crate::Error;

/// `/first/second/...`: every segment percent-encoded as a whole, so that a `/` within a name stays part of the name.
pub(crate) fn path(segments: &[&str]) -> Result<String, Error> {
    let mut path = String::new();
    for segment in segments {
        // URLs resolve these before they are sent, encoded or not.
        if matches!(*segment, "" | "." | "..") {
            return Err(Error::InvalidPath {
                segment: (*segment).to_owned(),
            });
        }
        path.push('/');
        push_encoded(&mut path, segment);
    }
    Ok(path)
}

/// `?limit=..&from=..`
pub(crate) fn page(from: Option<&str>, limit: usize) -> String {
    let mut query = format!("?limit={limit}");
    if let Some(from) = from {
        query.push_str("&from=");
        push_encoded(&mut query, from);
    }
    query
}

/// `?limit=..&wait=..&timeout=..&since=..&epoch=..`
pub(crate) fn changes(after: Option<ChangesPosition>, limit: usize, wait: Duration) -> String {
    // The server's own timeout may be shorter than the wait.
    let (seconds, within) = (wait.as_secs(), wait.as_secs() + 30);
    let mut query = format!("?limit={limit}&wait={seconds}&timeout={within}");
    if let Some(ChangesPosition { epoch, since }) = after {
        write!(query, "&since={since}&epoch={epoch}").expect("writing to a string does not fail");
    }
    query
}

/// `?limit=..&from=..&metadata=..,..`
pub(crate) fn page_with(from: Option<&str>, limit: usize, metadata: &[&str]) -> String {
    let mut query = page(from, limit);
    if !metadata.is_empty() {
        query.push_str("&metadata=");
        push_encoded(&mut query, &metadata.join(","));
    }
    query
}

fn push_encoded(text: &mut String, plain: &str) {
    for byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment_whatever_is_in_it() {
        let path = path(&["collections", "Büro 7", "documents", "a/b?c#d%\n.md"]).unwrap();
        assert_eq!(path, "/collections/B%C3%BCro%207/documents/a%2Fb%3Fc%23d%25%0A.md");
    }

    #[test]
    fn a_page_begins_with_any_id() {
        assert_eq!(page(None, 7), "?limit=7");
        assert_eq!(page(Some("a&b=c"), 7), "?limit=7&from=a%26b%3Dc");
        assert_eq!(page_with(None, 7, &["a", "b&c"]), "?limit=7&metadata=a%2Cb%26c");
    }

    #[test]
    fn changes_are_waited_for_within_the_timeout() {
        assert_eq!(changes(None, 7, Duration::ZERO), "?limit=7&wait=0&timeout=30");
        let epoch = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let after = Some(ChangesPosition { epoch, since: 9 });
        let query = format!("?limit=7&wait=60&timeout=90&since=9&epoch={epoch}");
        assert_eq!(changes(after, 7, Duration::from_secs(60)), query);
    }

    #[test]
    fn names_that_a_url_would_resolve_are_refused() {
        for segment in ["", ".", ".."] {
            assert!(
                matches!(path(&["documents", segment]), Err(Error::InvalidPath { .. })),
                "{segment:?}"
            );
        }
        assert_eq!(path(&["..."]).unwrap(), "/...");
    }
}
