//! Finds what was done to a log: lines that were changed, left out, added, moved or taken from its end.
//!
//! Each line is held against its own hash and against the line above. That finds everything but one thing: whoever
//! may write the files may also write a whole new log, hashes and all. A place in the chain that was kept
//! elsewhere ([`ChainPlace`]: in the host's store, or as a checkpoint) finds that, too, and that lines are gone.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;

use aop_core::audit::Action;
use serde::Serialize;

use super::files::{self, Lines, Next};
use super::line::{self, AuditLine, ChainPlace};

/// The most findings that are reported: one is enough to distrust the log, and a person reads no more.
const FINDINGS_MAX: usize = 100;

/// What verifying a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether nothing was found.
    pub intact: bool,
    /// Whole lines.
    pub lines: u64,
    /// Files.
    pub files: usize,
    /// The number of the first line that is there: more than 1 once old files were removed.
    pub first: Option<u64>,
    /// Where the log ends. Kept elsewhere, it is a checkpoint.
    pub last: Option<ChainPlace>,
    /// Bytes of a line that is not finished: the host stopped while it wrote it, or writes it now.
    pub unfinished_bytes: u64,
    /// Whether it is known where the log should end: the file `head` beside it or the host's store says so, or a checkpoint
    /// is its last line. Without that, lines that were taken from the end are not found.
    pub end_is_checked: bool,
    /// What is wrong, in the order of the files; at most 100.
    pub findings: Vec<Finding>,
}

/// Something that is wrong in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file's name.
    pub file: String,
    /// The line in that file, counted from 1; 0 for the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Reads a whole log and checks it, also while its host writes it. `kept` is where the host's store said, before, that the
/// log ends.
///
/// # Errors
/// When its files cannot be read.
pub fn verify(
    directory: &Path,
    checkpoint: Option<&ChainPlace>,
    kept: Option<&ChainPlace>,
) -> io::Result<Verdict> {
    // Before the lines, so that a host which writes meanwhile is not ahead of it.
    let head = files::head(directory);
    let mut check = Check { wanted: checkpoint, kept, ..Check::default() };
    for path in files::list(directory)? {
        check.file(&path)?;
    }
    let latest = head.iter().chain(kept).map(|place| place.seq).max();
    let mut verdict = check.conclude(latest);
    let reached = |place: &ChainPlace| verdict.last.as_ref().is_some_and(|last| last == place);
    verdict.end_is_checked = latest.is_some() || checkpoint.is_some_and(reached);
    Ok(verdict)
}

/// Calls `each` with every line that is one, oldest first; what is wrong with others is for [`verify`].
///
/// # Errors
/// When the files cannot be read.
pub fn read(directory: &Path, mut each: impl FnMut(AuditLine)) -> io::Result<()> {
    for path in files::list(directory)? {
        let mut lines = Lines::open(&path)?;
        while let Next::Line(text) = lines.next()? {
            if let Ok(line) = line::open(text) {
                each(line);
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Check<'a> {
    verdict: Verdict,
    wanted: Option<&'a ChainPlace>,
    kept: Option<&'a ChainPlace>,
    /// The first line as it is tied to what came before the log.
    begins_after: Option<ChainPlace>,
    /// Up to where the log says that it was pruned.
    pruned: BTreeSet<String>,
    file: String,
    line: u64,
}

impl Check<'_> {
    fn find(&mut self, message: impl Into<String>) {
        if self.verdict.findings.len() < FINDINGS_MAX {
            let (file, line) = (self.file.clone(), self.line);
            self.verdict.findings.push(Finding { file, line, message: message.into() });
        }
    }

    fn file(&mut self, path: &Path) -> io::Result<()> {
        if self.verdict.unfinished_bytes > 0 {
            self.find("its last line is not finished, and another file follows");
            self.verdict.unfinished_bytes = 0;
        }
        self.file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.line = 0;
        self.verdict.files += 1;
        let mut lines = Lines::open(path)?;
        loop {
            match lines.next()? {
                Next::Line(text) => {
                    self.line += 1;
                    match line::open(text) {
                        Ok(line) => self.follow(line),
                        Err(why) => self.find(why),
                    }
                }
                Next::Unfinished(bytes) => {
                    self.line += 1;
                    self.verdict.unfinished_bytes = bytes;
                }
                Next::End => return Ok(()),
            }
        }
    }

    /// Checks how a line is tied to the one above, and goes on from what it says: one finding for one deed.
    fn follow(&mut self, line: AuditLine) {
        self.verdict.lines += 1;
        let AuditLine { seq, hash, prev, action, subject, .. } = line;
        match &self.verdict.last {
            None => {
                self.verdict.first = Some(seq);
                self.begins_after = Some(ChainPlace { seq: seq.saturating_sub(1), hash: prev });
            }
            Some(above) if seq != above.seq + 1 => {
                let message = if seq > above.seq + 1 {
                    format!("lines {} to {} are missing above it", above.seq + 1, seq - 1)
                } else {
                    format!("line {seq} comes after line {}: it was repeated or moved", above.seq)
                };
                self.find(message);
            }
            Some(above) if prev != above.hash => {
                self.find("it does not follow the line above: one of the two was replaced");
            }
            Some(_) => {}
        }
        if let Some(wanted) = self.wanted.take_if(|wanted| wanted.seq == seq)
            && wanted.hash != hash
        {
            self.find("it is not the line of the checkpoint: the log was written anew");
        }
        if let Some(kept) = self.kept.take_if(|kept| kept.seq == seq)
            && kept.hash != hash
        {
            self.find("it is not the line that the host's store knows: the log was written anew");
        }
        if action == Action::AuditPrune.as_str() {
            self.pruned.insert(subject);
        }
        self.verdict.last = Some(ChainPlace { seq, hash });
    }

    /// `due` is the number of the last line that the host wrote, as far as it is known.
    fn conclude(mut self, due: Option<u64>) -> Verdict {
        let end = self.verdict.last.as_ref().map_or(0, |last| last.seq);
        if let Some(due) = due.filter(|due| *due > end) {
            self.find(format!(
                "the log ends at line {end}, and the host wrote {due}: the end is missing"
            ));
        }
        if let Some(wanted) = self.wanted {
            let is_before = self.verdict.first.is_some_and(|first| wanted.seq < first);
            self.find(if is_before {
                format!("line {} of the checkpoint was removed with its file", wanted.seq)
            } else {
                format!("line {} of the checkpoint is not there: the end is missing", wanted.seq)
            });
        }
        let begins = self.begins_after.take().filter(|place| *place != ChainPlace::start());
        if let Some(place) = begins.filter(|place| !self.pruned.contains(&place.to_string())) {
            self.line = 0;
            self.find(format!(
                "the log begins after line {}, and does not say that older files were removed",
                place.seq
            ));
        }
        self.verdict.intact = self.verdict.findings.is_empty();
        self.verdict
    }
}
