//! Each lie tested on its own. Liars among honest nodes are in `tests/it/node_liars.rs`.

mod answers;
mod lies;
mod specs;
mod stand;
