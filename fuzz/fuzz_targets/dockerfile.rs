//! Dockerfiles: whose images they name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_build::fuzzing::dockerfile(data);
});
