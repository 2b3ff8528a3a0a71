//! SHA-256 digests and their text form.

use bincode::{Decode, Encode};
use sha2::Digest as _;

/// A SHA-256 digest: 32 bytes. Prints as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// All zeros: the `prev` of an author's first batch, the hash of an empty range.
    pub const ZERO: Self = Self([0; 32]);

    /// SHA-256 over the concatenated parts. To keep this unambiguous, callers put a domain string
    /// first, and before the last part only parts of fixed size or with a length prefix.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// The text of a type of bytes: all of them in lowercase hex, or the first few in a debug output.
macro_rules! hex_text {
    ($type:ident, $digits:literal) => {
        impl $type {
            #[doc = concat!("Reads ", $digits, " hex digits; `None` for anything else.")]
            pub fn from_hex(text: &str) -> Option<Self> {
                $crate::crypto::parse_hex(text).map(Self)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::crypto::hex(&self.0))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}…", $crate::crypto::hex(&self.0[..4]))
            }
        }
    };
}
pub(super) use hex_text;

hex_text!(Digest, 64);

/// Bytes as lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Parses exactly `2 * N` hex digits, lower or upper case; `None` for anything else.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = byte_of([pair[0], pair[1]])?;
    }
    Some(bytes)
}

/// Parses hex digits, lower or upper case, two a byte; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|pair| byte_of(*pair)).collect())?
}

fn byte_of([high, low]: [u8; 2]) -> Option<u8> {
    let (high, low) = (char::from(high).to_digit(16)?, char::from(low).to_digit(16)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_the_rest() {
        let digest = Digest::of(&[b"a", b"bc"]);
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(digest, Digest::of(&[b"abc"]));
        assert_eq!(unhex("00fFa0"), Some(vec![0, 255, 160]));
        for bad in ["0", "0g", "+f", "é0"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
        for bad in ["", "zz", &"0".repeat(63), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(Digest::from_hex(bad), None, "{bad}");
        }
    }
}
