//! A directory of snapshots. Each has its SHA-256 beside it; one is listed when it is whole.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use twofold_types::SnapshotDescription;

use crate::error::{Result, StorageError};

/// How names of snapshots end.
const ENDING: &str = "snapshot";

/// How the name of a file ends that holds the SHA-256 of a snapshot.
const CHECKSUM_ENDING: &str = "sha256";

/// The directory, which need not be there.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// Adds a snapshot that `write` writes to a file in `partial_dir`, answering its SHA-256. Its name begins with `prefix`; `now` is in
    /// milliseconds since 1970.
    pub(super) fn add(
        &self,
        partial_dir: &Path,
        prefix: &str,
        now: u64,
        write: impl FnOnce(&Path) -> Result<String>,
    ) -> Result<SnapshotDescription> {
        let Self(dir) = self;
        fs::create_dir_all(dir).map_err(io(dir))?;
        let (path, partial) = self.unused_name(partial_dir, prefix, now)?;
        let written = write(&partial).and_then(|checksum| {
            fail::fail_point!("snapshot::before_rename");
            let sidecar = checksum_path(&path);
            fs::write(&sidecar, checksum).map_err(io(&sidecar))?;
            fs::rename(&partial, &path).map_err(io(&path))?;
            sync_dir(dir)
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        describe(&path)
    }

    /// All of them, oldest first.
    pub(super) fn list(&self) -> Result<Vec<SnapshotDescription>> {
        let Self(dir) = self;
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io(dir))?,
        };
        let mut snapshots = Vec::new();
        for entry in entries {
            let path = entry.map_err(io(dir))?.path();
            if path.extension().is_some_and(|extension| extension == ENDING) {
                snapshots.push(describe(&path)?);
            }
        }
        snapshots.sort_by(|a, b| (&a.creation_time, &a.name).cmp(&(&b.creation_time, &b.name)));
        Ok(snapshots)
    }

    /// Where one is.
    pub(super) fn path(&self, snapshot: &str) -> Result<PathBuf> {
        let missing = || StorageError::SnapshotNotFound(snapshot.to_owned());
        // A name of its own, so that nothing else can be meant by it.
        if snapshot.contains(['/', '\\']) || !snapshot.ends_with(&format!(".{ENDING}")) {
            return Err(missing());
        }
        let path = self.0.join(snapshot);
        path.is_file().then_some(path).ok_or_else(missing)
    }

    /// Deletes one.
    pub(super) fn delete(&self, snapshot: &str) -> Result<()> {
        let path = self.path(snapshot)?;
        fs::remove_file(&path).map_err(io(&path))?;
        let _ = fs::remove_file(checksum_path(&path));
        Ok(())
    }

    /// Where a new snapshot is to be, and a file to write it to until it is whole, which is made.
    fn unused_name(&self, partial_dir: &Path, prefix: &str, now: u64) -> Result<(PathBuf, PathBuf)> {
        let time = timestamp(now).strftime("%Y-%m-%d-%H-%M-%S");
        for number in 0.. {
            let suffix = if number == 0 {
                String::new()
            } else {
                format!("-{number}")
            };
            let file_name = format!("{prefix}-{time}{suffix}.{ENDING}");
            let (path, partial) = (self.0.join(&file_name), partial_dir.join(&file_name));
            match File::create_new(&partial) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => {
                    made.map_err(io(&partial))?;
                    // Looked for while the other name is ours, so that nobody can have just renamed to it.
                    if !path.exists() {
                        return Ok((path, partial));
                    }
                    fs::remove_file(&partial).map_err(io(&partial))?;
                }
            }
        }
        unreachable!("there are more numbers than files")
    }
}

fn describe(path: &Path) -> Result<SnapshotDescription> {
    let metadata = path.metadata().map_err(io(path))?;
    let modified = metadata.modified().map_err(io(path))?;
    let since_1970 = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(SnapshotDescription {
        name: name.into_owned(),
        creation_time: Some(
            timestamp(since_1970.as_millis() as u64)
                .strftime("%Y-%m-%dT%H:%M:%S")
                .to_string(),
        ),
        size: metadata.len(),
        checksum: fs::read_to_string(checksum_path(path)).ok(),
    })
}

fn timestamp(millis: u64) -> jiff::Timestamp {
    let stamp = i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    stamp.unwrap_or(jiff::Timestamp::MAX)
}

fn checksum_path(snapshot: &Path) -> PathBuf {
    snapshot.with_extension(format!("{ENDING}.{CHECKSUM_ENDING}"))
}

pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    // Only some systems open directories; where this one does not, its renames are durable by themselves.
    match File::open(dir) {
        Ok(dir_file) => dir_file.sync_all().map_err(io(dir)),
        Err(_) => Ok(()),
    }
}

/// The SHA-256 of a file in hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(io(path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(io(path))? {
            0 => return Ok(hex(hash)),
            read => hash.update(&buffer[..read]),
        }
    }
}

pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> StorageError {
    move |source| match source.kind() {
        std::io::ErrorKind::StorageFull => StorageError::DiskFull,
        _ => StorageError::Io {
            path: path.to_owned(),
            source,
        },
    }
}

/// A file that is hashed as it is written.
pub(super) struct Hashing {
    pub(super) file: File,
    pub(super) hash: Sha256,
}

impl Hashing {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            hash: Sha256::new(),
        }
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
