//! The models that are loaded on this machine.

mod directory;
mod loaded;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use twofold_encode::{
    BM25, Bm25Encoder, Checkpoint, CrossEncoder, Device, EncodeError, EncodeOptions, Encoder, Endpoints, ModelFiles,
    RemoteEncoder, RemoteReranker, TwoTowers, known_model, settled,
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
    device: Device,
    /// The model where a request names none.
    default: Option<ModelId>,
    checkpoints: Loaded<(ModelId, Precision), Checkpoint>,
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
        device: Device,
        budget_bytes: u64,
        default: Option<ModelId>,
    ) -> Self {
        Self {
            dir: ModelsDir::new(dir),
            endpoints,
            device,
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
        let precision = settled(&params, &self.device);
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
        let checkpoint = self.checkpoint(model, Precision::F32, ModelFiles::check_cross_encoder)?;
        checkpoint.cross_encoder(model).map_err(because(model))
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
            let states = [Precision::F32, Precision::Bf16, Precision::Int8].map(|precision| {
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
        let checkpoint = self.checkpoint(model, params.precision, ModelFiles::check_encoder)?;
        checkpoint.encoder(&params).map_err(because(model))
    }

    /// What of [`weights`] is of models that run here.
    fn local_weights(&self, params: &EncoderParams) -> impl Iterator<Item = (ModelId, Precision)> {
        weights(params).filter(|(model, _)| self.endpoints.of(model).is_none())
    }

    /// A model in memory. Unless `check` accepts it, it is not loaded.
    fn checkpoint(
        &self,
        model: &ModelId,
        precision: Precision,
        check: impl FnOnce(&ModelFiles) -> Result<(), EncodeError>,
    ) -> Result<Arc<Checkpoint>> {
        let files = ModelFiles::open(self.dir.find(model)?).map_err(because(model))?;
        check(&files).map_err(because(model))?;
        let bytes = files.weight_bytes(precision).map_err(because(model))?;
        let load = || {
            let options = EncodeOptions {
                precision,
                ..EncodeOptions::default()
            };
            let loaded = Checkpoint::load(&files, &self.device, options);
            let checkpoint = loaded.map_err(because(model))?;
            tracing::info!(%model, family = files.family(), max_tokens = files.max_tokens(), ?precision, bytes, "model loaded");
            Ok(checkpoint)
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
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;

    use twofold_encode::DeviceSpec;
    use twofold_storage::Fault;
    use twofold_types::{Details, Embedding, Role};

    use super::*;

    /// A directory with two small models, `t/bert` and `t/roberta`.
    fn two_models(budget_bytes: u64) -> (Models, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/families");
        for model in ["bert", "roberta"] {
            copy(&fixtures.join(model), &dir.path().join("t").join(model));
        }
        let device = DeviceSpec::Cpu.open().unwrap();
        (
            Models::new(dir.path().to_owned(), Endpoints::default(), device, budget_bytes, None),
            dir,
        )
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    fn params(model: &str) -> EncoderParams {
        EncoderParams::new(ModelId::new(model))
    }

    fn loaded(models: &Models) -> Vec<(String, bool)> {
        let list = models.list().into_iter();
        let with_files = list.filter(|info| info.id.as_str() != BM25);
        with_files.map(|info| (info.id.to_string(), info.loaded)).collect()
    }

    fn embed(encoder: &dyn Encoder) -> Embedding {
        let tokens = encoder.tokenizer(Role::Document).tokenize(&["a text"], Role::Document);
        encoder.encode(&tokens.unwrap(), Role::Document).unwrap().remove(0)
    }

    #[test]
    fn the_least_recently_used_model_makes_room_and_whoever_holds_it_goes_on() {
        let (models, _dir) = two_models(1);
        let bert = models.get(&params("t/bert")).unwrap();
        let before = embed(bert.as_ref());
        models.get(&params("t/roberta")).unwrap();
        assert_eq!(
            loaded(&models),
            [("t/bert".to_owned(), false), ("t/roberta".to_owned(), true)]
        );
        assert_eq!(embed(bert.as_ref()), before);
        let again = models.get(&params("T/Bert")).unwrap();
        assert!(!Arc::ptr_eq(&again, &bert));
        assert_eq!(embed(again.as_ref()), before);
        assert_eq!(
            loaded(&models),
            [("t/bert".to_owned(), true), ("t/roberta".to_owned(), false)]
        );
    }

    #[test]
    fn encoders_of_one_model_share_its_weights() {
        let (models, _dir) = two_models(u64::MAX);
        let whole = models.get(&params("t/bert")).unwrap();
        let bytes = models.loaded_bytes();
        let short = EncoderParams {
            dimensions: NonZeroUsize::new(8),
            ..params("t/bert")
        };
        let short = models.get(&short).unwrap();
        assert_eq!((short.space().dimensions(), models.loaded_bytes()), (Some(8), bytes));
        let model = &models.list()[0];
        let Some(Details::Encoder(details)) = &model.details else {
            panic!("{model:?}")
        };
        assert_eq!(details.weight_bytes, bytes);
        assert_ne!(whole.space().dimensions(), Some(8));
        assert!(Arc::ptr_eq(&whole, &models.get(&params("t/bert")).unwrap()));
    }

    #[test]
    fn precisions_of_one_model_are_encoders_of_their_own_and_auto_is_one_of_them() {
        let (models, _dir) = two_models(u64::MAX);
        let of = |precision| EncoderParams {
            precision,
            ..params("t/bert")
        };
        let get = |precision| models.get(&of(precision)).unwrap();
        let (f32, int8, auto) = (get(Precision::F32), get(Precision::Int8), get(Precision::Auto));
        assert!(!Arc::ptr_eq(&f32, &int8));
        // Nobody has measured this model.
        assert!(Arc::ptr_eq(&auto, &f32));
        assert_eq!(models.settled(of(Precision::Auto)), of(Precision::F32));
        assert_ne!(embed(f32.as_ref()), embed(int8.as_ref()));
        let [bert, roberta, _] = &models.list()[..] else {
            panic!("two models, and BM25")
        };
        assert!(bert.loaded && bert.precisions == [Precision::F32, Precision::Int8]);
        assert!(!roberta.loaded && roberta.precisions.is_empty());
    }

    #[test]
    fn whole_numbers_count_as_such() {
        let (models, _dir) = two_models(u64::MAX);
        let in_int8 = EncoderParams {
            precision: Precision::Int8,
            ..params("t/bert")
        };
        models.get(&params("t/bert")).unwrap();
        let f32 = models.loaded_bytes();
        models.get(&in_int8).unwrap();
        let int8 = models.loaded_bytes() - f32;
        // Words, positions and norms stay as they are.
        assert!((f32 / 4 + 1..f32).contains(&int8), "{int8} beside {f32}");
        let (both, _dir) = two_models(f32 + int8);
        let (one, _dir) = two_models(f32 + int8 - 1);
        for (models, loaded) in [(both, 2), (one, 1)] {
            models.get(&params("t/bert")).unwrap();
            models.get(&in_int8).unwrap();
            assert_eq!(models.list()[0].precisions.len(), loaded);
        }
    }

    #[test]
    fn a_model_that_cannot_be_opened_is_listed_with_its_error() {
        let (models, dir) = two_models(u64::MAX);
        std::fs::remove_file(dir.path().join("t/bert/tokenizer.json")).unwrap();
        std::fs::create_dir_all(dir.path().join(".cache/x")).unwrap();
        std::fs::write(dir.path().join("t/roberta/tokenizer.json"), "{").unwrap();
        let error = |models: &Models, place: usize| models.list()[place].error.clone().unwrap_or_default();
        assert!(error(&models, 0).contains("tokenizer.json"), "{}", error(&models, 0));
        assert_eq!(error(&models, 1), "", "its tokenizer is read when it is loaded");
        assert!(models.get(&params("t/roberta")).is_err());
        assert!(error(&models, 1).contains("not a tokenizer"), "{}", error(&models, 1));
        let names: Vec<String> = models.list().iter().map(|info| info.id.to_string()).collect();
        assert_eq!(names, ["t/bert", "t/roberta", "Qdrant/bm25"]);
    }

    #[test]
    fn a_cross_encoder_makes_no_embeddings_and_an_encoder_no_scores() {
        let (models, dir) = two_models(u64::MAX);
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("encode/tests/fixtures/cross_encoders");
        std::fs::remove_dir_all(dir.path().join("t/roberta")).unwrap();
        copy(&fixtures.join("distilbert"), &dir.path().join("t/reranker"));
        assert_eq!(models.default_model().unwrap().as_str(), "t/bert");
        assert_eq!(models.default_cross_encoder().unwrap().as_str(), "t/reranker");
        let error = models.get(&params("t/reranker")).err().unwrap();
        assert!(
            error.fault() == Fault::Caller && error.to_string().contains("it is a cross-encoder"),
            "{error}"
        );
        let error = models.cross_encoder(&ModelId::new("t/bert")).err().unwrap();
        assert!(
            error.fault() == Fault::Caller && error.to_string().contains("no cross-encoder"),
            "{error}"
        );
        assert_eq!(models.loaded_bytes(), 0, "neither was loaded for that");
        models.cross_encoder(&ModelId::new("t/reranker")).unwrap();
        assert_eq!(
            loaded(&models),
            [("t/bert".to_owned(), false), ("t/reranker".to_owned(), true)]
        );
    }

    #[test]
    fn a_request_that_names_no_model_gets_the_configured_or_the_only_one() {
        let (mut models, dir) = two_models(u64::MAX);
        let error = models.default_model().unwrap_err().to_string();
        assert!(error.contains("t/bert, t/roberta"), "{error}");
        models.default = Some(ModelId::new("t/roberta"));
        assert_eq!(models.default_model().unwrap().as_str(), "t/roberta");
        models.default = None;
        std::fs::remove_dir_all(dir.path().join("t/roberta")).unwrap();
        assert_eq!(models.default_model().unwrap().as_str(), "t/bert");
    }
}
