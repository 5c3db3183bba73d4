//! `twofold model`: the models on this machine. A pull gets a model's files complete and verified, or nothing.
//!
//! Files are gathered in a staging directory beside the destination, which survives an interruption, and the whole directory
//! is put in place by one rename when every file is there and has the right hash.

mod download;
mod files;
mod hub;
mod list;
mod local;
mod pins;
mod staging;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::HumanBytes;
use twofold_encode::{BM25, known_cross_encoder, known_model};

use self::files::{INDEX, Layout, MODULES, PICKLE, WEIGHTS};
use self::hub::Hub;
pub(super) use self::list::{InfoOptions, ListOptions, info, list};
use self::local::Local;
use self::pins::Pins;
use self::staging::Staging;
use super::output::print;
use crate::models_dir::{default_models_dir, model_dir};

#[derive(Debug, clap::Subcommand)]
pub(super) enum ModelCommand {
    /// Download a model, or install it from a directory or an archive
    Pull(PullOptions),
    /// List the models
    List(ListOptions),
    /// Tell what a model does
    Info(InfoOptions),
}

/// Options of a pull.
#[derive(Debug, clap::Args)]
pub(super) struct PullOptions {
    /// The model as its publisher names it, for example sentence-transformers/all-MiniLM-L6-v2
    #[arg(value_name = "MODEL")]
    model: String,
    /// A directory, or a zip archive or wheel, that holds the model: nothing is downloaded
    #[arg(long, value_name = "PATH", conflicts_with = "revision")]
    from: Option<PathBuf>,
    /// Where models are [default: models/ in the user's cache directory for twofold]
    #[arg(long, env = "TWOFOLD_MODELS_DIR", value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// The branch, tag or commit to download [default: main, or the commit whose hashes are built in]
    #[arg(long)]
    revision: Option<String>,
    /// The hub to download from
    #[arg(
        long,
        env = "HF_ENDPOINT",
        default_value = "https://huggingface.co",
        value_name = "URL"
    )]
    endpoint: String,
    /// The hub's access token, for models that need one
    #[arg(long, env = "HF_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Where files come from.
enum Source {
    Hub(Hub),
    Local(Local),
}

impl Source {
    /// Puts a file into the staging directory, verified; answers whether there is such a file.
    async fn fetch(&self, name: &str, staging: &Staging, pins: Pins) -> anyhow::Result<bool> {
        let path = staging.path(name)?;
        let pin = pins.of(name);
        let found = match self {
            Self::Hub(hub) => hub.fetch(name, &path, pin).await,
            Self::Local(local) => local.fetch(name, &path, pin).await,
        };
        found.with_context(|| format!("cannot get {name}"))
    }

    async fn require(&self, name: &str, staging: &Staging, pins: Pins) -> anyhow::Result<()> {
        if !self.fetch(name, staging, pins).await? {
            bail!("{self} has no {name}, which an encoder needs");
        }
        Ok(())
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub(hub) => hub.fmt(f),
            Self::Local(local) => local.fmt(f),
        }
    }
}

/// Pulls a model, or says that it is there.
pub(super) async fn pull(options: PullOptions) -> anyhow::Result<()> {
    if options.model.eq_ignore_ascii_case(BM25) {
        return print(&format!("{BM25} is built in: there is nothing to pull\n"));
    }
    let models_dir = options.models_dir.clone().map_or_else(default_models_dir, Ok)?;
    let known = known_model(&options.model);
    let pinned = known.and_then(|known| known.pinned);
    let named = || known_cross_encoder(&options.model).map(|known| known.id);
    let model = known.map(|known| known.id).or_else(named).unwrap_or(&options.model);
    let target = model_dir(&models_dir, model)?;
    let pins = Pins::of_pull(pinned, options.revision.as_deref());

    if is_complete(target.clone(), pins, options.revision.clone()).await? {
        return print(&format!("{model} is complete in {}\n", target.display()));
    }
    let staging = Staging::open(&target)?;
    let source = match &options.from {
        Some(path) => Source::Local(Local::find(path.clone()).await?),
        None => {
            let revision = options
                .revision
                .as_deref()
                .or(pinned.map(|pinned| pinned.revision))
                .unwrap_or("main");
            let token = options.token.as_deref().filter(|token| !token.is_empty());
            Source::Hub(Hub::new(&options.endpoint, model, revision, token)?)
        }
    };
    let files = gather(&source, &staging, pins)
        .await
        .with_context(|| format!("cannot pull {model} from {source}"))?;
    let count = files.len();
    let bytes = tokio::task::spawn_blocking(move || staging.place(files, options.revision.as_deref())).await??;
    print(&format!(
        "pulled {model} into {} ({count} files, {})\n",
        target.display(),
        HumanBytes(bytes)
    ))
}

/// Gets every file an encoder reads; answers their names.
async fn gather(source: &Source, staging: &Staging, pins: Pins) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let modules = source.fetch(MODULES, staging, pins).await?;
    if modules {
        files.push(MODULES.to_owned());
    }
    let layout = if modules {
        Layout::read(&staging.path(MODULES)?)?
    } else {
        Layout::default()
    };
    for name in layout.required() {
        source.require(&name, staging, pins).await?;
        files.push(name);
    }
    let [weights, index, pickle] = [WEIGHTS, INDEX, PICKLE].map(|name| layout.of_transformer(name));
    if source.fetch(&weights, staging, pins).await? {
        files.push(weights);
    } else if source.fetch(&index, staging, pins).await? {
        for shard in files::shards(&staging.path(&index)?)? {
            let shard = layout.of_transformer(&shard);
            source.require(&shard, staging, pins).await?;
            files.push(shard);
        }
        files.push(index);
    } else if source.fetch(&pickle, staging, pins).await? {
        files.push(pickle);
    } else {
        bail!("there is neither {weights} nor {index} nor {pickle}: no other weights can be read");
    }
    for name in layout.optional() {
        if source.fetch(&name, staging, pins).await? {
            files.push(name);
        }
    }
    Ok(files)
}

/// Whether the model is there: every file an encoder needs, the hashes that are built in, the revision where one is asked for.
async fn is_complete(target: PathBuf, pins: Pins, revision: Option<String>) -> anyhow::Result<bool> {
    let check = move || {
        if revision.is_some() && staging::revision(&target) != revision {
            return Ok(false);
        }
        let has = |name: &str| target.join(name).is_file();
        let layout = if has(MODULES) {
            Layout::read(&target.join(MODULES))?
        } else {
            Layout::default()
        };
        let whole = layout.required().iter().all(|name| has(name))
            && ([WEIGHTS, PICKLE].iter().any(|name| has(&layout.of_transformer(name))) || has_shards(&target, &layout));
        Ok(whole && pins.hold(&target)?)
    };
    tokio::task::spawn_blocking(check).await?
}

fn has_shards(target: &Path, layout: &Layout) -> bool {
    let shards = files::shards(&target.join(layout.of_transformer(INDEX)));
    shards.is_ok_and(|shards| {
        shards
            .iter()
            .all(|shard| target.join(layout.of_transformer(shard)).is_file())
    })
}
