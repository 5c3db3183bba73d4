//! The file that a document came from, as its metadata tells it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;
use twofold_client::types::Payload;

/// Where the file was.
const SOURCE: &str = "source";
/// When it was changed, in RFC 3339.
const MODIFIED: &str = "source_modified";
/// How large it was.
const BYTES: &str = "source_bytes";

/// What [`Origin::of_metadata`] reads.
pub(super) const KEYS: [&str; 3] = [SOURCE, MODIFIED, BYTES];

/// A file as it is, or was: as long as this is the same, so is what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    source: String,
    modified: String,
    bytes: u64,
}

impl Origin {
    /// A file as it is now.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let about = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let modified = about.modified().map_err(anyhow::Error::new);
        let modified = modified.and_then(|time| Ok(Timestamp::try_from(time)?));
        let modified = modified.with_context(|| format!("cannot tell when {} was changed", path.display()))?;
        Ok(Self {
            source: path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/"),
            modified: modified.to_string(),
            bytes: about.len(),
        })
    }

    /// The file that a stored document came from, if it is known.
    pub fn of_metadata(metadata: &Payload) -> Option<Self> {
        let text = |key| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            source: text(SOURCE)?,
            modified: text(MODIFIED)?,
            bytes: metadata.get(BYTES)?.as_u64()?,
        })
    }

    /// Notes it among a document's metadata.
    pub fn write_to(&self, metadata: &mut Payload) {
        metadata.insert(SOURCE.to_owned(), self.source.clone().into());
        metadata.insert(MODIFIED.to_owned(), self.modified.clone().into());
        metadata.insert(BYTES.to_owned(), self.bytes.into());
    }

    /// Where the file is.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the file is one of these, or below one.
    pub fn is_below(&self, roots: &[PathBuf]) -> bool {
        roots.iter().any(|root| Path::new(&self.source).starts_with(root))
    }

    /// Some version of a file that there need not be.
    #[cfg(test)]
    pub fn fixed(source: &str, modified: &str) -> Self {
        Self {
            source: source.to_owned(),
            modified: modified.to_owned(),
            bytes: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_metadata_tells_is_what_was_written_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "text").unwrap();
        let origin = Origin::of(&path).unwrap();
        let mut metadata = Payload::new();
        assert_eq!(Origin::of_metadata(&metadata), None);
        origin.write_to(&mut metadata);
        assert_eq!(metadata[BYTES], 4);
        assert_eq!(Origin::of_metadata(&metadata).unwrap(), origin);
        assert_eq!(Origin::of(&path).unwrap(), origin);

        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        let changed = Origin::of(&path).unwrap();
        assert!(changed != origin && changed.source() == origin.source());
    }

    #[test]
    fn a_file_is_below_a_directory_however_that_is_spelled() {
        let origin = Origin::fixed("docs/a/b.md", "");
        let below = |root: &str| origin.is_below(&[root.into()]);
        assert!(below("docs") && below("docs/") && below("docs/a/b.md") && below("docs/./a"));
        assert!(!below("doc") && !below("docs/a/b") && !below("docs/b"));
    }
}
