//! Tests of Twofold through its public ways in, and what they share: a server process that can be killed.

pub mod measure;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use twofold_client::Client;

/// The model that tests encode with.
pub const MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Where models are on this machine; fails where the tests' model is missing.
pub fn models_dir() -> PathBuf {
    let dir = match std::env::var_os("TWOFOLD_MODELS_DIR") {
        Some(dir) => dir.into(),
        None => twofold_server::models_dir::default_models_dir().expect("the user has a cache directory"),
    };
    let model = dir.join(MODEL);
    assert!(
        model.join("model.safetensors").exists(),
        "{} is missing: run `make model`",
        model.display()
    );
    dir
}

/// A server process of its own.
pub struct Server {
    process: Child,
    url: String,
}

impl Server {
    /// Starts a server on a data directory and waits until it answers.
    pub async fn start(binary: &Path, data_dir: &Path, crash_at: Option<&str>) -> Self {
        Self::start_with(binary, data_dir, crash_at, &[]).await
    }

    /// The same with more arguments for `serve`.
    pub async fn start_with(binary: &Path, data_dir: &Path, crash_at: Option<&str>, args: &[&str]) -> Self {
        let crash_at = crash_at.map(|point| ("TWOFOLD_CRASH_AT", point));
        Self::start_in(binary, data_dir, crash_at.as_slice(), args).await
    }

    /// Starts a server in which a fail point does what `fail_at` says, as `name=action`.
    pub async fn start_failing(binary: &Path, data_dir: &Path, fail_at: &str, args: &[&str]) -> Self {
        Self::start_in(binary, data_dir, &[("TWOFOLD_FAIL_AT", fail_at)], args).await
    }

    /// Starts a server with more variables in its environment.
    pub async fn start_in(binary: &Path, data_dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let mut command = Command::new(binary);
        command
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--device",
                "cpu",
                "--data-dir",
            ])
            .arg(data_dir)
            .args(args)
            .env(
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned()),
            )
            .stdin(Stdio::null());
        if !args.contains(&"--models-dir") {
            command.arg("--models-dir").arg(models_dir());
        }
        command.envs(env.iter().copied());
        let process = command.spawn().expect("the server's binary runs");
        let mut server = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        };
        let client = server.client();
        let started = Instant::now();
        while client.readyz().await.is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the server does not answer"
            );
            if let Some(status) = server.process.try_wait().expect("the process is ours") {
                // A crash point may be reached before anybody is answered; a crash has no exit code.
                assert!(status.code().is_none(), "the server could not start: {status}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server
    }

    /// A client that gives up at once when the server is gone.
    pub fn client(&self) -> Client {
        Client::builder(&self.url)
            .max_retries(0)
            .timeout(Duration::from_secs(60))
            .build()
            .expect("the url is valid")
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("the process is ours").is_some()
    }

    /// Ends the process without warning.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Asks the process to end, and says how it did.
    pub fn terminate(&mut self) -> ExitStatus {
        let asked = Command::new("kill")
            .arg(self.process.id().to_string())
            .status()
            .expect("`kill` runs");
        assert!(asked.success());
        self.process.wait().expect("the process is ours")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
