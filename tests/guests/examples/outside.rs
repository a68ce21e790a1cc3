//! Requests and files through WASI 0.3.

wit_bindgen::generate!({
    path: [
        "../../wit/deps/clocks",
        "../../wit/deps/filesystem",
        "../../wit/deps/http",
        "wit/outside.wit",
    ],
    world: "fixture:outside/outsider",
    generate_all,
});

use exports::fixture::outside::outside::Guest;
use wasi::filesystem::preopens;
use wasi::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode as FileError, OpenFlags, PathFlags,
};
use wasi::http::client;
use wasi::http::types::{ErrorCode, Fields, Method, Request, RequestOptions, Response, Scheme};
use wit_bindgen::spawn_local;

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;
/// How much is written at once.
const PIECE_BYTES: usize = 16 << 10;

struct Outside;

impl Guest for Outside {
    async fn get(
        https: bool,
        authority: String,
        path: String,
        milliseconds: Option<u64>,
    ) -> Result<(u16, String), String> {
        let options = RequestOptions::new();
        let wait = milliseconds.map(|time| time * NANOSECONDS_PER_MILLISECOND);
        options.set_first_byte_timeout(wait).map_err(|error| name(&error))?;
        let response = client::send(request(https, &authority, &path, None, Some(options)));
        read(response.await.map_err(|code| name(&code))?).await
    }

    async fn post(authority: String, path: String, count: u32) -> Result<(u16, String), String> {
        let request = request(false, &authority, &path, Some(count), None);
        read(client::send(request).await.map_err(|code| name(&code))?).await
    }

    async fn get_many(authority: String, count: u32) -> u32 {
        let mut kept = Vec::new();
        for _ in 0..count {
            kept.extend(client::send(request(true, &authority, "/", None, None)).await.ok());
        }
        kept.len() as u32
    }

    async fn write(
        directory: String,
        path: String,
        count: u32,
        at: Option<u64>,
    ) -> Result<(), String> {
        let file = open(&directory, &path).await?;
        fill(&file, count, at).await
    }

    async fn set_size(directory: String, path: String, size: u64) -> Result<(), String> {
        open(&directory, &path).await?.set_size(size).await.map_err(|code| name(&code))
    }

    async fn make(directory: String, count: u32) -> (u32, String) {
        let directory = match of(&directory) {
            Ok(directory) => directory,
            Err(why) => return (0, why),
        };
        for made in 0..count {
            let path = format!("made-{made}");
            let done = match made % 3 {
                0 => opened(&directory, &path).await.map(drop),
                1 => directory.create_directory_at(path).await,
                _ => directory.symlink_at("elsewhere".to_owned(), path).await,
            };
            if let Err(code) = done {
                return (made, name(&code));
            }
        }
        (count, String::new())
    }

    async fn hide(directory: String, count: u32, each: u32) -> (u32, String) {
        let mut kept = Vec::new();
        for hidden in 0..count {
            let path = format!("hidden-{hidden}");
            let written = async {
                let file = open(&directory, &path).await?;
                fill(&file, each, Some(0)).await?;
                let removed = of(&directory)?.unlink_file_at(path).await;
                removed.map_err(|code| name(&code))?;
                Ok(file)
            };
            match written.await {
                Ok(file) => kept.push(file),
                Err(why) => return (hidden, why),
            }
        }
        (count, String::new())
    }

    async fn move_file(from: String, to: String, path: String) -> Result<(), String> {
        let (from, to) = (of(&from)?, of(&to)?);
        from.rename_at(path.clone(), &to, path).await.map_err(|code| name(&code))
    }

    async fn link(directory: String, path: String, new: String) -> Result<(), String> {
        let directory = of(&directory)?;
        let linked = directory.link_at(PathFlags::empty(), path, &directory, new).await;
        linked.map_err(|code| name(&code))
    }

    async fn point(directory: String, target: String, path: String) -> Result<(), String> {
        of(&directory)?.symlink_at(target, path).await.map_err(|code| name(&code))
    }

    async fn remove(directory: String, path: String) -> Result<(), String> {
        of(&directory)?.unlink_file_at(path).await.map_err(|code| name(&code))
    }
}

/// A directory by what it is called.
fn of(called: &str) -> Result<Descriptor, String> {
    let all = preopens::get_directories().into_iter();
    let found = all.into_iter().find(|(_, name)| name == called);
    found.map(|(directory, _)| directory).ok_or_else(|| format!("there is no {called}"))
}

async fn open(directory: &str, path: &str) -> Result<Descriptor, String> {
    opened(&of(directory)?, path).await.map_err(|code| name(&code))
}

async fn opened(directory: &Descriptor, path: &str) -> Result<Descriptor, FileError> {
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    directory.open_at(PathFlags::empty(), path.to_owned(), OpenFlags::CREATE, flags).await
}

async fn fill(file: &Descriptor, count: u32, at: Option<u64>) -> Result<(), String> {
    let (mut writer, reader) = wit_stream::new();
    let written = match at {
        Some(at) => file.write_via_stream(reader, at),
        None => file.append_via_stream(reader),
    };
    spawn_local(async move {
        let mut left = count as usize;
        while left > 0 {
            let piece = vec![b'x'; left.min(PIECE_BYTES)];
            left -= piece.len();
            if !writer.write_all(piece).await.is_empty() {
                return;
            }
        }
    });
    written.await.map_err(|code| name(&code))
}

fn request(
    https: bool,
    authority: &str,
    path: &str,
    count: Option<u32>,
    options: Option<RequestOptions>,
) -> Request {
    let contents = count.map(|count| {
        let (mut writer, reader) = wit_stream::new();
        spawn_local(async move {
            let mut left = count as usize;
            while left > 0 {
                let piece = vec![b'x'; left.min(PIECE_BYTES)];
                left -= piece.len();
                if !writer.write_all(piece).await.is_empty() {
                    return;
                }
            }
        });
        reader
    });
    let (trailers, none) = wit_future::new(|| Ok(None));
    drop(trailers);
    let (request, _sent) = Request::new(Fields::new(), contents, none, options);
    let method = if count.is_some() { Method::Post } else { Method::Get };
    let scheme = if https { Scheme::Https } else { Scheme::Http };
    // What the host does not take, it refuses when the request is sent.
    let _ = request.set_method(&method);
    let _ = request.set_scheme(Some(&scheme));
    let _ = request.set_authority(Some(authority));
    let _ = request.set_path_with_query(Some(path));
    request
}

async fn read(response: Response) -> Result<(u16, String), String> {
    let status = response.get_status_code();
    let (whole, result) = wit_future::new(|| Ok(()));
    drop(whole);
    let (body, ended) = Response::consume_body(response, result);
    let bytes = body.collect().await;
    ended.await.map_err(|code: ErrorCode| name(&code))?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

fn name(code: &impl std::fmt::Debug) -> String {
    format!("{code:?}")
}

export!(Outside);
