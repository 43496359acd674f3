//! What PHP answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_launcher::fuzzing::records(data);
});
