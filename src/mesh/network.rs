//! Keys and a network file for a new mesh.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rand::TryRng as _;

use super::{MeshError, Place, places};
use crate::crypto::Identity;
use crate::protocol::{Member, Network, Role};
use crate::store::keys;

/// What was made.
pub struct Created {
    /// The network.
    pub network: Network,
    /// Its file, `DIR/network.toml`.
    pub file: PathBuf,
    /// The members, n0 first.
    pub members: Vec<CreatedKey>,
    /// The authors, a0 first.
    pub authors: Vec<CreatedKey>,
}

/// A key of it.
pub struct CreatedKey {
    /// Its name: n0, n1, … for members, a0, a1, … for authors.
    pub name: String,
    /// The key.
    pub identity: Identity,
    /// Where it is kept.
    pub file: PathBuf,
    /// Where its node listens; authors have none.
    pub place: Option<Place>,
}

/// Makes `DIR/network.toml` and a key file for each member and author. Overwrites nothing.
///
/// # Errors
/// When there is a network file already, or a file cannot be written.
pub fn create(dir: &Path, nodes: usize, authors: usize) -> Result<Created, MeshError> {
    fs::create_dir_all(dir).map_err(MeshError::file("create", dir))?;
    let file = dir.join("network.toml");
    // First of all, so that nothing is half made beside an older network.
    let mut out =
        OpenOptions::new().write(true).create_new(true).open(&file).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::AlreadyExists => MeshError::Exists(file.clone()),
            _ => MeshError::file("create", &file)(error),
        })?;
    let free = places(nodes)?;
    let members: Vec<CreatedKey> = free
        .iter()
        .enumerate()
        .map(|(number, place)| key(dir, format!("n{number}"), Some(*place)))
        .collect::<Result<_, _>>()?;
    let authors: Vec<CreatedKey> = (0..authors)
        .map(|number| key(dir, format!("a{number}"), None))
        .collect::<Result<_, _>>()?;
    let listed = members.iter().chain(&authors).map(|key| Member {
        key: key.identity.public(),
        name: key.name.clone(),
        role: if key.place.is_some() { Role::Member } else { Role::Author },
        gossip: key.place.map(|place| place.gossip),
    });
    let mut nonce = [0; 32];
    rand::rngs::SysRng
        .try_fill_bytes(&mut nonce)
        .map_err(|error| MeshError::Key(error.to_string()))?;
    let network = Network::new(nonce, listed.collect())
        .map_err(|error| MeshError::Network(error.to_string()))?;
    out.write_all(network.to_toml().as_bytes()).map_err(MeshError::file("write", &file))?;
    Ok(Created { network, file, members, authors })
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
    }
}
