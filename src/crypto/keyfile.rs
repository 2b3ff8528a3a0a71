//! Key files as text: PKCS#8 version 1 in PEM, plain or encrypted (PBES2), as read by `openssl
//! pkey`.

use pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef,
    SecretDocument,
    der::{Decode as _, asn1::OctetStringRef, pem::LineEnding},
};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Identity;

/// `id-Ed25519` of RFC 8410.
const ED25519: AlgorithmIdentifierRef<'static> =
    AlgorithmIdentifierRef { oid: ObjectIdentifier::new_unwrap("1.3.101.112"), parameters: None };
const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// Why a key file cannot be used.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum KeyFileError {
    /// Not PEM, or not PKCS#8 inside; holds the parser's message.
    #[error("it is not a PKCS#8 private key in PEM form: {0}; `loyal keygen` makes one")]
    Malformed(String),
    /// A key of another algorithm; holds its object identifier.
    #[error("it holds a key of another algorithm ({0}); an Ed25519 key is needed")]
    WrongAlgorithm(String),
    /// Encrypted, but no passphrase was given.
    #[error("it is encrypted, and no passphrase was given")]
    PassphraseNeeded,
    /// The passphrase does not decrypt it.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
}

fn malformed(error: impl std::fmt::Display) -> KeyFileError {
    KeyFileError::Malformed(error.to_string())
}

/// Whether the key file needs a passphrase.
pub fn is_encrypted(pem: &str) -> bool {
    pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// Encodes an identity as a key file: plain, or encrypted with PBES2 (scrypt, AES-256-CBC) under a
/// passphrase. Uses PKCS#8 version 1 (without the public key), as OpenSSL 3.0 cannot read version
/// 2.
///
/// # Errors
/// [`KeyFileError::Malformed`] when the operating system provides no randomness for the salt.
pub fn encode_pem(
    identity: &Identity,
    passphrase: Option<&str>,
) -> Result<Zeroizing<String>, KeyFileError> {
    let mut inner = Zeroizing::new([0u8; 34]);
    inner[..2].copy_from_slice(&[0x04, 32]); // the seed is an OCTET STRING inside one (RFC 8410, 7)
    inner[2..].copy_from_slice(identity.seed().as_ref());
    let private = OctetStringRef::new(inner.as_ref()).map_err(malformed)?;
    let info = PrivateKeyInfoRef::new(ED25519, private);
    match passphrase {
        None => {
            let document = SecretDocument::try_from(&info).map_err(malformed)?;
            document.to_pem(PLAIN, LineEnding::LF).map_err(malformed)
        }
        Some(passphrase) => {
            let document =
                info.encrypt_with_rng(&mut rand::rngs::SysRng, passphrase).map_err(malformed)?;
            document.to_pem(ENCRYPTED, LineEnding::LF).map_err(malformed)
        }
    }
}

/// Decodes a key file.
///
/// # Errors
/// See [`KeyFileError`].
pub fn decode_pem(pem: &str, passphrase: Option<&str>) -> Result<Identity, KeyFileError> {
    // Tolerate what an editor may add or remove around the text.
    let pem = Zeroizing::new(format!("{}\n", pem.trim_start_matches('\u{feff}').trim()));
    if !pem.contains("-----BEGIN ") {
        return Err(malformed("it has no BEGIN line")); // the parser would complain about a NUL byte
    }
    let (label, document) = SecretDocument::from_pem(&pem).map_err(malformed)?;
    match label {
        PLAIN => identity(document.as_bytes()),
        ENCRYPTED => {
            let passphrase = passphrase.ok_or(KeyFileError::PassphraseNeeded)?;
            let sealed =
                EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(malformed)?;
            let opened = sealed.decrypt(passphrase).map_err(|_| KeyFileError::WrongPassphrase)?;
            identity(opened.as_bytes())
        }
        other => Err(KeyFileError::Malformed(format!("it contains a {other}"))),
    }
}

fn identity(der: &[u8]) -> Result<Identity, KeyFileError> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(malformed)?;
    if info.algorithm != ED25519 {
        return Err(KeyFileError::WrongAlgorithm(info.algorithm.oid.to_string()));
    }
    match info.private_key.as_bytes() {
        [0x04, 32, seed @ ..] if seed.len() == 32 => {
            let mut copy = Zeroizing::new([0; 32]);
            copy.copy_from_slice(seed);
            Ok(Identity::from_seed(&copy))
        }
        _ => Err(malformed("the key inside is not 32 bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_round_trip_plain_and_encrypted() {
        let identity = Identity::from_seed(&[9; 32]);
        let plain = encode_pem(&identity, None).expect("encodes");
        assert!(decode_pem(&plain, None).expect("reads").public() == identity.public());
        let text = &**plain;
        for edited in [format!("{text}\n"), format!("\u{feff}{text}"), text.replace('\n', "\r\n")] {
            let read = decode_pem(&edited, None).expect("as an editor leaves it");
            assert!(read.public() == identity.public());
        }
        let sealed = encode_pem(&identity, Some("open sesame")).expect("encodes");
        assert!(is_encrypted(&sealed) && !is_encrypted(&plain));
        let opened = decode_pem(&sealed, Some("open sesame")).expect("reads");
        assert!(opened.public() == identity.public());
        assert_eq!(decode_pem(&sealed, None).err(), Some(KeyFileError::PassphraseNeeded));
        assert_eq!(decode_pem(&sealed, Some("x")).err(), Some(KeyFileError::WrongPassphrase));
        for none in ["", "hello"] {
            let error = decode_pem(none, None).err().expect("refused").to_string();
            assert!(error.contains("BEGIN") && error.contains("keygen"), "{error}");
        }
        for cut in [0, 1, plain.len() / 2, plain.len() - 30] {
            assert!(decode_pem(&plain[..cut], None).is_err(), "{cut}");
        }
    }
}
