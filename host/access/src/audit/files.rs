//! The files of a log, and reading them line by line in bounded memory.
//!
//! A file is named by the number of its first line, so that their order is that of their names.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::{self, AuditLine, ChainPlace, LINE_MAX_BYTES};

/// Where the log is in the data directory.
const DIRECTORY: &str = "audit";
/// What its files end in.
const EXTENSION: &str = "jsonl";
/// Where the log ends, written after every line that reached the disk.
const HEAD: &str = "head";

/// The log's directory in a data directory.
#[must_use]
pub fn audit_directory(data: &Path) -> PathBuf {
    data.join(DIRECTORY)
}

/// The file whose first line has this number.
pub(super) fn file_of(directory: &Path, seq: u64) -> PathBuf {
    directory.join(format!("{seq:020}.{EXTENSION}"))
}

pub(super) fn head_of(directory: &Path) -> PathBuf {
    directory.join(HEAD)
}

/// The files, oldest first. A log that was taken away has none.
pub(super) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = match directory.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_numbered = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
        if is_numbered && path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a place is one of the log, or was before its files begin. Reads one file at most.
pub(super) fn holds(files: &[PathBuf], place: &ChainPlace) -> io::Result<bool> {
    let begins = |path: &&PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        stem.and_then(|stem| stem.parse::<u64>().ok()).is_some_and(|first| first <= place.seq)
    };
    let Some(path) = files.iter().rfind(begins) else { return Ok(true) };
    let mut lines = Lines::open(path)?;
    while let Next::Line(text) = lines.next()? {
        if let Ok(line) = line::open(text)
            && line.seq == place.seq
        {
            return Ok(line.hash == place.hash);
        }
    }
    Ok(false)
}

/// Where the host last said that the log ends. None when it never did, or what is there says nothing.
pub(super) fn head(directory: &Path) -> Option<ChainPlace> {
    let mut text = String::new();
    let file = File::open(head_of(directory)).ok()?;
    file.take(LINE_MAX_BYTES as u64).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

/// The lines of a file, one after another.
pub(super) struct Lines {
    reader: BufReader<File>,
    buffer: Vec<u8>,
}

/// What comes next in a file.
pub(super) enum Next<'a> {
    /// A line without its end.
    Line(&'a [u8]),
    /// The last bytes have no end of line: the host stopped while it wrote them, or writes them now.
    Unfinished(u64),
    /// The file ends after a whole line.
    End,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::new(File::open(path)?), buffer: Vec::new() })
    }

    /// A line that is longer than any the host writes comes in pieces, none of which is a line.
    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        self.buffer.clear();
        let limit = LINE_MAX_BYTES as u64;
        let count = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer)?;
        Ok(match self.buffer.last() {
            None => Next::End,
            Some(b'\n') => Next::Line(&self.buffer[..count - 1]),
            Some(_) if count as u64 == limit => Next::Line(&self.buffer),
            Some(_) => Next::Unfinished(count as u64),
        })
    }
}

/// How a file ends.
pub(super) struct Tail {
    /// Its last whole line, and none when that is no line of a log.
    pub(super) last: Option<AuditLine>,
    /// Its length up to the end of the last whole line.
    pub(super) whole_bytes: u64,
    /// What comes after that.
    pub(super) unfinished_bytes: u64,
}

/// Reads the end of a file, at most two lines of it.
pub(super) fn tail(path: &Path) -> io::Result<Tail> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(2 * LINE_MAX_BYTES as u64);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(2 * LINE_MAX_BYTES as u64).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let whole = bytes[..end].strip_suffix(b"\n").unwrap_or_default();
    let line = whole.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Tail {
        last: line::open(line).ok(),
        whole_bytes: begin + end as u64,
        unfinished_bytes: (bytes.len() - end) as u64,
    })
}
