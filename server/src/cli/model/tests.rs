//! Pulls from a hub that runs in the test, with large files on another origin as on the real one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::staging::Staging;
use super::{PullOptions, pull};

const MODULES: &[u8] = br#"[
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
]"#;
const WEIGHTS: &str = "model.safetensors";

fn weights() -> Vec<u8> {
    (0..300_000u32).map(|n| (n % 251) as u8).collect()
}

fn tiny() -> BTreeMap<String, Vec<u8>> {
    let files: [(&str, &[u8]); 6] = [
        ("modules.json", MODULES),
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"model\": 1}"),
        ("1_Pooling/config.json", b"{\"pooling_mode_mean_tokens\": true}"),
        (WEIGHTS, &weights()),
        ("README.md", b"nothing an encoder reads"),
    ];
    files.map(|(name, content)| (name.to_owned(), content.to_vec())).into()
}

#[derive(Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    /// Says that the weights have this hash.
    claimed: Option<String>,
    /// How much of the weights is sent before the connection breaks, an entry a request.
    cuts: Vec<usize>,
    /// Method, path and `Range` of every request.
    seen: Vec<String>,
}

#[derive(Clone)]
struct TestHub {
    endpoint: String,
    files: Arc<Mutex<Files>>,
}

impl TestHub {
    async fn with(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let hub = Self {
            endpoint,
            files: Arc::new(Mutex::new(Files {
                files,
                ..Files::default()
            })),
        };
        let app = Router::new().fallback(answer).with_state(hub.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        hub
    }

    /// The requests for the weights' bytes.
    fn downloads(&self) -> Vec<String> {
        self.files
            .lock()
            .unwrap()
            .seen
            .iter()
            .filter(|line| line.starts_with("GET /cdn/"))
            .cloned()
            .collect()
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn answer(State(hub): State<TestHub>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let mut files = hub.files.lock().unwrap();
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    };
    files.seen.push(format!("{method} {} {}", uri.path(), header("range")));
    let name = uri
        .path()
        .split_once("/resolve/main/")
        .map_or(uri.path().trim_start_matches("/cdn/"), |(_, name)| name);
    let Some(content) = files.files.get(name).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let hash = sha256(&content);
    let etag = format!("\"{hash}\"");
    if name == WEIGHTS && !uri.path().starts_with("/cdn/") {
        // `localhost` is another origin than `127.0.0.1`.
        let location = format!("{}/cdn/{name}", hub.endpoint.replace("127.0.0.1", "localhost"));
        let linked = format!("\"{}\"", files.claimed.clone().unwrap_or(hash));
        let headers = [
            ("location", location),
            ("x-linked-etag", linked),
            ("x-linked-size", content.len().to_string()),
        ];
        return (StatusCode::FOUND, headers).into_response();
    }
    if name != WEIGHTS || method == Method::HEAD {
        return ([("etag", "\"0123456789012345678901234567890123456789\"")], content).into_response();
    }
    let start = header("range")
        .strip_prefix("bytes=")
        .and_then(|range| range.strip_suffix('-')?.parse().ok());
    let start: usize = start.filter(|_| header("if-range") == etag).unwrap_or(0);
    let rest = content[start..].to_vec();
    let length = rest.len();
    let cut = if files.cuts.is_empty() {
        length
    } else {
        files.cuts.remove(0)
    };
    let sent = stream::iter([Ok(Bytes::copy_from_slice(&rest[..cut]))]);
    // Later than what was sent, which would be lost with the connection otherwise.
    let end = stream::once(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if cut < length {
            Err(std::io::Error::other("cut"))
        } else {
            Ok(Bytes::new())
        }
    });
    let body = Body::from_stream(sent.chain(end));
    let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
    let status = if start > 0 {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    (
        status,
        [
            ("etag", etag),
            ("content-length", length.to_string()),
            ("content-range", range),
        ],
        body,
    )
        .into_response()
}

fn options(model: &str, endpoint: &str, models: &TempDir) -> PullOptions {
    PullOptions {
        model: model.to_owned(),
        from: None,
        models_dir: Some(models.path().to_owned()),
        revision: None,
        endpoint: endpoint.to_owned(),
        token: None,
    }
}

/// Everything below `dir` with its content.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fn visit(root: &Path, dir: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    visit(dir, dir, &mut files);
    files
}

fn without_readme() -> BTreeMap<String, Vec<u8>> {
    let mut files = tiny();
    files.remove("README.md");
    files
}

fn target(models: &TempDir) -> PathBuf {
    models.path().join("org/tiny")
}

fn staged(models: &TempDir) -> PathBuf {
    models.path().join("org/.tiny.pulling")
}

#[tokio::test]
async fn a_pull_brings_what_an_encoder_reads_and_a_second_one_does_nothing() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    assert_eq!(tree(&target(&models)), without_readme());
    assert!(!staged(&models).exists());
    let requests = hub.files.lock().unwrap().seen.len();
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    assert_eq!(hub.files.lock().unwrap().seen.len(), requests);
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    hub.files.lock().unwrap().cuts = vec![100_000, 50_000];
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    assert_eq!(tree(&target(&models)), without_readme());
    let expected = ["", "bytes=100000-", "bytes=150000-"].map(|range| format!("GET /cdn/{WEIGHTS} {range}"));
    assert_eq!(hub.downloads(), expected);
}

#[tokio::test]
async fn a_pull_goes_on_where_an_earlier_one_was_interrupted() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    fs::create_dir_all(staged(&models)).unwrap();
    fs::write(staged(&models).join("model.safetensors.part"), &weights()[..70_000]).unwrap();
    fs::write(
        staged(&models).join("model.safetensors.etag"),
        format!("\"{}\"", sha256(&weights())),
    )
    .unwrap();
    fs::write(staged(&models).join("left-over.bin"), "of another pull").unwrap();
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    assert_eq!(tree(&target(&models)), without_readme());
    assert_eq!(hub.downloads(), [format!("GET /cdn/{WEIGHTS} bytes=70000-")]);
}

#[tokio::test]
async fn a_file_that_has_changed_since_starts_over() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    fs::create_dir_all(staged(&models)).unwrap();
    fs::write(staged(&models).join("model.safetensors.part"), vec![9; 70_000]).unwrap();
    fs::write(staged(&models).join("model.safetensors.etag"), "\"older\"").unwrap();
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    assert_eq!(tree(&target(&models)), without_readme());
}

#[tokio::test]
async fn a_resumed_file_with_a_wrong_beginning_starts_over() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    fs::create_dir_all(staged(&models)).unwrap();
    fs::write(staged(&models).join("model.safetensors.part"), vec![9; 70_000]).unwrap();
    fs::write(
        staged(&models).join("model.safetensors.etag"),
        format!("\"{}\"", sha256(&weights())),
    )
    .unwrap();
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    assert_eq!(tree(&target(&models)), without_readme());
    assert_eq!(hub.downloads().len(), 2);
}

#[tokio::test]
async fn a_file_with_another_hash_than_the_hubs_is_never_put_in_place() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    hub.files.lock().unwrap().claimed = Some("ab".repeat(32));
    let error = format!(
        "{:#}",
        pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap_err()
    );
    assert!(
        error.contains("model.safetensors") && error.contains("sha256"),
        "{error}"
    );
    assert!(!target(&models).exists());
    assert!(
        !staged(&models).join("model.safetensors.part").exists(),
        "the damaged part would be gone on with"
    );
}

#[tokio::test]
async fn a_known_model_is_refused_when_its_files_are_others() {
    let (source, models) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for (name, content) in [("config.json", "{}"), ("tokenizer.json", "{}"), (WEIGHTS, "x")] {
        fs::write(source.path().join(name), content).unwrap();
    }
    let model = "sentence-transformers/all-MiniLM-L6-v2";
    let from = Some(source.path().to_owned());
    let error = pull(PullOptions {
        from: from.clone(),
        ..options(model, "", &models)
    })
    .await
    .unwrap_err();
    assert!(format!("{error:#}").contains("sha256"), "{error:#}");
    assert!(!models.path().join(model).exists());
    // Under a name of one's own it is nobody else's model.
    pull(PullOptions {
        from,
        ..options("mine/minilm", "", &models)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_model_without_weights_is_refused() {
    let mut files = tiny();
    files.remove(WEIGHTS);
    let (hub, models) = (TestHub::with(files).await, TempDir::new().unwrap());
    let error = format!(
        "{:#}",
        pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap_err()
    );
    assert!(error.contains("safetensors"), "{error}");
    assert!(!target(&models).exists());
}

#[tokio::test]
async fn weights_in_several_files_are_pulled_whole() {
    let mut files = tiny();
    files.remove(WEIGHTS);
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    files.insert("model.safetensors.index.json".to_owned(), index.to_vec());
    files.insert("model-1.safetensors".to_owned(), b"one".to_vec());
    files.insert("model-2.safetensors".to_owned(), b"two".to_vec());
    let (hub, models) = (TestHub::with(files.clone()).await, TempDir::new().unwrap());
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    files.remove("README.md");
    assert_eq!(tree(&target(&models)), files);
}

#[tokio::test]
async fn an_incomplete_directory_is_replaced_as_a_whole() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    fs::create_dir_all(target(&models)).unwrap();
    fs::write(target(&models).join("config.json"), "half").unwrap();
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    assert_eq!(tree(&target(&models)), without_readme());
}

#[tokio::test]
async fn another_revision_than_the_one_that_is_there_is_pulled() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
    let main = || PullOptions {
        revision: Some("main".to_owned()),
        ..options("org/tiny", &hub.endpoint, &models)
    };
    pull(main()).await.unwrap();
    let requests = hub.files.lock().unwrap().seen.len();
    pull(main()).await.unwrap();
    assert_eq!(hub.files.lock().unwrap().seen.len(), requests, "that revision is there");
    let gone = PullOptions {
        revision: Some("gone".to_owned()),
        ..main()
    };
    assert!(pull(gone).await.is_err(), "an answer for another revision was taken");
}

#[tokio::test]
async fn an_archive_installs_without_a_hub() {
    let (dir, models) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let archive = dir.path().join("tiny.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&archive).unwrap());
    for (name, content) in tiny() {
        zip.start_file(
            format!("package/model/{name}"),
            zip::write::SimpleFileOptions::default(),
        )
        .unwrap();
        zip.write_all(&content).unwrap();
    }
    zip.finish().unwrap();
    let from = Some(archive);
    pull(PullOptions {
        from,
        ..options("org/tiny", "http://127.0.0.1:1", &models)
    })
    .await
    .unwrap();
    assert_eq!(tree(&target(&models)), without_readme());
}

#[tokio::test]
async fn two_pulls_of_one_model_do_not_meet() {
    let (hub, models) = (TestHub::with(tiny()).await, TempDir::new().unwrap());
    let first = Staging::open(&target(&models)).unwrap();
    let error = pull(options("org/tiny", &hub.endpoint, &models))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("another process is pulling"), "{error}");
    drop(first);
    pull(options("org/tiny", &hub.endpoint, &models)).await.unwrap();
}

#[tokio::test]
async fn a_hub_that_cannot_be_reached_is_given_up_at_once() {
    let models = TempDir::new().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let begin = Instant::now();
    let error = pull(options("org/tiny", &format!("http://127.0.0.1:{port}"), &models))
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("cannot reach the hub"), "{error:#}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}
