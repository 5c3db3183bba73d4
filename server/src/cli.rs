//! The command line: `twofold serve | ingest | search | evaluate | reembed | model | check`.
//!
//! Results go to standard output, everything else to standard error. What talks to a server does so through the client
//! crate, like everyone else.

mod check;
mod connection;
mod evaluate;
mod ingest;
mod model;
mod output;
mod reembed;
mod search;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::serve::{self, ServeOptions};

/// A self-hosted vector database that runs the encoders itself
#[derive(Debug, Parser)]
#[command(name = "twofold", version, arg_required_else_help = true)]
struct Cli {
    /// How the log is written to standard error
    #[arg(
        long,
        env = "TWOFOLD_LOG_FORMAT",
        global = true,
        default_value = "text",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// Lines to be read.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<ServeOptions>),
    /// Make files searchable
    Ingest(ingest::IngestOptions),
    /// Ask a collection a question
    Search(search::SearchOptions),
    /// Measure how well a collection finds what was judged relevant
    Evaluate(evaluate::EvaluateOptions),
    /// Give a collection another model or other chunks while it answers
    Reembed(reembed::ReembedOptions),
    /// Check that what a data directory holds agrees, while no server uses it
    Check(check::CheckOptions),
    /// Manage the models on this machine
    #[command(subcommand)]
    Model(model::ModelCommand),
}

/// Runs the command line of this process. What went wrong is the last line on standard error; the exit code is 0 for
/// success, 1 for failure and 2 for a command line that makes no sense.
pub fn main() -> ExitCode {
    let Cli { log_format, command } = Cli::parse();
    let default_level = if matches!(command, Command::Serve(_)) {
        "info"
    } else {
        // Readers of PDF warn of everything unusual in a file.
        "warn,lopdf=off,pdf_extract=off"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_level));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours && log_format == LogFormat::Text);
    match log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Serve(options) => serve::run(*options).await?,
            Command::Ingest(options) => return ingest::run(options).await,
            Command::Search(options) => search::run(options).await?,
            Command::Evaluate(options) => evaluate::run(options).await?,
            Command::Reembed(options) => reembed::run(options).await?,
            Command::Check(options) => return check::run(&options),
            Command::Model(model::ModelCommand::Pull(options)) => model::pull(options).await?,
            Command::Model(model::ModelCommand::List(options)) => model::list(&options)?,
            Command::Model(model::ModelCommand::Info(options)) => model::info(&options)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
