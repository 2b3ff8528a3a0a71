//! The canonical codec: the only module that uses `bincode`.
//!
//! bincode 2 alone is neither canonical nor bounded enough for hostile bytes: it accepts trailing
//! bytes, and lists of any announced length. Therefore integers have fixed width and are
//! big-endian; lists and byte strings are our own types with a limit as parameter; and bytes that
//! are left over, or that do not encode back to themselves, are refused.

use std::ops::Deref;

use bincode::{
    Decode, Encode,
    config::{BigEndian, Configuration, Fixint, Limit},
    de::{BorrowDecode, BorrowDecoder, Decoder, read::Reader},
    enc::{Encoder, write::Writer},
    error::{DecodeError, EncodeError},
};
use thiserror::Error;

use super::limits::{MAX_FRAME, VERSION};

/// Why bytes are not a valid frame. Always the sender's fault: an honest encoder never produces
/// such bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// Too short, or not of the expected shape.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Not the one canonical encoding of its value.
    #[error("not canonical: {0}")]
    NonCanonical(&'static str),
    /// Over a limit of the protocol.
    #[error("over a limit: {0}")]
    Oversize(&'static str),
    /// Another version of the framing; holds that version.
    #[error("version {0}, not {VERSION}")]
    WrongVersion(u8),
}

const CONFIG: Configuration<BigEndian, Fixint, Limit<{ 2 * MAX_FRAME }>> =
    bincode::config::standard()
        .with_big_endian()
        .with_fixed_int_encoding()
        .with_limit::<{ 2 * MAX_FRAME }>();

const OVER_LIMIT: &str = "a list or byte string is too long";
const OTHER_BYTES: &str = "it is not encoded in the one allowed way";
const EMPTY: &str = "an empty list is not allowed here";

/// Appends the encoding of `value`. Values are bounded by their types, so encoding what this crate
/// builds cannot fail.
pub(super) fn encode<T: Encode>(value: &T, into: &mut Vec<u8>) {
    let before = into.len();
    if bincode::encode_into_writer(value, Append(&mut *into), CONFIG).is_err() {
        into.truncate(before);
    }
}

/// Writes to the end of a vector.
struct Append<'a>(&'a mut Vec<u8>);

impl Writer for Append<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Compares what is written with the expected bytes, without storing it.
struct Expect<'a> {
    left: &'a [u8],
}

impl Writer for Expect<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.left = self.left.strip_prefix(bytes).ok_or(EncodeError::Other(OTHER_BYTES))?;
        Ok(())
    }
}

/// Decodes a value that must span all of `bytes` and re-encode to the same bytes.
pub(super) fn decode<T: Encode + Decode<()>>(bytes: &[u8]) -> Result<T, WireError> {
    let (value, used) = bincode::decode_from_slice::<T, _>(bytes, CONFIG).map_err(|e| match e {
        DecodeError::Other(OVER_LIMIT) => WireError::Oversize(OVER_LIMIT),
        DecodeError::Other(why) => WireError::Malformed(why),
        DecodeError::UnexpectedEnd { .. } => WireError::Malformed("the bytes end too early"),
        DecodeError::LimitExceeded => WireError::Oversize("the decoded value is too large"),
        _ => WireError::Malformed("a field has an invalid value"),
    })?;
    if used != bytes.len() {
        return Err(WireError::NonCanonical("bytes are left over at the end"));
    }
    let mut again = Expect { left: bytes };
    match bincode::encode_into_writer(&value, &mut again, CONFIG) {
        Ok(()) if again.left.is_empty() => Ok(value),
        _ => Err(WireError::NonCanonical(OTHER_BYTES)),
    }
}

/// Decodes a value at the beginning of `bytes`, whatever follows; does not check that the encoding
/// is canonical, so nothing may be accepted on it.
pub(super) fn decode_start<T: Decode<()>>(bytes: &[u8]) -> Option<T> {
    bincode::decode_from_slice::<T, _>(bytes, CONFIG).ok().map(|(value, _)| value)
}

/// A list of `MIN` to `MAX` elements: a `u16` count, then the elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    /// Wraps the elements, if their number is within the bounds.
    pub fn new(items: Vec<T>) -> Option<Self> {
        (MIN..=MAX).contains(&items.len()).then_some(Self(items))
    }

    /// The elements, at most `MAX` of them.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MIN: usize, const MAX: usize> Deref for List<T, MIN, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Encode, const MIN: usize, const MAX: usize> Encode for List<T, MIN, MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let count = u16::try_from(self.0.len()).map_err(|_| EncodeError::Other(OVER_LIMIT))?;
        count.encode(encoder)?;
        self.0.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<C, T: Decode<C>, const MIN: usize, const MAX: usize> Decode<C> for List<T, MIN, MAX> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let count = usize::from(u16::decode(decoder)?);
        if count > MAX {
            return Err(DecodeError::Other(OVER_LIMIT));
        }
        if count < MIN {
            return Err(DecodeError::Other(EMPTY));
        }
        let mut items = Vec::new(); // grows with the elements present, not the count announced
        for _ in 0..count {
            items.push(T::decode(decoder)?);
        }
        Ok(Self(items))
    }
}

impl<'de, C, T: Decode<C>, const MIN: usize, const MAX: usize> BorrowDecode<'de, C>
    for List<T, MIN, MAX>
{
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(d: &mut D) -> Result<Self, DecodeError> {
        Self::decode(d)
    }
}

/// A byte string of at most `MAX` bytes: a `u32` length, then the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Blob<MAX> {
    /// Wraps the bytes, if there are at most `MAX`.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= MAX).then_some(Self(bytes))
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> Encode for Blob<MAX> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let length = u32::try_from(self.0.len()).map_err(|_| EncodeError::Other(OVER_LIMIT))?;
        length.encode(encoder)?;
        encoder.writer().write(&self.0)
    }
}

impl<C, const MAX: usize> Decode<C> for Blob<MAX> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = u32::decode(decoder)? as usize;
        if length > MAX {
            return Err(DecodeError::Other(OVER_LIMIT));
        }
        decoder.claim_bytes_read(length)?;
        let Some(bytes) = decoder.reader().peek_read(length).map(<[u8]>::to_vec) else {
            return Err(DecodeError::UnexpectedEnd { additional: length });
        };
        decoder.reader().consume(length);
        Ok(Self(bytes))
    }
}

impl<'de, C, const MAX: usize> BorrowDecode<'de, C> for Blob<MAX> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(d: &mut D) -> Result<Self, DecodeError> {
        Self::decode(d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Small = List<u32, 1, 3>;

    #[test]
    fn lists_are_bounded_before_they_are_built() {
        let good = Small::new(vec![1, 2]).expect("within bounds");
        let mut bytes = Vec::new();
        encode(&good, &mut bytes);
        assert_eq!(bytes, [0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(decode::<Small>(&bytes), Ok(good));
        assert_eq!(Small::new(vec![]), None);
        assert_eq!(Small::new(vec![0; 4]), None);
        assert!(matches!(decode::<Small>(&[0xff, 0xff]), Err(WireError::Oversize(_))));
        assert!(matches!(decode::<Small>(&[0, 0]), Err(WireError::Malformed(_))));
        assert!(matches!(decode::<Small>(&[0, 1, 0]), Err(WireError::Malformed(_))));
        assert!(matches!(decode::<Small>(&[0, 1, 0, 0, 0, 1, 9]), Err(WireError::NonCanonical(_))));
    }

    #[test]
    fn a_blob_never_allocates_what_is_not_there() {
        assert!(matches!(decode::<Blob<4>>(&[0, 0, 0, 5, 1]), Err(WireError::Oversize(_))));
        let huge = [0, 0x10, 0, 0, 1];
        assert!(matches!(decode::<Blob<{ 1 << 20 }>>(&huge), Err(WireError::Malformed(_))));
    }
}
