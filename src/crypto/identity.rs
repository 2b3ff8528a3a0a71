//! Ed25519 key pairs of nodes and authors, and the public keys that name them.

use bincode::{Decode, Encode};
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signer as _, SigningKey};
use rand::TryRng as _;
use thiserror::Error;
use zeroize::Zeroizing;

use super::digest::hex_text;

/// An Ed25519 signature, 64 bytes: `R` then `S`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Signature(pub [u8; 64]);

hex_text!(Signature, 128);

/// An Ed25519 public key, 32 bytes: names a member or author on links, in statements and in logs.
/// Not necessarily a point on the curve: see [`PublicKey::validate`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PublicKey(pub [u8; 32]);

/// Why a public key is refused when a network file is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not the encoding of a curve point.
    #[error("is not a point on the curve")]
    NotAPoint,
    /// A non-canonical encoding of a point: one key would have two names.
    #[error("is not in canonical form")]
    NonCanonical,
    /// A point of order 1, 2, 4 or 8: one signature is valid for any message.
    #[error("has small order: anyone can sign for it")]
    SmallOrder,
    /// A point with a torsion component, that is, one of small order.
    #[error("has a torsion component")]
    Torsion,
}

impl PublicKey {
    /// Refuses keys with which a signature proves nothing or a signer has two names.
    ///
    /// # Errors
    /// The first of [`KeyError`] that applies.
    pub fn validate(&self) -> Result<(), KeyError> {
        let point = CompressedEdwardsY(self.0).decompress().ok_or(KeyError::NotAPoint)?;
        if point.compress().0 != self.0 {
            return Err(KeyError::NonCanonical);
        }
        if point.is_small_order() {
            return Err(KeyError::SmallOrder);
        }
        if point.is_torsion_free() { Ok(()) } else { Err(KeyError::Torsion) }
    }
}

hex_text!(PublicKey, 64);

/// A key pair that can sign. The secret half is wiped from memory on drop and never printed (there
/// is no `Debug`). It leaves only through [`super::encode_pem`] and the TLS setup.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    public: PublicKey,
}

impl Identity {
    /// Creates an identity from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn generate() -> Result<Self, rand::rngs::SysError> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::rngs::SysRng.try_fill_bytes(seed.as_mut())?;
        Ok(Self::from_seed(&seed))
    }

    /// The identity of a secret 32-byte seed (RFC 8032, 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey(key.verifying_key().to_bytes());
        Self { key, public }
    }

    /// The secret seed; only for the key file and TLS.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The key that names this identity on links and in statements.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a statement, which must begin with a domain string. Deterministic (RFC 8032).
    pub fn sign(&self, statement: &[u8]) -> Signature {
        Signature(self.key.sign(statement).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_keys_are_refused_and_named() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey(identity).validate(), Err(KeyError::SmallOrder));
        // y = p + 1: the identity again, written another way.
        let mut other = [0xff; 32];
        (other[0], other[31]) = (0xee, 0x7f);
        assert_eq!(PublicKey(other).validate(), Err(KeyError::NonCanonical));
        let mut none = [0; 32];
        none[0] = 2;
        assert_eq!(PublicKey(none).validate(), Err(KeyError::NotAPoint));
        let good = Identity::from_seed(&[7; 32]).public();
        assert_eq!(good.validate(), Ok(()));
        let point = CompressedEdwardsY(good.0).decompress().expect("a point");
        let torsioned = point + curve25519_dalek::constants::EIGHT_TORSION[1];
        assert_eq!(PublicKey(torsioned.compress().0).validate(), Err(KeyError::Torsion));
    }
}
