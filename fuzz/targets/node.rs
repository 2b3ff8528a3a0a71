//! One honest node among liars, driven by bytes: whatever happens, it keeps to its own rules.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/node_fuzz/mod.rs"]
#[allow(dead_code, unused_imports)]
mod node_fuzz;

fuzz_target!(|bytes: &[u8]| {
    if let Err(rule) = node_fuzz::run(bytes, node_fuzz::Broken::Not) {
        panic!("{rule}");
    }
});
