//! Which files hold a model's weights.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};

use serde::Deserialize;

use super::read_json_if_there;
use crate::{EncodeError, weights::WeightFiles};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const GGUF: &str = "model.gguf";
const PICKLE: &str = "pytorch_model.bin";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Finds the weights in `dir`: one safetensors file, or the several that an index names, or a GGUF file, or PyTorch's own where
/// nothing else is there. Every file is there when this returns.
pub(super) fn find(dir: &Path) -> Result<WeightFiles, EncodeError> {
    let whole = dir.join(WEIGHTS);
    if whole.exists() {
        return Ok(WeightFiles::Safetensors(vec![whole]));
    }
    let path = dir.join(INDEX);
    if let Some(Index { weight_map }) = read_json_if_there(&path)? {
        let names: BTreeSet<String> = weight_map.into_values().collect();
        // A name becomes a path, so it may not lead out of the directory.
        let stays = |name: &String| {
            matches!(
                Path::new(name).components().collect::<Vec<_>>()[..],
                [Component::Normal(_)]
            )
        };
        if names.is_empty() || !names.iter().all(stays) {
            return Err(EncodeError::Unsupported {
                path,
                field: "weight_map",
                found: names.into_iter().collect::<Vec<_>>().join(", "),
                supported: &["names of files beside it"],
            });
        }
        let shards = names.iter().map(|name| dir.join(name));
        return Ok(WeightFiles::Safetensors(shards.map(there).collect::<Result<_, _>>()?));
    }
    let gguf = dir.join(GGUF);
    if gguf.exists() {
        return Ok(WeightFiles::Gguf(gguf));
    }
    let pickle = dir.join(PICKLE);
    if pickle.exists() {
        return Ok(WeightFiles::Pickle(pickle));
    }
    there(whole).map(|whole| WeightFiles::Safetensors(vec![whole]))
}

fn there(path: std::path::PathBuf) -> Result<std::path::PathBuf, EncodeError> {
    match std::fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(source) => Err(EncodeError::ReadFile { path, source }),
    }
}
