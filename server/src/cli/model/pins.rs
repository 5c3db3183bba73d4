//! The hashes of known models' files, with which it does not matter where they come from.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use twofold_encode::Pinned;

/// The hashes that a pull insists on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pins(&'static [(&'static str, &'static str)]);

impl Pins {
    /// Those of a known model, unless another revision of it is asked for.
    pub fn of_pull(pinned: Option<Pinned>, revision: Option<&str>) -> Self {
        match pinned {
            Some(pinned) if revision.is_none_or(|revision| revision == pinned.revision) => Self(pinned.files),
            _ => Self(&[]),
        }
    }

    /// The SHA-256 of a file, in lower-case hexadecimal.
    pub fn of(self, name: &str) -> Option<&'static str> {
        self.0
            .iter()
            .find(|(pinned, _)| *pinned == name)
            .map(|(_, sha256)| *sha256)
    }

    /// Whether every pinned file is in `dir` with its hash.
    pub fn hold(self, dir: &Path) -> anyhow::Result<bool> {
        for (name, sha256) in self.0 {
            let path = dir.join(name);
            if !path.is_file() || sha256_of(&path)? != *sha256 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal.
pub(super) fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut file = std::fs::File::open(path).with_context(context)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(context)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// # Errors
/// Where the file at `path` has another hash than `expected`.
pub(super) fn verify(path: &Path, expected: &str) -> anyhow::Result<()> {
    let actual = sha256_of(path)?;
    if actual != expected {
        bail!(
            "its sha256 is {actual} instead of {expected}: it is damaged, or not what the publisher of this model made"
        );
    }
    Ok(())
}
