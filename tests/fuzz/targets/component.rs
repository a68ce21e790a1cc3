//! Components, and what they say of themselves.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|bytes: &[u8]| aop_runtime::fuzz::component(bytes));

// The corpus is text, which is kept in a repository and changes in large steps; now and then it goes on as bytes.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let binary = if seed % 4 == 0 { wat::parse_bytes(&data[..size]).ok() } else { None };
    let binary = binary.map(|binary| binary.into_owned()).filter(|binary| binary.len() <= max_size);
    let size = match binary {
        Some(binary) => {
            data[..binary.len()].copy_from_slice(&binary);
            binary.len()
        }
        None => size,
    };
    fuzzer_mutate(data, size, max_size)
});
