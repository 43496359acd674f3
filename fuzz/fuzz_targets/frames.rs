//! What a sandbox writes to its control channel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_node::fuzzing::frames(data);
});
