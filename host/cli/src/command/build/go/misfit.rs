//! What Go's compiler says of the bindings, in the words of the WIT that they were made from: an author knows that, and
//! not what was generated.

use std::path::Path;

use wit_parser::Function;

use crate::command::build::wit::Wit;
use crate::output;

/// Where the bindings are that call what the author writes.
const CALLERS: &str = "exports/wit_exports/";
/// What each of them begins with.
const EXPORT: &str = "//go:wasmexport ";
/// What the names of helpers of an export begin with.
const HELPERS: [&str; 3] = ["cabi_post_", "[async-lift]", "[callback][async-lift]"];

/// One complaint of the compiler.
struct Complaint<'l> {
    /// The generated file, below the project.
    file: &'l str,
    line: usize,
    /// With what the compiler says below it.
    message: String,
}

/// What of the WIT the source does not fit, for people; none when the compiler complains of something else.
pub(super) fn describe<'l>(
    said: impl IntoIterator<Item = &'l String>,
    wit: &Wit,
    project: &Path,
) -> Option<String> {
    let mut lines = Vec::new();
    for Complaint { file, line, message } in complaints(said) {
        let Ok(text) = std::fs::read_to_string(project.join(file)) else { continue };
        let export = exported_at(&text, line);
        // Above all exports, a package is imported.
        let package = missing_package(&message).filter(|_| export.is_none());
        for (name, function) in exports(wit) {
            let is_meant = match package {
                Some(package) => callers(&text, &name).any(|body| body.contains(package)),
                None => export == Some(&name),
            };
            if !is_meant {
                continue;
            }
            let place = wit.resolve.source_map.render_location(function.span);
            let advice = match package {
                Some(package) => format!("there is no package exports/{package}, write it"),
                None => advised(&message),
            };
            lines.push(format!("\n  `{name}` ({place}): {advice}"));
        }
    }
    lines.dedup();
    let text = lines.concat();
    (!text.is_empty()).then(|| output::printable(&text).into_owned())
}

/// The functions of the world, by the names under which a module exports them.
fn exports(wit: &Wit) -> impl Iterator<Item = (String, &Function)> {
    wit.functions().map(|(interface, function)| match interface {
        Some(interface) => (format!("{interface}#{}", function.name), function),
        None => (function.name.clone(), function),
    })
}

/// `exports/wit_exports/FILE:LINE:COLUMN: MESSAGE`, and lines that begin with a tab below it.
fn complaints<'l>(said: impl IntoIterator<Item = &'l String>) -> Vec<Complaint<'l>> {
    let mut found: Vec<Complaint<'_>> = Vec::new();
    // Whether the line before belongs to the last one that was found.
    let mut is_open = false;
    for line in said {
        if line.starts_with('\t') {
            if let Some(last) = found.last_mut().filter(|_| is_open) {
                last.message.push_str(&format!("\n    {}", line.trim()));
            }
            continue;
        }
        let complaint = complaint(line.trim_start_matches("./"));
        is_open = complaint.is_some();
        found.extend(complaint);
    }
    found
}

fn complaint(line: &str) -> Option<Complaint<'_>> {
    let mut parts = line.splitn(4, ':');
    let file = parts.next().filter(|file| file.starts_with(CALLERS))?;
    let number = parts.next()?.parse().ok()?;
    // Some have no column.
    let rest = line.splitn(3, ':').nth(2)?;
    let message = match rest.split_once(':') {
        Some((column, message)) if column.parse::<usize>().is_ok() => message,
        _ => rest,
    };
    Some(Complaint { file, line: number, message: message.trim().to_owned() })
}

/// The package of exports that is not found, if it is that. The words for it depend on why Go does not find it.
fn missing_package(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("/exports/")?;
    let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    name.starts_with("export_").then_some(name)
}

/// What to do where something is not there.
fn advised(message: &str) -> String {
    match message.strip_prefix("undefined: ").and_then(|name| name.split_once('.')) {
        Some((package, name)) => {
            format!("exports/{package} has no `{name}`, write `func {name}(…)` there")
        }
        None => message.to_owned(),
    }
}

/// Which export a line of the bindings belongs to.
fn exported_at(text: &str, line: usize) -> Option<&str> {
    let above: Vec<_> = text.lines().take(line).collect();
    above.iter().rev().find_map(|line| line.strip_prefix(EXPORT)).map(plain)
}

/// The bindings of one export.
fn callers<'t>(text: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let bodies = text.split(EXPORT).skip(1);
    bodies.filter(move |body| body.lines().next().is_some_and(|of| plain(of) == name))
}

fn plain(export: &str) -> &str {
    let export = export.trim();
    HELPERS.iter().rev().find_map(|helper| export.strip_prefix(helper)).unwrap_or(export)
}

#[cfg(test)]
mod tests;
