//! The files of a node's identity: written whole or not at all, and keys for their owner alone.

use std::io::ErrorKind;
use std::path::Path;

use crate::durable;
use crate::membership::MembershipError;

/// The most that is read of such a file: keys, certificates and lists of a few hundred lines.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Writes a file that only its owner can read (mode 0600), whole or not at all, and durably.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), MembershipError> {
    durable::write(path, bytes).map_err(|error| MembershipError::file("write", path, error))
}

/// Removes a file, durably; it may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), MembershipError> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| MembershipError::file("remove", path, error))
}

/// Renames a file, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), MembershipError> {
    std::fs::rename(from, to)
        .and_then(|()| sync_directory_of(to))
        .map_err(|error| MembershipError::file("write", to, error))
}

fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Reads a file as text; none when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, MembershipError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_MAX_BYTES => {
            return Err(MembershipError::damaged(path, "it is too large"));
        }
        _ => {}
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(MembershipError::file("read", path, error)),
    }
}

/// Refuses a key that others than its owner can read.
pub(crate) fn check_private(path: &Path) -> Result<(), MembershipError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata =
            std::fs::metadata(path).map_err(|error| MembershipError::file("read", path, error))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(MembershipError::Exposed(path.to_owned()));
        }
    }
    Ok(())
}

/// Makes a directory that only its owner can look into.
pub(crate) fn make_directory(path: &Path) -> Result<(), MembershipError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path).map_err(|error| MembershipError::file("make", path, error))
}
