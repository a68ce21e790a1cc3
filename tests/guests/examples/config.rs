//! Uses what the host offers and reports what it was given.

use std::ffi::{CString, c_char, c_int};
use std::io::Read;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

wit_bindgen::generate!({
    path: ["../../wit/deps/config", "../../wit/deps/logging", "wit/config.wit"],
    world: "fixture:config/config",
    generate_all,
});

use exports::fixture::config::surroundings::{Guest, Level};
use wasi::config::store;
use wasi::logging::logging;

unsafe extern "C" {
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
}

struct Surroundings;

impl Guest for Surroundings {
    fn config_get(key: String) -> Result<Option<String>, String> {
        store::get(&key).map_err(config_error)
    }

    fn config_all() -> Result<Vec<(String, String)>, String> {
        store::get_all().map_err(config_error)
    }

    fn log(level: Level, context: String, message: String) {
        logging::log(level, &context, &message);
    }

    fn print(message: String) {
        println!("{message}");
        eprintln!("{message}");
    }

    fn read_stdin() -> Result<String, String> {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn environment() -> Vec<(String, String)> {
        std::env::vars().collect()
    }

    fn arguments() -> Vec<String> {
        std::env::args().collect()
    }

    fn preopened_directories() -> Vec<String> {
        let directories = wasip2::filesystem::preopens::get_directories();
        directories.into_iter().map(|(_, path)| path).collect()
    }

    fn read_file(path: String) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    }

    fn write_file(path: String, text: String) -> Result<(), String> {
        std::fs::write(path, text).map_err(|error| error.to_string())
    }

    fn point(target: String, path: String) -> Result<(), String> {
        let (target, path) = (CString::new(target), CString::new(path));
        let (Ok(target), Ok(path)) = (target, path) else {
            return Err("a path has no zero byte".to_owned());
        };
        // The standard library has it for nightly compilers only.
        // SAFETY: both are strings that end with a zero byte and live until it returns.
        match unsafe { symlink(target.as_ptr(), path.as_ptr()) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().to_string()),
        }
    }

    fn list_directory(path: String) -> Result<Vec<String>, String> {
        let entries = std::fs::read_dir(path).map_err(|error| error.to_string())?;
        let names = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn random(count: u32) -> Vec<u8> {
        wasip2::random::random::get_random_bytes(count.into())
    }

    fn now() -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_millis() as u64)
    }

    fn connect(address: String) -> Result<String, String> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.peer_addr().map(|address| address.to_string()).map_err(|error| error.to_string())
    }

    fn fetch(scheme: String, authority: String, path: String) -> Result<u16, String> {
        let scheme = match scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => Scheme::Other(other.to_owned()),
        };
        let request = OutgoingRequest::new(Fields::new());
        let refused = |()| "the host refused a part of the request".to_owned();
        request.set_scheme(Some(&scheme)).map_err(refused)?;
        request.set_authority(Some(&authority)).map_err(refused)?;
        request.set_path_with_query(Some(&path)).map_err(refused)?;
        let response = outgoing_handler::handle(request, None).map_err(|code| code.to_string())?;
        response.subscribe().block();
        let outcome = response.get().and_then(Result::ok);
        let response =
            outcome.ok_or("the host gave no response")?.map_err(|code| code.to_string())?;
        Ok(response.status())
    }
}

fn config_error(error: store::Error) -> String {
    match error {
        store::Error::Upstream(message) | store::Error::Io(message) => message,
    }
}

export!(Surroundings);
