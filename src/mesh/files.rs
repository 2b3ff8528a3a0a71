//! `DIR/mesh.json`: the nodes of a mesh, for scripts.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::MeshError;

/// `DIR/mesh.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshFile {
    /// Network id.
    pub network: String,
    /// The network file.
    pub network_file: PathBuf,
    /// The launcher's process id.
    pub launcher: u32,
    /// The nodes: n0, n1, …, the malicious ones last.
    pub nodes: Vec<NodeEntry>,
}

/// A node of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Its public key.
    pub key: String,
    /// Its key file.
    pub key_file: PathBuf,
    /// Its HTTP interface, as a URL.
    pub api: String,
    /// Where it listens for links, `HOST:PORT`.
    pub gossip: String,
    /// The folder that holds its `node.sqlite`.
    pub data: PathBuf,
    /// Its process id.
    pub pid: u32,
    /// Its SPEC, if it is a liar.
    pub malicious: Option<String>,
}

impl MeshFile {
    /// Reads `DIR/mesh.json`.
    ///
    /// # Errors
    /// When it is not there or not one.
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

    /// Writes it at once or not at all, so that a script never reads half of it.
    ///
    /// # Errors
    /// When the folder cannot be written.
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
