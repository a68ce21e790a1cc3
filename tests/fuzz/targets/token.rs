//! Everything short that opens something or leads somewhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    aop_core::fuzz::token(text);
    aop_access::fuzz::token(text);
    aop_cluster::fuzz::token(text);
});
