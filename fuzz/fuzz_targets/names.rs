//! Questions for names by sandboxes, and answers of resolvers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_node::fuzzing::names(data);
});
