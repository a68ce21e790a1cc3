//! What people and programs see: lines and JSON on stdout, notes and errors on stderr.
//!
//! Text from agents is untrusted. On its way to a terminal its control characters are replaced, so
//! that no tool can move the cursor, change the title or hide what it printed.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::environment;
use crate::exit::{CommandError, CommandResult};

/// Writes a line to stdout.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Writes a value to stdout as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> CommandResult {
    line(serde_json::to_string(value)?)?;
    Ok(())
}

/// Writes a line to stderr. Nobody can be told when that fails.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes `error: …` to stderr, red on a terminal.
pub(crate) fn error(text: impl Display) {
    let text = text.to_string();
    let text =
        if io::stderr().is_terminal() { printable(&text) } else { Cow::Borrowed(text.as_str()) };
    if is_coloured(&io::stderr()) {
        note(format_args!("\x1b[1;31merror:\x1b[0m {text}"));
    } else {
        note(format_args!("error: {text}"));
    }
}

/// A word of a command that people copy into a shell, quoted where the shell would not take it as it is.
pub(crate) fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Whether a stream takes colours: a terminal whose user has not asked for none.
pub(crate) fn is_coloured(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && !environment::refuses_colour()
}

/// Lays rows out in columns, as wide as the terminal allows.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    let arrangement = if io::stdout().is_terminal() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    };
    table.load_style(presets::NOTHING).set_content_arrangement(arrangement);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| printable(&cell).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Something that turns on a terminal while work goes on; nothing elsewhere.
pub(crate) fn spinner(message: &'static str) -> ProgressBar {
    /// Smooth to the eye.
    const TICK: Duration = Duration::from_millis(120);
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.enable_steady_tick(TICK);
    spinner
}

/// The first sentence of a description, for a table.
pub(crate) fn summary(text: &str) -> String {
    /// As much as fits beside the other columns.
    const SUMMARY_CHARS_MAX: usize = 100;
    let lines = text.trim().lines().map(str::trim).take_while(|line| !line.is_empty());
    let paragraph = lines.collect::<Vec<_>>().join(" ");
    let sentence = paragraph.find(". ").map_or(paragraph.as_str(), |end| &paragraph[..=end]);
    if sentence.chars().count() <= SUMMARY_CHARS_MAX {
        return sentence.to_owned();
    }
    let cut: String = sentence.chars().take(SUMMARY_CHARS_MAX - 1).collect();
    cut + "…"
}

/// A time in milliseconds since the Unix epoch, for people.
pub(crate) fn time(unix_ms: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    time.map_or_else(String::new, |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// A size to a tenth of its unit, for people. Rounded, not cut: 1.56 MiB is "1.6MiB".
pub(crate) fn rounded(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let exact = u128::from(bytes);
    // What rounds to 1024 of a unit is 1 of the next.
    let half_a_tenth = |shift: u32| (1_u128 << (shift - 10)) / 20;
    let unit = UNITS.iter().find(|(shift, _)| exact + half_a_tenth(*shift) >= 1 << shift);
    let Some((shift, unit)) = unit else { return format!("{bytes}B") };
    let tenths = (exact * 10 + (1 << (shift - 1))) >> shift;
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{unit}"),
        (whole, tenth) => format!("{whole}.{tenth}{unit}"),
    }
}

/// Replaces control characters other than line ends and tabs, and what turns the text that follows around or ends a line
/// where none is seen: with those, a name reads as another, on a terminal as in a review.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_turning = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_bad = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || is_turning(c)
            || matches!(c, '\u{2028}' | '\u{2029}')
    };
    if text.contains(is_bad) {
        Cow::Owned(text.replace(is_bad, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The members of an envelope that people are shown.
#[derive(Deserialize)]
struct Envelope<'a> {
    success: bool,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<String>,
    code: Option<String>,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
    retry_after_ms: Option<u64>,
}

/// Prints how a call ended: exactly its envelope, or what a person wants to read of it.
pub(crate) fn envelope(envelope: &str, as_json: bool) -> CommandResult {
    let parsed: Envelope<'_> = serde_json::from_str(envelope)
        .map_err(|error| anyhow::anyhow!("the answer is not a result envelope: {error}"))?;
    if as_json {
        line(envelope)?;
    } else if parsed.success {
        line(readable(parsed.result))?;
    } else {
        complain(&parsed);
    }
    if parsed.success { Ok(()) } else { Err(CommandError::Reported) }
}

fn readable(result: Option<&RawValue>) -> String {
    let raw = result.map_or("null", RawValue::get);
    let text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| pretty(raw));
    for_people(text)
}

/// Text of an agent for stdout, made harmless where that is a terminal.
pub(crate) fn for_people(text: String) -> String {
    if io::stdout().is_terminal() { printable(&text).into_owned() } else { text }
}

fn complain(envelope: &Envelope<'_>) {
    error(envelope.error.as_deref().unwrap_or("the call failed"));
    if let Some(code) = &envelope.code {
        note(format_args!("code: {code}"));
    }
    // The message of invalid arguments already lists the violations.
    if let Some(details) =
        envelope.details.filter(|_| envelope.code.as_deref() != Some("invalid_arguments"))
    {
        note(format_args!("details: {}", printable(&pretty(details.get()))));
    }
    if let Some(wait) = envelope.retry_after_ms {
        note(format_args!("try again in {wait} ms"));
    }
}

/// Indents compact or loose JSON without touching its numbers, strings or order.
pub(crate) fn pretty(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut characters = json.chars().peekable();
    let break_line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = characters.next() {
        if in_string {
            text.push(c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                text.push(c);
            }
            '{' | '[' => {
                text.push(c);
                while characters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                match characters.next_if(|c| matches!(c, '}' | ']')) {
                    Some(end) => text.push(end),
                    None => {
                        depth += 1;
                        break_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                break_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests;
