//! Passphrases, and the files that several verbs read: keys, networks, tokens.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::error::Usage;
use crate::protocol::Network;

/// Where a passphrase comes from.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Passphrase {
    /// Read the passphrase from the first line of this file [default: LOYAL_PASSPHRASE, or ask]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

const VARIABLE: &str = "LOYAL_PASSPHRASE";
/// Maximum size of a passphrase or token file, in bytes.
const MAX_SECRET: u64 = 4096;
/// Maximum size of a network file, in bytes: more than the maximum number of keys takes.
const MAX_NETWORK: u64 = 512 << 20;

/// Returns the passphrase from the file or the environment; `None` if neither is given.
pub(super) fn given(passphrase: &Passphrase) -> anyhow::Result<Option<Zeroizing<String>>> {
    if let Some(path) = &passphrase.passphrase_file {
        return secret(path, "passphrase").map(Some);
    }
    match std::env::var(VARIABLE) {
        Ok(value) if value.is_empty() => bail!("{VARIABLE} is set but empty; set it or unset it"),
        Ok(value) => Ok(Some(Zeroizing::new(value))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is not UTF-8"),
    }
}

/// Returns the passphrase that opens a key file; asks on the terminal if it is not given.
pub(super) fn opening(passphrase: &Passphrase, key: &Path) -> io::Result<Zeroizing<String>> {
    match given(passphrase) {
        Err(error) => Err(io::Error::other(format!("{error:#}"))),
        Ok(Some(found)) => Ok(found),
        Ok(None) if io::stdin().is_terminal() => {
            rpassword::prompt_password(format!("Passphrase of {}: ", key.display()))
                .map(Zeroizing::new)
        }
        Ok(None) => Err(io::Error::other(format!(
            "it is encrypted; give its passphrase with --passphrase-file or {VARIABLE}"
        ))),
    }
}

/// Asks twice for a new passphrase.
pub(super) fn ask_twice() -> anyhow::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        bail!("--encrypt asks on a terminal; give --passphrase-file or {VARIABLE} instead");
    }
    let first = Zeroizing::new(rpassword::prompt_password("New passphrase: ")?);
    let second = Zeroizing::new(rpassword::prompt_password("Repeat the passphrase: ")?);
    if first.is_empty() {
        bail!("the passphrase is empty; nothing was written");
    }
    if first != second {
        bail!("the two passphrases differ; nothing was written");
    }
    Ok(first)
}

/// Returns the first non-empty line of a small file that holds a secret. A byte order mark at the
/// start is skipped.
///
/// # Errors
/// Names the file if it cannot be read; [`Usage`] if it has no such line.
pub(super) fn secret(path: &Path, what: &str) -> anyhow::Result<Zeroizing<String>> {
    let text = read_bounded(path, MAX_SECRET)
        .with_context(|| format!("cannot read the {what} file {}", path.display()))?;
    let text = Zeroizing::new(text);
    let lines = text.strip_prefix('\u{feff}').unwrap_or(&text).lines();
    match lines.into_iter().find(|line| !line.is_empty()) {
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => Err(Usage(format!("the {what} file {} is empty", path.display())).into()),
    }
}

/// Reads and parses a network file.
pub(super) fn network(path: &Path) -> anyhow::Result<Network> {
    let text = read_bounded(path, MAX_NETWORK)
        .with_context(|| format!("cannot read the network file {}", path.display()))?;
    Network::parse(&text).with_context(|| format!("network file {}", path.display()))
}

/// Reads at most `most` bytes. Counts what is actually read, because devices and pipes have no
/// size.
fn read_bounded(path: &Path, most: u64) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut text = String::new();
    if size <= most {
        file.by_ref().take(most + 1).read_to_string(&mut text)?;
    }
    if size.max(text.len() as u64) > most {
        return Err(io::Error::other(format!(
            "it is longer than the {most} bytes that are allowed"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_a_small_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret");
        fs::write(&path, "open sesame\r\nmore\n").expect("writes");
        assert_eq!(secret(&path, "token").expect("reads").as_str(), "open sesame");
        fs::write(&path, "\u{feff}\n\r\nopen sesame").expect("writes");
        assert_eq!(secret(&path, "token").expect("reads").as_str(), "open sesame");
        for bad in ["", "\n", "\u{feff}\n"] {
            fs::write(&path, bad).expect("writes");
            assert!(secret(&path, "token").is_err());
        }
        fs::write(&path, "x".repeat(5000)).expect("writes");
        for long in [&path, Path::new("/dev/zero")] {
            let error = format!("{:#}", secret(long, "token").expect_err("is too long"));
            assert!(error.contains(&*long.to_string_lossy()) && error.contains("4096"), "{error}");
        }
    }

    #[test]
    fn a_bad_network_file_is_named_with_its_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("network.toml");
        fs::write(&path, "version = 6\nnonce = \"zz\"\n").expect("writes");
        let error = format!("{:#}", network(&path).expect_err("is bad"));
        assert!(error.contains("network.toml") && error.contains("line 2"), "{error}");
    }
}
