//! What embeddings depend on beside the text, so that those that are kept are taken for nobody else's.

use std::{fs::File, io, io::Read, path::Path, path::PathBuf};

use sha2::{Digest, Sha256};
use twofold_types::{EncoderParams, PromptParams};

use crate::{EncodeError, ModelFiles, files::StageModule};

/// Bytes that are read at once.
const READ: usize = 1 << 20;

/// How deep settings may lie below a model's directory.
const DEPTH: usize = 3;

/// Everything that an encoder's embeddings of documents depend on beside the text, as a hash: encoders of one identity make the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 32]);

impl Identity {
    /// Of an encoder that is made of `source` as `params` say. What only queries depend on does not count, and a release has identities
    /// of its own.
    pub(crate) fn new(source: &[u8], params: &EncoderParams) -> Self {
        let document = params.prompts.clone().and_then(|prompts| prompts.document);
        let params = EncoderParams {
            query_model: None,
            prompts: document.map(|document| PromptParams {
                document: Some(document),
                query: None,
            }),
            ..params.clone()
        };
        let params = serde_json::to_vec(&params).expect("parameters have string keys");
        let mut hash = Sha256::new();
        for part in [env!("CARGO_PKG_VERSION").as_bytes(), source, &params] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl ModelFiles {
    /// A hash of what vectors depend on: the weights, and all files of settings with their names.
    ///
    /// # Errors
    /// [`EncodeError::ReadFile`], naming the file.
    pub(crate) fn fingerprint(&self) -> Result<[u8; 32], EncodeError> {
        let dense = self.stages().iter().filter_map(|stage| match stage {
            StageModule::Dense(dense) => Some(&dense.weights),
            StageModule::Normalize => None,
        });
        let weights = std::iter::once(self.weights()).chain(dense);
        let mut files: Vec<PathBuf> = weights.flat_map(|weights| weights.paths().to_vec()).collect();
        collect_settings(self.dir(), DEPTH, &mut files);
        files.sort_unstable();
        files.dedup();
        let mut hash = Sha256::new();
        for path in files {
            let name = path.strip_prefix(self.dir()).unwrap_or(&path);
            let of_file = hash_file(&path).map_err(|source| EncodeError::ReadFile {
                path: path.clone(),
                source,
            })?;
            hash.update(name.as_os_str().as_encoded_bytes());
            hash.update([0]);
            hash.update(of_file);
        }
        Ok(hash.finalize().into())
    }
}

/// Files that say how a model is used, down to some depth.
fn collect_settings(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_settings = path
            .extension()
            .is_some_and(|extension| extension == "json" || extension == "metadata");
        if path.is_dir() && depth > 1 {
            collect_settings(&path, depth - 1, files);
        } else if is_settings && path.is_file() {
            files.push(path);
        }
    }
}

fn hash_file(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; READ];
    let mut hash = Sha256::new();
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use twofold_types::{ModelId, Precision};

    use super::*;

    #[test]
    fn whatever_changes_a_documents_vector_is_another_identity() {
        let plain = EncoderParams::new(ModelId::new("a/b"));
        let identity = |params: &EncoderParams| Identity::new(b"files", params);
        let prompts = |query: Option<&str>, document: Option<&str>| {
            Some(PromptParams {
                query: query.map(str::to_owned),
                document: document.map(str::to_owned),
            })
        };
        let others = [
            EncoderParams::new(ModelId::new("a/c")),
            EncoderParams {
                dimensions: NonZeroUsize::new(8),
                ..plain.clone()
            },
            EncoderParams {
                precision: Precision::Int8,
                ..plain.clone()
            },
            EncoderParams {
                prompts: prompts(None, Some("d: ")),
                ..plain.clone()
            },
        ];
        for other in &others {
            assert_ne!(identity(other), identity(&plain), "{other:?}");
        }
        assert_ne!(Identity::new(b"others", &plain), identity(&plain));
        let same = EncoderParams {
            query_model: Some(ModelId::new("a/queries")),
            prompts: prompts(Some("q: "), None),
            ..plain.clone()
        };
        assert_eq!(identity(&same), identity(&plain), "documents do not depend on queries");
    }

    #[test]
    fn a_file_that_changes_is_another_fingerprint_wherever_the_model_lies() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/bert");
        let copies = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let fingerprint = |dir: &Path| ModelFiles::open(dir).unwrap().fingerprint().unwrap();
        for to in &copies {
            copy(&fixture, to.path());
            assert_eq!(fingerprint(to.path()), fingerprint(&fixture));
        }
        let [first, second] = &copies;
        let prompts = r#"{"prompts": {"document": "d: "}}"#;
        std::fs::write(first.path().join("config_sentence_transformers.json"), prompts).unwrap();
        assert_ne!(fingerprint(first.path()), fingerprint(&fixture));
        let weights = second.path().join("model.safetensors");
        let mut bytes = std::fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&weights, bytes).unwrap();
        assert_ne!(fingerprint(second.path()), fingerprint(&fixture));
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            match entry.path().is_dir() {
                true => copy(&entry.path(), &to),
                false => drop(std::fs::copy(entry.path(), to).unwrap()),
            }
        }
    }
}
