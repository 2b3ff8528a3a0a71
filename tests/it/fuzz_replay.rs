//! The fuzz corpus as a plain test, so that what fuzzing once found stays found.
//!
//! `fuzz/corpus/decode/*` are frames without length prefix, `fuzz/corpus/statement/*` bodies with a
//! count of two bytes before them. The fuzz targets call the same two functions.

use std::path::Path;

use loyal::crypto::{Digest, Identity};
use loyal::wire::{Batch, decode_body, encode_body};

use crate::codec::decodes_soundly;
use crate::support::{blessing, frames, root};
use crate::vectors;

fn statement(bytes: &[u8]) {
    let [high, low, body @ ..] = bytes else { return };
    let count = u16::from_be_bytes([*high, *low]);
    let Ok(entries) = decode_body(body, u32::from(count)) else { return };
    assert_eq!(entries.len(), usize::from(count));
    assert_eq!(encode_body(&entries).as_deref(), Ok(body));
    let one = Identity::from_seed(&[1; 32]);
    let batch = Batch::sign(&one, Digest::ZERO, 1, Digest::ZERO, 0, &entries).expect("fits");
    assert_eq!(batch.check_shape(), Ok(()));
    assert!(batch.content_matches());
}

/// Replays a folder; says how many files there were.
fn replay(folder: &str, target: fn(&[u8])) -> usize {
    let mut count = 0;
    for file in std::fs::read_dir(root().join("fuzz/corpus").join(folder)).expect("a corpus") {
        target(&std::fs::read(file.expect("a file").path()).expect("readable"));
        count += 1;
    }
    count
}

fn seed(folder: &Path, number: usize, bytes: &[u8]) {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join(format!("seed-{number:03}")), bytes).expect("written");
}

fn bless() {
    let corpus = root().join("fuzz/corpus");
    let good = frames().into_iter().map(|(_, frame)| frame.encode());
    let bad = vectors::read("bad_frames.json");
    let bad = bad.iter().map(|vector| vectors::bytes(vector, "hex"));
    for (number, bytes) in good.chain(bad.filter(|bytes| bytes.len() < 4096)).enumerate() {
        seed(&corpus.join("decode"), number, &bytes);
    }
    for (number, vector) in vectors::read("batches.json").iter().enumerate() {
        let count = vector["count"].as_u64().and_then(|count| u16::try_from(count).ok());
        let count = count.expect("at most 256").to_be_bytes();
        let bytes = [&count[..], &vectors::bytes(vector, "body")].concat();
        seed(&corpus.join("statement"), number, &bytes);
    }
}

#[test]
fn the_corpus_replays() {
    if blessing() {
        bless();
    }
    let decode = |bytes: &[u8]| drop(decodes_soundly(bytes));
    assert!(replay("decode", decode) >= 60);
    assert!(replay("statement", statement) >= 5);
}
