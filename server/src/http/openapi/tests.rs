use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use tower::ServiceExt;
use twofold_worker::{Engine, Options};

use crate::http::{HttpOptions, router};

/// The methods of each path that is registered. A path is only told in the router's debug output, its methods by what is answered to
/// a method that there is not.
async fn registered(router: &Router) -> BTreeMap<String, BTreeSet<String>> {
    let debug = format!("{router:?}");
    let paths = debug.split('"').filter(|part| part.starts_with('/'));
    let mut registered = BTreeMap::new();
    for path in paths.filter(|path| !path.contains("__private__")) {
        let address: String = path.chars().filter(|c| !"{}".contains(*c)).collect();
        let request = Request::builder().method("BREW").uri(address).body(Body::empty());
        let response = router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = response.headers()[header::ALLOW].to_str().unwrap().split(',');
        // Whoever registers GET gets HEAD with it.
        let methods = allowed.filter(|method| *method != "HEAD").map(str::to_owned);
        registered.insert(path.to_owned(), methods.collect());
    }
    registered
}

async fn get(router: &Router, path: &str) -> (String, Vec<u8>) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (kind, body.into())
}

#[tokio::test]
async fn every_route_is_in_the_document_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (data, models) = (dir.path().join("data"), dir.path().join("models"));
    let engine = std::sync::Arc::new(Engine::start(Options::new(data, models)).unwrap());
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    let router = router(engine.clone(), HttpOptions::default(), stopping);

    let (kind, document) = get(&router, "/openapi.json").await;
    assert_eq!(kind, "application/json");
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap().iter();
    let documented = paths.map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        (path.clone(), methods.map(|method| method.to_uppercase()).collect())
    });
    let documented: BTreeMap<String, BTreeSet<String>> = documented.collect();
    let registered = registered(&router).await;
    assert!(registered.contains_key("/collections/{collection}/points/query"));
    for (path, methods) in &registered {
        let described = documented.get(path).cloned().unwrap_or_default();
        let missing: Vec<_> = methods.difference(&described).collect();
        assert!(
            missing.is_empty(),
            "{missing:?} {path} is not in the document: give its handler #[utoipa::path(..)] and register it with routes!"
        );
    }
    assert_eq!(registered, documented);

    let (kind, page) = get(&router, "/docs").await;
    assert!(kind.starts_with("text/html"));
    let page = String::from_utf8(page).unwrap();
    assert!(
        !page.contains("https://") && !page.contains("http://"),
        "it needs no network"
    );
    tokio::task::spawn_blocking(move || engine.stop()).await.unwrap();
}
