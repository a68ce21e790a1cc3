//! Small files that a crash must not damage: written beside their place, made durable, and moved there.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file that only its owner can read (mode 0600), whole or not at all, and durably.
///
/// # Errors
/// What the system says; then the old file is still there.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, bytes, |file| file.persist(path).map(drop).map_err(|error| error.error))
}

/// The same for a file that must not be there yet.
///
/// # Errors
/// What the system says; `AlreadyExists` for a file that is there.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    place(path, bytes, |file| file.persist_noclobber(path).map(drop).map_err(|error| error.error))
}

fn place(
    path: &Path,
    bytes: &[u8],
    persist: impl FnOnce(tempfile::NamedTempFile) -> io::Result<()>,
) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    // A temporary file is made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    persist(file)?;
    // The name itself is part of the directory.
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_whole_private_and_never_written_over_by_mistake() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_new(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = write_new(&path, b"two").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        write(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
