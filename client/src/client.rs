//! The client: one request, one answer, with the envelope taken off.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::multipart::Form;
use reqwest::{Method, Request, Response, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use twofold_types::api::{Envelope, ErrorEnvelope};
use twofold_types::embeddings::{EmbedError, OpenAiError};

use crate::Error;
use crate::retry::RetryPolicy;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a body that is not the server's JSON is shown in an error.
const SHOWN_BODY_CHARS: usize = 200;

/// A connection to one server. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Without a trailing slash.
    base: Arc<str>,
    timeout: Duration,
    retry: RetryPolicy,
}

/// Options of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    url: String,
    api_key: Option<String>,
    timeout: Duration,
    retry: RetryPolicy,
}

impl ClientBuilder {
    /// The key the server asks for. Default: none.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// How long one request may take, connection and answer included; waiting between retries is not. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a call is sent again when the server answers 429 or 503. The server's `Retry-After` (seconds) decides
    /// how long to wait in between, up to a minute; without it the waits grow from 0.2 s to 10 s. Default: 5.
    pub fn max_retries(mut self, retries: usize) -> Self {
        self.retry.max_retries = retries;
        self
    }

    /// Whether a call is sent again when nothing accepts the connection, so that a server may be restarted meanwhile.
    /// Default: no, because most often the address is wrong.
    pub fn retry_connect(mut self, retry: bool) -> Self {
        self.retry.connect = retry;
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] and [`Error::InvalidApiKey`]; [`Error::Transport`] where TLS cannot be set up, for example
    /// because the system has no certificates.
    pub fn build(self) -> Result<Client, Error> {
        let url = Url::parse(&self.url)
            .ok()
            .filter(is_server)
            .ok_or(Error::InvalidUrl { url: self.url })?;
        let mut headers = HeaderMap::new();
        if let Some(key) = self.api_key {
            let mut key = HeaderValue::from_str(&key).map_err(|_| Error::InvalidApiKey)?;
            key.set_sensitive(true);
            headers.insert("api-key", key);
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("twofold-client/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(self.timeout)
            // An API does not redirect, and the key goes to nobody else.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&url) {
            http = http.no_proxy();
        }
        if url.scheme() == "http" {
            // Without this a system that has no certificates could not even talk to its own loopback address.
            http = http.tls_certs_only([]);
        }
        let base = url.as_str().trim_end_matches('/').into();
        Ok(Client {
            http: http.build().map_err(Error::Transport)?,
            base,
            timeout: self.timeout,
            retry: self.retry,
        })
    }
}

fn is_server(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none()
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

impl Client {
    /// A client of the server at `url`, for example `http://127.0.0.1:6333`; a path before the API's own is kept.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            url: url.into(),
            api_key: None,
            timeout: Duration::from_secs(30),
            retry: RetryPolicy {
                max_retries: 5,
                connect: false,
            },
        }
    }

    /// Sends a request without a body and answers the `result` of the envelope.
    pub(crate) async fn call<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Error> {
        self.answer(self.request(method, path)?).await
    }

    /// The same where the server is asked to wait for `wait` before it answers.
    pub(crate) async fn call_waiting<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        wait: Duration,
    ) -> Result<T, Error> {
        let mut request = self.request(method, path)?;
        self.allow(&mut request, wait);
        self.answer(request).await
    }

    /// Lets a request take `longer` than others.
    pub(crate) fn allow(&self, request: &mut Request, longer: Duration) {
        *request.timeout_mut() = Some(self.timeout.saturating_add(longer));
    }

    /// Sends `body` as JSON and answers the `result` of the envelope.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.answer(self.with_body(method, path, body)?).await
    }

    /// Sends `body` as JSON to an endpoint that answers without an envelope.
    pub(crate) async fn send_bare<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let request = self.with_body(Method::POST, path, body)?;
        decode(&request, &self.execute(&request).await?)
    }

    /// Sends a request without a body and answers the whole body.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.execute(&self.request(Method::GET, path)?).await
    }

    /// Sends a form, which is not tried again as it is read while it is sent, and lets the call take `longer` than others.
    pub(crate) async fn send_form(&self, path: &str, form: Form, longer: Duration) -> Result<(), Error> {
        let sent = self.http.request(Method::POST, format!("{}{path}", self.base));
        let sent = sent.timeout(self.timeout.saturating_add(longer)).multipart(form).send();
        succeeded(sent.await).await.map(drop)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Result<Request, Error> {
        let url = format!("{}{path}", self.base);
        let url = Url::parse(&url).map_err(|_| Error::InvalidUrl { url })?;
        Ok(Request::new(method, url))
    }

    pub(crate) fn with_body(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Request, Error> {
        let mut request = self.request(method, path)?;
        *request.body_mut() = Some(serde_json::to_vec(body).map_err(Error::Encode)?.into());
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    pub(crate) async fn answer<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        let body = self.execute(&request).await?;
        decode::<Envelope<T>>(&request, &body).map(|envelope| envelope.result)
    }

    async fn execute(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let attempt = || async {
            let response = self.attempt(request).await?;
            response.bytes().await.map(Vec::from).map_err(Error::Transport)
        };
        self.retry.run(attempt).await
    }

    /// Sends a request and answers the successful response, of which the body has yet to be read.
    pub(crate) async fn open(&self, request: &Request) -> Result<Response, Error> {
        self.retry.run(|| self.attempt(request)).await
    }

    async fn attempt(&self, request: &Request) -> Result<Response, Error> {
        let request = request.try_clone().expect("a body of bytes can be cloned");
        succeeded(self.http.execute(request).await).await
    }
}

/// A response, where it is one of success.
async fn succeeded(response: Result<Response, reqwest::Error>) -> Result<Response, Error> {
    let response = response.map_err(Error::Transport)?;
    match response.status().is_success() {
        true => Ok(response),
        false => Err(api_error(response).await),
    }
}

/// Reads the body of an answer to `request`.
fn decode<T: DeserializeOwned>(request: &Request, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| {
        let request = format!("{} {}", request.method(), request.url().path());
        Error::Decode { request, source }
    })
}

/// The shapes that the server's endpoints have for errors.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorBody {
    Enveloped(ErrorEnvelope),
    OpenAi(OpenAiError),
    Embed(EmbedError),
}

async fn api_error(response: Response) -> Error {
    let status = response.status();
    let seconds = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(source) => return Error::Transport(source),
    };
    let message = match serde_json::from_slice(&body) {
        Ok(ErrorBody::Enveloped(envelope)) => envelope.status.error,
        Ok(ErrorBody::OpenAi(body)) => body.error.message,
        Ok(ErrorBody::Embed(body)) => body.error,
        Err(_) => {
            let text: String = String::from_utf8_lossy(&body)
                .trim()
                .chars()
                .take(SHOWN_BODY_CHARS)
                .collect();
            if text.is_empty() {
                status.canonical_reason().unwrap_or("no message").to_owned()
            } else {
                text
            }
        }
    };
    Error::Api {
        status: status.as_u16(),
        message,
        retry_after,
    }
}
