//! Signature checks: one rule, ZIP-215, everywhere.
//!
//! ZIP-215 (<https://zips.z.cash/zip-0215>): `S` must be canonical; `A` and `R` may be any
//! encodings of points, canonical or not; the cofactored equation `[8][S]B = [8]R + [8][k]A` must
//! hold. It is defined so that single and batch verification agree, which cofactorless rules do not
//! ensure.

use ed25519_zebra::VerificationKey;

use super::identity::{PublicKey, Signature};

/// The result of a signature check. Only [`check`] creates one, so a good verdict means that a
/// check was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    good: bool,
}

impl Validity {
    /// Whether the key signed the statement.
    pub fn is_good(self) -> bool {
        self.good
    }
}

/// Whether `key` signed `statement`, by ZIP-215. A key that is not a point on the curve signs
/// nothing. Takes about 45 µs where it was measured: never call it on a reactor.
pub fn check(key: &PublicKey, statement: &[u8], signature: &Signature) -> Validity {
    let good = VerificationKey::try_from(key.0)
        .and_then(|key| key.verify(&signature.0.into(), statement))
        .is_ok();
    Validity { good }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Identity;

    #[test]
    fn a_signature_fits_its_key_and_statement_only() {
        let (one, two) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let signature = one.sign(b"statement");
        assert!(check(&one.public(), b"statement", &signature).is_good());
        assert!(!check(&two.public(), b"statement", &signature).is_good());
        assert!(!check(&one.public(), b"Statement", &signature).is_good());
        for bit in 0..512 {
            let mut bad = signature;
            bad.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(&one.public(), b"statement", &bad).is_good(), "bit {bit}");
        }
    }
}
