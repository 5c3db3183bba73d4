//! Documents as they were sent, put together from the chunks that are stored of them.

use twofold_types::{Document, Payload};

use crate::document::chunk_offsets;
use crate::error::{Result, StorageError};
use crate::operation::METADATA;
use crate::record::DocumentRecord;
use crate::view::View;

impl View<'_> {
    /// The document that `record` tells of.
    ///
    /// # Errors
    /// [`StorageError::NotWhole`] where a chunk of it is missing or was changed.
    pub(crate) fn original(&self, id: &str, record: &DocumentRecord) -> Result<Document> {
        let offsets = chunk_offsets(self, id, record.chunks)?;
        let points = self.points(&offsets)?.into_iter().flatten();
        let mut chunks: Vec<Payload> = points.map(|point| point.payload()).collect::<Result<_>>()?;
        let whole = chunks.len() == record.chunks as usize;
        let text = text(&chunks, record.gaps.as_deref()).filter(|_| whole);
        let metadata = chunks.first_mut().and_then(|chunk| chunk.remove(METADATA));
        match (text, metadata) {
            (Some(text), Some(serde_json::Value::Object(metadata))) => Ok(document(id, text, Some(metadata))),
            (Some(text), None) => Ok(document(id, text, None)),
            _ => Err(StorageError::NotWhole(id.to_owned())),
        }
    }
}

fn document(id: &str, text: String, metadata: Option<Payload>) -> Document {
    Document {
        id: Some(id.to_owned()),
        text,
        metadata,
    }
}

/// The text that was cut into these chunks; none where they do not fit together. What is between chunks is white space, and read
/// from `gaps`; where these are not known, it is made up: a space for one byte, line breaks for more.
fn text(chunks: &[Payload], gaps: Option<&str>) -> Option<String> {
    let mut text = String::new();
    let mut gaps_left = gaps;
    for chunk in chunks {
        let piece = chunk.get("text")?.as_str()?;
        let start = usize::try_from(chunk.get("start")?.as_u64()?).ok()?;
        // What of it stands in the chunk before as well.
        let (repeated, new) = piece.split_at_checked(text.len().saturating_sub(start))?;
        if !repeated.is_empty() && text.get(start..)? != repeated {
            return None;
        }
        let missing = start.saturating_sub(text.len());
        match &mut gaps_left {
            Some(gaps) => {
                let (gap, rest) = gaps.split_at_checked(missing)?;
                text.push_str(gap);
                *gaps = rest;
            }
            None if missing == 1 => text.push(' '),
            None => text.extend(std::iter::repeat_n('\n', missing)),
        }
        text.push_str(new);
    }
    text.push_str(gaps_left.unwrap_or_default());
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chunks(pieces: &[(u64, &str)]) -> Vec<Payload> {
        let chunks = pieces.iter().map(|(start, text)| json!({"start": start, "text": text}));
        chunks.map(|chunk| chunk.as_object().unwrap().clone()).collect()
    }

    #[test]
    fn a_text_is_put_together_with_what_is_between_its_chunks_and_without_what_they_repeat() {
        let pieces = chunks(&[(2, "one twö"), (6, "twö three"), (18, "four")]);
        assert_eq!(
            text(&pieces, Some("\n \t\n \r")).unwrap(),
            "\n one twö three\t\nfour \r"
        );
        assert_eq!(text(&pieces, None).unwrap(), "\n\none twö three\n\nfour");
        assert_eq!(text(&[], Some(" ")).unwrap(), " ");
    }

    #[test]
    fn chunks_that_do_not_fit_together_are_no_text() {
        for (pieces, gaps) in [
            (chunks(&[(0, "one"), (9, "two")]), Some(" ")),
            (chunks(&[(0, "twö"), (3, "xy")]), Some("")),
            (chunks(&[(0, "two"), (2, "x three")]), Some("")),
            (chunks(&[(0, "one two"), (1, "x")]), Some("")),
        ] {
            assert_eq!(text(&pieces, gaps), None, "{pieces:?}");
        }
        let mut other = chunks(&[(0, "one")]);
        other[0].remove("text");
        assert_eq!(text(&other, Some("")), None);
    }
}
