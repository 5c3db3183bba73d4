//! Where models lie on this machine: `<models directory>/<publisher>/<model>`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The models directory where none is configured: `twofold/models` in the user's cache directory.
///
/// # Errors
/// Where the user has no cache directory (neither `XDG_CACHE_HOME` nor a home directory).
pub fn default_models_dir() -> anyhow::Result<PathBuf> {
    let cache =
        dirs::cache_dir().context("this user has no cache directory; say where models are with --models-dir")?;
    Ok(cache.join("twofold").join("models"))
}

/// The directory of `model` in `models_dir`; models without a publisher lie directly in it.
///
/// # Errors
/// Where `model` is not one or two names of letters, digits, `-`, `_` and `.`, with `/` between them.
pub fn model_dir(models_dir: &Path, model: &str) -> anyhow::Result<PathBuf> {
    let is_name = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
    };
    if model.split('/').count() > 2 || !model.split('/').all(is_name) {
        bail!("`{model}` is not the name of a model: `publisher/model` is expected");
    }
    Ok(models_dir.join(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_never_leads_out_of_the_directory() {
        let dir = Path::new("/models");
        assert_eq!(
            model_dir(dir, "org/all-MiniLM-L6-v2").unwrap(),
            Path::new("/models/org/all-MiniLM-L6-v2")
        );
        assert_eq!(model_dir(dir, "bert").unwrap(), Path::new("/models/bert"));
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "../a",
            "a/..",
            "a/b/c",
            "a\\b",
            "a b",
            ".hidden/a",
            "C:/a",
        ] {
            assert!(model_dir(dir, bad).is_err(), "{bad:?}");
        }
    }
}
