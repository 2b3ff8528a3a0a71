//! Bodies: a count of two bytes, then a body; whatever decodes encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loyal::wire::{decode_body, encode_body};

fuzz_target!(|bytes: &[u8]| {
    let [high, low, body @ ..] = bytes else { return };
    let count = u32::from(u16::from_be_bytes([*high, *low]));
    if let Ok(entries) = decode_body(body, count) {
        assert_eq!(encode_body(&entries).as_deref(), Ok(body));
    }
});
