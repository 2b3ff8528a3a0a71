//! The mesh as this node sees it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;

use super::app::App;
use super::error::Failure;
use crate::http::{KeyDto, LinkDto, NetworkDto, PeerDto};
use crate::protocol::{LinkView, Network, PeerView, Reason, Role, Time};

/// Every other member, and its state as this node sees it.
#[utoipa::path(
    get, path = "/v1/peers",
    responses((status = 200, body = Vec<PeerDto>), (status = 503))
)]
pub(super) async fn peers(State(app): State<App>) -> Result<Json<Vec<PeerDto>>, Failure> {
    let snapshot = app.snapshot().await?;
    let network = app.handle().network();
    let (now, peers) = (snapshot.now, snapshot.peers);
    Ok(Json(peers.into_iter().map(|peer| dto(peer, now, network)).collect()))
}

/// The network file as this node read it.
#[utoipa::path(get, path = "/v1/network", responses((status = 200, body = NetworkDto)))]
pub(super) async fn network(State(app): State<App>) -> Json<NetworkDto> {
    let network = app.handle().network();
    let keys = network.keys().iter().map(|key| KeyDto {
        key: key.key.to_string(),
        name: key.name.clone(),
        role: match key.role {
            Role::Member => "member".into(),
            Role::Author => "author".into(),
        },
        gossip: key.gossip.map(|address| address.to_string()),
    });
    Json(NetworkDto {
        id: network.id().to_string(),
        n: network.n(),
        f: network.f(),
        quorum: network.quorum(),
        keys: keys.collect(),
    })
}

/// Counts of rejections by reason as the API shows them: knocks are returned separately, and
/// `copies` plain copies are subtracted.
pub(super) fn by_reason(
    counts: &BTreeMap<Reason, u64>,
    copies: u64,
) -> (BTreeMap<String, u64>, u64) {
    let mut counts = counts.clone();
    let knocks = counts.remove(&Reason::Banned).unwrap_or_default();
    if let Some(replayed) = counts.get_mut(&Reason::Replayed) {
        *replayed = replayed.saturating_sub(copies);
    }
    let some = counts.into_iter().filter(|(_, count)| *count > 0);
    (some.map(|(reason, count)| (reason.name().to_owned(), count)).collect(), knocks)
}

fn dto(peer: PeerView, now: Time, network: &Network) -> PeerDto {
    let member = network.get(&peer.peer);
    let in_force = peer.ban.filter(|ban| ban.until > now);
    let state = match (&in_force, &peer.link) {
        (Some(_), _) => "banned",
        (None, Some(_)) => "linked",
        (None, None) => "unlinked",
    };
    let (rejected, knocks) = by_reason(&peer.rejected, 0);
    PeerDto {
        key: peer.peer.to_string(),
        name: member.map(|member| member.name.clone()).unwrap_or_default(),
        gossip: member.and_then(|member| member.gossip).map(|address| address.to_string()),
        state: state.to_owned(),
        link: peer.link.map(link),
        banned_until: in_force.map(|ban| ban.until.0),
        ban_reason: peer.ban.map(|ban| ban.reason.name().to_owned()),
        strikes: peer.ban.map_or(0, |ban| ban.strikes),
        failed_dials: peer.failed_dials,
        rejected,
        knocks,
    }
}

fn link(link: LinkView) -> LinkDto {
    LinkDto {
        dialled: link.dialled,
        chosen: link.chosen,
        ready: link.ready,
        since: link.since.0,
        frames_in: link.frames_in,
        frames_out: link.frames_out,
        bytes_in: link.bytes_in,
        bytes_out: link.bytes_out,
        unverified: link.unverified,
        open_wants: link.open_wants,
        first_deliveries: link.first_deliveries,
        duplicates: link.duplicates,
        owed: link.owed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Ban;
    use crate::protocol::testing::{identity, network};

    #[test]
    fn a_ban_counts_while_it_is_in_force() {
        let (key, network) = (identity(0).public(), network(1, 0));
        let (at, until) = (Time(1), Time(10));
        let ban = Some(Ban { peer: key, reason: Reason::BadSignature, at, until, strikes: 2 });
        let rejected = BTreeMap::from([(Reason::BadSignature, 3), (Reason::Banned, 60)]);
        let peer = PeerView { peer: key, link: None, ban, failed_dials: 1, rejected };
        let during = dto(peer.clone(), Time(9), &network);
        assert_eq!((during.state.as_str(), during.banned_until), ("banned", Some(10)));
        assert_eq!(during.rejected, BTreeMap::from([("bad_signature".to_owned(), 3)]));
        assert_eq!(during.knocks, 60);
        let all = BTreeMap::from([(Reason::Replayed, 9), (Reason::Pruned, 1)]);
        assert_eq!(by_reason(&all, 9).0, BTreeMap::from([("pruned".to_owned(), 1)]));
        assert_eq!(by_reason(&all, 4).0["replayed"], 5);
        let after = dto(peer, Time(10), &network);
        assert_eq!(
            (after.state.as_str(), after.banned_until, after.strikes),
            ("unlinked", None, 2)
        );
        assert_eq!(
            (after.name.as_str(), after.ban_reason.as_deref()),
            ("n0", Some("bad_signature"))
        );
    }
}
