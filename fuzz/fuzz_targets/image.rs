//! Manifests, configurations and names of images.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_image::fuzzing::documents(data);
});
