//! Rules for requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| aop_core::fuzz::rule(text));
