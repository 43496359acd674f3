//! What programs print.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_node::fuzzing::output(data);
});
