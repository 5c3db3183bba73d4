//! Which files are ingested, and under which ids.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ignore::WalkBuilder;

use super::origin::Origin;

/// A file to ingest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct File {
    /// The document's id: the path below the argument, with `/`.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it was when it was found.
    pub origin: Origin,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub files: Vec<File>,
    /// Something could not be read: there may be more files.
    pub is_incomplete: bool,
}

/// The files below `paths`, in the order of the arguments and then of their names. Hidden files, symbolic links, drawings and
/// what `.gitignore` names are left out unless they are arguments themselves.
///
/// # Errors
/// Where an argument cannot be read, or two different files would get the same id.
pub(super) fn walk(paths: &[PathBuf]) -> anyhow::Result<Files> {
    let mut found = Files::default();
    let mut places = BTreeMap::new();
    for root in paths {
        // An argument that cannot be read is a mistake; `ignore` would tell it only in passing.
        std::fs::metadata(root).with_context(|| format!("cannot read {}", root.display()))?;
        for entry in WalkBuilder::new(root)
            .require_git(false)
            .sort_by_file_name(Ord::cmp)
            .build()
        {
            let path = match entry {
                Ok(entry) if is_given(root, &entry) => entry.into_path(),
                Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) && !is_drawing(entry.path()) => {
                    entry.into_path()
                }
                Ok(_) => continue,
                Err(error) => {
                    eprintln!("skipped: {error}");
                    found.is_incomplete = true;
                    continue;
                }
            };
            let Some(id) = id_below(root, &path) else {
                eprintln!("skipped {}: its name is not UTF-8", path.display());
                continue;
            };
            let about = std::fs::canonicalize(&path).map_err(anyhow::Error::new);
            let about = about.and_then(|place| Ok((place, Origin::of(&path)?)));
            let (place, origin) = match about {
                Ok(about) => about,
                // It was there a moment ago.
                Err(_) if !path.exists() => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            };
            match places.insert(id.clone(), place.clone()) {
                Some(other) if other == place => continue,
                Some(other) => bail!(
                    "{} and {} would both become the document `{id}`; give the directory above them instead",
                    other.display(),
                    place.display()
                ),
                None => found.files.push(File { id, path, origin }),
            }
        }
    }
    Ok(found)
}

/// Whether the entry is the argument itself and, links resolved, a file.
fn is_given(root: &Path, entry: &ignore::DirEntry) -> bool {
    entry.path() == root && root.is_file()
}

/// SVG is text to a machine, and nothing that one searches for.
fn is_drawing(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("svg"))
}

/// The path of `path` below `root`, or the file's name where it is the root.
fn id_below(root: &Path, path: &Path) -> Option<String> {
    let below = path.strip_prefix(root).ok().filter(|below| below.file_name().is_some());
    let below = below.or_else(|| path.file_name().map(Path::new))?;
    let names: Option<Vec<_>> = below.iter().map(|name| name.to_str()).collect();
    names.map(|names| names.join("/"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ids(found: Files) -> Vec<String> {
        assert!(!found.is_incomplete);
        found.files.into_iter().map(|file| file.id).collect()
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        dir
    }

    #[test]
    fn files_come_in_the_same_order_with_ids_below_their_argument() {
        let dir = tree(&[
            "docs/b.md",
            "docs/a/z.txt",
            "docs/a/c.rst",
            "docs/.hidden",
            "docs/plot.svg",
            "README.md",
            "docs/out/x.md",
        ]);
        fs::write(dir.path().join("docs/.gitignore"), "out/\n").unwrap();
        let arguments = [dir.path().join("docs"), dir.path().join("README.md")];
        assert_eq!(
            ids(walk(&arguments).unwrap()),
            ["a/c.rst", "a/z.txt", "b.md", "README.md"]
        );
        assert_eq!(ids(walk(&[dir.path().join("docs/plot.svg")]).unwrap()), ["plot.svg"]);
    }

    #[test]
    fn a_file_that_is_given_twice_is_taken_once() {
        let dir = tree(&["docs/a.md"]);
        let arguments = [
            dir.path().join("docs"),
            dir.path().join("docs/a.md"),
            dir.path().join("docs/../docs"),
        ];
        assert_eq!(ids(walk(&arguments).unwrap()), ["a.md"]);
    }

    #[test]
    fn two_files_never_share_an_id() {
        let dir = tree(&["docs/README.md", "README.md"]);
        let error = walk(&[dir.path().join("docs"), dir.path().join("README.md")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("both become the document `README.md`"), "{error}");
    }

    #[test]
    fn an_argument_that_does_not_exist_is_an_error() {
        let dir = tree(&["a.md"]);
        assert!(walk(&[dir.path().join("a.md"), dir.path().join("b.md")]).is_err());
    }
}
