//! What measurements share: CPU time, memory, disk, and files of vectors.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Vectors `[count, dimensions]`.
pub struct Vectors {
    /// Components of each.
    pub dimensions: usize,
    /// One after the other.
    pub rows: Vec<f32>,
}

impl Vectors {
    /// Reads two little-endian u32 (count, dimensions) and rows of little-endian f32.
    pub fn read(path: &Path) -> Result<Self> {
        let words = read_words(path)?;
        let [_, dimensions, rows @ ..] = words.as_slice() else {
            anyhow::bail!("{}: too short", path.display())
        };
        Ok(Self {
            dimensions: *dimensions as usize,
            rows: rows.iter().map(|word| f32::from_bits(*word)).collect(),
        })
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.rows.chunks_exact(self.dimensions)
    }
}

/// Reads little-endian u32.
pub fn read_words(path: &Path) -> Result<Vec<u32>> {
    let bytes = std::fs::read(path).with_context(|| format!("{}: run `make recall`", path.display()))?;
    Ok(bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect())
}

/// Which thousandth of the points one belongs to, unrelated to its vector.
pub fn thousandth(id: u64) -> u64 {
    (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % 1000
}

fn number(path: &str, find: impl Fn(&str) -> Option<u64>) -> u64 {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|text| find(&text))
        .unwrap_or(0)
}

/// CPU time of this thread, which a busy machine does not stretch. Linux tells it; elsewhere it is 0.
pub fn thread_time() -> Duration {
    Duration::from_nanos(number("/proc/thread-self/schedstat", |text| {
        text.split(' ').next()?.parse().ok()
    }))
}

/// CPU time of all threads, to a hundredth of a second.
pub fn process_time() -> Duration {
    let ticks = number("/proc/self/stat", |text| {
        let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    Duration::from_millis(10 * ticks)
}

/// Resident memory.
pub fn rss_megabytes() -> u64 {
    status_megabytes("VmRSS:")
}

/// Resident memory that is the process's own, without what is mapped from files.
pub fn own_megabytes() -> u64 {
    status_megabytes("RssAnon:")
}

fn status_megabytes(key: &str) -> u64 {
    number("/proc/self/status", |text| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }) / 1024
}

/// The lengths of all files in a directory.
pub fn disk_megabytes(dir: &Path) -> u64 {
    fn bytes(dir: &Path) -> u64 {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(data) if data.is_dir() => bytes(&entry.path()),
                Ok(data) => data.len(),
                Err(_) => 0,
            })
            .sum()
    }
    bytes(dir) >> 20
}
