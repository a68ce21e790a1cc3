//! Skills that agents hand out, and their frontmatter.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| aop_mcp::fuzz::skill(text));
