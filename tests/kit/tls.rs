//! Certificates made for a test, and a way for clients that speak no TLS to a node that does.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use greenroom::config::Config;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Http, within};

/// A certificate authority, and the folder where it puts a node's certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: rcgen::Certificate,
    folder: TempDir,
}

impl Authority {
    /// A new one, with a certificate for this machine's node.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate whose subject is its issuer's for one that vouches for itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "the tests' authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let made = Self {
            issuer: Issuer::new(params, key),
            root,
            folder,
        };
        fs::write(made.root_file(), made.root.pem()).unwrap();
        made.renew(2100);
        made
    }

    /// Puts a new certificate in the place of the last one; it ends on the first of January of that year. Returns it.
    pub fn renew(&self, until: i32) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        // A node that looks in between sees two that do not go together, keeps what it has, and looks again.
        fs::write(self.cert_file(), cert.pem()).unwrap();
        fs::write(self.key_file(), key.serialize_pem()).unwrap();
        cert.der().to_vec()
    }

    /// Where the node's certificate is.
    pub fn cert_file(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// Where its key is.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// Where the authority's own certificate is.
    pub fn root_file(&self) -> PathBuf {
        self.folder.path().join("root.crt")
    }

    /// Configures a node with the certificate.
    pub fn apply(&self, config: &mut Config) {
        let text = |path: &Path| Some(path.to_str().unwrap().to_owned());
        config.tls.cert_file = text(&self.cert_file());
        config.tls.key_file = text(&self.key_file());
    }

    /// The same as settings.
    pub fn settings(&self) -> [String; 2] {
        [
            format!("tls.cert_file={}", self.cert_file().display()),
            format!("tls.key_file={}", self.key_file().display()),
        ]
    }

    /// A client of the HTTP surface that trusts this authority.
    pub fn http(&self, address: SocketAddr) -> Http {
        let root = reqwest::Certificate::from_der(self.root.der()).unwrap();
        Http::with(format!("https://{address}"), [root])
    }

    /// Connects by TLS.
    pub async fn connect(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let tcp = within("a connection", TcpStream::connect(address)).await.unwrap();
        self.connect_on(tcp, rustls::ALL_VERSIONS).await.unwrap()
    }

    /// Does the handshake in one of these versions.
    pub async fn connect_on(
        &self,
        tcp: TcpStream,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(self.client(versions))).connect(name, tcp);
        within("a TLS handshake", connecting).await
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// Listens without TLS and hands on by TLS, so that every client of the kit can speak to a node that has it. Dropping it
/// cuts all that goes through it.
pub struct Tunnel {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Ended with it.
    _carrying: JoinSet<()>,
}

impl Tunnel {
    /// A tunnel to a node.
    pub async fn to(address: SocketAddr, authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let connector = TlsConnector::from(Arc::new(authority.client(rustls::ALL_VERSIONS)));
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut through = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let connector = connector.clone();
                through.spawn(async move {
                    let tcp = TcpStream::connect(address).await.unwrap();
                    let name = ServerName::try_from("localhost").unwrap();
                    let mut far = connector.connect(name, tcp).await.unwrap();
                    // How it ends is for those at its ends to judge.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self {
            address: own,
            _carrying: carrying,
        }
    }
}
