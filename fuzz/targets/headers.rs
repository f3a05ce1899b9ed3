//! An Authorization header, which only `Bearer 123` passes, and the directives' headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| {
    if tokenecho::fuzzing::headers(value) {
        assert!(value.eq_ignore_ascii_case(b"bearer 123"), "let in: {value:?}");
    }
});
