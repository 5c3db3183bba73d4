//! A model on a hub that speaks Hugging Face's protocol: `<endpoint>/<model>/resolve/<revision>/<file>`.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};

use super::download::{Remote, download};
use super::pins;

/// Short, so that a machine without a way to the hub learns it soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing may arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 5;

/// One revision of one model.
pub(super) struct Hub {
    /// Follows redirects: large files are elsewhere.
    http: Client,
    /// Does not: what the hub knows about a file stands in the redirect.
    probe: Client,
    base: String,
}

impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl Hub {
    /// Nothing is sent yet.
    pub fn new(endpoint: &str, model: &str, revision: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let endpoint = if endpoint.is_empty() {
            "https://huggingface.co"
        } else {
            endpoint.trim_end_matches('/')
        };
        let revision = revision.replace('/', "%2F");
        let base = format!("{endpoint}/{model}/resolve/{revision}");
        let url = Url::parse(&base).with_context(|| format!("`{endpoint}` is not the URL of a hub"))?;
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).context("the hub's token is malformed")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = || {
            let client = Client::builder()
                .user_agent(concat!("twofold/", env!("CARGO_PKG_VERSION")))
                .default_headers(headers.clone())
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT);
            let loopback = url
                .host_str()
                .is_some_and(|host| host == "localhost" || host.starts_with("127."));
            if loopback { client.no_proxy() } else { client }
        };
        Ok(Self {
            http: client().build()?,
            probe: client().redirect(reqwest::redirect::Policy::none()).build()?,
            base,
        })
    }

    /// Downloads a file to `path` and verifies it; answers whether there is such a file. What an earlier attempt has left is
    /// gone on with.
    pub async fn fetch(&self, name: &str, path: &Path, pin: Option<&'static str>) -> anyhow::Result<bool> {
        let Some(remote) = self.ask(name).await? else {
            return Ok(false);
        };
        let expected = pin.map(str::to_owned).or_else(|| remote.sha256.clone());
        if let Some(expected) = &expected
            && path.is_file()
            && hash(path).await? == *expected
        {
            return Ok(true);
        }
        download(&self.http, &remote, name, path, expected.as_deref()).await?;
        Ok(true)
    }

    /// What the hub knows about a file; none where there is no such file.
    async fn ask(&self, name: &str) -> anyhow::Result<Option<Remote>> {
        let origin = Url::parse(&format!("{}/{name}", self.base))?;
        let mut remote = Remote {
            url: origin.clone(),
            sha256: None,
            size: None,
        };
        let mut url = origin.clone();
        for _ in 0..MOST_REDIRECTS {
            let answer = self
                .probe
                .head(url.clone())
                .send()
                .await
                .map_err(reqwest::Error::without_url)
                .context("cannot reach the hub")?;
            let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
            let etag = header("x-linked-etag").map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
            remote.sha256 = remote
                .sha256
                .or_else(|| etag.filter(|etag| is_sha256(etag)).map(str::to_ascii_lowercase));
            remote.size = remote.size.or_else(|| header("x-linked-size")?.parse().ok());
            match answer.status() {
                StatusCode::NOT_FOUND => return Ok(None),
                status if status.is_redirection() => {
                    let target = header(LOCATION.as_str()).and_then(|target| url.join(target).ok());
                    url = target.context("the hub redirects to nowhere")?;
                    if url.origin() != origin.origin() {
                        return Ok(Some(remote));
                    }
                }
                status if status.is_success() => {
                    remote.size = remote.size.or_else(|| header("content-length")?.parse().ok());
                    return Ok(Some(remote));
                }
                _ => return Err(refusal(&answer)),
            }
        }
        bail!("the hub redirects more than {MOST_REDIRECTS} times")
    }
}

fn refusal(answer: &Response) -> anyhow::Error {
    match answer.status() {
        // The hub says so as well where a model does not exist.
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => anyhow::anyhow!(
            "the hub answers {status}: there is no such model, or it needs an access token (HF_TOKEN) and your consent to its terms"
        ),
        status => anyhow::anyhow!("the hub answers {status}"),
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

async fn hash(path: &Path) -> anyhow::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || pins::sha256_of(&path)).await?
}
