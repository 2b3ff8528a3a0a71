//! Folders that are made before it is known whether anything comes of them.

use std::io;
use std::path::{Path, PathBuf};

/// The folders that were made for a run. Those that are empty in the end go again, so that what is
/// refused leaves nothing behind.
#[derive(Debug, Default)]
#[must_use = "what is empty goes when this is dropped"]
pub struct Made {
    /// The deepest last.
    folders: Vec<PathBuf>,
}

impl Made {
    /// Makes a folder and those above it that are not there.
    ///
    /// # Errors
    /// When it is no folder, or cannot be made; what was made on the way goes again.
    pub fn folder(path: &Path) -> io::Result<Self> {
        if path.exists() && !path.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                "it is a file; give a folder, or a name that is free",
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

    /// The same of a folder that something will be written into, which is tried.
    ///
    /// # Errors
    /// As above; and when nothing can be written there.
    pub fn writable(path: &Path) -> io::Result<Self> {
        let made = Self::folder(path)?;
        let probe = path.join(format!(".probe.{}", std::process::id()));
        std::fs::write(&probe, "probe").and_then(|()| std::fs::remove_file(&probe)).inspect_err(
            |_| {
                // A full disk takes the name and not what is in it.
                let _ = std::fs::remove_file(&probe);
            },
        )?;
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in self.folders.iter().rev() {
            // One that holds something by now stays, and so do those above it.
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
