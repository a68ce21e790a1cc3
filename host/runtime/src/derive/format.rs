//! Tells components from what people mistake for them, and says what to do with those.

use super::DeriveError;

const WASM: &[u8] = b"\0asm";
const MODULE_VERSION: &[u8] = &[1, 0, 0, 0];
const COMPONENT_VERSION: &[u8] = &[0x0d, 0, 1, 0];

/// Bytes of text that are looked at to tell WAT from WIT.
const TEXT_LOOK_BYTES: usize = 4 << 10;

/// Accepts what claims to be a component.
pub(super) fn check(bytes: &[u8]) -> Result<(), DeriveError> {
    let problem = match bytes.strip_prefix(WASM) {
        Some(rest) if rest.starts_with(COMPONENT_VERSION) => return Ok(()),
        Some(rest) if rest.starts_with(MODULE_VERSION) => {
            "this is a core WebAssembly module, not a component: run `wasm-tools component new MODULE.wasm -o AGENT.wasm` on it (with `--adapt wasi_snapshot_preview1.reactor.wasm` if it uses WASI), or compile it for the target wasm32-wasip2"
        }
        Some(rest) if rest.len() < 4 => {
            "the file ends within the WebAssembly header: build or copy it again"
        }
        Some(_) => {
            "this WebAssembly component has a binary format version that is not supported: build it again with a current toolchain"
        }
        None if bytes.is_empty() => "the file is empty: build the component again",
        None if bytes.starts_with(b"\x7fELF") => {
            "this is a native ELF file, probably precompiled with `wasmtime compile`: load the original .wasm component, the host compiles it itself"
        }
        None => not_binary(bytes),
    };
    Err(DeriveError::NotAComponent(problem.to_owned()))
}

fn not_binary(bytes: &[u8]) -> &'static str {
    let look = &bytes[..bytes.len().min(TEXT_LOOK_BYTES)];
    let text = match std::str::from_utf8(look) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&look[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "",
    };
    let mut lines = text.lines().map(str::trim_start);
    let starts = |line: &str, words: &[&str]| words.iter().any(|word| line.starts_with(word));
    let is_comment = |line: &&str| line.is_empty() || starts(line, &[";;", "(;", "//", "/*", "*"]);
    let first = lines.find(|line| !is_comment(line)).unwrap_or_default();
    if starts(first, &["(component", "(module"]) {
        "this is WebAssembly text (WAT): turn it into a binary with `wasm-tools parse FILE.wat -o AGENT.wasm`"
    } else if starts(first, &["package ", "world ", "interface ", "@"]) {
        "this is WIT text, which only describes a component: load the .wasm that was built from it"
    } else {
        "this is not a WebAssembly component: load the .wasm file that the component toolchain wrote"
    }
}
