//! The body that makes a deployment.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_control::fuzzing::create(data);
});
