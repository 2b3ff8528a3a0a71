//! Key files: written once, readable by their owner only, used by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::{Identity, KeyFileError, decode_pem, encode_pem, is_encrypted};

/// Longest key file, in bytes.
const MAX_LEN: u64 = 64 << 10;

/// Why a key file cannot be written or used. Each error names the file, and a remedy if there is
/// one.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The key file cannot be opened, read or written.
    #[error("cannot use key file {}: {error}", path.display())]
    Io {
        /// Path of the key file.
        path: PathBuf,
        /// The error of the file system, or of the passphrase's source.
        error: io::Error,
    },
    /// There is already something at the path of the new key.
    #[error("{} already exists and is never overwritten; choose another name", path.display())]
    Exists {
        /// Path of what is there.
        path: PathBuf,
    },
    /// Others than the owner can use the file.
    #[error(
        "key file {} can be read by other users (mode {mode:04o}); run: chmod 600 {}",
        path.display(),
        path.display()
    )]
    Open {
        /// Path of the key file.
        path: PathBuf,
        /// Permission bits of the file.
        mode: u32,
    },
    /// The file holds no key that we can use, or the passphrase is wrong or missing.
    #[error("key file {}: {error}", path.display())]
    Unreadable {
        /// Path of the key file.
        path: PathBuf,
        /// What is wrong with its text.
        error: KeyFileError,
    },
    /// Another process has locked the file.
    #[error(
        "key file {} is in use by another loyal process; stop that process: two nodes must never \
         share a key",
        path.display()
    )]
    Locked {
        /// Path of the key file.
        path: PathBuf,
    },
}

impl KeyError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// Lock on a key file; keeps other processes from using the key until it is dropped.
#[derive(Debug)]
pub struct KeyLock {
    _file: File,
}

/// Writes a new key file with mode 0600, encrypted if there is a passphrase, and syncs it and its
/// folder.
///
/// # Errors
/// [`KeyError::Exists`] if there is anything at that path, which is then left unchanged.
pub fn write(path: &Path, identity: &Identity, passphrase: Option<&str>) -> Result<(), KeyError> {
    let pem = encode_pem(identity, passphrase)
        .map_err(|error| KeyError::Unreadable { path: path.to_owned(), error })?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::io(path, error),
    })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = file
        .write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|error| {
        // A partial key is worse than none. If it cannot be removed either, the first error matters
        // more.
        let _ = std::fs::remove_file(path);
        KeyError::io(path, error)
    })
}

/// Reads a key file; `passphrase` is called only if the key is encrypted.
///
/// # Errors
/// See [`KeyError`]; a file that its group or others can use is refused.
pub fn read(
    path: &Path,
    passphrase: impl FnOnce() -> io::Result<Zeroizing<String>>,
) -> Result<Identity, KeyError> {
    let file = open(path)?;
    let io = |error| KeyError::io(path, error);
    let meta = file.metadata().map_err(io)?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode });
    }
    if meta.len() > MAX_LEN {
        return Err(io(io::Error::other("it is too long for a key file")));
    }
    // Reserved at once: a buffer that grows would leave copies of the key behind.
    let mut pem = Zeroizing::new(String::with_capacity(MAX_LEN as usize + 1));
    file.take(MAX_LEN).read_to_string(&mut pem).map_err(io)?;
    let passphrase = if is_encrypted(&pem) { Some(passphrase().map_err(io)?) } else { None };
    decode_pem(&pem, passphrase.as_ref().map(|text| text.as_str()))
        .map_err(|error| KeyError::Unreadable { path: path.to_owned(), error })
}

/// Locks a key file (flock), whichever path it is reached by. The lock ends with the process at the
/// latest.
///
/// # Errors
/// [`KeyError::Locked`] if another process, or this one, holds the lock.
pub fn lock(path: &Path) -> Result<KeyLock, KeyError> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(KeyLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(KeyError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(KeyError::io(path, error)),
    }
}

/// Opens a regular file for reading; never blocks, whatever kind of file it is.
fn open(path: &Path) -> Result<File, KeyError> {
    let io = |error| KeyError::io(path, error);
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io)?;
    if file.metadata().map_err(io)?.is_file() {
        Ok(file)
    } else {
        Err(io(io::Error::other("it is not a regular file")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn no_passphrase() -> io::Result<Zeroizing<String>> {
        Err(io::Error::other("nobody must ask"))
    }

    #[test]
    fn a_key_file_is_private_reads_back_and_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.pem");
        let (one, two) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        write(&path, &one, None).expect("writes");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o600);
        assert!(matches!(write(&path, &two, None), Err(KeyError::Exists { .. })));
        assert_eq!(read(&path, no_passphrase).ok().map(|key| key.public()), Some(one.public()));
        let lost = dir.path().join("none/a.pem");
        assert!(matches!(write(&lost, &one, None), Err(KeyError::Io { .. })));
    }

    #[test]
    fn an_encrypted_key_asks_for_its_passphrase() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.pem");
        let one = Identity::from_seed(&[1; 32]);
        write(&path, &one, Some("open sesame")).expect("writes");
        let with = |text: &str| read(&path, || Ok(Zeroizing::new(text.to_owned())));
        assert_eq!(with("open sesame").ok().map(|key| key.public()), Some(one.public()));
        let wrong = KeyFileError::WrongPassphrase;
        assert!(matches!(with("x"), Err(KeyError::Unreadable { error, .. }) if error == wrong));
        assert!(read(&path, no_passphrase).err().expect("refused").to_string().contains("nobody"));
    }

    #[test]
    fn what_others_can_use_and_what_is_no_key_is_refused_with_the_fix() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.pem");
        write(&path, &Identity::from_seed(&[1; 32]), None).expect("writes");
        for mode in [0o640, 0o604, 0o620, 0o610, 0o644, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("sets");
            let error = read(&path, no_passphrase).err().expect("refused").to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("sets");
        assert!(read(&path, no_passphrase).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("sets");
        for bad in [&b""[..], b"hello", &[0xff; 100], &vec![b'-'; 100_000]] {
            fs::write(&path, bad).expect("writes");
            let error = read(&path, no_passphrase).err().expect("refused").to_string();
            assert!(error.contains("a.pem"), "{error}");
        }
        assert!(read(dir.path(), no_passphrase).is_err());
        assert!(read(&dir.path().join("none"), no_passphrase).is_err());
    }

    #[test]
    fn a_key_is_used_by_one_at_a_time_whatever_it_is_called() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, alias) = (dir.path().join("a.pem"), dir.path().join("b.pem"));
        write(&path, &Identity::from_seed(&[1; 32]), None).expect("writes");
        symlink(&path, &alias).expect("links");
        let held = lock(&path).expect("locks");
        for name in [&path, &alias] {
            let error = lock(name).expect_err("refused");
            assert!(matches!(error, KeyError::Locked { .. }), "{error}");
        }
        assert!(read(&path, no_passphrase).is_ok(), "reading needs no lock");
        drop(held);
        lock(&alias).expect("free again");
    }
}
