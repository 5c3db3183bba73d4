//! Receivers of webhooks as the operator names them: never by a request, which could make the server call any host that it reaches.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use twofold_encode::http_client;
use ureq::Agent;
use ureq::http::Uri;

use super::signature::Secret;
use crate::retry::RetryPolicy;

/// The longest that a receiver may take, as the end of the server waits for it.
const LONGEST_TIMEOUT: f64 = 30.0;

/// A receiver as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverParams {
    url: String,
    /// The environment variable that holds the secret.
    secret_env: Option<String>,
    /// Or a file that holds it.
    secret_file: Option<PathBuf>,
    #[serde(default = "timeout")]
    timeout_seconds: f64,
    #[serde(default = "first_pause")]
    first_pause_seconds: f64,
    #[serde(default = "longest_pause")]
    longest_pause_seconds: f64,
    #[serde(default = "give_up")]
    give_up_seconds: f64,
}

fn timeout() -> f64 {
    15.0
}

fn first_pause() -> f64 {
    5.0
}

fn longest_pause() -> f64 {
    600.0
}

fn give_up() -> f64 {
    86_400.0
}

/// Why webhooks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// A file cannot be read.
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
    /// A name that cannot be.
    #[error("webhook `{0}`: a name has 1 to 64 letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// An address that cannot be used. It is not shown: there may be a key in it.
    #[error("webhook `{0}`: its `url` is not like https://host/path, without user")]
    Url(String),
    /// No secret, or two.
    #[error("webhook `{0}`: name either `secret_env`, a variable, or `secret_file`, a file, that holds its secret")]
    SecretPlace(String),
    /// The variable that holds the secret is not set.
    #[error("webhook `{name}`: the variable {variable} is not set")]
    SecretUnset {
        /// The webhook.
        name: String,
        /// The variable.
        variable: String,
    },
    /// Something that is no secret. It is not shown.
    #[error("webhook `{0}`: its secret is not `whsec_` and base64 of 24 to 64 bytes")]
    Secret(String),
    /// A time that cannot be.
    #[error("webhook `{name}`: `{key}` is {received}; a number above 0 and at most {most} is needed")]
    Seconds {
        /// The webhook.
        name: String,
        /// Which time.
        key: &'static str,
        /// What was given.
        received: f64,
        /// The longest there is.
        most: f64,
    },
}

/// All receivers by their names. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Webhooks(Arc<BTreeMap<String, Receiver>>);

impl Webhooks {
    /// Reads a file of receivers, and their secrets from the environment or from files.
    ///
    /// # Errors
    /// [`WebhooksError`], naming the file or the receiver.
    pub fn open(path: &Path) -> Result<Self, WebhooksError> {
        let json = read(path)?;
        let all: BTreeMap<String, ReceiverParams> =
            serde_json::from_slice(&json).map_err(|source| WebhooksError::Parse {
                path: path.to_owned(),
                source,
            })?;
        let opened = all.into_iter().map(|(name, params)| {
            let receiver = Receiver::new(&name, params)?;
            Ok((name, receiver))
        });
        Ok(Self(Arc::new(opened.collect::<Result<_, _>>()?)))
    }

    /// The names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The receivers.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = (&String, &Receiver)> {
        self.0.iter()
    }
}

/// Who is told of tasks.
#[derive(Clone)]
pub(crate) struct Receiver {
    /// May hold a key, so nothing prints it.
    pub(super) url: String,
    pub(super) secret: Secret,
    pub(super) agent: Agent,
    pub(super) retry: RetryPolicy,
    /// A message that has waited for so long is given up when an attempt fails.
    pub(super) give_up: Duration,
}

impl Receiver {
    fn new(name: &str, params: ReceiverParams) -> Result<Self, WebhooksError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=64).contains(&name.len()) || !name.chars().all(is_name) {
            return Err(WebhooksError::Name(name.to_owned()));
        }
        let uri = address(&params.url).ok_or_else(|| WebhooksError::Url(name.to_owned()))?;
        let secret = match (params.secret_env, params.secret_file) {
            (Some(variable), None) => std::env::var(&variable).map_err(|_| WebhooksError::SecretUnset {
                name: name.to_owned(),
                variable,
            })?,
            (None, Some(path)) => String::from_utf8_lossy(&read(&path)?).into_owned(),
            _ => return Err(WebhooksError::SecretPlace(name.to_owned())),
        };
        let secret = Secret::parse(&secret).ok_or_else(|| WebhooksError::Secret(name.to_owned()))?;
        let seconds = |key, received: f64, most: f64| match received > 0.0 && received <= most {
            true => Ok(Duration::from_secs_f64(received)),
            false => Err(WebhooksError::Seconds {
                name: name.to_owned(),
                key,
                received,
                most,
            }),
        };
        let month = 31.0 * 86_400.0;
        let timeout = seconds("timeout_seconds", params.timeout_seconds, LONGEST_TIMEOUT)?;
        if uri.scheme_str() == Some("http") {
            tracing::warn!(webhook = name, "messages go over the network unencrypted");
        }
        Ok(Self {
            agent: http_client(&uri, timeout),
            url: params.url,
            secret,
            retry: RetryPolicy {
                attempts: u32::MAX,
                first: seconds("first_pause_seconds", params.first_pause_seconds, month)?,
                longest: seconds("longest_pause_seconds", params.longest_pause_seconds, month)?,
            },
            give_up: seconds("give_up_seconds", params.give_up_seconds, month)?,
        })
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("retry", &self.retry)
            .field("give_up", &self.give_up)
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, WebhooksError> {
    std::fs::read(path).map_err(|source| WebhooksError::Read {
        path: path.to_owned(),
        source,
    })
}

fn address(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = uri
        .authority()
        .is_some_and(|authority| !authority.as_str().contains('@'));
    (is_http && is_plain).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Opens a file of webhooks in which `SECRETS` stands for the directory of the file `secret`.
    fn open(json: &str) -> Result<Webhooks, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let path = dir.path().join("webhooks.json");
        std::fs::write(&path, json.replace("SECRETS", dir.path().to_str().unwrap())).unwrap();
        Webhooks::open(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_receiver_has_an_address_and_a_secret_that_nothing_prints() {
        let webhooks =
            open(r#"{"ops": {"url": "https://a.example/hook?key=unspoken", "secret_file": "SECRETS/secret"}}"#)
                .unwrap();
        assert_eq!(webhooks.names(), ["ops"]);
        let printed = format!("{webhooks:?}");
        assert!(!printed.contains("unspoken") && !printed.contains("MfKQ"), "{printed}");
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_name_and_without_its_secrets() {
        let file = r#""secret_file": "SECRETS/secret""#;
        for (json, words) in [
            (
                r#"{"a": {"url": "https://unspoken@a.example", FILE}}"#,
                ["`a`", "without user"],
            ),
            (
                r#"{"a": {"url": "ftp://a.example/unspoken", FILE}}"#,
                ["`a`", "https://host"],
            ),
            (r#"{"a b": {"url": "https://a.example", FILE}}"#, ["`a b`", "letters"]),
            (r#"{"a": {"url": "https://a.example"}}"#, ["`a`", "`secret_env`"]),
            (
                r#"{"a": {"url": "https://a.example", "secret_env": "A", FILE}}"#,
                ["`a`", "`secret_env`"],
            ),
            (
                r#"{"a": {"url": "https://a.example", "secret_env": "NOT_SET_AT_ALL"}}"#,
                ["`a`", "NOT_SET_AT_ALL"],
            ),
            (
                r#"{"a": {"url": "https://a.example", "secret_file": "SECRETS/none"}}"#,
                ["none", "No such file"],
            ),
            (
                r#"{"a": {"url": "https://a.example", "secret_file": "SECRETS/webhooks.json"}}"#,
                ["`a`", "base64"],
            ),
            (
                r#"{"a": {"url": "https://a.example", "secret": "unspoken"}}"#,
                ["webhooks.json", "secret_env"],
            ),
            (
                r#"{"a": {"url": "https://a.example", "timeout_seconds": 31, FILE}}"#,
                ["`timeout_seconds` is 31", "at most 30"],
            ),
            (
                r#"{"a": {"url": "https://a.example", "give_up_seconds": 0, FILE}}"#,
                ["`give_up_seconds` is 0", "above 0"],
            ),
        ] {
            let error = open(&json.replace("FILE", file)).unwrap_err();
            let tells = words.iter().all(|word| error.contains(word));
            assert!(tells && !error.contains("unspoken"), "{error} of {json}");
        }
    }
}
