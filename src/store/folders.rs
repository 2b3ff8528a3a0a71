//! Folders that are created before it is known whether anything will be written there.

use std::io;
use std::path::{Path, PathBuf};

/// The folders that were created for a run. Those that are still empty are removed on drop, so that
/// a refused run leaves nothing behind.
#[derive(Debug, Default)]
#[must_use = "what is empty goes when this is dropped"]
pub struct Made {
    folders: Vec<PathBuf>,
}

impl Made {
    /// Creates a folder and its missing parents.
    ///
    /// # Errors
    /// When the path is not a folder or cannot be created; what was created is removed again.
    pub fn folder(path: &Path) -> io::Result<Self> {
        if path.exists() && !path.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                "it is a file; give a folder or an unused name",
            ));
        }
        let mut missing: Vec<PathBuf> = path
            .ancestors()
            .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
            .map(Path::to_owned)
            .collect();
        missing.reverse();
        let made = Self { folders: missing };
        std::fs::create_dir_all(path)?;
        Ok(made)
    }

    /// Like [`Made::folder`], but also tries to write a file there.
    ///
    /// # Errors
    /// As for [`Made::folder`], and when the file cannot be written.
    pub fn writable(path: &Path) -> io::Result<Self> {
        let made = Self::folder(path)?;
        let probe = path.join(format!(".probe.{}", std::process::id()));
        std::fs::write(&probe, "probe").and_then(|()| std::fs::remove_file(&probe)).inspect_err(
            |_| {
                // On a full disk the file may be created but not written.
                let _ = std::fs::remove_file(&probe);
            },
        )?;
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in self.folders.iter().rev() {
            // A folder that is no longer empty stays, and so do those above it.
            if std::fs::remove_dir(folder).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_empty_goes_again_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let (deep, there) = (dir.path().join("a/b/c"), dir.path().join("there"));
        std::fs::create_dir(&there).expect("makes");
        drop(Made::folder(&deep).expect("makes"));
        assert!(!dir.path().join("a").exists());
        drop(Made::folder(&there).expect("is there"));
        assert!(there.exists(), "it was there before");
        let made = Made::folder(&deep).expect("makes");
        std::fs::write(dir.path().join("a/note"), "x").expect("writes");
        drop(made);
        assert!(dir.path().join("a/note").exists() && !dir.path().join("a/b").exists());
        let file = dir.path().join("a/note");
        let error = Made::folder(&file).expect_err("a file").to_string();
        assert!(error.contains("is a file"), "{error}");
        assert!(Made::folder(&file.join("x/y")).is_err());
        assert_eq!(std::fs::read_dir(dir.path().join("a")).expect("lists").count(), 1);
    }
}
