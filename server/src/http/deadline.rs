//! Until when an answer is wanted: as long as the request or the server says, and while its client is there.
//!
//! Only of reads: what changes something is carried out, whoever waits for it.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use twofold_storage::Deadline;

use super::access::reads;
use super::error::ApiError;

tokio::task_local! {
    static WANTED: Deadline;
}

/// The longest time that a request may ask for.
pub(super) const MAX_TIMEOUT: u64 = 24 * 60 * 60;

/// Until when the answer to the request of this task is wanted, if that has an end.
pub(super) fn wanted() -> Option<Deadline> {
    WANTED.try_with(Deadline::clone).ok()
}

/// Gives reads a deadline, which is over as well when the client goes: then this future is dropped.
pub(super) async fn limit(
    State(usual): State<Duration>,
    endpoint: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    struct Client(Deadline);
    impl Drop for Client {
        fn drop(&mut self) {
            self.0.cancel();
        }
    }
    if !reads(request.method(), endpoint.as_ref().map(MatchedPath::as_str)) {
        return next.run(request).await;
    }
    match timeout(request.uri()) {
        Ok(timeout) => {
            let client = Client(timeout.map_or_else(|| Deadline::within(usual), Deadline::asked_within));
            WANTED.scope(client.0.clone(), next.run(request)).await
        }
        Err(error) => error.into_response(),
    }
}

/// What stands behind `?timeout=`, in seconds.
fn timeout(uri: &Uri) -> Result<Option<Duration>, ApiError> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let Some(text) = pairs.filter_map(|pair| pair.strip_prefix("timeout=")).next() else {
        return Ok(None);
    };
    match text.parse() {
        Ok(seconds) if (1..=MAX_TIMEOUT).contains(&seconds) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("Wrong input: `timeout` is a whole number of seconds from 1 to {MAX_TIMEOUT}, not `{text}`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_of_seconds() {
        let seconds = |uri: &'static str| timeout(&Uri::from_static(uri)).map(|timeout| timeout.map(|t| t.as_secs()));
        assert_eq!(seconds("/a").unwrap(), None);
        assert_eq!(seconds("/a?consistency=1&timeout=7").unwrap(), Some(7));
        for wrong in [
            "/a?timeout=0",
            "/a?timeout=",
            "/a?timeout=1.5",
            "/a?timeout=-1",
            "/a?timeout=86401",
        ] {
            assert_eq!(seconds(wrong).unwrap_err().status(), 400, "{wrong}");
        }
    }

    #[tokio::test]
    async fn who_goes_wants_nothing_more() {
        use axum::Router;
        use axum::body::Body;
        use axum::middleware::from_fn_with_state;
        use axum::routing::{get, post};
        use tower::ServiceExt;

        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let handler = || {
            let tell = tell.clone();
            move || {
                let tell = tell.clone();
                async move {
                    tell.send(wanted()).await.unwrap();
                    std::future::pending::<()>().await;
                }
            }
        };
        let router = Router::new()
            .route("/read", get(handler()))
            .route("/write", post(handler()))
            .layer(from_fn_with_state(Duration::from_secs(100), limit));
        let ask = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty());
            router.clone().oneshot(request.unwrap())
        };
        let is_over = |deadline: &Deadline| deadline.during(|| Deadline::missed().is_some());
        let wanted = {
            let asked = ask("GET", "/read?timeout=50");
            tokio::pin!(asked);
            let wanted = tokio::select! {
                _ = &mut asked => panic!("nothing is answered"),
                wanted = told.recv() => wanted.unwrap().unwrap(),
            };
            assert!(!is_over(&wanted));
            wanted
        };
        assert!(is_over(&wanted));
        let written = tokio::select! {
            _ = ask("POST", "/write") => panic!("nothing is answered"),
            wanted = told.recv() => wanted.unwrap(),
        };
        assert!(written.is_none(), "writes are carried out");
    }
}
