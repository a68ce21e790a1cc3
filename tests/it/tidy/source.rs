//! Just enough of Rust's grammar to measure it: text, characters and comments are blanked out, then
//! braces are counted.

/// One source file.
pub(super) struct Source {
    /// The code line by line, with everything that is no code blanked out.
    lines: Vec<String>,
    /// Which of the lines are in a module of tests.
    in_tests: Vec<bool>,
}

/// A function with a body.
pub(super) struct Function {
    pub(super) name: String,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    /// From its `fn` to its last brace.
    pub(super) lines: usize,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        let lines: Vec<String> = bare(text).lines().map(str::to_owned).collect();
        let mut in_tests = vec![false; lines.len()];
        for start in 0..lines.len() {
            let module = lines[start].trim_start().starts_with("#[cfg(test)]")
                && lines.get(start + 1).is_some_and(|line| line.trim_start().starts_with("mod "));
            if module && let Some(end) = block_end(&lines, start + 1, 0) {
                in_tests[start..=end].fill(true);
            }
        }
        Self { lines, in_tests }
    }

    pub(super) fn lines_without_tests(&self) -> usize {
        self.in_tests.iter().filter(|in_tests| !**in_tests).count()
    }

    /// The lines of code outside of tests, with their numbers.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().zip(&self.in_tests).enumerate();
        lines
            .filter(|(_, (_, in_tests))| !**in_tests)
            .map(|(index, (line, _))| (index + 1, line.as_str()))
    }

    pub(super) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            for (column, _) in line.match_indices("fn ") {
                let starts_word =
                    !line[..column].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                let name: String = line[column + 3..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if starts_word
                    && !name.is_empty()
                    && let Some(end) = block_end(&self.lines, index, column)
                {
                    functions.push(Function { name, line: index + 1, lines: end - index + 1 });
                }
            }
        }
        functions
    }
}

/// The line of the brace that closes the first one after a place; none when a `;` outside of any
/// bracket ends the item before.
fn block_end(lines: &[String], line: usize, column: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (index, text) in lines.iter().enumerate().skip(line) {
        let text = if index == line { &text[column..] } else { text };
        for character in text.chars() {
            match character {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                ';' if braces == 0 && brackets == 0 => return None,
                '{' => braces += 1,
                '}' => {
                    braces = braces.checked_sub(1)?;
                    if braces == 0 {
                        return Some(index);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

/// The text with comments, strings and characters replaced by blanks; every line stays a line.
pub(super) fn bare(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut bare = String::with_capacity(text.len());
    let mut index = 0;
    while index < characters.len() {
        let rest = &characters[index..];
        let before = index.checked_sub(1).map(|index| characters[index]);
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['r', '#' | '"', ..] | ['b' | 'c', 'r', '#' | '"', ..] if !is_word(before) => {
                raw_string(rest)
            }
            ['"', ..] => string(rest),
            ['\'', ..] => character_literal(rest),
            _ => 0,
        };
        if length == 0 {
            bare.push(characters[index]);
            index += 1;
        } else {
            bare.extend(rest[..length].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            index += length;
        }
    }
    bare
}

fn is_word(character: Option<char>) -> bool {
    character.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut index) = (0_usize, 0);
    while index < rest.len() {
        match rest[index..] {
            ['/', '*', ..] => (depth, index) = (depth + 1, index + 2),
            ['*', '/', ..] => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
        if depth == 0 {
            break;
        }
    }
    index
}

/// The length of a raw string; 0 for a raw identifier such as `r#type`.
fn raw_string(rest: &[char]) -> usize {
    let prefix = rest.iter().take_while(|c| **c != '#' && **c != '"').count();
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return 0;
    }
    let close = |window: &[char]| window[0] == '"' && window[1..].iter().all(|c| *c == '#');
    rest[open + 1..]
        .windows(hashes + 1)
        .position(close)
        .map_or(rest.len(), |end| open + 1 + end + hashes + 1)
}

fn string(rest: &[char]) -> usize {
    let mut index = 1;
    while index < rest.len() && rest[index] != '"' {
        index += if rest[index] == '\\' { 2 } else { 1 };
    }
    (index + 1).min(rest.len())
}

/// The length of a character; 0 for a lifetime.
fn character_literal(rest: &[char]) -> usize {
    match rest {
        [_, '\\', ..] => rest.iter().skip(3).position(|c| *c == '\'').map_or(0, |end| end + 4),
        [_, _, '\'', ..] => 3,
        _ => 0,
    }
}
