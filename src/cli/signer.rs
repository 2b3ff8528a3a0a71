//! Signs outside a node, with a locked and synced counter beside the key, so that no slot is signed
//! twice.
//!
//! `KEY.slots-<network>.json` holds the last signed slot, its id, and the signed batch until a node
//! has acknowledged it. The file is written and synced before the batch is sent, so that after any
//! crash the same bytes are posted again, instead of others being signed for the same slot.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::crypto::{Digest, Identity};
use crate::http::SignedDto;
use crate::wire::{Batch, Entry, encode_body};

/// How long to wait for another process that signs with the same key.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u8,
    author: String,
    network: String,
    slot: u64,
    last: String,
    pending: Option<SignedDto>,
}

/// The locked counter of one key in one network.
pub(super) struct Signer {
    path: PathBuf,
    state: State,
    fresh: bool,
    _lock: File,
}

impl Signer {
    /// Locks and reads the counter beside the key. Waits while another process signs with the key.
    pub(super) fn open(key: &Path, identity: &Identity, network: Digest) -> anyhow::Result<Self> {
        let network = network.to_string();
        let author = identity.public().to_string();
        let path = beside(key, &network, "json");
        let lock = lock(&beside(key, &network, "lock"))?;
        let (state, fresh) = match fs::read_to_string(&path) {
            Ok(text) => (parse(&text).with_context(|| damaged(&path))?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let last = Digest::ZERO.to_string();
                (
                    State {
                        version: 1,
                        author: author.clone(),
                        network: network.clone(),
                        slot: 0,
                        last,
                        pending: None,
                    },
                    true,
                )
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        if state.author != author || state.network != network {
            bail!("{} belongs to another key or network; nothing was signed", path.display());
        }
        Ok(Self { path, state, fresh, _lock: lock })
    }

    /// Whether there is no counter file, so that nothing seems to have been signed yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The batch that is signed, but not yet acknowledged by a node.
    pub(super) fn pending(&self) -> Option<&SignedDto> {
        self.state.pending.as_ref()
    }

    /// Whether the pending batch carries exactly this message.
    pub(super) fn is_pending(&self, entry: &Entry) -> bool {
        let body = encode_body(std::slice::from_ref(entry)).ok();
        let pending = self.pending().and_then(|dto| STANDARD.decode(&dto.body_base64).ok());
        body.is_some() && body == pending
    }

    /// Signs the next slot, and keeps the batch until [`Signer::acknowledged`] is called.
    pub(super) fn sign(
        &mut self,
        identity: &Identity,
        entry: Entry,
        now: u64,
    ) -> anyhow::Result<()> {
        if self.state.pending.is_some() {
            bail!("a batch waits to be acknowledged");
        }
        let bad = || damaged(&self.path);
        let network = Digest::from_hex(&self.state.network).with_context(bad)?;
        let prev = Digest::from_hex(&self.state.last).with_context(bad)?;
        let seq = self.state.slot.checked_add(1).with_context(bad)?;
        let batch = Batch::sign(identity, network, seq, prev, now, &[entry])?;
        self.state.slot = seq;
        self.state.last = batch.id().to_string();
        self.state.pending = Some(SignedDto::from(&batch));
        self.save().context("nothing was posted")
    }

    /// Forgets the pending batch, because a node has stored it.
    pub(super) fn acknowledged(&mut self) -> anyhow::Result<()> {
        self.state.pending = None;
        self.save()
    }

    /// The counter's file, for use in messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn save(&mut self) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            let next = self.path.with_extension("json.new");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)?;
            file.write_all(&serde_json::to_vec_pretty(&self.state)?)?;
            file.sync_all()?;
            fs::rename(&next, &self.path)?;
            let folder = self.path.parent().filter(|path| !path.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().with_context(|| format!("cannot write the counter {}", self.path.display()))?;
        self.fresh = false;
        Ok(())
    }
}

fn damaged(path: &Path) -> String {
    format!(
        "the counter {} is damaged; without it a slot could be signed twice. Restore it, or make a new \
         author key",
        path.display()
    )
}

fn parse(text: &str) -> anyhow::Result<State> {
    let state: State = serde_json::from_str(text)?;
    if state.version != 1 || Digest::from_hex(&state.last).is_none() {
        bail!("it is of another version or incomplete");
    }
    Ok(state)
}

fn beside(key: &Path, network: &str, kind: &str) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(format!(".slots-{}.{kind}", network.get(..12).unwrap_or(network)));
    PathBuf::from(name)
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another process has been signing with this key for {PATIENCE:?} ({})",
                    path.display()
                )
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        Entry { topic: "t".into(), payload: text.into() }
    }

    #[test]
    fn slots_go_up_and_a_pending_batch_stays_the_same_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let key = dir.path().join("a0.pem");
        let (identity, network) = (Identity::from_seed(&[5; 32]), Digest([6; 32]));
        let mut signer = Signer::open(&key, &identity, network).expect("opens");
        assert!(signer.is_fresh());
        signer.sign(&identity, entry("one"), 7).expect("signs");
        let first = signer.pending().expect("waits").clone();
        assert!(signer.is_pending(&entry("one")) && !signer.is_pending(&entry("two")));
        drop(signer);
        // As after a crash: the same bytes wait, and nothing else can be signed meanwhile.
        let mut signer = Signer::open(&key, &identity, network).expect("opens");
        assert!(!signer.is_fresh());
        assert_eq!(signer.pending().expect("waits").signature, first.signature);
        assert!(signer.sign(&identity, entry("two"), 8).is_err());
        signer.acknowledged().expect("writes");
        signer.sign(&identity, entry("two"), 8).expect("signs");
        let second = signer.pending().expect("waits");
        assert_eq!((first.seq, second.seq), (1, 2));
        assert_ne!(second.prev, first.prev);
    }

    #[test]
    fn a_damaged_or_foreign_counter_signs_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let key = dir.path().join("a0.pem");
        let (identity, network) = (Identity::from_seed(&[5; 32]), Digest([6; 32]));
        let mut signer = Signer::open(&key, &identity, network).expect("opens");
        signer.sign(&identity, entry("one"), 7).expect("signs");
        let path = signer.path().to_owned();
        drop(signer);
        let other = Identity::from_seed(&[8; 32]);
        assert!(Signer::open(&key, &other, network).is_err());
        fs::write(&path, "{}").expect("writes");
        let error = format!("{:#}", Signer::open(&key, &identity, network).err().expect("fails"));
        assert!(error.contains("damaged") && error.contains("slots-"), "{error}");
    }

    #[test]
    fn two_signers_take_turns() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        let held = lock(&path).expect("locks");
        let waiting = std::thread::spawn(move || lock(&path).is_ok());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(held);
        assert!(waiting.join().expect("ends"));
    }
}
