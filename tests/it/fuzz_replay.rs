//! The fuzz corpus as a plain test, so that what fuzzing found once does not come back.
//!
//! `fuzz/corpus/decode/*` are frames without length prefix, `fuzz/corpus/statement/*` bodies after
//! a count of two bytes, `fuzz/corpus/node/*` scripts of `node_fuzz`. The fuzz targets call the
//! same functions.

use std::path::Path;

use loyal::crypto::Digest;
use loyal::wire::{Batch, decode_body, encode_body};

use crate::codec::decodes_soundly;
use crate::node_fuzz::{Broken, Stats, run, script};
use crate::support::{blessing, frames, identity, root};
use crate::vectors;

fn statement(bytes: &[u8]) {
    let [high, low, body @ ..] = bytes else { return };
    let count = u16::from_be_bytes([*high, *low]);
    let Ok(entries) = decode_body(body, u32::from(count)) else { return };
    assert_eq!(entries.len(), usize::from(count));
    assert_eq!(encode_body(&entries).as_deref(), Ok(body));
    let batch =
        Batch::sign(&identity(1), Digest::ZERO, 1, Digest::ZERO, 0, &entries).expect("fits");
    assert_eq!(batch.check_shape(), Ok(()));
    assert!(batch.content_matches());
}

fn node(script: &[u8]) {
    run(script, Broken::Not).unwrap_or_else(|rule| panic!("{rule}"));
}

/// Replays a folder. Returns the number of its files.
fn replay(folder: &str, target: fn(&[u8])) -> usize {
    let mut count = 0;
    for file in std::fs::read_dir(root().join("fuzz/corpus").join(folder)).expect("a corpus") {
        target(&std::fs::read(file.expect("a file").path()).expect("readable"));
        count += 1;
    }
    count
}

/// Number of scripts made from seeds; most of them are small.
const SCRIPTS: u64 = 120;

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

fn bless_scripts() {
    for number in 0..SCRIPTS {
        // Not the same scripts as those that are generated on each run.
        let folder = root().join("fuzz/corpus/node");
        seed(&folder, number as usize, &script(1_000_000 + number));
    }
}

#[test]
fn random_scripts_break_no_rule_and_reach_every_part() {
    let mut all = Stats::default();
    for seed in 0..150 {
        let stats = run(&script(seed), Broken::Not);
        let stats = stats.unwrap_or_else(|rule| panic!("script {seed}: {rule}"));
        all.inputs += stats.inputs;
        all.frames += stats.frames;
        all.delivered += stats.delivered;
        all.served += stats.served;
        all.bans += stats.bans;
        all.crashes += stats.crashes;
        all.published += stats.published;
    }
    let parts = [all.frames, all.delivered, all.served, all.bans, all.crashes, all.published];
    assert!(all.inputs > 20_000 && parts.iter().all(|count| *count > 100), "{all:?}");
}

#[test]
fn what_is_broken_on_purpose_breaks_a_rule() {
    for (broken, rule) in [
        (Broken::Verdicts, "verify"),
        (Broken::Deliveries, "is delivered twice"),
        (Broken::Frames, "hello does not come first"),
    ] {
        let broken = (0..60).find_map(|seed| run(&script(seed), broken).err());
        assert!(broken.as_ref().is_some_and(|why| why.contains(rule)), "{rule}: {broken:?}");
    }
}

#[test]
fn the_corpus_replays() {
    if blessing() {
        bless();
        bless_scripts();
    }
    let decode = |bytes: &[u8]| drop(decodes_soundly(bytes));
    assert!(replay("decode", decode) >= 60);
    assert!(replay("statement", statement) >= 5);
    assert!(replay("node", node) >= SCRIPTS as usize);
}
