//! A model that is on this machine already: a directory, or a zip archive (a wheel is one), with the model anywhere inside.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use zip::ZipArchive;
use zip::result::ZipError;

use super::files::{INDEX, MODULES, PICKLE, WEIGHTS};
use super::pins;

/// How deep a directory is searched.
const DEPTH: usize = 6;

/// The place of a model's top folder.
#[derive(Debug, Clone)]
pub(super) struct Local {
    path: PathBuf,
    /// The folder within `path`: empty, or with a slash at its end.
    folder: String,
    is_archive: bool,
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.join(&self.folder).display().fmt(f)
    }
}

impl Local {
    /// Finds the model in `path`.
    ///
    /// # Errors
    /// Where there is none, or more than one.
    pub async fn find(path: PathBuf) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(move || {
            let context = || format!("cannot read {}", path.display());
            let is_archive = path.is_file();
            let names = if is_archive {
                names_in(&path)
            } else {
                names_below(&path)
            }
            .with_context(context)?;
            let folder = model_folder(&names).with_context(context)?;
            Ok(Self {
                path,
                folder,
                is_archive,
            })
        })
        .await?
    }

    /// Copies a file to `path` and verifies it; answers whether there is such a file.
    pub async fn fetch(&self, name: &str, path: &Path, pin: Option<&'static str>) -> anyhow::Result<bool> {
        let (local, name, path) = (self.clone(), format!("{}{name}", self.folder), path.to_owned());
        tokio::task::spawn_blocking(move || {
            if !local.copy(&name, &path)? {
                return Ok(false);
            }
            if let Some(sha256) = pin {
                pins::verify(&path, sha256)?;
            }
            Ok(true)
        })
        .await?
    }

    fn copy(&self, name: &str, path: &Path) -> anyhow::Result<bool> {
        if self.is_archive {
            let mut archive = open(&self.path)?;
            return match archive.by_name(name) {
                Ok(mut entry) => write(&mut entry, path).map(|()| true),
                Err(ZipError::FileNotFound) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
        match File::open(self.path.join(name)) {
            Ok(mut file) => write(&mut file, path).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn open(path: &Path) -> anyhow::Result<ZipArchive<File>> {
    Ok(ZipArchive::new(File::open(path)?)?)
}

fn write(from: &mut impl Read, path: &Path) -> anyhow::Result<()> {
    io::copy(from, &mut File::create(path)?)?;
    Ok(())
}

fn names_in(archive: &Path) -> anyhow::Result<BTreeSet<String>> {
    let archive = open(archive)?;
    archive.file_names().map(|name| Ok(name?.into_owned())).collect()
}

fn names_below(dir: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    list(dir, "", DEPTH, &mut names)?;
    Ok(names)
}

/// The names of all files below `dir`, with `/`, symbolic links followed.
fn list(dir: &Path, prefix: &str, depth: usize, names: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if !path.is_dir() {
            names.insert(name);
        } else if depth > 0 {
            list(&path, &format!("{name}/"), depth - 1, names)?;
        }
    }
    Ok(())
}

/// The folder that is a model's: the one with `modules.json`, or else the one with `config.json`, `tokenizer.json` and
/// weights.
fn model_folder(names: &BTreeSet<String>) -> anyhow::Result<String> {
    let has = |folder: &str, name: &str| names.contains(&format!("{folder}{name}"));
    let transformers = names
        .iter()
        .filter_map(|name| name.strip_suffix("config.json"))
        .filter(|folder| {
            let is_folder = folder.is_empty() || folder.ends_with('/');
            is_folder && has(folder, "tokenizer.json") && [WEIGHTS, INDEX, PICKLE].iter().any(|name| has(folder, name))
        });
    let folders: BTreeSet<&str> = transformers
        .map(|folder| {
            let above = folder
                .trim_end_matches('/')
                .rfind('/')
                .map_or("", |slash| &folder[..=slash]);
            // The transformer may have a folder of its own within the model.
            if !has(folder, MODULES) && has(above, MODULES) {
                above
            } else {
                folder
            }
        })
        .collect();
    match Vec::from_iter(folders).as_slice() {
        [folder] => Ok((*folder).to_owned()),
        [] => bail!("there is no model in it: a folder with config.json, tokenizer.json and {WEIGHTS} or {PICKLE}"),
        several => bail!("there are several models in it: {}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> anyhow::Result<String> {
        model_folder(&names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn the_models_folder_is_found_wherever_it_is() {
        let model = ["config.json", "tokenizer.json", "model.safetensors"];
        assert_eq!(folder(&model).unwrap(), "");
        assert_eq!(
            folder(&model.map(|name| format!("a/b/{name}")).each_ref().map(String::as_str)).unwrap(),
            "a/b/"
        );
        let nested = [
            "m/modules.json",
            "m/0_T/config.json",
            "m/0_T/tokenizer.json",
            "m/0_T/model.safetensors",
        ];
        assert_eq!(folder(&nested).unwrap(), "m/");
    }

    #[test]
    fn no_model_and_several_models_are_errors() {
        assert!(folder(&["config.json", "tokenizer.json"]).is_err());
        assert!(folder(&["myconfig.json", "tokenizer.json", "model.safetensors"]).is_err());
        let two = ["a", "b"]
            .map(|dir| ["config.json", "tokenizer.json", "model.safetensors"].map(|name| format!("{dir}/{name}")));
        let error = folder(&two.concat().iter().map(String::as_str).collect::<Vec<_>>()).unwrap_err();
        assert!(error.to_string().contains("a/, b/"), "{error}");
    }
}
