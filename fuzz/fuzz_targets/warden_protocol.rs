//! What a server sends to the warden, and the other way round.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_sandbox::fuzzing::messages(data);
});
