//! Requests of MCP clients.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| aop_mcp::fuzz::mcp(text));
