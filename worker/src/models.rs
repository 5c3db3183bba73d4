//! The models that are loaded on this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use twofold_encode::{Device, EncodeOptions, Encoder, ModelFiles, open_encoder};
use twofold_types::ModelId;

use crate::error::{Result, WorkerError};

/// Models by name, loaded from a directory in the hub's layout (`publisher/model`) when they are first asked for.
pub struct Models {
    dir: PathBuf,
    device: Device,
    loaded: Mutex<HashMap<ModelId, Arc<dyn Encoder>>>,
}

impl Models {
    pub(crate) fn new(dir: PathBuf, device: Device) -> Self {
        Self {
            dir,
            device,
            loaded: Mutex::new(HashMap::new()),
        }
    }

    /// The encoder of a model. The first call for a model loads it, and others wait for that.
    pub fn get(&self, model: &ModelId) -> Result<Arc<dyn Encoder>> {
        let mut loaded = self.loaded.lock();
        if let Some(encoder) = loaded.get(model) {
            return Ok(encoder.clone());
        }
        let dir = self.find(model)?;
        let because = |source| WorkerError::Model {
            model: model.clone(),
            source,
        };
        let files = ModelFiles::open(&dir).map_err(because)?;
        let encoder = open_encoder(&files, model.clone(), &self.device, EncodeOptions::default()).map_err(because)?;
        tracing::info!(%model, dimensions = encoder.dimensions(), max_tokens = encoder.max_tokens(), "model loaded");
        loaded.insert(model.clone(), encoder.clone());
        Ok(encoder)
    }

    /// The directory of a model; names are matched without case, as model hubs do.
    fn find(&self, model: &ModelId) -> Result<PathBuf> {
        let mut dir = self.dir.clone();
        for part in model.as_str().split('/') {
            if part.is_empty() || part.starts_with('.') || part.contains(['\\', '\0']) {
                return Err(WorkerError::ModelName(model.clone()));
            }
            dir = child(&dir, part).ok_or_else(|| WorkerError::ModelMissing {
                model: model.clone(),
                dir: self.dir.clone(),
            })?;
        }
        Ok(dir)
    }
}

fn child(dir: &Path, name: &str) -> Option<PathBuf> {
    let exact = dir.join(name);
    if exact.is_dir() {
        return Some(exact);
    }
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let mut alike = entries.filter(|entry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|file| file.eq_ignore_ascii_case(name))
    });
    alike.next().map(|entry| entry.path())
}
