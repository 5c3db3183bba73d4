//! The models that are loaded on this machine.

mod directory;
mod loaded;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use twofold_encode::{
    BM25, Bm25Encoder, Checkpoint, CrossEncoder, Device, EncodeError, EncodeOptions, Encoder, Endpoints, ModelFiles,
    RemoteEncoder, RemoteReranker, Replicas, TokenBudget, TwoTowers, known_model, settled,
};
use twofold_types::{EncoderParams, ModelId, ModelInfo, Precision};

pub use self::directory::ModelsDir;
use self::loaded::Loaded;
use crate::error::{Result, WorkerError};

/// Models, loaded from a [directory](ModelsDir) when they are first asked for, and unloaded, the least recently used first,
/// when they take more memory than they may. Whoever holds an encoder goes on with it.
pub struct Models {
    dir: ModelsDir,
    /// Services that run models for this server; their models are not in memory.
    endpoints: Endpoints,
    /// What they run on, one at least: every encoder on each of them, cross-encoders on the first.
    devices: Vec<Device>,
    /// The model where a request names none.
    default: Option<ModelId>,
    /// Of every model one checkpoint for each of its devices.
    checkpoints: Loaded<(ModelId, Precision), Vec<Arc<Checkpoint>>>,
    /// Encoders made of loaded checkpoints, so that those who ask for the same get the same one and are encoded together.
    encoders: Mutex<HashMap<EncoderParams, Arc<dyn Encoder>>>,
}

/// What says how relevant texts are.
pub enum Reranker {
    /// In memory.
    Local(Arc<CrossEncoder>),
    /// At an endpoint.
    Remote(RemoteReranker),
}

impl Models {
    pub(crate) fn new(
        dir: PathBuf,
        endpoints: Endpoints,
        devices: Vec<Device>,
        budget_bytes: u64,
        default: Option<ModelId>,
    ) -> Self {
        Self {
            dir: ModelsDir::new(dir),
            endpoints,
            devices,
            default,
            checkpoints: Loaded::new(budget_bytes),
            encoders: Mutex::new(HashMap::new()),
        }
    }

    /// The encoder that `params` describe. The first call for its model loads it, and others for the same model wait for
    /// that; those for models that are loaded do not.
    pub fn get(&self, params: &EncoderParams) -> Result<Arc<dyn Encoder>> {
        let params = &self.settled(params.clone());
        if Bm25Encoder::is_meant(&params.model) {
            // Made in no time, and requests may ask for as many as they like.
            return self.tower(&params.model, params);
        }
        let known = self.encoders.lock().get(params).cloned();
        if let Some(encoder) = known {
            self.local_weights(params)
                .for_each(|weights| self.checkpoints.touch(&weights));
            return Ok(encoder);
        }
        let mut encoder = self.tower(&params.model, params)?;
        if let Some(query_model) = query_model(params) {
            let query = self.tower(&query_model, params)?;
            let towers = TwoTowers::new(query, encoder).map_err(because(&params.model))?;
            encoder = Arc::new(towers);
        }
        let encoder = self.encoders.lock().entry(params.clone()).or_insert(encoder).clone();
        // Unloaded meanwhile: kept, it would take memory that nobody counts.
        if self
            .local_weights(params)
            .any(|weights| !self.checkpoints.state(&weights).loaded)
        {
            self.encoders.lock().remove(params);
        }
        Ok(encoder)
    }

    /// The same, with a precision that was left to us chosen for this machine. BM25 and what runs elsewhere have none.
    pub fn settled(&self, params: EncoderParams) -> EncoderParams {
        if params.model.as_str() == BM25 || self.endpoints.of(&params.model).is_some() {
            return params;
        }
        let precision = settled(&params, &self.devices[0]);
        EncoderParams { precision, ..params }
    }

    /// The reranker of that name: a cross-encoder, loaded as encoders are, or one of an endpoint.
    pub fn reranker(&self, model: &ModelId) -> Result<Reranker> {
        Ok(match self.endpoints.of(model) {
            Some((endpoint, name)) => Reranker::Remote(RemoteReranker::new(endpoint, name, model.clone())),
            None => Reranker::Local(self.cross_encoder(model)?),
        })
    }

    fn cross_encoder(&self, model: &ModelId) -> Result<Arc<CrossEncoder>> {
        let devices = &self.devices[..1];
        let checkpoints = self.load(model, Precision::F32, devices, ModelFiles::check_cross_encoder)?;
        checkpoints[0].cross_encoder(model).map_err(because(model))
    }

    /// The model of a request for embeddings that names none: the configured one, else the only one in the directory that makes
    /// embeddings.
    pub fn default_model(&self) -> Result<ModelId> {
        match &self.default {
            Some(model) => Ok(model.clone()),
            None => self.only(|model| !self.is_cross_encoder(model)),
        }
    }

    /// The model of a request for scores that names none: the only cross-encoder in the directory.
    pub fn default_cross_encoder(&self) -> Result<ModelId> {
        self.only(|model| self.is_cross_encoder(model))
    }

    fn only(&self, is_meant: impl Fn(&ModelId) -> bool) -> Result<ModelId> {
        let mut models: Vec<ModelId> = self.dir.names().into_iter().filter(is_meant).collect();
        match (models.pop(), models.is_empty()) {
            (Some(model), true) => Ok(model),
            (last, _) => Err(WorkerError::ModelUnnamed {
                models: models.into_iter().chain(last).collect(),
            }),
        }
    }

    /// Reads its small files.
    fn is_cross_encoder(&self, model: &ModelId) -> bool {
        let files = self.dir.find(model).ok().map(ModelFiles::open);
        files.is_some_and(|files| files.is_ok_and(|files| files.is_cross_encoder()))
    }

    /// The models in the directory. Reads their small files.
    pub fn list(&self) -> Vec<ModelInfo> {
        let with_state = |info: ModelInfo| {
            let states = [
                Precision::F32,
                Precision::Bf16,
                Precision::F16,
                Precision::Int8,
                Precision::Gguf,
            ];
            let states = states.map(|precision| {
                let weights = (info.id.clone(), precision);
                (precision, self.checkpoints.state(&weights))
            });
            let loaded = states.iter().filter(|(_, state)| state.loaded);
            let precisions: Vec<Precision> = loaded.map(|(precision, _)| *precision).collect();
            ModelInfo {
                loaded: info.loaded || !precisions.is_empty(),
                precisions,
                error: info.error.or(states.into_iter().find_map(|(_, state)| state.error)),
                ..info
            }
        };
        self.dir.list().into_iter().map(with_state).collect()
    }

    /// Where models are.
    pub fn dir(&self) -> &ModelsDir {
        &self.dir
    }

    /// Bytes that the weights of loaded models take.
    pub fn loaded_bytes(&self) -> u64 {
        self.checkpoints.bytes()
    }

    /// Bytes that they may take.
    pub fn budget_bytes(&self) -> u64 {
        self.checkpoints.budget()
    }

    /// One tower as `params` describe it.
    fn tower(&self, model: &ModelId, params: &EncoderParams) -> Result<Arc<dyn Encoder>> {
        if Bm25Encoder::is_meant(model) {
            return Ok(Arc::new(Bm25Encoder::new(params).map_err(because(model))?));
        }
        let params = EncoderParams {
            model: model.clone(),
            ..params.clone()
        };
        if let Some((endpoint, name)) = self.endpoints.of(model) {
            let encoder = RemoteEncoder::open(endpoint, name, &params).map_err(because(model))?;
            tracing::info!(%model, space = %encoder.space(), "model of an endpoint opened");
            return Ok(encoder);
        }
        let checkpoints = self.load(model, params.precision, &self.devices, ModelFiles::check_encoder)?;
        let encoders = checkpoints.iter().map(|checkpoint| checkpoint.encoder(&params));
        let encoders = encoders.collect::<Result<Vec<_>, _>>().map_err(because(model))?;
        Ok(Replicas::join(encoders))
    }

    /// What of [`weights`] is of models that run here.
    fn local_weights(&self, params: &EncoderParams) -> impl Iterator<Item = (ModelId, Precision)> {
        weights(params).filter(|(model, _)| self.endpoints.of(model).is_none())
    }

    /// A model in the memory of each of the devices. Unless `check` accepts it, it is not loaded.
    fn load(
        &self,
        model: &ModelId,
        precision: Precision,
        devices: &[Device],
        check: impl FnOnce(&ModelFiles) -> Result<(), EncodeError>,
    ) -> Result<Arc<Vec<Arc<Checkpoint>>>> {
        let files = ModelFiles::open(self.dir.find(model)?).map_err(because(model))?;
        check(&files).map_err(because(model))?;
        let bytes = files.weight_bytes(precision, &devices[0]).map_err(because(model))? * devices.len() as u64;
        let load = || {
            let on_device = |device: &Device| {
                let budget = TokenBudget::of(device);
                Checkpoint::load(&files, device, EncodeOptions { budget, precision })
            };
            let loaded = devices.iter().map(on_device).collect::<Result<Vec<_>, _>>();
            let checkpoints = loaded.map_err(because(model))?;
            tracing::info!(%model, family = files.family(), max_tokens = files.max_tokens(), ?precision, bytes, devices = devices.len(), "model loaded");
            Ok(Arc::new(checkpoints))
        };
        let unload = |unloaded: &(ModelId, Precision)| {
            tracing::info!(model = %unloaded.0, precision = ?unloaded.1, "model unloaded to make room");
            self.encoders
                .lock()
                .retain(|params, _| weights(params).all(|weights| weights != *unloaded));
        };
        self.checkpoints.get(&(model.clone(), precision), bytes, load, unload)
    }
}

fn because(model: &ModelId) -> impl Fn(EncodeError) -> WorkerError {
    move |source| WorkerError::Model {
        model: model.clone(),
        source,
    }
}

/// The model of queries, where it is another than that of documents: the one that was asked for, or that is known to belong to
/// it.
fn query_model(params: &EncoderParams) -> Option<ModelId> {
    let known = || known_model(params.model.as_str()).and_then(|known| known.query_model.map(ModelId::new));
    let query_model = params.query_model.clone().or_else(known);
    query_model.filter(|query_model| *query_model != params.model)
}

/// The models of both towers that have weights to load, in what they compute.
fn weights(params: &EncoderParams) -> impl Iterator<Item = (ModelId, Precision)> {
    let models = std::iter::once(params.model.clone()).chain(query_model(params));
    models
        .filter(|model| !Bm25Encoder::is_meant(model))
        .map(|model| (model, params.precision))
}

#[cfg(test)]
mod tests;
