//! TLS: connections that are accepted, encrypted, and handed to the server once they are.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::serve::Listener;
use parking_lot::RwLock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// How long a client may take for its part of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Encrypted connections that may wait to be served.
const WAITING: usize = 64;

/// A certificate with its private key, in files that may be replaced while the server runs.
#[derive(Clone)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Certificate {
    /// Reads the two files.
    ///
    /// # Errors
    /// Names the file that cannot be read, or why the two do not belong together.
    pub fn read(chain: PathBuf, key: PathBuf) -> anyhow::Result<Self> {
        let config = read(&chain, &key)?;
        Ok(Self {
            chain,
            key,
            config: Arc::new(RwLock::new(config)),
        })
    }

    /// Reads the files again, for connections from now on. What cannot be used changes nothing.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn reload(&self) -> anyhow::Result<()> {
        let config = read(&self.chain, &self.key)?;
        *self.config.write() = config;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.read().clone())
    }
}

fn read(chain: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read the certificates in {}", chain.display()))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "there is no certificate in {}",
        chain.display()
    );
    let private_key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read the private key in {}", key.display()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, private_key)
        .with_context(|| format!("{} and {} do not make a certificate", chain.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Accepts connections and encrypts them, each by a task of its own, so that no client holds up another.
pub struct TlsListener {
    address: SocketAddr,
    encrypted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    /// Begins to accept.
    pub fn new(listener: TcpListener, certificate: Certificate) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, encrypted) = mpsc::channel(WAITING);
        tokio::spawn(accept(listener, certificate, sender));
        Ok(Self { address, encrypted })
    }
}

/// Ends when nobody listens any more.
async fn accept(
    mut listener: TcpListener,
    certificate: Certificate,
    sender: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        let (stream, peer) = tokio::select! {
            // What fails here, such as too few file descriptors, is waited for and tried again.
            accepted = Listener::accept(&mut listener) => accepted,
            () = sender.closed() => return,
        };
        let (acceptor, sender) = (certificate.acceptor(), sender.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let _ = sender.send((stream, peer)).await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.encrypted.recv().await {
            Some(connection) => connection,
            // The accepting task ends after this does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    /// Writes a new certificate for `localhost` and returns who would trust it.
    fn write_certificate(dir: &Path) -> RootCertStore {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.join("chain.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        roots
    }

    fn certificate(dir: &Path) -> anyhow::Result<Certificate> {
        Certificate::read(dir.join("chain.pem"), dir.join("key.pem"))
    }

    async fn ask(address: SocketAddr, roots: &RootCertStore) -> io::Result<String> {
        let config = ClientConfig::builder()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = "localhost".try_into().unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn connections_are_encrypted_and_a_silent_client_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let roots = write_certificate(dir.path());
        let certificate = certificate(dir.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TlsListener::new(listener, certificate.clone()).unwrap();
        let address = Listener::local_addr(&listener).unwrap();
        let app = Router::new().route("/", get(|| async { "well" }));
        tokio::spawn(axum::serve(listener, app).into_future());

        let _silent = TcpStream::connect(address).await.unwrap();
        assert!(ask(address, &roots).await.unwrap().ends_with("well"));

        let renewed = write_certificate(dir.path());
        assert!(ask(address, &renewed).await.is_err(), "not read yet");
        certificate.reload().unwrap();
        assert!(ask(address, &renewed).await.unwrap().ends_with("well"));

        std::fs::write(dir.path().join("chain.pem"), "nothing").unwrap();
        assert!(certificate.reload().is_err());
        assert!(
            ask(address, &renewed).await.unwrap().ends_with("well"),
            "kept as it was"
        );
    }

    #[test]
    fn files_that_are_no_certificate_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |dir: &Path| format!("{:#}", certificate(dir).err().unwrap());
        assert!(error(dir.path()).contains("chain.pem"));
        write_certificate(dir.path());
        std::fs::remove_file(dir.path().join("key.pem")).unwrap();
        assert!(error(dir.path()).contains("key.pem"));
        let other = tempfile::tempdir().unwrap();
        write_certificate(other.path());
        std::fs::copy(other.path().join("key.pem"), dir.path().join("key.pem")).unwrap();
        assert!(error(dir.path()).contains("do not make a certificate"));
    }
}
