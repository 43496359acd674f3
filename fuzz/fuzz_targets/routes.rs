//! Paths and queries against compiled routes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_routing::fuzzing::find(data);
});
