//! Placeholder until the oracle's branch is merged.
use crate::crypto::{PublicKey, Signature};
use crate::protocol::{Input, LinkId, Network, Node, Output, Record, Time};
use crate::report::Violation;
use std::collections::BTreeMap;
pub struct Oracle {
    v: Vec<Violation>,
}
#[allow(unused_variables)]
impl Oracle {
    pub fn new(network: &Network, honest: Vec<bool>, keys: Vec<PublicKey>) -> Self {
        Self { v: vec![] }
    }
    pub fn before(&mut self, now: Time, node: usize, input: &Input, of: &Node) {}
    pub fn output(&mut self, now: Time, node: usize, output: &Output) {}
    pub fn after(&mut self, now: Time, node: usize, of: &Node) {}
    pub fn link_up(&mut self, end: LinkId, node: usize, peer: usize) {}
    pub fn link_down(&mut self, end: LinkId) {}
    pub fn crashed(&mut self, now: Time, node: usize, lost: &[Record]) {}
    pub fn restarted(&mut self, now: Time, node: usize, of: &Node) {}
    pub fn quiet(&mut self, now: Time) {}
    pub fn fault(&mut self, now: Time) {}
    pub fn checked(
        &mut self,
        key: &PublicKey,
        statement: &[u8; 120],
        signature: &Signature,
        good: bool,
    ) {
    }
    pub fn checkpoint<'a>(&mut self, now: Time, nodes: impl Iterator<Item = (usize, &'a Node)>) {}
    pub fn end(&mut self, now: Time, living: &[bool]) {}
    pub fn violations(&self) -> &[Violation] {
        &self.v
    }
    pub fn counted(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}
