//! Which server a command talks to.

use anyhow::Context;
use twofold_client::{Client, ClientBuilder, Error};

/// Which server to talk to.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Connection {
    /// The server
    #[arg(long, env = "TWOFOLD_URL", default_value = "http://127.0.0.1:6333")]
    pub url: String,
    /// The key the server asks for
    #[arg(long, env = "TWOFOLD_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<String>,
}

impl Connection {
    /// A client of that server.
    pub fn client(&self, options: impl FnOnce(ClientBuilder) -> ClientBuilder) -> anyhow::Result<Client> {
        let mut builder = Client::builder(&self.url);
        if let Some(key) = self.api_key.as_ref().filter(|key| !key.is_empty()) {
            builder = builder.api_key(key);
        }
        options(builder).build().context("cannot talk to the server")
    }

    /// A failed call in words that tell what to do about it.
    pub fn explain(&self, error: Error) -> anyhow::Error {
        if error.is_connect() {
            return anyhow::Error::new(error)
                .context(format!("cannot reach {}: is `twofold serve` running there?", self.url));
        }
        match error.status() {
            Some(401 | 403) => anyhow::Error::new(error).context("the server wants another key: set TWOFOLD_API_KEY"),
            _ => error.into(),
        }
    }
}
