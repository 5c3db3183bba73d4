//! The models that are loaded on this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use twofold_encode::{Device, EncodeOptions, Encoder, ModelFiles, TwoTowers, known_model, open_encoder};
use twofold_types::{EncoderParams, ModelId, Role};

use crate::error::{Result, WorkerError};

/// Models by name and by what is asked of them, loaded from a directory in the hub's layout (`publisher/model`) when they are
/// first asked for.
pub struct Models {
    dir: PathBuf,
    device: Device,
    loaded: Mutex<HashMap<EncoderParams, Arc<dyn Encoder>>>,
}

impl Models {
    pub(crate) fn new(dir: PathBuf, device: Device) -> Self {
        Self {
            dir,
            device,
            loaded: Mutex::new(HashMap::new()),
        }
    }

    /// The encoder that `params` describe. The first call for it loads it, and others wait for that.
    pub fn get(&self, params: &EncoderParams) -> Result<Arc<dyn Encoder>> {
        let mut loaded = self.loaded.lock();
        if let Some(encoder) = loaded.get(params) {
            return Ok(encoder.clone());
        }
        let mut encoder = self.open(&params.model, params)?;
        if let Some(query_model) = query_model(params) {
            let query = self.open(&query_model, params)?;
            let towers = TwoTowers::new(query, encoder).map_err(|source| WorkerError::Model {
                model: params.model.clone(),
                source,
            })?;
            encoder = Arc::new(towers);
        }
        loaded.insert(params.clone(), encoder.clone());
        Ok(encoder)
    }

    /// Loads one tower as `params` describe it.
    fn open(&self, model: &ModelId, params: &EncoderParams) -> Result<Arc<dyn Encoder>> {
        let dir = self.find(model)?;
        let because = |source| WorkerError::Model {
            model: model.clone(),
            source,
        };
        let files = ModelFiles::open(&dir).map_err(because)?;
        let params = EncoderParams {
            model: model.clone(),
            ..params.clone()
        };
        let encoder = open_encoder(&files, &params, &self.device, EncodeOptions::default()).map_err(because)?;
        let max_tokens = encoder.tokenizer(Role::Document).max_tokens();
        tracing::info!(%model, dimensions = encoder.dimensions(), max_tokens, "model loaded");
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

/// The model of queries, where it is another than that of documents: the one that was asked for, or that is known to belong to
/// it.
fn query_model(params: &EncoderParams) -> Option<ModelId> {
    let known = || known_model(params.model.as_str()).and_then(|known| known.query_model.map(ModelId::new));
    let query_model = params.query_model.clone().or_else(known);
    query_model.filter(|query_model| *query_model != params.model)
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
