//! The models directory, in the hub's layout: `publisher/model`. A model without a publisher lies directly in it.

use std::path::{Path, PathBuf};

use twofold_encode::{BM25, Bm25Encoder, EncodeError, ModelFiles};
use twofold_types::{Details, ModelId, ModelInfo};

use crate::error::{Result, WorkerError};

/// Where models are.
#[derive(Debug, Clone)]
pub struct ModelsDir(PathBuf);

impl ModelsDir {
    /// A directory that need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The directory of a model; names are matched without case, as model hubs do.
    ///
    /// # Errors
    /// [`WorkerError::ModelName`], [`WorkerError::ModelMissing`].
    pub fn find(&self, model: &ModelId) -> Result<PathBuf> {
        let mut dir = self.0.clone();
        for part in model.as_str().split('/') {
            if part.is_empty() || part.starts_with('.') || part.contains(['\\', '\0']) {
                return Err(WorkerError::ModelName(model.clone()));
            }
            dir = child(&dir, part).ok_or_else(|| WorkerError::ModelMissing {
                model: model.clone(),
                dir: self.0.clone(),
            })?;
        }
        Ok(dir)
    }

    /// The names of all models, in order. Hidden directories, in which models are put together, are none.
    pub fn names(&self) -> Vec<ModelId> {
        let mut names = Vec::new();
        for name in directories(&self.0) {
            let dir = self.0.join(&name);
            if is_model(&dir) {
                names.push(name);
            } else {
                let models = directories(&dir).into_iter();
                names.extend(models.map(|model| format!("{name}/{model}")));
            }
        }
        names.sort_unstable();
        names.into_iter().map(ModelId::new).collect()
    }

    /// What is known of all models without loading them, and why some cannot be opened; those that have no files come last.
    pub fn list(&self) -> Vec<ModelInfo> {
        let info = |model: ModelId| {
            let details = self.info(&model);
            let (details, error) = match details {
                Ok(info) => return info,
                Err(WorkerError::Model { source, .. }) => (None, Some(source.to_string())),
                Err(error) => (None, Some(error.to_string())),
            };
            ModelInfo {
                id: model,
                loaded: false,
                precisions: Vec::new(),
                details,
                error,
            }
        };
        let built_in = std::iter::once(ModelId::new(BM25));
        self.names().into_iter().chain(built_in).map(info).collect()
    }

    /// What is known of one model without loading it.
    ///
    /// # Errors
    /// Those of [`find`](Self::find), and [`WorkerError::Model`].
    pub fn info(&self, model: &ModelId) -> Result<ModelInfo> {
        if Bm25Encoder::is_meant(model) {
            return Ok(ModelInfo {
                id: ModelId::new(BM25),
                loaded: true,
                precisions: Vec::new(),
                details: Some(Details::Encoder(Bm25Encoder::details())),
                error: None,
            });
        }
        let dir = self.find(model)?;
        let details = ModelFiles::open(dir).and_then(|files: ModelFiles| files.details(model));
        let details = details.map_err(|source: EncodeError| WorkerError::Model {
            model: model.clone(),
            source,
        })?;
        Ok(ModelInfo {
            id: model.clone(),
            loaded: false,
            precisions: Vec::new(),
            details: Some(details),
            error: None,
        })
    }
}

/// Whether a directory is a model and not a publisher.
fn is_model(dir: &Path) -> bool {
    ["modules.json", "config.json"]
        .iter()
        .any(|file| dir.join(file).exists())
}

/// The names of the directories in `dir` that are not hidden; none where there is no such directory.
fn directories(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let visible = entries.filter(|entry| entry.path().is_dir());
    let names = visible.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn child(dir: &Path, name: &str) -> Option<PathBuf> {
    let exact = dir.join(name);
    if exact.is_dir() {
        return Some(exact);
    }
    let alike = directories(dir)
        .into_iter()
        .find(|other| other.eq_ignore_ascii_case(name));
    alike.map(|name| dir.join(name))
}
