//! Gives its argument back. It imports nothing at all (hence `no_std`), so what the host measures
//! with it is the host, and it shows that an agent needs neither an SDK nor WASI.
#![no_std]

extern crate alloc;

use alloc::string::String;

wit_bindgen::generate!({ path: "wit/echo.wit" });

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn trap(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

struct Echo;

impl Guest for Echo {
    fn echo(text: String) -> String {
        text
    }
}

export!(Echo);
