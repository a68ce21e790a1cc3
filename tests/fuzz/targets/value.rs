//! JSON and component values.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| aop_runtime::fuzz::value(text));
