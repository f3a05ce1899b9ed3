//! A gRPC request's message, through to the engine's words.
#![no_main]

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    tokenecho::fuzzing::grpc_request(message);
});
