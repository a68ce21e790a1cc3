//! What a Rust agent needs so that an AOP host can describe its tools.
//!
//! A component carries the *types* of its functions but none of their doc comments: every toolchain
//! drops them. An agent therefore carries its WIT source as text, in the custom section `agent.wit`,
//! and the host reads the doc comments from there. They become the descriptions that a model sees
//! when it chooses a tool, so write them for a reader who knows nothing but that text.
//!
//! An agent runs without this crate too. It then has its bare signatures for descriptions.
#![no_std]

/// Carries a WIT file in the component, so that its doc comments become tool descriptions.
///
/// The path is a string literal relative to the crate's `Cargo.toml`, as in `wit_bindgen::generate!`. Use the
/// macro once, at the root of the agent, on the file that declares its world: the section holds one
/// WIT package, and text from two files would run together. The text survives link-time
/// optimisation and `strip = true`. It is readable by whoever has the component, so keep secrets
/// out of it.
///
/// On targets other than wasm (the unit tests of an agent) the file only has to exist.
///
/// ```
/// aop_agent::embed_wit!("wit/greeting.wit");
/// # fn main() {}
/// ```
///
/// With the bindings beside it, this is a whole agent:
///
/// ```ignore
/// wit_bindgen::generate!({ path: "wit/greeting.wit" });
/// aop_agent::embed_wit!("wit/greeting.wit");
///
/// struct Agent;
///
/// impl Guest for Agent {
///     fn greet(name: String) -> String {
///         format!("Hello, {name}!")
///     }
/// }
///
/// export!(Agent);
/// ```
///
/// A file that is not there does not compile:
///
/// ```compile_fail
/// aop_agent::embed_wit!("wit/absent.wit");
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! embed_wit {
    ($path:literal) => {
        const _: () = {
            const TEXT: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path));

            // An array and not a slice: a custom section holds bytes, it cannot hold pointers.
            // The section is named on wasm only, since Mach-O spells section names differently.
            #[used]
            #[cfg_attr(target_family = "wasm", unsafe(link_section = "agent.wit"))]
            static SECTION: [u8; TEXT.len()] =
                *include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path));
        };
    };
}
