//! Content that agents answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| aop_mcp::fuzz::content(text));
