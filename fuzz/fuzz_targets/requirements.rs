//! Lists of Python packages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_build::fuzzing::requirements(data);
});
