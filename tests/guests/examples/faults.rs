//! A guest that misbehaves on request.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

wit_bindgen::generate!({ path: "wit/faults.wit" });
aop_agent::embed_wit!("wit/faults.wit");

use exports::fixture::faults::faults::{Guest, Reason};

const BYTES_PER_MEBIBYTE: usize = 1 << 20;

static CALLS: AtomicU32 = AtomicU32::new(0);

struct Faults;

impl Guest for Faults {
    fn fail(message: String) -> Result<String, String> {
        Err(message)
    }

    fn fail_typed(code: u32, message: String) -> Result<String, Reason> {
        if code == 0 { Ok(message) } else { Err(Reason { code, message }) }
    }

    fn trap() {
        core::arch::wasm32::unreachable()
    }

    fn panic(message: String) {
        panic!("{message}")
    }

    #[expect(clippy::disallowed_methods, reason = "leaving is the fault")]
    fn exit(code: u32) {
        std::process::exit(code as i32)
    }

    fn spin() {
        loop {
            black_box(());
        }
    }

    fn spin_in_host() {
        loop {
            black_box(Instant::now());
        }
    }

    fn sleep(milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    fn allocate(mebibytes: u32) -> u32 {
        let mut memory = Vec::new();
        for fill in 0..mebibytes {
            memory.push(vec![fill as u8 | 1; BYTES_PER_MEBIBYTE]);
        }
        black_box(&memory).len() as u32
    }

    fn recurse(depth: u64) -> u64 {
        descend(if depth == 0 { u64::MAX } else { depth })
    }

    fn flood_stdout(lines: u64) -> u64 {
        for line in 0..lines {
            println!("line {line} of {lines}");
        }
        lines
    }

    fn big_result(bytes: u32) -> String {
        "x".repeat(bytes as usize)
    }

    fn count() -> u32 {
        CALLS.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn trap_every_other() -> u32 {
        let calls = Self::count();
        if calls % 2 == 1 {
            core::arch::wasm32::unreachable()
        }
        calls
    }
}

/// Not a tail call: the depth is added up on the way back, through a buffer that has to stay on the stack.
fn descend(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    let frame = black_box([depth; 8]);
    black_box(descend(frame[0] - 1)) + black_box(frame[7] / depth)
}

export!(Faults);
