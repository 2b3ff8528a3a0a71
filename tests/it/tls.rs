//! A raw TLS client: sends anything to a running node, as any member could.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use loyal::crypto::Identity;
use loyal::wire::Frame;
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Time limit: an operation that takes longer is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Accepts any server, because the tests know which node they dial.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
        let algorithms = ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn certified(identity: &Identity) -> Arc<CertifiedKey> {
    let pkcs8 = [
        &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..],
        identity.seed().as_ref(),
    ]
    .concat();
    let key = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).expect("a key");
    let spki =
        [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], &identity.public().0]
            .concat();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key))
}

/// The client's side of the handshake: its key and its ALPN protocol.
pub(crate) fn config(identity: &Identity, alpn: &[u8]) -> ClientConfig {
    let resolver = AlwaysResolvesClientRawPublicKeys::new(certified(identity));
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_sni = false;
    config
}

/// A link to a node on which no frame was sent yet.
pub(crate) struct Raw(pub TlsStream<TcpStream>);

impl Raw {
    /// Dials a node. An error means that the node refused.
    pub(crate) async fn dial(to: SocketAddr, config: ClientConfig) -> std::io::Result<Self> {
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let dialled = async {
            let stream = TcpStream::connect(to).await?;
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        timeout(PATIENCE, dialled).await?.map(Self)
    }

    /// Writes raw bytes. Ignores errors, because the node may have closed the link.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let written = async {
            let _ = self.0.write_all(bytes).await;
            let _ = self.0.flush().await;
        };
        timeout(PATIENCE, written).await.expect("the node reads, or hangs up");
    }

    /// Writes a frame with its length prefix.
    pub(crate) async fn say(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).expect("small").to_be_bytes();
        self.write(&[&length[..], frame].concat()).await;
    }

    /// Reads the next frame; `None` at the end of the link.
    pub(crate) async fn hear(&mut self) -> Option<Frame> {
        let heard = async {
            let length = self.0.read_u32().await.ok()?;
            let mut bytes = vec![0; length as usize];
            self.0.read_exact(&mut bytes).await.ok()?;
            Some(Frame::decode(&bytes).expect("an honest node sends good frames"))
        };
        timeout(PATIENCE, heard).await.expect("the node speaks, or hangs up")
    }

    /// Reads until the node closes the link.
    pub(crate) async fn end(&mut self) {
        while self.hear().await.is_some() {}
    }
}
