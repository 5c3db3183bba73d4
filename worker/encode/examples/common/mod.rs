//! Where the examples look for a model that was not named.

use std::path::PathBuf;

/// all-MiniLM-L6-v2 in the user's cache directory, where `make model` puts it.
pub fn default_model() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        _ if cfg!(target_os = "macos") => home.join("Library/Caches"),
        Some(cache) if !cache.is_empty() => cache.into(),
        _ => home.join(".cache"),
    };
    cache.join("twofold/models/sentence-transformers/all-MiniLM-L6-v2")
}
