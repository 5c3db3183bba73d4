//! Which files of a model's repository an encoder reads. Pure, but for reading the two small files that name others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Names the modules of a sentence encoder and their folders.
pub(super) const MODULES: &str = "modules.json";
/// The weights in one file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Names the files that the weights were split into.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The weights in PyTorch's own format, read where there are no others.
pub(super) const PICKLE: &str = "pytorch_model.bin";

/// Where the parts of a model are in its repository.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// The folder of the transformer; empty for the top.
    transformer: String,
    /// The folders of the modules behind it.
    folders: Vec<String>,
}

impl Layout {
    /// What `modules.json` says.
    pub fn read(modules: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Module {
            path: String,
            #[serde(rename = "type")]
            kind: String,
        }
        let modules: Vec<Module> = read_json(modules)?;
        let mut layout = Self::default();
        for module in modules {
            check_name(&module.path)?;
            // `Transformer`, or `MLMTransformer` of a sparse encoder.
            if module.kind.ends_with("Transformer") {
                layout.transformer = module.path;
            } else if !module.path.is_empty() {
                layout.folders.push(module.path);
            }
        }
        Ok(layout)
    }

    /// The name of a file of the transformer.
    pub fn of_transformer(&self, name: &str) -> String {
        if self.transformer.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.transformer)
        }
    }

    /// What no encoder does without, beside its weights.
    pub fn required(&self) -> Vec<String> {
        ["config.json", "tokenizer.json"]
            .map(|name| self.of_transformer(name))
            .into()
    }

    /// What is read where it exists.
    pub fn optional(&self) -> Vec<String> {
        // The latter beside checkpoints of ColBERT's authors.
        let mut names = ["config_sentence_transformers.json", "artifact.metadata"]
            .map(str::to_owned)
            .to_vec();
        for name in [
            "tokenizer_config.json",
            "special_tokens_map.json",
            "sentence_bert_config.json",
        ] {
            names.push(self.of_transformer(name));
        }
        for folder in &self.folders {
            // A pooling has a configuration, a dense layer weights besides, a normalisation nothing.
            names.extend(["config.json", WEIGHTS, PICKLE].map(|name| format!("{folder}/{name}")));
        }
        names
    }
}

/// The files that the weights were split into, as `model.safetensors.index.json` names them.
pub(super) fn shards(index: &Path) -> anyhow::Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = read_json(index)?;
    let shards: BTreeSet<_> = index.weight_map.into_values().collect();
    for shard in &shards {
        check_name(shard)?;
    }
    Ok(shards)
}

/// Names in these files become paths, so none may lead out of the model's directory.
fn check_name(name: &str) -> anyhow::Result<()> {
    let stays = |part| matches!(part, Component::Normal(_));
    if name.contains('\\') || !Path::new(name).components().all(stays) {
        bail!("it names `{name}`, which is not a path inside the model");
    }
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let context = || format!("cannot read {}", path.display());
    let bytes = std::fs::read(path).with_context(context)?;
    serde_json::from_slice(&bytes).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(content: &str, read: impl FnOnce(&Path) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        std::fs::write(&path, content).unwrap();
        read(&path)
    }

    fn module(path: &str, kind: &str) -> String {
        format!(r#"{{"idx": 0, "name": "0", "path": "{path}", "type": "sentence_transformers.models.{kind}"}}"#)
    }

    #[test]
    fn modules_say_where_the_files_are() {
        let modules = [module("0_Transformer", "Transformer"), module("1_Pooling", "Pooling")].join(",");
        let layout = with(&format!("[{modules}]"), Layout::read).unwrap();
        assert_eq!(
            layout.required(),
            ["0_Transformer/config.json", "0_Transformer/tokenizer.json"]
        );
        assert!(layout.optional().contains(&"1_Pooling/config.json".to_owned()));
        assert_eq!(Layout::default().required(), ["config.json", "tokenizer.json"]);
    }

    #[test]
    fn the_files_of_other_kinds_are_named() {
        let modules = [
            module("", "sparse_encoder.models.MLMTransformer"),
            module("1_SpladePooling", "SpladePooling"),
        ];
        let layout = with(&format!("[{}]", modules.join(",")), Layout::read).unwrap();
        assert_eq!(layout.required(), ["config.json", "tokenizer.json"]);
        assert!(layout.optional().contains(&"1_SpladePooling/config.json".to_owned()));
        assert!(Layout::default().optional().contains(&"artifact.metadata".to_owned()));
    }

    #[test]
    fn shards_are_named_once() {
        let index = r#"{"metadata": {}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}}"#;
        let shards: Vec<_> = with(index, shards).unwrap().into_iter().collect();
        assert_eq!(shards, ["m-1.safetensors", "m-2.safetensors"]);
    }

    #[test]
    fn no_name_leads_out_of_the_model() {
        for bad in ["../x", "/etc", "a/../../b", "a\\\\b"] {
            assert!(
                with(&format!("[{}]", module(bad, "Pooling")), Layout::read).is_err(),
                "{bad}"
            );
            assert!(
                with(&format!(r#"{{"weight_map": {{"a": "{bad}"}}}}"#), shards).is_err(),
                "{bad}"
            );
        }
    }
}
