//! The network file: which keys are members, which are authors, and what follows from that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use serde::Deserialize;
use thiserror::Error;

use crate::crypto::{Digest, KeyError, PublicKey, hex, parse_hex};
use crate::wire::limits::{
    AUTHOR_BATCH_BURST, AUTHOR_BATCHES_PER_S, AUTHOR_BYTE_BURST, AUTHOR_BYTES_PER_S, MAX_KEYS,
    VERSION,
};

const DOMAIN: &[u8; 16] = b"loyal/network/v2";
const MAX_NAME: usize = 64;

/// The role of a key in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs a node; counts in `n`, `f` and quorums.
    Member,
    /// Signs outside the mesh and runs no node; not counted in `n`, `f` or quorums.
    Author,
}

/// An entry of the network file: a key that is a member or an author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Key that signs this member's or author's batches; unique in the file.
    pub key: PublicKey,
    /// A name for people; not covered by the network id.
    pub name: String,
    /// Whether it is a member or an author.
    pub role: Role,
    /// Where its node listens for links; not covered by the network id. `None` for authors.
    pub gossip: Option<SocketAddr>,
}

/// A valid network file. Keys are sorted; a key's number is its index among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    id: Digest,
    nonce: [u8; 32],
    keys: Vec<Member>,
    index: BTreeMap<PublicKey, u32>,
    /// Key numbers of the members, ascending.
    members: Vec<u32>,
}

/// Why a network file is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{why}", at(*line))]
pub struct NetworkError {
    /// The line of the file, from 1; 0 if no line can be named.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub why: String,
}

fn at(line: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: toml::Spanned<u8>,
    nonce: toml::Spanned<String>,
    #[serde(default)]
    member: Vec<toml::Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: toml::Spanned<String>,
    name: Option<toml::Spanned<String>>,
    role: Option<Role>,
    gossip: Option<toml::Spanned<String>>,
}

impl Network {
    /// Builds a network of these keys. The nonce tells it apart from other networks of the same
    /// keys.
    ///
    /// # Errors
    /// When there are too many keys, a key is weak or listed twice, a name is invalid or used
    /// twice, there is no member, or a member has no address.
    pub fn new(nonce: [u8; 32], keys: Vec<Member>) -> Result<Self, NetworkError> {
        Self::build(nonce, keys.into_iter().map(|key| (0, key)).collect())
    }

    fn build(nonce: [u8; 32], mut keys: Vec<(usize, Member)>) -> Result<Self, NetworkError> {
        let fail = |line: usize, why: String| Err(NetworkError { line, why });
        if keys.len() > MAX_KEYS {
            return fail(
                0,
                format!("{} keys are too many; at most {MAX_KEYS} are allowed", keys.len()),
            );
        }
        keys.sort_by_key(|(line, member)| (member.key, *line));
        let mut names = BTreeMap::new();
        let mut index = BTreeMap::new();
        for (number, (line, member)) in keys.iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if let Err(error) = member.key.validate() {
                return fail(*line, weak(&member.key, error));
            }
            if index.insert(member.key, number).is_some() {
                let why = format!("key {} is listed twice; remove one of the two", member.key);
                return fail(*line, why);
            }
            let printable = member.name.chars().all(|c| c.is_ascii_graphic());
            if member.name.is_empty() || member.name.len() > MAX_NAME || !printable {
                let why = "a name must have 1 to 64 printable ASCII characters and no space".into();
                return fail(*line, why);
            }
            if names.insert(member.name.clone(), ()).is_some() {
                let why = format!("the name {} is used twice; names must differ", member.name);
                return fail(*line, why);
            }
            if member.role == Role::Member && member.gossip.is_none() {
                let why = format!("{} has no address; add gossip = \"HOST:PORT\"", member.name);
                return fail(*line, why);
            }
        }
        let keys: Vec<Member> = keys.into_iter().map(|(_, member)| member).collect();
        let is_member = |(_, key): &(u32, &Member)| key.role == Role::Member;
        let members: Vec<u32> = (0..).zip(&keys).filter(is_member).map(|(i, _)| i).collect();
        if members.is_empty() {
            return fail(0, "no member is listed; a network needs at least one".into());
        }
        Ok(Self { id: network_id(&nonce, &keys), nonce, keys, index, members })
    }

    /// Parses a network file.
    ///
    /// # Errors
    /// Names the line, and says what would be right.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let line_of =
            |span: &Range<usize>| text[..span.start.min(text.len())].matches('\n').count() + 1;
        let file: File = toml::from_str(text).map_err(|error| NetworkError {
            line: error.span().map_or(0, |span| line_of(&span)),
            why: error.message().to_owned(),
        })?;
        if *file.version.as_ref() != VERSION {
            let why = format!(
                "version is {}; this program reads version {VERSION}",
                file.version.as_ref()
            );
            return Err(NetworkError { line: line_of(&file.version.span()), why });
        }
        let nonce = parse_hex(file.nonce.as_ref()).ok_or_else(|| NetworkError {
            line: line_of(&file.nonce.span()),
            why: "nonce must be 64 hex digits".into(),
        })?;
        let mut keys = Vec::with_capacity(file.member.len());
        let mut addresses = BTreeMap::new();
        for entry in file.member {
            let line = line_of(&entry.span());
            let member = entry.into_inner().read(keys.len(), line_of)?;
            if let Some(gossip) = member.gossip
                && let Some(other) = addresses.insert(gossip, member.name.clone())
            {
                let why = format!("{} and {other} have the same address {gossip}", member.name);
                return Err(NetworkError { line, why: format!("{why}; give each its own") });
            }
            keys.push((line, member));
        }
        Self::build(nonce, keys)
    }

    /// The network as the text of a network file.
    pub fn to_toml(&self) -> String {
        let mut text = format!("version = {VERSION}\nnonce = \"{}\"\n", hex(&self.nonce));
        for key in &self.keys {
            let _ = write!(text, "\n[[member]]\nname = \"{}\"\nkey = \"{}\"\n", key.name, key.key);
            if key.role == Role::Author {
                text.push_str("role = \"author\"\n");
            }
            if let Some(gossip) = key.gossip {
                let _ = writeln!(text, "gossip = \"{gossip}\"");
            }
        }
        text
    }

    /// The network id; every statement contains it.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// All keys, members and authors, ascending.
    pub fn keys(&self) -> &[Member] {
        &self.keys
    }

    /// The members, ascending by key.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter_map(|number| self.keys.get(*number as usize))
    }

    /// The member at index `place` among the members, 0 to `n - 1`, ascending by key.
    pub fn member(&self, place: usize) -> Option<&Member> {
        self.keys.get(*self.members.get(place)? as usize)
    }

    /// The number of a key; `None` if it is not in the network file.
    pub fn index_of(&self, key: &PublicKey) -> Option<u32> {
        self.index.get(key).copied()
    }

    /// The entry of a key; `None` if it is not in the network file.
    pub fn get(&self, key: &PublicKey) -> Option<&Member> {
        self.keys.get(self.index_of(key)? as usize)
    }

    /// Whether the key is a member, that is, it runs a node.
    pub fn is_member(&self, key: &PublicKey) -> bool {
        self.get(key).is_some_and(|member| member.role == Role::Member)
    }

    /// `n`: the number of members.
    pub fn n(&self) -> usize {
        self.members.len()
    }

    /// `f = ⌊(n−1)/3⌋`: the number of members that may lie (Lamport, Shostak, Pease 1982).
    pub fn f(&self) -> usize {
        self.n().saturating_sub(1) / 3
    }

    /// `q = n − f`. Not `2f + 1`, which is too small to be safe unless `n` is `3f + 1`.
    pub fn quorum(&self) -> usize {
        self.n() - self.f()
    }
}

impl Entry {
    fn read(
        self,
        number: usize,
        line_of: impl Fn(&Range<usize>) -> usize,
    ) -> Result<Member, NetworkError> {
        let fail =
            |span: Range<usize>, why: &str| NetworkError { line: line_of(&span), why: why.into() };
        let key = PublicKey::from_hex(self.key.as_ref())
            .ok_or_else(|| fail(self.key.span(), "key must be 64 hex digits"))?;
        key.validate().map_err(|error| fail(self.key.span(), &weak(&key, error)))?;
        let gossip = match self.gossip {
            None => None,
            Some(text) => {
                let address: Option<SocketAddr> = text.as_ref().parse().ok();
                let usable = address.filter(|address| address.port() != 0);
                let why = "gossip must be an IP address and a port, as in \"127.0.0.1:7600\"";
                Some(usable.ok_or_else(|| fail(text.span(), why))?)
            }
        };
        let role = self.role.unwrap_or(Role::Member);
        let name = self.name.map_or_else(|| format!("k{number}"), toml::Spanned::into_inner);
        Ok(Member { key, name, role, gossip })
    }
}

fn weak(key: &PublicKey, error: KeyError) -> String {
    format!("key {key} {error}; replace it with one from `loyal keygen`")
}

/// SHA-256 over everything that affects validity; names and addresses are left out.
fn network_id(nonce: &[u8; 32], keys: &[Member]) -> Digest {
    let mut bytes = nonce.to_vec();
    bytes.push(VERSION);
    for limit in [AUTHOR_BATCHES_PER_S, AUTHOR_BATCH_BURST, AUTHOR_BYTES_PER_S, AUTHOR_BYTE_BURST] {
        bytes.extend_from_slice(&limit.to_be_bytes());
    }
    bytes.extend_from_slice(&(keys.len() as u64).to_be_bytes());
    for key in keys {
        bytes.extend_from_slice(&key.key.0);
        bytes.push(match key.role {
            Role::Member => 0,
            Role::Author => 1,
        });
        bytes.extend_from_slice(&1u32.to_be_bytes()); // weight: always 1 so far
    }
    Digest::of(&[DOMAIN, &bytes])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::testing::{author, member, network_of};

    fn network(n: u16) -> Arc<Network> {
        let gossip = |n: u16| Some(([127, 0, 0, 1], 7000 + n).into());
        network_of((0..n).map(|n| Member { gossip: gossip(n), ..member(n) }))
    }

    #[test]
    fn quorums_are_safe_where_two_f_plus_one_is_not() {
        for (n, f, q) in
            [(1, 0, 1), (3, 0, 3), (4, 1, 3), (5, 1, 4), (6, 1, 5), (10, 3, 7), (31, 10, 21)]
        {
            let network = network(n);
            assert_eq!((network.f(), network.quorum()), (f, q), "n = {n}");
        }
    }

    #[test]
    fn the_file_reads_back_and_names_are_not_in_the_id() {
        let one = network(4);
        assert_eq!(Network::parse(&one.to_toml()).as_ref(), Ok(&*one));
        let renamed = one.to_toml().replace("\"n2\"", "\"other\"").replace(":7001", ":9999");
        assert_eq!(Network::parse(&renamed).expect("sound").id(), one.id());
        let mut with_author: Vec<Member> = one.keys().to_vec();
        with_author.push(author(9));
        let two = Network::new([3; 32], with_author).expect("sound");
        assert_ne!(two.id(), one.id());
        assert_eq!((two.n(), two.f(), two.quorum()), (4, 1, 3));
        assert_ne!(Network::new([6; 32], one.keys().to_vec()).expect("sound").id(), one.id());
    }

    #[test]
    fn bad_files_are_explained_with_their_line() {
        let good = network(2).to_toml();
        let key = network(2).keys()[0].key.to_string();
        for (bad, line, hint) in [
            (good.replace("version = 6", "version = 9"), 1, "version 6"),
            (good.replace("nonce = \"03", "nonce = \"x3"), 2, "64 hex"),
            (good.replace("name = \"n0\"", "nmae = \"n0\""), 0, "nmae"),
            (good.replace("\"n1\"", "\"n0\""), 0, "twice"),
            (good.replace("gossip", "#gossip"), 4, "address"),
            (good.replace(":7001", ":0"), 0, "and a port"),
            (good.replace(":7001", ":7000"), 9, "same address"),
            (
                format!(
                    "{good}\n[[member]]\nname = \"z\"\nkey = \"{key}\"\ngossip = \"1.2.3.4:5\"\n"
                ),
                14,
                "twice",
            ),
            (good.replace(&key, &format!("01{}", "0".repeat(62))), 0, "keygen"),
            ("version = 6".into(), 0, "nonce"),
            (format!("version = 6\nnonce = \"{}\"\n", "00".repeat(32)), 0, "member"),
        ] {
            let error = Network::parse(&bad).expect_err(hint);
            assert!(error.why.contains(hint), "{hint}: {error}");
            assert!(line == 0 || error.line == line, "{hint}: {error}");
        }
    }
}
