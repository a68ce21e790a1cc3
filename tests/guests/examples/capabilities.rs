//! Asks its host for everything that an agent can ask for, and says what came of it.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, IncomingResponse, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

wit_bindgen::generate!({
    path: [
        "../../wit/agent-0.1.0",
        "../../wit/deps/keyvalue",
        "../../wit/deps/keyvalue-draft2",
        "wit/capabilities.wit",
    ],
    world: "fixture:capabilities/capabilities",
    generate_all,
});

use aop::agent::{changes, client, elicit, model, progress, tools};
use exports::fixture::capabilities::probe::Guest;
use wasi::keyvalue0_2_0_draft as draft;
use wasi::keyvalue0_2_0_draft2 as draft2;

struct Probe;

impl Guest for Probe {
    fn discover(query: String, limit: Option<u32>) -> Result<Vec<String>, String> {
        let found = tools::discover(&query, limit).map_err(failure)?;
        Ok(found.into_iter().map(|summary| summary.name).collect())
    }

    fn describe(tool: String) -> Result<String, String> {
        Ok(tools::describe(&tool).map_err(failure)?.input_schema)
    }

    fn call(tool: String, arguments: String) -> Result<String, String> {
        tools::call(&tools::Invocation { tool, arguments }).map_err(failure)
    }

    fn call_many(tool: String, count: u32) -> Vec<Result<String, String>> {
        let invocation =
            |n| tools::Invocation { tool: tool.clone(), arguments: format!("{{\"n\":{n}}}") };
        let invocations: Vec<_> = (0..count).map(invocation).collect();
        let results = tools::call_many(&invocations);
        results.into_iter().map(|result| result.map_err(failure)).collect()
    }

    fn call_often(tool: String, arguments: String, count: u32) -> (u32, String) {
        let (mut answered, mut last) = (0, String::new());
        let invocation = tools::Invocation { tool, arguments };
        for _ in 0..count {
            match tools::call(&invocation) {
                Ok(_) => answered += 1,
                Err(error) => last = failure(error),
            }
        }
        (answered, last)
    }

    fn follow(route: Vec<String>) -> Result<String, String> {
        let Some((next, rest)) = route.split_first() else { return Ok("arrived".to_owned()) };
        let rest: Vec<_> = rest.iter().map(|name| format!("\"{name}\"")).collect();
        let arguments = format!("{{\"route\":[{}]}}", rest.join(","));
        tools::call(&tools::Invocation { tool: next.clone(), arguments }).map_err(failure)
    }

    fn echo(n: u32) -> u32 {
        n
    }

    fn spin(mut n: u32) -> u32 {
        loop {
            n = std::hint::black_box(n.wrapping_add(1));
            if n == u32::MAX && std::hint::black_box(false) {
                return n;
            }
        }
    }

    fn report(reports: Vec<(f64, Option<f64>)>) -> Vec<String> {
        let answer = |(progress, total)| match progress::report(progress, total, Some("a step")) {
            Ok(()) => "sent".to_owned(),
            Err(rule) => rule,
        };
        reports.into_iter().map(answer).collect()
    }

    fn ask(message: String) -> Result<String, String> {
        answer(elicit::form(&message, &form()))
    }

    fn visit(url: String) -> Result<String, String> {
        answer(elicit::url("Please sign in.", &url))
    }

    fn ask_many(questions: Vec<String>) -> Vec<Result<String, String>> {
        let asked = |key: Option<String>| {
            let (message, fields) = ("Who are you?".to_owned(), form().to_vec());
            client::Question::Form(client::Form { key, message, fields })
        };
        let page = || {
            let (message, url) = ("Please sign in.".to_owned(), "https://example.com".to_owned());
            client::Question::Page(client::Page { key: None, message, url })
        };
        let question = |kind: String| match kind.as_str() {
            "form" => asked(None),
            "page" => page(),
            "completion" => client::Question::Completion(request("hello".to_owned(), 0)),
            "roots" => client::Question::Roots,
            _ => asked(Some(kind)),
        };
        let questions: Vec<_> = questions.into_iter().map(question).collect();
        let replies = client::ask_many(&questions).into_iter();
        let words = |reply| match reply {
            Ok(client::Reply::Answer(answered)) => answer(Ok(answered)),
            Ok(client::Reply::Completion(completion)) => Ok(said(&completion)),
            Ok(client::Reply::Roots(roots)) => Ok(places(roots).join(" ")),
            Err(error) => answer(Err(error)),
        };
        replies.map(words).collect()
    }

    fn roots() -> Result<Vec<String>, String> {
        client::roots().map(places).map_err(|error| answer(Err(error)).unwrap_err())
    }

    fn bound() -> Option<String> {
        model::bound().map(|bound| format!("{} {}", bound.model, bound.max_loops))
    }

    fn complete(text: String, image_bytes: u32) -> Result<String, String> {
        let completion = model::complete(&request(text, image_bytes)).map_err(model_error)?;
        Ok(said(&completion))
    }

    fn stream_text(text: String) -> Result<Vec<String>, String> {
        let stream = model::complete_streaming(&request(text, 0)).map_err(model_error)?;
        let mut events = Vec::new();
        while let Some(event) = stream.next().map_err(model_error)? {
            events.push(match event {
                model::Event::Text(text) => text,
                model::Event::Done(completion) => format!("done: {}", said(&completion)),
            });
        }
        Ok(events)
    }

    fn hold(count: u32) -> u32 {
        let begin = |_| model::complete_streaming(&request("hold".to_owned(), 0)).ok();
        let held: Vec<_> = (0..count).filter_map(begin).collect();
        held.len() as u32
    }

    fn remember(bucket: String, key: String, value: String) -> Result<(), String> {
        let bucket = draft::store::open(&bucket).map_err(store_error)?;
        bucket.set(&key, value.as_bytes()).map_err(store_error)
    }

    fn recall(bucket: String, key: String) -> Result<Option<String>, String> {
        let bucket = draft2::store::open(&bucket).map_err(store_error2)?;
        let value = bucket.get(&key).map_err(store_error2)?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn keep(key: String, value: String) -> Result<Option<String>, String> {
        thread_local! {
            static KEPT: std::cell::OnceCell<draft2::store::Bucket> = const { std::cell::OnceCell::new() };
        }
        KEPT.with(|kept| {
            if kept.get().is_none() {
                let opened = draft2::store::open("").map_err(store_error2)?;
                let _ = kept.set(opened);
            }
            let bucket = kept.get().ok_or("there is no bucket")?;
            let before = bucket.get(&key).map_err(store_error2)?;
            bucket.set(&key, value.as_bytes()).map_err(store_error2)?;
            Ok(before.map(|value| String::from_utf8_lossy(&value).into_owned()))
        })
    }

    fn count(bucket: String, key: String) -> Result<String, String> {
        let first = draft::store::open(&bucket).map_err(store_error)?;
        let up = draft::atomics::increment(&first, &key, 3).map_err(store_error)?;
        let second = draft2::store::open(&bucket).map_err(store_error2)?;
        let down = draft2::atomics::increment(&second, &key, -2).map_err(store_error2)?;
        Ok(format!("{up} {down}"))
    }

    fn race(bucket: String, key: String) -> Result<String, String> {
        let bucket = draft2::store::open(&bucket).map_err(store_error2)?;
        let mine = draft2::atomics::Cas::new(&bucket, &key).map_err(store_error2)?;
        bucket.set(&key, b"theirs").map_err(store_error2)?;
        match draft2::atomics::swap(mine, b"mine") {
            Err(draft2::atomics::CasError::CasFailed(again)) => {
                let seen = again.current().map_err(store_error2)?.unwrap_or_default();
                let seen = String::from_utf8_lossy(&seen).into_owned();
                draft2::atomics::swap(again, b"mine")
                    .map_err(|_| "the second swap failed".to_owned())?;
                Ok(seen)
            }
            Err(draft2::atomics::CasError::StoreError(error)) => Err(store_error2(error)),
            Ok(()) => Err("the first swap did not notice".to_owned()),
        }
    }

    fn keys(bucket: String) -> Result<(u32, u32), String> {
        let first = draft::store::open(&bucket).map_err(store_error)?;
        let (mut by_count, mut cursor) = (0, None);
        loop {
            let page = first.list_keys(cursor).map_err(store_error)?;
            by_count += page.keys.len() as u32;
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        let second = draft2::store::open(&bucket).map_err(store_error2)?;
        let (mut by_key, mut cursor) = (0, None);
        loop {
            let page = second.list_keys(cursor.as_deref()).map_err(store_error2)?;
            by_key += page.keys.len() as u32;
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok((by_count, by_key));
            }
        }
    }

    fn fetch(authority: String, path: String) -> Result<(u16, String), String> {
        let response = get(&authority, &path)?;
        let body = response.consume().map_err(|()| "the body is gone".to_owned())?;
        let stream = body.stream().map_err(|()| "the body is gone".to_owned())?;
        let mut bytes = Vec::new();
        loop {
            match stream.blocking_read(64 << 10) {
                Ok(piece) => bytes.extend(piece),
                Err(StreamError::Closed) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok((response.status(), String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn fetch_many(authority: String, count: u32) -> u32 {
        let open: Vec<_> = (0..count).filter_map(|_| get(&authority, "/").ok()).collect();
        open.len() as u32
    }

    fn changed(uri: String, times: u32) -> Result<u32, String> {
        for told in 0..times {
            if let Err(rule) = changes::resource_updated(&uri) {
                return if told == 0 { Err(rule) } else { Ok(told) };
            }
        }
        Ok(times)
    }

    fn lists_changed() {
        changes::resources_changed();
        changes::prompts_changed();
    }
}

fn places(roots: Vec<client::Root>) -> Vec<String> {
    let place = |root: client::Root| format!("{}={}", root.name.unwrap_or_default(), root.uri);
    roots.into_iter().map(place).collect()
}

fn form() -> [elicit::Field; 3] {
    let field = |name: &str, required, kind| elicit::Field {
        name: name.to_owned(),
        title: None,
        description: None,
        required,
        kind,
    };
    let name = elicit::TextField {
        format: None,
        min_length: Some(1),
        max_length: Some(20),
        initial: None,
    };
    let age = elicit::NumberField {
        integer: true,
        minimum: Some(0.0),
        maximum: Some(150.0),
        initial: None,
    };
    let choice = |value: &str| elicit::Choice { value: value.to_owned(), title: None };
    let colour = elicit::ChoiceField {
        choices: vec![choice("red"), choice("green")],
        multiple: false,
        initial: vec!["green".to_owned()],
    };
    [
        field("name", true, elicit::FieldKind::Text(name)),
        field("age", false, elicit::FieldKind::Number(age)),
        field("colour", false, elicit::FieldKind::Choice(colour)),
    ]
}

fn answer(answered: Result<elicit::Answer, elicit::AskError>) -> Result<String, String> {
    match answered {
        Ok(elicit::Answer::Accepted(json)) => Ok(json),
        Ok(elicit::Answer::Declined) => Ok("declined".to_owned()),
        Ok(elicit::Answer::Dismissed) => Ok("dismissed".to_owned()),
        Err(elicit::AskError::Unsupported(why)) => Err(format!("unsupported: {why}")),
        Err(elicit::AskError::Invalid(why)) => Err(format!("invalid: {why}")),
        Err(elicit::AskError::Failed(why)) => Err(format!("failed: {why}")),
    }
}

fn request(text: String, image_bytes: u32) -> model::Request {
    let mut parts = vec![model::Part::Text(text)];
    if image_bytes > 0 {
        let data = vec![0; image_bytes as usize];
        let mime_type = "image/png".to_owned();
        parts.push(model::Part::Image(model::Image { data, mime_type }));
    }
    model::Request {
        messages: vec![model::Message { role: model::Role::User, parts }],
        tools: Vec::new(),
        temperature: None,
        max_tokens: None,
        stop: Vec::new(),
    }
}

fn said(completion: &model::Completion) -> String {
    let part = |part: &model::Part| match part {
        model::Part::Text(text) => text.clone(),
        model::Part::ToolCall(call) => format!("{}({})", call.name, call.arguments),
        model::Part::Image(_) | model::Part::ToolResult(_) => "?".to_owned(),
    };
    completion.parts.iter().map(part).collect::<Vec<_>>().join(" ")
}

fn get(authority: &str, path: &str) -> Result<IncomingResponse, String> {
    let request = OutgoingRequest::new(Fields::new());
    let refused = |()| "the host refused a part of the request".to_owned();
    request.set_scheme(Some(&Scheme::Https)).map_err(refused)?;
    request.set_authority(Some(authority)).map_err(refused)?;
    request.set_path_with_query(Some(path)).map_err(refused)?;
    let response = outgoing_handler::handle(request, None).map_err(|code| code.to_string())?;
    response.subscribe().block();
    let outcome = response.get().and_then(Result::ok);
    outcome.ok_or("the host gave no response")?.map_err(|code| code.to_string())
}

fn failure(failure: tools::Failure) -> String {
    format!("{}: {}", failure.code, failure.message)
}

fn model_error(error: model::ModelError) -> String {
    match error {
        model::ModelError::Denied(why) => format!("denied: {why}"),
        model::ModelError::Budget(why) => format!("budget: {why}"),
        model::ModelError::Busy(wait) => format!("busy: {wait:?}"),
        model::ModelError::Invalid(why) => format!("invalid: {why}"),
        model::ModelError::Unavailable(why) => format!("unavailable: {why}"),
    }
}

fn store_error(error: draft::store::Error) -> String {
    match error {
        draft::store::Error::NoSuchStore => "no-such-store".to_owned(),
        draft::store::Error::AccessDenied => "access-denied".to_owned(),
        draft::store::Error::Other(why) => format!("other: {why}"),
    }
}

fn store_error2(error: draft2::store::Error) -> String {
    match error {
        draft2::store::Error::NoSuchStore => "no-such-store".to_owned(),
        draft2::store::Error::AccessDenied => "access-denied".to_owned(),
        draft2::store::Error::Other(why) => format!("other: {why}"),
    }
}

export!(Probe);
