//! What makes a checkpoint a cross-encoder: a sequence classifier with one label, and what becomes of its score.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use twofold_types::ScoreActivation;

use super::{read_json, read_json_if_there};
use crate::{EncodeError, network::HeadDescription};

/// A cross-encoder, as its files describe it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Classifier {
    pub head: HeadDescription,
    pub activation: ScoreActivation,
}

/// `config.json`, as far as it is the classifier's.
#[derive(Deserialize)]
struct ClassifierConfig {
    #[serde(default)]
    architectures: Vec<String>,
    id2label: Option<Map<String, Value>>,
    num_labels: Option<usize>,
    #[serde(default)]
    sentence_transformers: SavedActivation,
    /// What sentence-transformers wrote before version 4.
    sbert_ce_default_activation_function: Option<String>,
}

/// A part of `config.json`, and of `config_sentence_transformers.json`.
#[derive(Default, Deserialize)]
struct SavedActivation {
    activation_fn: Option<String>,
}

/// Reads `config.json` at `path`; `None` where the network is no sequence classifier. `head` is the one that its family has,
/// `saved` is the path of `config_sentence_transformers.json`.
pub(super) fn read(
    path: &Path,
    head: Option<&HeadDescription>,
    saved: &Path,
) -> Result<Option<Classifier>, EncodeError> {
    let config: ClassifierConfig = read_json(path)?;
    let is_classifier = |class: &String| class.ends_with("ForSequenceClassification");
    let Some(class) = config.architectures.iter().find(|class| is_classifier(class)) else {
        return Ok(None);
    };
    let unsupported = |field, found: String, supported| EncodeError::Unsupported {
        path: path.to_owned(),
        field,
        found,
        supported,
    };
    let head = head.ok_or_else(|| {
        let supported = &["classifiers of BERT, RoBERTa, DistilBERT, MPNet and ModernBERT"];
        unsupported("architectures", class.clone(), supported)
    })?;
    // Those that say nothing of it have two.
    let labels = config.id2label.map(|labels| labels.len()).or(config.num_labels);
    let labels = labels.unwrap_or(2);
    if labels != 1 {
        let supported = &["1, the relevance: a classifier of more cannot rank"];
        return Err(unsupported("the number of labels", labels.to_string(), supported));
    }
    let saved: SavedActivation = read_json_if_there(saved)?.unwrap_or_default();
    let named = saved
        .activation_fn
        .or(config.sentence_transformers.activation_fn)
        .or(config.sbert_ce_default_activation_function);
    let activation = match named.as_deref().map(|name| name.rsplit('.').next().unwrap_or_default()) {
        None | Some("Sigmoid") => ScoreActivation::Sigmoid,
        Some("Identity") => ScoreActivation::Identity,
        Some(found) => return Err(unsupported("activation_fn", found.to_owned(), &["Sigmoid", "Identity"])),
    };
    Ok(Some(Classifier {
        head: head.clone(),
        activation,
    }))
}
