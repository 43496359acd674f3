//! Heads that builds send to their proxy.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_node::fuzzing::proxy(data);
});
