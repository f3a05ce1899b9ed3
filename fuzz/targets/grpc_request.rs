//! Fuzzes the message of a gRPC request, from decoding to the engine's reply.
#![no_main]

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    tokenecho::fuzzing::grpc_request(message);
});
