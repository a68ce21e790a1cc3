//! Gives its argument back. It imports nothing at all (hence `no_std`), so what the host measures
//! with it is the host, and it shows that an agent needs neither an SDK nor WASI.
#![no_std]

extern crate alloc;

use alloc::alloc::{Layout, alloc, realloc};
use alloc::string::String;

wit_bindgen::generate!({ path: "wit/echo.wit" });

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn trap(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}

/// Where the host writes the strings it passes. On `wasm32-wasip2` wasi-libc exports this function;
/// without `std` there is no libc.
#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn reallocate(
    old: *mut u8,
    old_bytes: usize,
    align: usize,
    bytes: usize,
) -> *mut u8 {
    if bytes == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    // SAFETY: the canonical ABI passes an alignment that is a power of two, and as `old` either
    // nothing (`old_bytes` is 0) or what this function returned for `old_bytes` and `align`.
    let new = unsafe {
        if old_bytes == 0 {
            alloc(Layout::from_size_align_unchecked(bytes, align))
        } else {
            realloc(old, Layout::from_size_align_unchecked(old_bytes, align), bytes)
        }
    };
    if new.is_null() {
        core::arch::wasm32::unreachable();
    }
    new
}

struct Echo;

impl Guest for Echo {
    fn echo(text: String) -> String {
        text
    }
}

export!(Echo);
