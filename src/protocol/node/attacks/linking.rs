//! Liars against the choice of links.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Victim, hole, identity, lane, restored};
use crate::crypto::PublicKey;
use crate::protocol::{Ban, Down, Input, LinkId, Reason, Restored, RestoredLane, Time};
use crate::wire::Frame;
use crate::wire::limits::{IDLE_WORK_BURST, VISITS_AT_ONCE, VOICE_BURST, VOICES_PER_S};

#[test]
fn a_new_link_is_no_new_allowance() {
    let mut victim = Victim::among(4, 0);
    let link = victim.link(1);
    for _ in 0..IDLE_WORK_BURST / 50 {
        victim.say(link, &Frame::Ping);
    }
    assert_eq!(victim.node.links.get(link).map(|held| held.owed()), Some(0));
    victim.lose(link);
    let link = victim.link(1);
    victim.say(link, &Frame::Ping);
    assert_eq!(victim.node.links.get(link).map(|held| held.owed()), Some(1));
}

#[test]
fn a_peer_that_ends_every_link_after_its_hello_is_not_dialled_without_pause() {
    let mut victim = Victim::among(4, 0);
    let peer = identity(1).public();
    victim.links([2, 3]);
    let mut dials = 0;
    while dials < 1000 && victim.now.0 < 11_000_000 {
        if victim.dials.contains(&peer) {
            dials += 1;
            victim.dials.clear();
            let link = LinkId(1000 + dials);
            victim.dialled(link, peer);
            victim.lose(link);
        }
        victim.run(3, |_, _, _| ());
    }
    assert!(dials < 60, "{dials} dials in ten seconds");
}

/// How a member played by the test treats a link that the victim dialled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Says hello, and that it lacks nothing.
    Answers,
    /// Says hello and nothing else.
    Hello,
    /// Says nothing.
    Silent,
}

/// The members that a victim dials during a test.
struct Crowd {
    victim: Victim,
    /// The peer of each open link that the victim dialled, and when the link came up.
    open: BTreeMap<LinkId, (PublicKey, Time)>,
    /// Every peer that was dialled, in order.
    dialled: Vec<PublicKey>,
    /// The highest number of links that the victim had dialled at once, and the lowest number of
    /// chosen links.
    most: usize,
    fewest: usize,
}

impl Crowd {
    fn of(victim: Victim) -> Self {
        Self { victim, open: BTreeMap::new(), dialled: vec![], most: 0, fewest: usize::MAX }
    }

    fn run(&mut self, ms: u64, manner: impl Fn(&PublicKey) -> Manner) {
        let end = self.victim.now.after(Duration::from_millis(ms));
        while self.victim.now < end {
            for peer in std::mem::take(&mut self.victim.dials) {
                self.dialled.push(peer);
                let link = LinkId(10_000 + self.dialled.len() as u64);
                self.open.insert(link, (peer, self.victim.now));
                self.victim.give(Input::LinkUp { link, peer, dialled: true });
                if manner(&peer) != Manner::Silent {
                    self.victim.hello(link, 1);
                }
            }
            for (link, _) in std::mem::take(&mut self.victim.closed) {
                self.open.remove(&link);
                self.victim.give(Input::LinkDown { link, cause: Down::Closed });
            }
            self.most = self.most.max(self.open.len());
            self.fewest = self.fewest.min(self.victim.node.chosen().count());
            let open = self.open.clone();
            self.victim.run(10, |victim, link, frame| {
                let answers = open.get(&link).is_none_or(|(p, _)| manner(p) == Manner::Answers);
                if let (true, Frame::Compare(asked)) = (answers, frame) {
                    victim.agree(link, &asked);
                }
                if answers {
                    victim.say(link, &Frame::Ping);
                }
            });
        }
    }
}

#[test]
fn a_link_is_exchanged_only_when_another_is_there_and_then_it_ends() {
    let mut crowd = Crowd::of(Victim::among(40, 0));
    crowd.run(2000, |_| Manner::Answers);
    let first: BTreeSet<PublicKey> = crowd.victim.node.chosen().collect();
    assert_eq!(first.len(), 3);
    crowd.fewest = usize::MAX;
    crowd.run(600_000, |_| Manner::Answers);
    assert_eq!(crowd.fewest, 3, "never fewer than it wants");
    assert!(crowd.most <= 3 + 1 + VISITS_AT_ONCE, "{} links", crowd.most);
    assert!(crowd.open.len() <= 3 + 2, "{} at the end", crowd.open.len());
    let last: BTreeSet<PublicKey> = crowd.victim.node.chosen().collect();
    assert!(first.intersection(&last).count() < 3, "ten were exchanged");
    // No chosen link is given up for a member that never says hello.
    crowd.run(300_000, |peer| match last.contains(peer) {
        true => Manner::Answers,
        false => Manner::Silent,
    });
    assert!(last.iter().all(|peer| crowd.victim.node.chosen().any(|key| key == *peer)));
}

/// An inbound link is its dialler's to end: a peer that keeps one forever displaces no other link.
#[test]
fn links_that_others_dialled_are_left_to_them() {
    let mut victim = Victim::among(40, 0);
    let kept = victim.links(30..38);
    let mut crowd = Crowd::of(victim);
    for _ in 0..600 {
        crowd.run(1000, |_| Manner::Answers);
        kept.iter().for_each(|link| crowd.victim.say(*link, &Frame::Ping));
    }
    assert!(kept.iter().all(|link| crowd.victim.node.links.get(*link).is_some()));
    assert!(crowd.open.len() <= 3 + 2, "{} at the end", crowd.open.len());
    assert_eq!(crowd.victim.node.chosen().count(), 3);
}

#[test]
fn visits_that_never_say_hello_are_few_at_any_time() {
    let mut crowd = Crowd::of(Victim::among(200, 0));
    crowd.victim.node.visit_pause = Duration::from_millis(300);
    for _ in 0..100 {
        crowd.run(300, |_| Manner::Silent);
        crowd.victim.node.visit_pause = Duration::from_millis(300);
        let node = &crowd.victim.node;
        assert!(node.visits().len() <= VISITS_AT_ONCE, "{}", node.visits().len());
    }
    assert!(crowd.most <= 3 + 1 + VISITS_AT_ONCE, "{} links", crowd.most);
    assert!(crowd.dialled.len() > 60, "it goes on visiting: {}", crowd.dialled.len());
}

/// A third of the members say hello and never answer. The others must all be visited within
/// seconds.
#[test]
fn hurried_visits_reach_everybody_soon_and_silence_holds_a_place_for_two_seconds() {
    let members = 31u16;
    let liars: BTreeSet<PublicKey> = (1..=10).map(|n| identity(n).public()).collect();
    let manner = |peer: &PublicKey| match liars.contains(peer) {
        true => Manner::Hello,
        false => Manner::Answers,
    };
    let mut crowd = Crowd::of(Victim::among(members, 0));
    crowd.run(3000, manner);
    let before = crowd.dialled.len();
    crowd.victim.node.hurry_visits = true;
    crowd.run(10_000, manner);
    let seen: BTreeSet<PublicKey> = crowd.dialled[before..].iter().copied().collect();
    let linked = crowd.victim.node.chosen().count();
    assert!(seen.len() + linked >= usize::from(members) - 1, "{} of them", seen.len());
    assert!(crowd.most <= 3 + 1 + VISITS_AT_ONCE, "{} links", crowd.most);
    let dials = crowd.dialled.len() - before;
    assert!(dials <= 4 * usize::from(members), "{dials}: a round, a pause, a round");
    for (peer, since) in crowd.open.values().filter(|(peer, _)| liars.contains(peer)) {
        let chosen = crowd.victim.node.chosen().any(|key| key == *peer);
        let lasted = crowd.victim.now.since(*since);
        assert!(chosen || lasted <= Duration::from_millis(2100), "{lasted:?}");
    }
    crowd.victim.node.hurry_visits = false;
    crowd.run(10_000, manner);
    assert!(crowd.victim.node.visits().len() <= 2);
}

/// The first visit was asked for what is missing. Then more silent visits come up than there may
/// be: the oldest of those must end, not the first.
#[test]
fn visits_that_say_nothing_end_none_that_was_asked() {
    let slots = vec![restored(&Victim::among(40, 1).chain(40, 2)[1])];
    let lane = RestoredLane { slots, ..lane(40, 2, vec![hole(1, 1)]) };
    let mut victim = Victim::with_lanes(40, 1, vec![lane]);
    victim.leave_alone();
    let mut asked = 0;
    for n in 1..=6u16 {
        let (link, peer) = (LinkId(u64::from(n)), identity(n).public());
        victim.give(Input::LinkUp { link, peer, dialled: true });
        if n == 1 {
            victim.hello(link, 1);
        }
        victim.run(100, |victim, link, frame| match frame {
            Frame::Request(_) => asked += 1,
            Frame::Compare(compare) => victim.agree(link, &compare),
            _ => {}
        });
    }
    assert_eq!(asked, 1);
    let closed: Vec<u64> = victim.closed.iter().map(|(link, _)| link.0).collect();
    assert_eq!(closed, [2, 3], "the oldest of the others");
}

/// The reason to hurry visits comes and goes ten times a second, as a liar can cause it to. The
/// visits must stay within their budget.
#[test]
fn a_hurry_that_comes_and_goes_costs_no_more_visits_than_one_that_stays() {
    const SECONDS: u64 = 300;
    let mut crowd = Crowd::of(Victim::among(200, 0));
    crowd.run(3000, |_| Manner::Answers);
    let before = crowd.dialled.len();
    for tenth in 0..10 * SECONDS {
        crowd.victim.node.recovery.lacks_voices = tenth % 2 == 0;
        crowd.victim.node.pace_visits();
        crowd.run(100, |_| Manner::Answers);
    }
    let dials = (crowd.dialled.len() - before) as u64;
    // The budget, one more visit at each of the usual times, and the links that are exchanged.
    let most = VOICE_BURST + SECONDS * (VOICES_PER_S + 1) + 60;
    assert!(dials <= most, "{dials} visits, and not {most}");
    assert!(dials > VOICE_BURST, "{dials}: they are hurried");
}

/// The only member that is not linked links itself in while one chosen link is to be exchanged. It
/// is chosen when it says hello, but its hello ends no link to another peer.
#[test]
fn an_inbound_hello_ends_no_link_to_another_peer() {
    let mut crowd = Crowd::of(Victim::among(5, 0));
    crowd.run(8000, |_| Manner::Answers);
    let mut victim = crowd.victim;
    victim.node.visits().into_iter().for_each(|link| victim.lose(link));
    assert_eq!(victim.node.chosen().count(), 3);
    let fourth = (1..5u16).find(|n| victim.node.links.of_peer(&identity(*n).public()).is_none());
    let fourth = fourth.expect("one is not linked");
    let link = LinkId(u64::from(fourth));
    victim.give(Input::LinkUp { link, peer: identity(fourth).public(), dialled: false });
    victim.node.rotate();
    victim.drain();
    assert!(victim.node.retiring.is_some());
    victim.closed.clear();
    victim.hello(link, 9);
    assert_eq!(victim.closed, [], "its hello alone ends nothing");
    assert_eq!(victim.node.chosen().count(), 4, "it was drawn");
    victim.run(1100, |_, _, _| ());
    assert_eq!(victim.closed.len(), 1, "and the exchange is finished by the clock");
    assert_eq!(victim.node.chosen().count(), 3);
}

/// The clock was a year ahead when the ban was given. The start shortens the ban and must write the
/// shorter one down.
#[test]
fn a_ban_that_a_start_cuts_short_is_written_down_as_that() {
    let (year, term) = (Duration::from_secs(31_536_000), Duration::from_secs(20));
    let peer = identity(1).public();
    let at = Time(1_000_000).after(year);
    let ban = Ban { peer, reason: Reason::Malformed, at, until: at.after(term), strikes: 1 };
    let restored = Restored { lanes: vec![], bans: vec![ban] };
    let victim = Victim::with(4, 0, restored);
    let until = victim.now.after(term);
    assert_eq!(victim.bans, [Ban { at: victim.now, until, ..ban }]);
    let again = Victim::with(4, 0, Restored { lanes: vec![], bans: victim.bans });
    assert_eq!(again.bans, []);
}
