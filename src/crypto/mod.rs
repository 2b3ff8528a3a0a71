//! Identities, signatures and digests. Pure, and the only module that knows which curve is used.
//!
//! Signing is Ed25519 (RFC 8032). Checking follows ZIP-215 everywhere, so that single and batch
//! verification agree on every input and two honest nodes never disagree about a signature.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod check;
mod digest;
mod identity;
mod keyfile;

pub use check::{Validity, check};
pub use digest::{Digest, hex, parse_hex, unhex};
pub use identity::{Identity, KeyError, PublicKey, Signature};
pub use keyfile::{KeyFileError, decode_pem, encode_pem, is_encrypted};
