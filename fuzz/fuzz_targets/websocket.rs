//! Frames of WebSockets, however they are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dockless_gateway::fuzzing::websocket(data);
});
