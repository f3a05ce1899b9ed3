//! Fuzzes the body of a chat request, from parsing to the engine's reply.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    tokenecho::fuzzing::chat_request(body);
});
