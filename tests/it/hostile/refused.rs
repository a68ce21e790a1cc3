//! What is no component is refused in words that say what to do, and the cache takes no code from
//! elsewhere.

use std::path::{Path, PathBuf};

use aop_core::{Digest, PrepareError, Settings};
use aop_tests::{Sandbox, component};

use super::{patient, wat};

async fn refusal(bytes: &[u8]) -> String {
    let error = Sandbox::new()
        .load_bytes(bytes, Settings::default())
        .await
        .map(drop)
        .expect_err("it is refused");
    assert!(matches!(error, PrepareError::NotAComponent(_)), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_module_is_told_apart() {
    let message = refusal(&component("(module (func (export \"run\")))")).await;
    assert!(message.contains("core WebAssembly module"), "{message}");
    assert!(
        message.contains("wasm32-wasip2") && message.contains("component new"),
        "it says what to do: {message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_told_apart() {
    let message = refusal(b"(component)").await;
    assert!(message.contains("text"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused() {
    for bytes in
        [&b""[..], b"\0", b"\0asm", b"\0asm\x0d\0\x01\0\xff\xff\xff\xff\xff", &[0xff; 4096]]
    {
        refusal(bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_cut_short_anywhere_is_refused() {
    let whole = component(wat::EXIT);
    let sandbox = Sandbox::new();
    for length in (9..whole.len()).step_by(whole.len() / 12) {
        // A prefix that ends between two sections is a component of its own.
        if let Err(error) = sandbox.load_bytes(&whole[..length], Settings::default()).await {
            assert!(!matches!(error, PrepareError::Internal(_)), "{length} bytes: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_nobody_provides_is_named() {
    let text = r#"(component (import "acme:rockets/launch" (func)))"#;
    let error = Sandbox::new().load_bytes(&component(text), Settings::default()).await.map(drop);
    let error = error.expect_err("it is refused");
    assert!(matches!(error, PrepareError::Unlinkable(_)), "{error:?}");
    assert!(error.to_string().contains("acme:rockets/launch"), "{error}");
}

/// The files of a cache with an extension.
fn cached(cache: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in std::fs::read_dir(cache).expect("the cache is there").flatten() {
        for file in std::fs::read_dir(directory.path()).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|it| it == extension) {
                found.push(file.path());
            }
        }
    }
    assert!(!found.is_empty(), "something with {extension} is cached");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_precompiled_file_is_told_apart() {
    let sandbox = Sandbox::new();
    sandbox.load(wat::HARMLESS, patient()).await;
    let compiled =
        std::fs::read(&cached(&sandbox.cache(), "cwasm")[0]).expect("the code can be read");
    let message = refusal(&compiled).await;
    assert!(message.contains("compiled"), "{message}");
}

/// Loads a component, lets `damage` loose on the cache, and loads it again in another runtime over
/// the same cache: it must be compiled again, and work.
async fn after(damage: impl FnOnce(&Path)) {
    let sandbox = Sandbox::new();
    drop(sandbox.load(wat::HARMLESS, patient()).await);
    assert_eq!(sandbox.sample("compile_cache_misses"), 1.0);
    damage(&sandbox.cache());
    let loaded = sandbox.load(wat::HARMLESS, patient()).await;
    let output = loaded.call("run", r#"{"number": 41}"#).await.expect("the right code runs");
    assert_eq!(output.json.get(), "42");
    assert_eq!(sandbox.sample("compile_cache_misses"), 2.0, "it was compiled again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiled_component_is_found_again() {
    let sandbox = Sandbox::new();
    drop(sandbox.load(wat::HARMLESS, patient()).await);
    drop(sandbox.load(wat::HARMLESS, patient()).await);
    assert_eq!(sandbox.sample("compile_cache_misses"), 1.0);
    assert_eq!(sandbox.sample("compile_cache_hits"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_code_is_compiled_again() {
    after(|cache| {
        let path = &cached(cache, "cwasm")[0];
        let mut bytes = std::fs::read(path).expect("the code can be read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(path).expect("the code can be replaced");
        std::fs::write(path, bytes).expect("the code can be replaced");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_interface_is_compiled_again() {
    after(|cache| {
        let path = &cached(cache, "interface")[0];
        let text = std::fs::read_to_string(path).expect("the interface can be read");
        std::fs::write(path, text.replace("number", "NUMBER"))
            .expect("the interface can be replaced");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_entry_is_compiled_again() {
    after(|cache| {
        std::fs::remove_file(&cached(cache, "interface")[0]).expect("the interface was there")
    })
    .await;
    after(|cache| std::fs::remove_file(&cached(cache, "cwasm")[0]).expect("the code was there"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_from_another_cache_is_never_loaded() {
    // The attacker's host compiled another component and sealed it with its own key.
    let other = Sandbox::new();
    drop(other.load(&wat::HARMLESS.replace("i32.const 1", "i32.const 100"), patient()).await);
    let name = Digest::of(&component(wat::HARMLESS)).hex();
    after(|cache| {
        for extension in ["cwasm", "interface"] {
            let foreign = &cached(&other.cache(), extension)[0];
            let own = &cached(cache, extension)[0];
            assert!(own.to_string_lossy().contains(&name));
            std::fs::remove_file(own).expect("an entry can be replaced");
            std::fs::copy(foreign, own).expect("an entry can be replaced");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_another_component_is_never_loaded() {
    let sandbox = Sandbox::new();
    drop(sandbox.load(&wat::HARMLESS.replace("i32.const 1", "i32.const 100"), patient()).await);
    let swapped: Vec<_> = ["cwasm", "interface"]
        .map(|extension| {
            let path = cached(&sandbox.cache(), extension).remove(0);
            let target = path
                .with_file_name(Digest::of(&component(wat::HARMLESS)).hex())
                .with_extension(extension);
            (path, target)
        })
        .into();
    for (path, target) in swapped {
        std::fs::copy(path, target).expect("an entry can be copied");
    }
    let loaded = sandbox.load(wat::HARMLESS, patient()).await;
    let output = loaded.call("run", r#"{"number": 41}"#).await.expect("the right code runs");
    assert_eq!(output.json.get(), "42");
}
