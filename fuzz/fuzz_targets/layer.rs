//! A layer of an image, unpacked into an empty folder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_warden::fuzzing::layer(data);
});
