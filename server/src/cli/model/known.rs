//! Models whose files are known by hash, so that it does not matter where they come from.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

/// A model whose files are known.
#[derive(Debug)]
pub(super) struct Known {
    /// As its publisher writes it.
    pub id: &'static str,
    /// The hub's commit that has these files.
    pub revision: &'static str,
    /// Names and SHA-256.
    files: &'static [(&'static str, &'static str)],
}

const KNOWN: &[Known] = &[Known {
    id: "sentence-transformers/all-MiniLM-L6-v2",
    revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    files: &[
        (
            "1_Pooling/config.json",
            "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        ),
        (
            "config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        (
            "config_sentence_transformers.json",
            "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
        ),
        (
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        (
            "modules.json",
            "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        ),
        (
            "sentence_bert_config.json",
            "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        ),
        (
            "special_tokens_map.json",
            "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        ),
        (
            "tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        (
            "tokenizer_config.json",
            "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        ),
    ],
}];

/// The known model of that name, whatever the case of its letters.
pub(super) fn find(model: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.id.eq_ignore_ascii_case(model))
}

/// The hashes that a pull insists on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pins(&'static [(&'static str, &'static str)]);

impl Pins {
    /// Those of a known model, unless another revision of it is asked for.
    pub fn of_pull(known: Option<&'static Known>, revision: Option<&str>) -> Self {
        match known {
            Some(known) if revision.is_none_or(|revision| revision == known.revision) => Self(known.files),
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
