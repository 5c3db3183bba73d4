//! Endpoints: the services that the operator lets this server call, and with which keys.
//!
//! A request or a collection can only name an endpoint that is configured, never an address: otherwise whoever may create a
//! collection could make the server call any host that it reaches, and send keys there.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use twofold_types::{Distance, ModelId};
use ureq::http::Uri;

use super::{agent::http_client, protocol::Protocol, rate::Rate};

/// How long an answer may take where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An endpoint as the operator writes it. Of one that is called as a protocol, everything but the key's variable has a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointParams {
    /// Default: the protocol of the endpoint's own name.
    protocol: Option<Protocol>,
    /// Default: that of the protocol's own service.
    url: Option<String>,
    /// The environment variable that holds the key. Default: the protocol's own where `url` is the default too, else none: a key
    /// goes nowhere unless that is said.
    api_key_env: Option<String>,
    requests_per_minute: Option<NonZeroU32>,
    tokens_per_minute: Option<NonZeroU32>,
    /// Texts of one request at most. Default: what the protocol's own service accepts.
    max_texts: Option<NonZeroUsize>,
    timeout_seconds: Option<NonZeroU64>,
    #[serde(default)]
    models: BTreeMap<String, RemoteModelParams>,
}

/// What is to be known of a model that no table knows, or is to be overruled.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoteModelParams {
    pub dimensions: Option<NonZeroUsize>,
    pub max_tokens: Option<NonZeroUsize>,
    /// A `tokenizer.json` on this machine to count tokens with.
    pub tokenizer: Option<PathBuf>,
    pub distance: Option<Distance>,
}

/// Why endpoints cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is not what it has to be.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why parsing stopped.
        source: serde_json::Error,
    },
    /// The name cannot be the beginning of a model's name.
    #[error("endpoint `{0}`: a name has letters, digits, `-`, `_` and `.` only")]
    Name(String),
    /// Nothing says how to talk to it.
    #[error("endpoint `{0}`: name its `protocol`: openai, cohere, voyage, jina or tei")]
    NoProtocol(String),
    /// Nothing says where it is.
    #[error("endpoint `{0}`: name its `url`")]
    NoUrl(String),
    /// Its address cannot be used. It is not shown: there may be a key in it.
    #[error("endpoint `{0}`: its `url` is not like https://host/path, without user and query")]
    Url(String),
}

/// All endpoints by their names. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Endpoints(Arc<BTreeMap<String, Arc<Endpoint>>>);

impl Endpoints {
    /// Reads a file of endpoints, and the keys from the environment.
    ///
    /// # Errors
    /// [`EndpointsError`], naming the file or the endpoint.
    pub fn open(path: &Path) -> Result<Self, EndpointsError> {
        let json = std::fs::read(path).map_err(|source| EndpointsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let all: BTreeMap<String, EndpointParams> =
            serde_json::from_slice(&json).map_err(|source| EndpointsError::Parse {
                path: path.to_owned(),
                source,
            })?;
        let opened = all.into_iter().map(|(name, params)| {
            let endpoint = Endpoint::new(&name, params)?;
            Ok((name, Arc::new(endpoint)))
        });
        Ok(Self(Arc::new(opened.collect::<Result<_, _>>()?)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The endpoint that a model's name begins with, and what the model is called there.
    pub fn of<'a>(&self, model: &'a ModelId) -> Option<(Arc<Endpoint>, &'a str)> {
        let (endpoint, name) = model.as_str().split_once('/')?;
        let (_, endpoint) = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(endpoint))?;
        Some((endpoint.clone(), name))
    }
}

/// A service that is called.
pub struct Endpoint {
    pub(super) protocol: Protocol,
    /// Without a slash at its end.
    pub(super) url: String,
    pub(super) key: Option<Key>,
    pub(super) rate: Rate,
    pub(super) max_texts: usize,
    pub(super) agent: ureq::Agent,
    models: BTreeMap<String, RemoteModelParams>,
}

/// A key, which nothing prints.
pub(super) struct Key {
    pub variable: String,
    /// `None` where the variable is not set.
    pub value: Option<String>,
}

impl Endpoint {
    fn new(name: &str, params: EndpointParams) -> Result<Self, EndpointsError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(EndpointsError::Name(name.to_owned()));
        }
        let protocol = params.protocol.or_else(|| Protocol::named(name));
        let protocol = protocol.ok_or_else(|| EndpointsError::NoProtocol(name.to_owned()))?;
        let own = protocol.service();
        let variable = match (params.api_key_env, &params.url) {
            (Some(variable), _) => Some(variable),
            (None, None) => own.map(|service| service.key_variable.to_owned()),
            (None, Some(_)) => None,
        };
        let url = params.url.or_else(|| own.map(|service| service.url.to_owned()));
        let url = url.ok_or_else(|| EndpointsError::NoUrl(name.to_owned()))?;
        let Some(uri) = service(&url) else {
            return Err(EndpointsError::Url(name.to_owned()));
        };
        let key = variable.map(|variable| Key {
            value: std::env::var(&variable).ok().filter(|value| !value.is_empty()),
            variable,
        });
        match &key {
            Some(Key { variable, value: None }) => {
                tracing::warn!(endpoint = name, variable, "the variable that holds the key is not set");
            }
            Some(_) if url.starts_with("http:") => {
                tracing::warn!(endpoint = name, "the key goes over the network unencrypted");
            }
            _ => {}
        }
        let timeout = params
            .timeout_seconds
            .map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.get()));
        Ok(Self {
            protocol,
            url: url.trim_end_matches('/').to_owned(),
            key,
            rate: Rate::new(params.requests_per_minute, params.tokens_per_minute),
            max_texts: params.max_texts.map_or(protocol.max_texts(), NonZeroUsize::get),
            agent: http_client(&uri, timeout),
            models: params.models,
        })
    }

    /// What the operator says of a model.
    pub(super) fn model(&self, name: &str) -> RemoteModelParams {
        self.models.get(name).cloned().unwrap_or_default()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("protocol", &self.protocol)
            .field("url", &self.url)
            .field("key", &self.key.as_ref().map(|key| &key.variable))
            .finish_non_exhaustive()
    }
}

/// An address that texts and keys can be sent to. With credentials in it, it would be logged with them.
fn service(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    (is_http && is_plain && uri.query().is_none()).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(json: &str) -> Result<Endpoints, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints.json");
        std::fs::write(&path, json).unwrap();
        Endpoints::open(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_well_known_service_needs_its_name_only() {
        let endpoints =
            open(r#"{"openai": {}, "inside": {"protocol": "tei", "url": "http://10.0.0.7:8080/"}}"#).unwrap();
        let model = ModelId::new("OpenAI/text-embedding-3-small");
        let (endpoint, name) = endpoints.of(&model).unwrap();
        assert_eq!(
            (endpoint.url.as_str(), name),
            ("https://api.openai.com/v1", "text-embedding-3-small")
        );
        assert_eq!(endpoint.key.as_ref().unwrap().variable, "OPENAI_API_KEY");
        let model = ModelId::new("inside/BAAI/bge-m3");
        let (endpoint, name) = endpoints.of(&model).unwrap();
        assert_eq!((endpoint.url.as_str(), name), ("http://10.0.0.7:8080", "BAAI/bge-m3"));
        for elsewhere in ["cohere/embed-v4.0", "openai", "BAAI/bge-m3"] {
            assert!(endpoints.of(&ModelId::new(elsewhere)).is_none(), "{elsewhere}");
        }
    }

    #[test]
    fn a_key_goes_to_its_own_service_or_where_the_operator_says() {
        let endpoints = open(r#"{"openai": {"url": "https://proxy.example/v1"}}"#).unwrap();
        assert!(endpoints.of(&ModelId::new("openai/m")).unwrap().0.key.is_none());
        let json = r#"{"openai": {"url": "https://proxy.example/v1", "api_key_env": "PATH"}}"#;
        let (endpoint, _) = open(json).unwrap().of(&ModelId::new("openai/m")).unwrap();
        let value = endpoint.key.as_ref().unwrap().value.clone().unwrap();
        let printed = format!("{endpoint:?}");
        assert!(printed.contains("PATH") && !printed.contains(&value), "{printed}");
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_name() {
        for (json, words) in [
            (r#"{"mine": {"url": "https://a.b"}}"#, ["`mine`", "`protocol`"]),
            (r#"{"mine": {"protocol": "tei"}}"#, ["`mine`", "`url`"]),
            (r#"{"tei": {"url": "ftp://a.b"}}"#, ["`tei`", "https://host"]),
            (
                r#"{"tei": {"url": "https://me:secret@a.b"}}"#,
                ["`tei`", "without user"],
            ),
            (r#"{"a/b": {"protocol": "openai"}}"#, ["`a/b`", "letters"]),
            (r#"{"openai": {"api_key": "sk-1"}}"#, ["endpoints.json", "api_key_env"]),
            (r#"{"openai": {"protocol": "soap"}}"#, ["endpoints.json", "voyage"]),
        ] {
            let error = open(json).unwrap_err();
            assert!(
                words.iter().all(|word| error.contains(word)) && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
