//! Fuzzes the text of a config file.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    tokenecho::fuzzing::config_file(text);
});
