//! The folder of a mesh: given, or temporary and removed at the end.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use super::error::Usage;
use super::{signals, stderr};
use crate::mesh::MeshError;

/// The mesh's folder, and whether it is removed at the end.
pub(super) struct MeshFolder {
    pub path: PathBuf,
    temporary: bool,
    keep: bool,
}

impl MeshFolder {
    /// Uses `dir` if it is given, else creates a temporary folder, which is removed at the end
    /// unless `keep` is set.
    pub(super) fn new(dir: Option<&Path>, keep: bool) -> anyhow::Result<Self> {
        if let Some(dir) = dir {
            let path = std::path::absolute(dir)?;
            check_utf8(&path).map_err(|why| Usage(format!("--dir: {why}")))?;
            return Ok(Self { path, temporary: false, keep: true });
        }
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("loyal-mesh-{}-{:06}", std::process::id(), elapsed.subsec_micros());
        let path = std::env::temp_dir().join(name);
        check_utf8(&path).map_err(|why| Usage(format!("the folder for temporary files: {why}")))?;
        // Private, because it will hold keys. Fails if another user created the folder first.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        if !keep {
            signals::temporary(&path);
        }
        Ok(Self { path, temporary: true, keep })
    }

    /// Removes a temporary folder, unless it is to be kept or the run failed and its logs are
    /// useful: then only the secrets are removed.
    pub(super) fn close(self, failure: Option<&anyhow::Error>) {
        if !self.temporary {
            return;
        }
        let of_use = |error: &anyhow::Error| {
            error.downcast_ref::<MeshError>().is_some_and(MeshError::has_logs)
        };
        let failed = failure.is_some_and(of_use);
        let shown = self.path.display();
        if failed && !self.keep {
            self.remove_secrets();
        }
        if failed || self.keep {
            stderr::note(format_args!("\x1b[2mkept {shown}\x1b[0m"));
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            stderr::note(format_args!("cannot remove {shown}: {error}"));
        }
    }

    /// Removes the keys and tokens of nodes that no longer run.
    fn remove_secrets(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            let secret = |extension| extension == "pem" || extension == "token";
            if path.extension().is_some_and(secret)
                && let Err(error) = fs::remove_file(&path)
            {
                stderr::note(format_args!("cannot remove {}: {error}", path.display()));
            }
        }
    }
}

/// Refuses a path that is not UTF-8: `mesh.json` names the files in it, and JSON is text.
fn check_utf8(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let why = || format!("{shown} is not UTF-8, so mesh.json cannot name it; give another folder");
    path.to_str().map(|_| ()).ok_or_else(why)
}
