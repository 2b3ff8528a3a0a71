//! TLS for links: version 1.3 only, with both sides proving possession of an Ed25519 key (RFC 7250
//! raw public keys); no certificates, no tickets, no resumption.
//!
//! The listener accepts any other member of the network, the dialler only the member that it
//! dialled. A dialler's handshake completes before the listener has verified the dialler: only the
//! first byte from the listener proves that it was accepted.

use std::sync::Arc;

use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption, danger};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme, version::TLS13,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use zeroize::Zeroizing;

use crate::crypto::{Identity, PublicKey};
use crate::protocol::Network;

/// ALPN protocol name of the gossip protocol and its version.
const ALPN: &[u8] = b"loyal/6";
/// DER prefix of an Ed25519 key in a `SubjectPublicKeyInfo`; the 32 bytes of the key follow (RFC
/// 8410, 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
/// DER prefix of an Ed25519 secret key in PKCS#8; the 32 bytes of the seed follow (RFC 8410, 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What a node needs to accept and dial: its key as a raw public key (RFC 7250), TLS 1.3 only.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    certified: Arc<CertifiedKey>,
    server: Arc<ServerConfig>,
    network: Arc<Network>,
    own: PublicKey,
}

impl Tls {
    /// # Errors
    /// When the key cannot be used.
    pub(super) fn new(identity: &Identity, network: Arc<Network>) -> Result<Self, Error> {
        let mut provider = ring::default_provider();
        // Only one curve, so that a caller cannot choose the most expensive one.
        provider.kx_groups = vec![ring::kx_group::X25519];
        let provider = Arc::new(provider);
        let certified = Arc::new(certified(identity)?);
        let own = identity.public();
        let verifier = Verifier { network: network.clone(), own, pin: None };
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                certified.clone(),
            )));
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.max_early_data_size = 0;
        Ok(Self { provider, certified, server: Arc::new(server), network, own })
    }

    /// Acceptor for inbound connections, from any other member.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server.clone())
    }

    /// Connector for a dial, which accepts only this member.
    ///
    /// # Errors
    /// None in practice: the versions and suites are fixed.
    pub(super) fn connector(&self, peer: PublicKey) -> Result<TlsConnector, Error> {
        let verifier = Verifier { network: self.network.clone(), own: self.own, pin: Some(peer) };
        let resolver = AlwaysResolvesClientRawPublicKeys::new(self.certified.clone());
        let mut client = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(resolver));
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(TlsConnector::from(Arc::new(client)))
    }
}

/// A placeholder name for dials: peers are identified by their keys, and the name is neither
/// checked nor sent.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())
}

/// Key of the peer of a finished handshake; `None` if it speaks another protocol.
pub(super) fn peer_of(connection: &rustls::CommonState) -> Option<PublicKey> {
    if connection.alpn_protocol() != Some(ALPN) {
        return None;
    }
    match connection.peer_certificates() {
        Some([key]) => key_of(key),
        _ => None,
    }
}

fn certified(identity: &Identity) -> Result<CertifiedKey, Error> {
    let mut secret = Zeroizing::new([0; 48]);
    secret[..16].copy_from_slice(&PKCS8_PREFIX);
    secret[16..].copy_from_slice(identity.seed().as_ref());
    let key = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&secret[..]))?;
    let mut public = SPKI_PREFIX.to_vec();
    public.extend_from_slice(&identity.public().0);
    Ok(CertifiedKey::new(vec![CertificateDer::from(public)], key))
}

/// The Ed25519 key in a `SubjectPublicKeyInfo` that has exactly the DER form above.
fn key_of(spki: &[u8]) -> Option<PublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    Some(PublicKey(key.try_into().ok()?))
}

/// Verifies peers by their keys, which must be members of the network.
#[derive(Debug)]
struct Verifier {
    network: Arc<Network>,
    own: PublicKey,
    /// The only key to accept on a dial; `None` for inbound connections.
    pin: Option<PublicKey>,
}

impl Verifier {
    fn judge(&self, end: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        let bad = |why| Err(Error::InvalidCertificate(why));
        let Some(key) = key_of(end).filter(|_| others.is_empty()) else {
            return bad(CertificateError::BadEncoding);
        };
        let known = self.network.is_member(&key) && key != self.own;
        match known && self.pin.is_none_or(|pin| pin == key) {
            true => Ok(()),
            false => bad(CertificateError::ApplicationVerificationFailure),
        }
    }

    fn signed(
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(Error::InvalidCertificate(CertificateError::BadSignature));
        }
        let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &spki, signed, &algorithms)
    }
}

/// What the verifier of a dialler and that of a listener have in common.
macro_rules! both_ends {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<danger::HandshakeSignatureValid, Error> {
            Err(Error::General("only TLS 1.3 is supported".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<danger::HandshakeSignatureValid, Error> {
            Self::signed(message, cert, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    both_ends!();
}

impl danger::ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<danger::ServerCertVerified, Error> {
        self.judge(end_entity, intermediates).map(|()| danger::ServerCertVerified::assertion())
    }

    both_ends!();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::protocol::testing::{identity, network};

    /// What each side makes of a handshake: who the other is, and whether a byte came through.
    async fn meet(
        dialler: &Tls,
        listener: &Tls,
        dialled: PublicKey,
    ) -> (Option<PublicKey>, Option<PublicKey>) {
        let (near, far) = duplex(64 << 10);
        let accept = async {
            let mut stream = listener.acceptor().accept(far).await.ok()?;
            stream.write_all(b"!").await.ok()?;
            stream.flush().await.ok()?;
            peer_of(stream.get_ref().1)
        };
        let dial = async {
            let connector = dialler.connector(dialled).expect("fixed versions");
            let mut stream = connector.connect(server_name(), near).await.ok()?;
            let peer = peer_of(stream.get_ref().1);
            stream.read_exact(&mut [0]).await.ok()?;
            peer
        };
        tokio::join!(dial, accept)
    }

    fn tls(seed: u8, members: u16) -> Tls {
        Tls::new(&identity(seed), network(members, 0)).expect("a good key")
    }

    #[tokio::test]
    async fn members_know_each_other_by_their_keys() {
        let (one, two) = (identity(0).public(), identity(1).public());
        assert_eq!(meet(&tls(0, 2), &tls(1, 2), two).await, (Some(two), Some(one)));
    }

    #[tokio::test]
    async fn a_stranger_is_refused_on_either_side() {
        // The dialler is not a member; the listener is not a member; the listener is another member
        // than the one dialled; a node dials itself.
        for (dialler, listener, dialled) in
            [(tls(7, 9), tls(1, 2), 1), (tls(0, 2), tls(7, 9), 7), (tls(0, 3), tls(1, 3), 2)]
        {
            let dialled = identity(dialled).public();
            let (dial, accept) = meet(&dialler, &listener, dialled).await;
            assert_eq!(dial, None);
            assert!(accept.is_none());
        }
        let own = identity(0).public();
        assert_eq!(meet(&tls(0, 2), &tls(0, 2), own).await, (None, None));
    }

    #[test]
    fn only_the_one_form_of_a_key_is_read() {
        let mut spki = SPKI_PREFIX.to_vec();
        spki.extend_from_slice(&[5; 32]);
        assert_eq!(key_of(&spki), Some(PublicKey([5; 32])));
        for length in 0..spki.len() {
            assert_eq!(key_of(&spki[..length]), None);
        }
        spki.push(0);
        assert_eq!(key_of(&spki), None);
    }
}
