//! Changes of files, as a bell: what has changed is read from the files themselves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::job::Job;
use super::stored::Stored;

/// Files are looked at when nothing has changed for so long,
const QUIET: Duration = Duration::from_millis(300);
/// or something has changed for so long.
const LONGEST: Duration = Duration::from_secs(3);
/// Pause after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// Rings when something changes below the watched paths.
pub(super) struct Bell {
    rung: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Bell {
    /// Hears of all changes from now on.
    ///
    /// # Errors
    /// Where a path cannot be watched.
    pub fn hang(paths: &[PathBuf]) -> anyhow::Result<Self> {
        // One ring is enough, whatever it is for.
        let (ring, rung) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = ring.try_send(());
            }
        })
        .context("cannot watch files")?;
        for path in paths {
            let (place, mode) = match path.is_dir() {
                true => (path.as_path(), RecursiveMode::Recursive),
                // Editors put another file in its place.
                false => (directory_of(path), RecursiveMode::NonRecursive),
            };
            watcher
                .watch(place, mode)
                .with_context(|| format!("cannot watch {}", place.display()))?;
        }
        Ok(Self {
            rung,
            _watcher: watcher,
        })
    }

    /// Waits until something has changed, and then until it is quiet.
    pub async fn rung(&mut self) {
        if self.rung.recv().await.is_none() {
            // The watcher has gone, which it does with the bell alone.
            return std::future::pending().await;
        }
        let first = Instant::now();
        while first.elapsed() < LONGEST && timeout(QUIET, self.rung.recv()).await.is_ok() {}
    }
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Sends and deletes what changes, for ever. What fails is tried again.
pub(super) async fn watch(job: &Job, mut bell: Bell, stored: Stored) -> anyhow::Result<()> {
    let mut known = Some(stored);
    loop {
        let round = async {
            let stored = match known.take() {
                Some(stored) => {
                    bell.rung().await;
                    stored
                }
                None => job.stored().await?,
            };
            job.run(job.files().await?, stored).await
        };
        match round.await {
            Ok((report, stored)) => {
                known = Some(stored);
                if report.is_something() {
                    report.print(&job.collection)?;
                }
            }
            Err(error) => {
                eprintln!("error: {error:#}; trying again in {} s", AGAIN.as_secs());
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn rings(bell: &mut Bell) -> bool {
        timeout(Duration::from_secs(5), bell.rung()).await.is_ok()
    }

    #[tokio::test]
    async fn changes_ring_and_reading_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/a");
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(&file, "one").unwrap();
        let mut bell = Bell::hang(&[dir.path().to_owned()]).unwrap();
        fs::read(&file).unwrap();
        assert!(timeout(Duration::from_secs(1), bell.rung()).await.is_err());
        fs::write(&file, "two").unwrap();
        assert!(rings(&mut bell).await);
        fs::rename(&file, dir.path().join("b")).unwrap();
        assert!(rings(&mut bell).await);
        fs::remove_file(dir.path().join("b")).unwrap();
        assert!(rings(&mut bell).await);
    }

    #[tokio::test]
    async fn a_file_that_another_takes_the_place_of_rings() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&file, "one").unwrap();
        fs::write(&other, "two").unwrap();
        let mut bell = Bell::hang(std::slice::from_ref(&file)).unwrap();
        fs::rename(&other, &file).unwrap();
        assert!(rings(&mut bell).await);
        assert_eq!(
            (directory_of(Path::new("a")), directory_of(Path::new("/a"))),
            (Path::new("."), Path::new("/"))
        );
    }
}
