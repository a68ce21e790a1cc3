//! What comes with a component.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| aop_supply::fuzz::supply(text));
