//! What other zones say.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| aop_cluster::fuzz::zone(text));
