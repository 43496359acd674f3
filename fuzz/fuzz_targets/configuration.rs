//! Vercel.json, now.json and the routes that come of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_build::fuzzing::configuration(data);
});
