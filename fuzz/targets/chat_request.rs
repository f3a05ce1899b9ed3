//! A chat request's body, through to the engine's words.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    tokenecho::fuzzing::chat_request(body);
});
