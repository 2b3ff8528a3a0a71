//! Decoys for the behaviour `forge`: batches that honest members signed for another network. Only
//! the launcher, which holds their keys, can create them. A file has one push frame per line, in
//! hex.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::MeshError;
use crate::crypto::{Digest, Identity, hex, unhex};
use crate::protocol::Time;
use crate::wire::{Batch, Entry, Frame, Push};

/// Maximum size of a file of decoys, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Returns one decoy per member, as the text of a file.
///
/// # Errors
/// None in practice: the message fits into a batch.
pub fn decoys(members: &[&Identity], network: Digest, now: Time) -> Result<String, MeshError> {
    let elsewhere = Digest::of(&[b"loyal/decoy/v1\0\0", &network.0]);
    let entry = Entry { topic: "decoy".into(), payload: b"signed for another network".to_vec() };
    let mut text = String::new();
    for member in members {
        let entries = std::slice::from_ref(&entry);
        let batch = Batch::sign(member, elsewhere, 1, Digest::ZERO, now.0, entries)
            .map_err(|error| MeshError::Network(error.to_string()))?;
        let frame = Frame::Push(Box::new(Push { hops: 1, batch })).encode();
        let _ = writeln!(text, "{}", hex(&frame));
    }
    Ok(text)
}

/// Reads a file of decoys.
///
/// # Errors
/// If the file cannot be read or is too long; or names the first malformed line.
pub fn read_decoys(path: &Path) -> Result<Vec<Batch>, MeshError> {
    let size = std::fs::metadata(path).map_err(MeshError::file("read", path))?.len();
    if size > MAX_FILE {
        return Err(malformed(path, format!("it has {size} bytes; at most {MAX_FILE} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(MeshError::file("read", path))?;
    let mut batches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let why = |what: &str| malformed(path, format!("line {}: {what}", number + 1));
        let bytes = unhex(line).ok_or_else(|| why("not hex digits"))?;
        match Frame::decode(&bytes) {
            Ok(Frame::Push(push)) => batches.push(push.batch),
            Ok(_) => return Err(why("not a push frame")),
            Err(error) => return Err(why(&error.to_string())),
        }
    }
    Ok(batches)
}

fn malformed(path: &Path, why: String) -> MeshError {
    MeshError::Malformed { path: PathBuf::from(path), what: "file of decoys", why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoys_read_back_and_are_good_elsewhere_only() {
        let (one, two) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let network = Digest([9; 32]);
        let text = decoys(&[&one, &two], network, Time(5)).expect("makes");
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("decoys");
        std::fs::write(&path, &text).expect("writes");
        let read = read_decoys(&path).expect("reads");
        assert_eq!(read.len(), 2);
        for (batch, member) in read.iter().zip([&one, &two]) {
            assert_eq!(batch.header.author, member.public());
            assert_ne!(batch.header.network, network);
            assert!(batch.content_matches());
        }
        for bad in ["zz\n", "0\n", "0101\n", "é\n"] {
            std::fs::write(&path, bad).expect("writes");
            let error = read_decoys(&path).expect_err(bad).to_string();
            assert!(error.contains("line 1"), "{error}");
        }
    }
}
