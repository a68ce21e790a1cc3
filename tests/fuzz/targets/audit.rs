//! An audit log that anybody may have written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aop_access::fuzz::audit(bytes));
