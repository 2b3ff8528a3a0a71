//! Creates keys and a network file for a new mesh.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rand::TryRng as _;

use super::{MeshError, Place, places};
use crate::crypto::Identity;
use crate::protocol::{Member, Network, Role};
use crate::store::{Made, keys};

/// A new network and its keys.
pub struct Created {
    /// The network.
    pub network: Network,
    /// The network's file, `DIR/network.toml`.
    pub file: PathBuf,
    /// The members' keys, n0 first.
    pub members: Vec<CreatedKey>,
    /// The authors' keys, a0 first.
    pub authors: Vec<CreatedKey>,
}

/// A key of a new network.
pub struct CreatedKey {
    /// The name: n0, n1, … for members, a0, a1, … for authors.
    pub name: String,
    /// The key pair.
    pub identity: Identity,
    /// The key file, `DIR/NAME.pem`.
    pub file: PathBuf,
    /// Where the member's node listens; `None` for authors.
    pub place: Option<Place>,
}

/// Creates `DIR/network.toml` and a key file for each member and author. Never overwrites a file.
///
/// # Errors
/// If there is a network file already, or a file cannot be written.
pub fn create(dir: &Path, nodes: usize, authors: usize) -> Result<Created, MeshError> {
    let free = places(nodes)?;
    let _made = Made::folder(dir).map_err(MeshError::file("create", dir))?;
    let file = dir.join("network.toml");
    // Created first, so that nothing is written beside an existing network.
    let mut out =
        OpenOptions::new().write(true).create_new(true).open(&file).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::AlreadyExists => MeshError::Exists(file.clone()),
            _ => MeshError::file("create", &file)(error),
        })?;
    let mut keys = Vec::new();
    let result = fill(dir, &free, authors, &mut keys).and_then(|network| {
        let written = out.write_all(network.to_toml().as_bytes());
        written.map(|()| network).map_err(MeshError::file("write", &file))
    });
    let network = result.inspect_err(|_| {
        // What cannot be removed stays.
        keys.iter()
            .map(|key| &key.file)
            .chain([&file])
            .for_each(|path| drop(fs::remove_file(path)));
    })?;
    let authors = keys.split_off(nodes);
    Ok(Created { network, file, members: keys, authors })
}

/// Creates the keys, members first, and their network. Keys created before an error are in `keys`
/// too.
fn fill(
    dir: &Path,
    free: &[Place],
    authors: usize,
    keys: &mut Vec<CreatedKey>,
) -> Result<Network, MeshError> {
    for (number, place) in free.iter().enumerate() {
        keys.push(key(dir, format!("n{number}"), Some(*place))?);
    }
    for number in 0..authors {
        keys.push(key(dir, format!("a{number}"), None)?);
    }
    let listed = keys.iter().map(|key| Member {
        key: key.identity.public(),
        name: key.name.clone(),
        role: if key.place.is_some() { Role::Member } else { Role::Author },
        gossip: key.place.map(|place| place.gossip),
    });
    let mut nonce = [0; 32];
    rand::rngs::SysRng
        .try_fill_bytes(&mut nonce)
        .map_err(|error| MeshError::Key(error.to_string()))?;
    Network::new(nonce, listed.collect()).map_err(|error| MeshError::Network(error.to_string()))
}

fn key(dir: &Path, name: String, place: Option<Place>) -> Result<CreatedKey, MeshError> {
    let identity = Identity::generate().map_err(|error| MeshError::Key(error.to_string()))?;
    let file = dir.join(format!("{name}.pem"));
    keys::write(&file, &identity, None).map_err(|error| MeshError::Key(error.to_string()))?;
    Ok(CreatedKey { name, identity, file, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_network_reads_back_and_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let made = create(dir.path(), 4, 2).expect("makes");
        let text = fs::read_to_string(&made.file).expect("is there");
        let network = Network::parse(&text).expect("is sound");
        assert_eq!(network.id(), made.network.id());
        assert_eq!((network.n(), network.keys().len()), (4, 6));
        assert!(dir.path().join("a1.pem").exists());
        assert!(create(dir.path(), 4, 2).is_err());
        assert_eq!(fs::read_to_string(&made.file).expect("is there"), text);
        // A key that is in the way: what was made before it was met goes again, and it stays.
        let other = dir.path().join("other");
        fs::create_dir(&other).expect("makes");
        fs::write(other.join("n2.pem"), "mine").expect("writes");
        assert!(create(&other, 4, 2).is_err());
        let left: Vec<_> = fs::read_dir(&other).expect("lists").flatten().collect();
        assert_eq!((left.len(), left[0].file_name().to_str()), (1, Some("n2.pem")));
    }
}
