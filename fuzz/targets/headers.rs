//! Fuzzes the Authorization header, where only `Bearer 123` is accepted, and the headers of the directives.
#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| {
    if tokenecho::fuzzing::headers(value) {
        assert!(value.eq_ignore_ascii_case(b"bearer 123"), "accepted: {value:?}");
    }
});
