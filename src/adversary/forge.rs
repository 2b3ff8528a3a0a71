//! `forge`: sends messages in the names of others, with five kinds of signatures that are not
//! theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::Context;
use super::lie::Lie;
use super::pacer::Cycle;
use super::value::Chance;
use crate::crypto::{Digest, Identity, PublicKey, Signature};
use crate::protocol::LinkId;
use crate::wire::{Batch, Frame, Push};

/// The variants, in the order in which each peer receives them.
const VARIANTS: [&str; 5] =
    ["random_signature", "own_signature", "other_signature", "other_network", "stranger"];
/// First of the variants that a peer rejects without a signature check: it closes the link at once
/// and never sees what was sent after them.
const FIRST_PLAIN: usize = 3;

pub(super) struct Forge {
    cycle: Cycle,
    stranger: Identity,
    decoy: usize,
    /// The first variant sent on each link that made the peer close it.
    ended: BTreeMap<LinkId, (PublicKey, usize)>,
}

impl Forge {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Self {
            cycle: Cycle::new(VARIANTS.len(), false),
            stranger: Identity::from_seed(&Digest::of(&[b"loyal/stranger/1", seed]).0),
            decoy: 0,
            ended: BTreeMap::new(),
        }
    }

    fn send(&mut self, ctx: &mut Context, link: LinkId, peer: PublicKey) {
        let variant = self.cycle.next(peer);
        let Some(batch) = self.forge(ctx, variant, &peer) else { return };
        let id = batch.id();
        let frame = Frame::Push(Box::new(Push { hops: 1, batch })).encode();
        ctx.send_raw(("forge", VARIANTS[variant]), link, &frame, Some(id));
        if variant >= FIRST_PLAIN {
            self.ended.entry(link).or_insert((peer, variant));
        }
    }

    fn forge(&mut self, ctx: &mut Context, variant: usize, peer: &PublicKey) -> Option<Batch> {
        let victims = victims(ctx, peer);
        let own = ctx.identity.clone();
        let victim = ctx.pick(&victims).unwrap_or(*peer);
        match variant {
            0 => {
                let mut batch = ctx.next_batch(victim, &own)?;
                batch.signature = random_signature(ctx);
                Some(batch)
            }
            1 => ctx.next_batch(victim, &own),
            2 => {
                let (victim, signature) = other_signature(ctx, &victims, victim);
                let mut batch = ctx.next_batch(victim, &own)?;
                batch.signature = signature;
                Some(batch)
            }
            3 => self.other_network(ctx),
            _ => ctx.next_batch(self.stranger.public(), &self.stranger),
        }
    }

    /// A batch that a member really signed for another network; without such a decoy, one that this
    /// node signs for another network.
    fn other_network(&mut self, ctx: &mut Context) -> Option<Batch> {
        if !ctx.decoys.is_empty() {
            self.decoy = (self.decoy + 1) % ctx.decoys.len();
            return ctx.decoys.get(self.decoy).cloned();
        }
        let entry = ctx.entry();
        let elsewhere = Digest::of(&[b"loyal/elsewhere1", &ctx.network.id().0]);
        Batch::sign(&ctx.identity, elsewhere, 1, Digest::ZERO, ctx.now.0, &[entry]).ok()
    }
}

impl Lie for Forge {
    fn needs_old(&self) -> bool {
        true
    }

    fn every(&self) -> Option<Duration> {
        Some(Duration::from_millis(200))
    }

    fn act(&mut self, ctx: &mut Context, link: LinkId, fresh: bool, chance: Chance) {
        let Some(peer) = ctx.links.peer(link) else { return };
        for _ in 0..if fresh { self.cycle.length } else { 1 } {
            if ctx.takes(chance) {
                self.send(ctx, link, peer);
            }
        }
    }

    fn down(&mut self, link: LinkId) {
        if let Some((peer, variant)) = self.ended.remove(&link) {
            self.cycle.go_on_after(peer, variant);
        }
    }
}

/// Members to impersonate: the signers of the decoys, who are honest, or else all other members.
/// The peer itself is never one of them.
fn victims(ctx: &Context, peer: &PublicKey) -> Vec<PublicKey> {
    let own = ctx.identity.public();
    let usable = |key: &PublicKey| *key != own && key != peer && ctx.network.is_member(key);
    let mut victims: Vec<_> =
        ctx.decoys.iter().map(|decoy| decoy.header.author).filter(usable).collect();
    if victims.is_empty() {
        victims = ctx.network.members().map(|member| member.key).filter(usable).collect();
    }
    victims
}

/// A member and a genuine signature of it over something else. If no signature was seen yet: one
/// from a decoy, or else one of our own.
fn other_signature(
    ctx: &mut Context,
    victims: &[PublicKey],
    otherwise: PublicKey,
) -> (PublicKey, Signature) {
    let seen: Vec<_> = victims
        .iter()
        .filter_map(|victim| Some((*victim, ctx.memory.tip(victim).signature?)))
        .collect();
    if let Some(found) = ctx.pick(&seen) {
        return found;
    }
    let decoys: Vec<_> =
        ctx.decoys.iter().map(|decoy| (decoy.header.author, decoy.signature)).collect();
    let own = ctx.identity.sign(b"loyal/elsewhere1");
    ctx.pick(&decoys).unwrap_or((otherwise, own))
}

fn random_signature(ctx: &mut Context) -> Signature {
    let mut bytes = [0; 64];
    bytes.copy_from_slice(&ctx.random(64));
    bytes[63] &= 0x0f; // the second half must be below the group's order
    Signature(bytes)
}
