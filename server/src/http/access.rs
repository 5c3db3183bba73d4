//! Who may ask for what.
//!
//! Without keys everybody may do everything, which is why a server without keys listens on this machine only. With a key every request
//! must carry one, in the header `api-key` or as a bearer token; the read-only key is good for what changes nothing.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::error::ApiError;

/// Paths that need no key: what load balancers ask, and what clients and people ask before they have one.
const OPEN: [&str; 6] = ["/", "/docs", "/healthz", "/livez", "/openapi.json", "/readyz"];

/// Endpoints under a collection that are asked by `POST` and change nothing.
const READS_OF_A_COLLECTION: [&str; 19] = [
    "/evaluate",
    "/facet",
    "/points",
    "/points/count",
    "/points/discover",
    "/points/discover/batch",
    "/points/query",
    "/points/query/batch",
    "/points/query/groups",
    "/points/recommend",
    "/points/recommend/batch",
    "/points/recommend/groups",
    "/points/scroll",
    "/points/search",
    "/points/search/batch",
    "/points/search/groups",
    "/points/search/matrix/offsets",
    "/points/search/matrix/pairs",
    "/search",
];

/// Other endpoints that are asked by `POST` and change nothing.
const READS: [&str; 7] = [
    "/embed",
    "/embed_all",
    "/embed_sparse",
    "/rerank",
    "/v1/embeddings",
    "/v1/rerank",
    "/v2/rerank",
];

/// A secret that requests show. Neither printed nor logged.
#[derive(Clone)]
pub struct ApiKey(String);

/// A text that cannot be a key.
#[derive(Debug, thiserror::Error)]
#[error("an API key is a text of printable ASCII characters without spaces, at least one")]
pub struct InvalidApiKey;

impl FromStr for ApiKey {
    type Err = InvalidApiKey;

    fn from_str(key: &str) -> Result<Self, InvalidApiKey> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidApiKey);
        }
        Ok(Self(key.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

impl ApiKey {
    /// Takes as long whatever the two have in common, their lengths aside.
    fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

/// The keys of a server.
#[derive(Debug, Clone, Default)]
pub struct Access {
    key: Option<ApiKey>,
    read_only_key: Option<ApiKey>,
}

/// Options that would leave a server open to those it should be closed to, or of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAccess {
    /// Nobody could write.
    #[error("a read-only key needs an API key beside it, or nobody could write")]
    ReadOnlyAlone,
    /// Whoever reaches the machine could do everything.
    #[error(
        "{0} is reached from other machines and there is no API key; set one (TWOFOLD_API_KEY), listen on 127.0.0.1, or force it with --allow-public-without-key"
    )]
    PublicWithoutKey(SocketAddr),
}

impl Access {
    /// With the keys that are given, none being no restriction.
    ///
    /// # Errors
    /// [`InvalidAccess::ReadOnlyAlone`]
    pub fn new(key: Option<ApiKey>, read_only_key: Option<ApiKey>) -> Result<Self, InvalidAccess> {
        if key.is_none() && read_only_key.is_some() {
            return Err(InvalidAccess::ReadOnlyAlone);
        }
        Ok(Self { key, read_only_key })
    }

    /// Whether a server with these keys may listen on an address.
    ///
    /// # Errors
    /// [`InvalidAccess::PublicWithoutKey`]
    pub fn may_listen(&self, address: SocketAddr) -> Result<(), InvalidAccess> {
        if self.key.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(InvalidAccess::PublicWithoutKey(address));
        }
        Ok(())
    }

    fn check(&self, headers: &HeaderMap, reads: bool) -> Result<(), ApiError> {
        let Some(key) = &self.key else { return Ok(()) };
        let Some(shown) = shown_key(headers) else {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "Must provide an API key or an Authorization bearer token",
            ));
        };
        if key.is(shown) {
            return Ok(());
        }
        match self.read_only_key.as_ref().is_some_and(|key| key.is(shown)) {
            true if reads => Ok(()),
            true => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "Forbidden: the read-only API key does not allow this request",
            )),
            false => Err(ApiError::new(StatusCode::UNAUTHORIZED, "Invalid API key")),
        }
    }
}

fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = || {
        let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    match headers.get("api-key") {
        Some(key) => key.to_str().ok(),
        None => bearer(),
    }
}

/// Whether an endpoint changes nothing. What is not known to be so, writes.
pub(super) fn reads(method: &Method, endpoint: Option<&str>) -> bool {
    match (method, endpoint) {
        (&Method::GET | &Method::HEAD, _) => true,
        (&Method::POST, Some(endpoint)) => match endpoint.strip_prefix("/collections/{collection}") {
            Some(endpoint) => READS_OF_A_COLLECTION.contains(&endpoint),
            None => READS.contains(&endpoint),
        },
        _ => false,
    }
}

/// Lets a request through that shows the key it needs.
pub(super) async fn authorize(
    State(access): State<Access>,
    endpoint: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let reads = reads(request.method(), endpoint.as_ref().map(MatchedPath::as_str));
    match access.check(request.headers(), reads) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let key = |key: &str| Some(key.parse().unwrap());
        Access::new(key("full"), key("reader")).unwrap()
    }

    fn status(access: &Access, header: Option<(&'static str, &str)>, reads: bool) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        access
            .check(&headers, reads)
            .map_or_else(|error| error.status().as_u16(), |()| 200)
    }

    #[test]
    fn each_key_opens_what_it_is_for() {
        for (header, reading, writing) in [
            (None, 401, 401),
            (Some(("api-key", "full")), 200, 200),
            (Some(("api-key", "reader")), 200, 403),
            (Some(("api-key", "ful")), 401, 401),
            (Some(("api-key", "")), 401, 401),
            (Some(("authorization", "Bearer full")), 200, 200),
            (Some(("authorization", "bearer reader")), 200, 403),
            (Some(("authorization", "Basic full")), 401, 401),
        ] {
            assert_eq!(status(&access(), header, true), reading, "{header:?}");
            assert_eq!(status(&access(), header, false), writing, "{header:?}");
        }
        assert_eq!(status(&Access::default(), None, false), 200);
    }

    #[test]
    fn what_is_not_known_to_read_writes() {
        let post = |endpoint| reads(&Method::POST, Some(endpoint));
        assert!(post("/collections/{collection}/points/query") && post("/embed"));
        assert!(post("/collections/{collection}/evaluate") && post("/collections/{collection}/search"));
        assert!(!post("/collections/{collection}/points/delete") && !post("/collections/{collection}/documents"));
        assert!(!post("/points/query") && !reads(&Method::POST, None));
        assert!(!reads(&Method::PUT, Some("/collections/{collection}/points")));
        assert!(reads(&Method::GET, Some("/tasks/{task}")));
    }

    #[test]
    fn an_open_server_stays_on_its_machine() {
        let open = Access::default();
        for (address, closed) in [
            ("127.0.0.1:1", false),
            ("[::1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(open.may_listen(address).is_err(), closed, "{address}");
            assert!(access().may_listen(address).is_ok());
        }
        assert_eq!(
            Access::new(None, Some("k".parse().unwrap())).unwrap_err(),
            InvalidAccess::ReadOnlyAlone
        );
    }

    #[test]
    fn keys_are_not_printed() {
        assert!(!format!("{:?}", access()).contains("full"));
        assert!("".parse::<ApiKey>().is_err() && "two words".parse::<ApiKey>().is_err());
    }
}
