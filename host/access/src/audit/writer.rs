//! Writes lines: to the disk, in order, into files of bounded size.
//!
//! Lines that came together are written and synced together. Then the end of the log is noted in a file of its
//! own, so that note never runs ahead of what is on the disk: where it does, lines were taken away.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aop_core::AuditEvent;
use aop_core::audit::{Action, Outcome};

use super::AuditConfig;
use super::files::{self, Lines, Next, Tail};
use super::line::{self, ChainPlace, Record};

pub(super) struct Writer {
    directory: PathBuf,
    config: AuditConfig,
    /// Oldest first; the last one is written.
    files: Vec<PathBuf>,
    file: File,
    bytes: u64,
    place: ChainPlace,
    /// Length and end of the log as far as it is on the disk: where a failed write goes back to.
    safe: (u64, ChainPlace),
}

/// Where a log was left, and what is wrong there.
struct Left {
    place: ChainPlace,
    /// Of the newest file, up to the end of its last whole line.
    bytes: u64,
    /// The newest file does not end with a line that another can follow.
    is_broken: bool,
    repairs: Vec<String>,
}

impl Writer {
    /// Opens a log where it ended. What a crash left unfinished is cut off, and what else is wrong at its end, or does
    /// not fit a place that was `kept` elsewhere, is left for whoever verifies it; both are written down.
    pub(super) fn open(
        directory: &Path,
        config: AuditConfig,
        kept: Option<&ChainPlace>,
    ) -> io::Result<Self> {
        make_private_directory(directory)?;
        let mut files = files::list(directory)?;
        let mut left = Left::of(&files)?;
        left.hold_against(&files, files::head(directory).as_ref(), kept)?;
        if left.is_broken || files.is_empty() {
            let path = files::file_of(directory, left.place.seq + 1);
            left.bytes = if files.last() == Some(&path) {
                // It goes on behind what cannot be read in it.
                std::fs::metadata(&path)?.len()
            } else {
                files.push(path);
                0
            };
        }
        let file = append_to(files.last().map_or(Path::new(""), PathBuf::as_path))?;
        sync_directory(directory)?;
        let mut writer = Self {
            directory: directory.to_owned(),
            config,
            files,
            file,
            bytes: left.bytes,
            place: left.place.clone(),
            safe: (left.bytes, left.place),
        };
        for repair in left.repairs {
            tracing::error!(repair, "the audit log was not as it was left: see `aop audit verify`");
            let event = AuditEvent {
                outcome: Outcome::Failed,
                detail: &repair,
                ..AuditEvent::of_host(Action::AuditRecover, "")
            };
            writer.write(&[Record::new(event, SystemTime::now())]).map_err(|lost| lost.error)?;
        }
        Ok(writer)
    }

    /// Where the log ends.
    pub(super) const fn place(&self) -> &ChainPlace {
        &self.safe.1
    }

    /// Appends records and waits until they are on the disk.
    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), Lost> {
        let before = self.safe.1.seq;
        let appended = records.iter().try_for_each(|record| self.append(record));
        appended.and_then(|()| self.sync()).map_err(|error| {
            self.undo();
            let kept = usize::try_from(self.safe.1.seq - before).unwrap_or(usize::MAX);
            Lost { events: records.iter().skip(kept).map(|record| record.count).sum(), error }
        })
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        let (mut line, mut place) = line::seal(record, &self.place)?;
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.config.file_max_bytes {
            self.rotate()?;
            (line, place) = line::seal(record, &self.place)?;
        }
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        self.place = place;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.safe = (self.bytes, self.place.clone());
        // It only helps to find what was taken away: the lines are safe without it.
        if let Err(error) = self.note_head() {
            tracing::warn!(%error, "the end of the audit log could not be noted");
        }
        Ok(())
    }

    fn note_head(&self) -> io::Result<()> {
        let head = files::head_of(&self.directory);
        let new = head.with_extension("new");
        fs::write(&new, format!("{}\n", self.place))?;
        fs::rename(new, head)
    }

    /// Begins a new file, and removes the oldest ones.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let path = files::file_of(&self.directory, self.place.seq + 1);
        self.file = append_to(&path)?;
        self.bytes = 0;
        self.safe.0 = 0;
        self.files.push(path);
        sync_directory(&self.directory)?;
        tracing::info!(checkpoint = %self.place, "the audit log continues in a new file");
        while self.files.len() > self.config.files_max {
            self.prune()?;
        }
        Ok(())
    }

    /// Removes the oldest file, once the log itself says so: what is gone can be told from what was taken.
    fn prune(&mut self) -> io::Result<()> {
        let before_next = match Lines::open(&self.files[1])?.next()? {
            Next::Line(text) => line::open(text).ok(),
            Next::Unfinished(_) | Next::End => None,
        };
        let until = before_next.map(|next| ChainPlace { seq: next.seq - 1, hash: next.prev });
        let until = until.map(|place| place.to_string()).unwrap_or_default();
        let event = AuditEvent::of_host(Action::AuditPrune, &until);
        self.append(&Record::new(event, SystemTime::now()))?;
        self.sync()?;
        fs::remove_file(self.files.remove(0))
    }

    /// Goes back to what is safe. Where even that fails, the next line begins behind a broken one, and the log
    /// tells whoever verifies it.
    fn undo(&mut self) {
        if let Err(error) = self.file.set_len(self.safe.0) {
            tracing::error!(%error, "an unfinished line of the audit log cannot be cut off");
        }
        (self.bytes, self.place) = self.safe.clone();
    }
}

/// Records that are not on the disk.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) events: u64,
    pub(super) error: io::Error,
}

impl Left {
    fn of(files: &[PathBuf]) -> io::Result<Self> {
        let place = ChainPlace::start();
        let mut left = Self { place, bytes: 0, is_broken: false, repairs: Vec::new() };
        for (age, path) in files.iter().rev().enumerate() {
            let Tail { last, whole_bytes, unfinished_bytes } = files::tail(path)?;
            if age == 0 {
                left.bytes = whole_bytes;
                left.is_broken = last.is_none() && whole_bytes > 0;
                if unfinished_bytes > 0 {
                    OpenOptions::new().write(true).open(path)?.set_len(whole_bytes)?;
                    let repair = format!("cut off an unfinished line of {unfinished_bytes} bytes");
                    left.repairs.push(repair);
                }
            }
            if let Some(last) = last {
                left.place = ChainPlace { seq: last.seq, hash: last.hash };
                break;
            }
        }
        Ok(left)
    }

    /// Finds that the end is missing, or that the log was written anew. From then on it does not verify, whatever follows.
    fn hold_against(
        &mut self,
        files: &[PathBuf],
        head: Option<&ChainPlace>,
        kept: Option<&ChainPlace>,
    ) -> io::Result<()> {
        let end = self.place.seq;
        let latest = head.into_iter().chain(kept).max_by_key(|place| place.seq);
        if let Some(due) = latest.filter(|due| due.seq > end) {
            self.repairs.push(format!("the log ended at line {end} and should end at {}", due.seq));
            self.place = due.clone();
            self.is_broken = true;
        } else if let Some(kept) = kept
            && !files::holds(files, kept)?
        {
            self.repairs.push(format!("line {} is not the one that was written", kept.seq));
            self.place.hash.clone_from(&kept.hash);
            self.is_broken = true;
        }
        Ok(())
    }
}

/// For the host's own user only, as what it names is nobody else's business.
fn make_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// So that a new file is found after a power failure.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(all(test, target_os = "linux"))]
impl Writer {
    /// From now on the disk is full.
    pub(super) fn break_for_test(&mut self) -> io::Result<()> {
        self.file = OpenOptions::new().append(true).open("/dev/full")?;
        Ok(())
    }

    pub(super) fn mend_for_test(&mut self) -> io::Result<()> {
        self.file = append_to(self.files.last().map_or(Path::new(""), PathBuf::as_path))?;
        Ok(())
    }
}
