//! `twofold check`: whether what a data directory holds agrees with itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use twofold_storage::{Options, Store};

use super::output::print;

/// Which data directory is checked.
#[derive(Debug, clap::Args)]
pub(super) struct CheckOptions {
    /// Where everything is stored; no server may be using it
    #[arg(long, env = "TWOFOLD_DATA_DIR", default_value = "twofold-data", value_name = "DIR")]
    data_dir: PathBuf,
}

/// Prints what does not agree, a line each; anything fails.
pub(super) fn run(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let dir = &options.data_dir;
    anyhow::ensure!(dir.is_dir(), "{} is not a directory", dir.display());
    let store = Store::open(Options::new(dir)).with_context(|| format!("cannot open {}", dir.display()))?;
    let findings = store
        .check()
        .with_context(|| format!("cannot read {}", dir.display()))?;
    for finding in &findings {
        print(&format!("{finding}\n"))?;
    }
    eprintln!(
        "{} collections checked, {} findings",
        store.collections().len(),
        findings.len()
    );
    Ok(match findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
