//! Gives its argument back: what an ordinary small Rust agent costs, so what the host measures with
//! it is the host.
//!
//! It uses `std`, as agents do. The allocator of a `no_std` guest would grow the linear memory in
//! every call, and growing is two changes of page protection that both cores wait for.

wit_bindgen::generate!({ path: "wit/echo.wit" });

struct Echo;

impl Guest for Echo {
    fn echo(text: String) -> String {
        text
    }
}

export!(Echo);
