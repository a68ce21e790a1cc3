//! Asynchronous functions, streams and futures, on WASI 0.3.

use wit_bindgen::{FutureReader, StreamReader, spawn_local};

wit_bindgen::generate!({
    path: ["../../wit/deps/clocks", "wit/asynchronous.wit"],
    world: "fixture:asynchronous/asynchronous",
    generate_all,
});

use exports::fixture::asynchronous::tasks::Guest;
use wasi::clocks::monotonic_clock::wait_for;

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// How much of a byte stream is written at once.
const CHUNK_BYTES: usize = 16 << 10;

struct Asynchronous;

impl Guest for Asynchronous {
    async fn async_echo(text: String) -> String {
        text
    }

    async fn async_sleep(milliseconds: u64) -> u64 {
        sleep(milliseconds).await;
        milliseconds
    }

    async fn async_fail(message: String) -> Result<String, String> {
        Err(message)
    }

    async fn never() {
        // Waits on the host: a task that waits on nothing at all is a trap.
        sleep(u64::MAX / 1_000_000).await;
    }

    async fn count_up(limit: u32, pause_milliseconds: u64) -> StreamReader<String> {
        let (mut writer, reader) = wit_stream::new();
        spawn_local(async move {
            for number in 1..=limit {
                sleep(pause_milliseconds).await;
                // A value that comes back was not taken: the reader is gone.
                if writer.write_one(number.to_string()).await.is_some() {
                    return;
                }
            }
        });
        reader
    }

    async fn bytes(count: u32) -> StreamReader<u8> {
        let (mut writer, reader) = wit_stream::new();
        spawn_local(async move {
            let mut all = (0..count).map(|index| index as u8);
            loop {
                let chunk: Vec<u8> = all.by_ref().take(CHUNK_BYTES).collect();
                if chunk.is_empty() || !writer.write_all(chunk).await.is_empty() {
                    return;
                }
            }
        });
        reader
    }

    async fn numbers(count: u32) -> StreamReader<u32> {
        let (mut writer, reader) = wit_stream::new();
        spawn_local(async move {
            writer.write_all((0..count).collect()).await;
        });
        reader
    }

    async fn later(text: String, milliseconds: u64) -> FutureReader<String> {
        let (writer, reader) = wit_future::new(String::new);
        spawn_local(async move {
            sleep(milliseconds).await;
            // Nobody waits any more when this fails, so there is nobody to tell.
            let _ = writer.write(text).await;
        });
        reader
    }
}

async fn sleep(milliseconds: u64) {
    if milliseconds > 0 {
        wait_for(milliseconds.saturating_mul(NANOSECONDS_PER_MILLISECOND)).await;
    }
}

export!(Asynchronous);
