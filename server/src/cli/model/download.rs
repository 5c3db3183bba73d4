//! One file over HTTP, gone on with where it was interrupted.
//!
//! Beside the file stand `<file>.part` with what has arrived and `<file>.etag` with the version it belongs to. The rest is
//! asked for under the condition that the version is still the same (`If-Range`); otherwise the file starts over.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::pins;

/// How often in a row nothing may arrive.
const MOST_FAILURES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// A file as its server describes it.
#[derive(Debug)]
pub(super) struct Remote {
    pub url: Url,
    /// In lower-case hexadecimal, where the server knows it.
    pub sha256: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

/// Why an attempt ended before the file did.
enum Failure {
    /// Another attempt may go further.
    Passing(anyhow::Error),
    Final(anyhow::Error),
}

/// The file and what stands beside it on the way.
struct Partial {
    part: PathBuf,
    etag: PathBuf,
}

/// Downloads `remote` to `path`, which is there afterwards and has the hash `expected`.
///
/// # Errors
/// Where the server refuses, where several attempts in a row bring nothing, and where the hash is another one; then what
/// has arrived is removed.
pub(super) async fn download(
    http: &Client,
    remote: &Remote,
    name: &str,
    path: &Path,
    expected: Option<&str>,
) -> anyhow::Result<()> {
    let partial = Partial {
        part: beside(path, "part"),
        etag: beside(path, "etag"),
    };
    let bar = progress_bar(name, remote.size);
    let mut began_with = partial.begin(remote.size).await?;
    loop {
        attempts(http, remote, &partial, &bar).await?;
        match verified(&partial.part, expected).await {
            Ok(()) => break,
            Err(error) => {
                partial.forget().await?;
                // Perhaps the server ignored the condition; what comes in one piece leaves no doubt.
                if began_with == 0 {
                    return Err(error);
                }
                began_with = 0;
            }
        }
    }
    bar.finish_and_clear();
    fs::rename(&partial.part, path).await?;
    remove(&partial.etag).await
}

/// Attempts until the part is complete.
async fn attempts(http: &Client, remote: &Remote, partial: &Partial, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut failures = 0;
    loop {
        let before = partial.begin(remote.size).await?;
        if before > 0 && Some(before) == remote.size {
            return Ok(());
        }
        match attempt(http, remote, partial, before, bar).await {
            Ok(()) => return Ok(()),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(error)) => {
                failures = if length(&partial.part).await? > before {
                    1
                } else {
                    failures + 1
                };
                if failures == MOST_FAILURES {
                    return Err(error.context(format!(
                        "gave up after {failures} attempts; the next pull goes on from here"
                    )));
                }
                tracing::warn!("{}: {error:#}; trying again", remote.url.path());
                tokio::time::sleep(FIRST_DELAY * 2u32.pow(failures - 1)).await;
            }
        }
    }
}

/// One request; appends to the part what it brings.
async fn attempt(
    http: &Client,
    remote: &Remote,
    partial: &Partial,
    have: u64,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut request = http.get(remote.url.clone());
    if have > 0 {
        let etag = fs::read_to_string(&partial.etag).await.map_err(fatal)?;
        request = request.header(RANGE, format!("bytes={have}-")).header(IF_RANGE, etag);
    }
    let mut answer = request.send().await.map_err(passing)?;
    let mut file = match answer.status() {
        StatusCode::PARTIAL_CONTENT if begins_at(&answer, have) => {
            bar.set_position(have);
            fs::OpenOptions::new()
                .append(true)
                .open(&partial.part)
                .await
                .map_err(fatal)?
        }
        StatusCode::OK => {
            bar.set_position(0);
            partial.forget().await.map_err(Failure::Final)?;
            remember_version(&answer, &partial.etag).await?;
            fs::File::create(&partial.part).await.map_err(fatal)?
        }
        status @ (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) => {
            partial.forget().await.map_err(Failure::Final)?;
            return Err(Failure::Passing(anyhow!(
                "the server answers {status} to the rest of the file"
            )));
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Failure::Passing(anyhow!("the server answers {status}")));
        }
        status => return Err(Failure::Final(anyhow!("the server answers {status}"))),
    };
    let copied = async {
        while let Some(chunk) = answer.chunk().await.map_err(passing)? {
            file.write_all(&chunk).await.map_err(fatal)?;
            bar.inc(chunk.len() as u64);
        }
        Ok(())
    };
    let copied = copied.await;
    // What has arrived counts, whether or not the rest has.
    file.flush().await.map_err(fatal)?;
    copied
}

impl Partial {
    /// How many bytes can be gone on with; what cannot is removed.
    async fn begin(&self, size: Option<u64>) -> anyhow::Result<u64> {
        let have = length(&self.part).await?;
        let has_version = fs::try_exists(&self.etag).await?;
        if have > 0 && (!has_version || size.is_some_and(|size| have > size)) {
            self.forget().await?;
            return Ok(0);
        }
        Ok(have)
    }

    async fn forget(&self) -> anyhow::Result<()> {
        remove(&self.part).await?;
        remove(&self.etag).await
    }
}

/// A weak version does not promise the same bytes, so it is none.
async fn remember_version(answer: &Response, path: &Path) -> Result<(), Failure> {
    let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
    match etag.filter(|etag| etag.starts_with('"')) {
        Some(etag) => fs::write(path, etag).await.map_err(fatal),
        None => Ok(()),
    }
}

fn begins_at(answer: &Response, have: u64) -> bool {
    let range = answer
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

async fn verified(path: &Path, expected: Option<&str>) -> anyhow::Result<()> {
    let Some(expected) = expected.map(str::to_owned) else {
        return Ok(());
    };
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || pins::verify(&path, &expected)).await?
}

async fn length(path: &Path) -> anyhow::Result<u64> {
    match fs::metadata(path).await {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

async fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot remove {}: {error}", path.display())
        }
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("file")).to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

fn passing(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Passing(error.into())
}

fn fatal(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Final(error.into())
}

/// A bar on standard error, where that is a terminal.
fn progress_bar(name: &str, size: Option<u64>) -> ProgressBar {
    let bar = size.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = "{prefix:36} {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  ETA {eta}";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
    bar.with_prefix(name.to_owned())
}
