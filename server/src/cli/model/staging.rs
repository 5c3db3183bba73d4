//! The directory beside a model's place where its files are gathered, and the step that puts it there.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Names the revision that was asked for, where one was.
const REVISION: &str = ".revision";

/// `.<name>.pulling` beside `<name>`. It stays where a pull is interrupted, so that the next one goes on.
pub(super) struct Staging {
    target: PathBuf,
    dir: PathBuf,
    /// Held as long as this lives: two pulls would write the same files.
    _lock: File,
}

impl Staging {
    /// The staging directory of `target`.
    ///
    /// # Errors
    /// Where another process is pulling the same model.
    pub fn open(target: &Path) -> anyhow::Result<Self> {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            bail!("{} cannot hold a model", target.display());
        };
        let name = name.to_string_lossy();
        let dir = parent.join(format!(".{name}.pulling"));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let lock = parent.join(format!(".{name}.lock"));
        let context = || format!("cannot lock {}", lock.display());
        let file = File::create(&lock).with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another process is pulling this model into {}", target.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        Ok(Self {
            target: target.to_owned(),
            dir,
            _lock: file,
        })
    }

    /// Where a file is gathered; its folder is there.
    pub fn path(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.dir.join(name);
        let folder = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(path)
    }

    /// Puts the directory, reduced to `files`, in its place; answers how many bytes they have. What was there before is
    /// replaced.
    pub fn place(self, files: Vec<String>, revision: Option<&str>) -> anyhow::Result<u64> {
        let put = || -> io::Result<u64> {
            // Left over from an interrupted pull of other files.
            remove_others(&self.dir, &self.dir, &files)?;
            if let Some(revision) = revision {
                fs::write(self.dir.join(REVISION), revision)?;
            }
            let bytes = sync(&self.dir)?;
            let parent = self.dir.parent().unwrap_or(Path::new("."));
            let old = self.dir.with_extension("replaced");
            remove_if_there(&old)?;
            if self.target.exists() {
                fs::rename(&self.target, &old)?;
            }
            fs::rename(&self.dir, &self.target)?;
            sync_dir(parent)?;
            remove_if_there(&old)?;
            Ok(bytes)
        };
        put().with_context(|| format!("cannot put the model into {}", self.target.display()))
    }
}

/// The revision that was asked for when the model in `target` was pulled.
pub(super) fn revision(target: &Path) -> Option<String> {
    fs::read_to_string(target.join(REVISION)).ok()
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes what is in `dir` and not among `files`, whose names are below `root`, and folders that are left empty.
fn remove_others(root: &Path, dir: &Path, files: &[String]) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, files)?;
            if fs::read_dir(&path)?.next().is_none() {
                fs::remove_dir(&path)?;
            }
        } else if !files.iter().any(|name| root.join(name) == path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Makes everything below `dir` durable; answers how many bytes the files have.
fn sync(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += sync(&path)?;
        } else {
            let file = File::open(&path)?;
            file.sync_all()?;
            bytes += file.metadata()?.len();
        }
    }
    sync_dir(dir)?;
    Ok(bytes)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}
