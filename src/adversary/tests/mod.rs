//! Liars among honest nodes in a small world, and each lie tested on its own.

mod answers;
mod lies;
mod mesh;
mod specs;
mod stand;
mod world;
