//! `DIR/mesh.json`: the nodes of a mesh, for scripts.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::MeshError;

/// The contents of `DIR/mesh.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshFile {
    /// The network id, in hex.
    pub network: String,
    /// Path of the network file.
    pub network_file: PathBuf,
    /// Process id of the launcher, which stops the nodes when it ends.
    pub launcher: u32,
    /// The nodes, by number: n0, n1, ….
    pub nodes: Vec<NodeEntry>,
}

/// A node of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Name in the network file: `n0`, `n1`, ….
    pub name: String,
    /// The node's public key, in hex.
    pub key: String,
    /// Path of the node's key file.
    pub key_file: PathBuf,
    /// URL of the node's HTTP interface.
    pub api: String,
    /// Where the node listens for links, `HOST:PORT`.
    pub gossip: String,
    /// The folder that holds the node's `node.sqlite` and log.
    pub data: PathBuf,
    /// The node's process id; 0 if it has none.
    pub pid: u32,
    /// The node's SPEC; `null` for an honest node.
    pub malicious: Option<String>,
}

impl MeshFile {
    /// Reads `DIR/mesh.json`.
    ///
    /// # Errors
    /// If the file does not exist or is malformed.
    pub fn read(dir: &Path) -> Result<Self, MeshError> {
        let path = dir.join("mesh.json");
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => MeshError::NoMesh(path.clone()),
            _ => MeshError::file("read", &path)(error),
        })?;
        serde_json::from_str(&text).map_err(|error| MeshError::Malformed {
            path,
            what: "mesh file",
            why: error.to_string(),
        })
    }

    /// Replaces the file atomically, so that a script never reads half of it.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), MeshError> {
        let (path, next) = (dir.join("mesh.json"), dir.join("mesh.json.new"));
        let text = serde_json::to_string_pretty(self).map_err(|error| MeshError::Malformed {
            path: path.clone(),
            what: "mesh file",
            why: error.to_string(),
        })?;
        fs::write(&next, text + "\n").map_err(MeshError::file("write", &next))?;
        fs::rename(&next, &path).map_err(MeshError::file("write", &path))
    }
}
