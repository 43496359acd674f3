//! Header fields that the gateway reads: ranges, codings, cookies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_gateway::fuzzing::fields(data);
});
