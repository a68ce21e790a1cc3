//! Settings of an agent.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| aop_core::fuzz::settings(text));
