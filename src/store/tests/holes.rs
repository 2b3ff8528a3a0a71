//! Holes in lanes: they are kept in the order of writes, dropped when pruning passes them, and told
//! to readers once.

use rusqlite::Connection;

use crate::protocol::{Durability, Hole, Network, Record, RestoredLane};
use crate::store::schema;
use crate::store::testing::{Bench, batch, entry, identity, killed, network, query, stored};
use crate::store::{Cursor, LaneGap, MessageQuery, Options, author, holes};
use crate::wire::limits::{MAX_HOLES, RECENT, WINDOW};

fn hole(from: u64, to: u64, gone: bool) -> Hole {
    Hole { from, to, gone }
}

fn holes(tip: u64, holes: &[Hole]) -> Record {
    Record::Holes { author: identity(2).public(), tip, holes: holes.to_vec() }
}

fn put(bench: &Bench, net: &Network, seqs: impl IntoIterator<Item = u64>) {
    let one = |seq| stored(batch(net, 2, seq, &[entry("t", [1; 200])]), Some(3));
    let give = |seq| bench.give(Record::Batch(one(seq)), Durability::Lazy);
    let tokens: Vec<_> = seqs.into_iter().map(give).collect();
    tokens.into_iter().for_each(|token| drop(bench.answer(token)));
}

fn lane(bench: &Bench) -> RestoredLane {
    let key = identity(2).public();
    bench.restored.lanes.iter().find(|lane| lane.author == key).expect("a lane").clone()
}

fn told(gaps: &[LaneGap]) -> Vec<(u64, u64)> {
    gaps.iter().map(|gap| (gap.from, gap.to)).collect()
}

#[test]
fn a_start_finds_a_lane_s_holes_less_what_came_since() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    let two = [hole(11, 3000, false), hole(3500, 3600, true)];
    put(&bench, &net, 1..=10);
    assert!(bench.put(holes(5000, &[hole(11, 5000, false)]), Durability::Lazy));
    assert!(bench.put(holes(5000, &two), Durability::Lazy), "in place of those before");
    put(&bench, &net, (20..=29).chain([3550, 5001]));
    for clean in [true, false] {
        let copy = killed(dir.path());
        let bench = if clean {
            bench.store.reader(); // still open: the copy is what a killed process leaves behind
            let bench = Bench::open(copy.path(), &net);
            bench.store.close();
            Bench::open(copy.path(), &net)
        } else {
            Bench::open(copy.path(), &net)
        };
        let lane = lane(&bench);
        assert_eq!((lane.tip, lane.floor), (5000, 0));
        // Slots 3001..=3499 and 3601..=5000 were never written. Only a lie or a full disk explains
        // that, so after an unclean end the node looks for them.
        let found = [
            hole(11, 19, false),
            hole(30, 3499, false),
            hole(3500, 3549, true),
            hole(3551, 3600, true),
            hole(3601, 5000, false),
        ];
        assert_eq!(lane.holes, found);
        assert_eq!(lane.slots.last().map(|slot| slot.seq), Some(5001));
    }
}

#[test]
fn a_clean_end_believes_what_the_node_said_of_its_holes() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    put(&bench, &net, (1..=50).chain(61..=200));
    assert!(bench.put(holes(200, &[hole(51, 60, false)]), Durability::Lazy));
    put(&bench, &net, 55..=56);
    bench.store.close();
    let bench = Bench::open(dir.path(), &net);
    let left = [hole(51, 54, false), hole(57, 60, false)];
    assert_eq!((lane(&bench).holes, lane(&bench).tip), (left.to_vec(), 200));
    bench.store.close();
    // A tip alone, with nothing held at all.
    let dir = tempfile::tempdir().expect("a folder");
    let bench = Bench::open(dir.path(), &net);
    assert!(bench.put(holes(u64::MAX, &[hole(1, u64::MAX, false)]), Durability::Lazy));
    bench.store.close();
    let bench = Bench::open(dir.path(), &net);
    assert_eq!((lane(&bench).slots.len(), lane(&bench).holes.len()), (0, 1));
}

#[test]
fn what_was_never_written_is_found_after_a_death() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    let newest = WINDOW + RECENT + 100;
    // The disk was full when slot 40 came, and the node went on.
    put(&bench, &net, (1..=newest).filter(|seq| *seq != 40));
    let copy = killed(dir.path());
    let after = Bench::open(copy.path(), &net);
    assert_eq!(lane(&after).holes, [hole(40, 40, false)]);
    drop(after);
    bench.store.close();
    let bench = Bench::open(dir.path(), &net);
    assert_eq!(lane(&bench).holes, [], "a clean end says that nothing failed");
}

#[test]
fn holes_of_a_lane_are_few_whatever_happened_to_it() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    put(&bench, &net, (1..=10).chain([9000]).map(|number| number * 2));
    let many: Vec<Hole> =
        (1..=9000).map(|number| hole(number * 2 - 1, number * 2 - 1, true)).collect();
    assert!(bench.put(holes(18_000, &many), Durability::Lazy));
    let after = Bench::open(killed(dir.path()).path(), &net);
    let found = lane(&after).holes;
    assert_eq!(found.len(), MAX_HOLES);
    assert_eq!(found.last().map(|hole| hole.to), Some(17_999));
}

#[test]
fn pruning_drops_the_holes_that_it_passes_and_tells_readers() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let options = Options { max_bytes: 1 << 20, ..Options::default() };
    let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
    put(&bench, &net, 1..=10);
    let reader = bench.store.reader();
    let here = reader.messages(&query(None, 100)).expect("reads").next;
    let recorded = [hole(11, 3000, false), hole(7000, 7001, true), hole(7990, 7999, false)];
    assert!(bench.put(holes(8000, &recorded), Durability::Lazy));
    put(&bench, &net, (3001..=6999).chain(7002..=7989).chain(8000..=8100));
    bench.settle();
    let floor = bench.told(2).expect("told");
    assert!(floor > 7001 && floor < 7989, "{floor}");
    let page = reader.messages(&MessageQuery { after: Some(here), ..query(None, 1) });
    let page = page.expect("reads");
    assert!(page.gap.is_some(), "older messages are pruned");
    let all = reader.messages(&query(None, 1000)).expect("reads");
    // Holes that the floor passed are told like slots that were given up; older ones only as `gap`.
    assert!(told(&all.gaps).iter().all(|gap| *gap == (7000, 7001) || *gap == (11, 3000)));
    bench.store.close();
    let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
    assert_eq!((lane(&bench).holes, lane(&bench).floor), (vec![hole(7990, 7999, false)], floor));
    // Below the floor, nothing is a hole any more.
    assert!(bench.put(holes(8000, &[hole(1, floor + 2, true)]), Durability::Lazy));
    bench.store.close();
    let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
    assert!(lane(&bench).holes.iter().all(|hole| hole.from > floor));
}

#[test]
fn a_window_gap_holds_the_floor_back_and_a_hole_does_not() {
    let net = network(2);
    for (tip, floor) in [(0, 2), (10, 8)] {
        let dir = tempfile::tempdir().expect("a folder");
        let options = Options { max_bytes: 8 << 10, ..Options::default() };
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        let of = |seq| stored(batch(&net, 2, seq, &[entry("", [1; 1000])]), Some(2));
        if tip > 0 {
            assert!(bench.put(holes(tip, &[hole(3, 3, false)]), Durability::Lazy));
        }
        for seq in (1..=10).filter(|seq| *seq != 3) {
            assert!(bench.put_batch(&of(seq)));
        }
        bench.settle();
        assert_eq!(bench.told(2), Some(floor));
    }
}

/// Payloads above the floor were pruned, but a slot that may still come held the floor back. Then
/// the slot is given up, and nothing else is written.
#[test]
fn the_floor_follows_a_tip_over_what_is_pruned_already() {
    let net = network(2);
    let dir = tempfile::tempdir().expect("a folder");
    let options = Options { max_bytes: 8 << 10, ..Options::default() };
    for starts in [1, 2] {
        let bench = Bench::try_open(dir.path(), &net, options).expect("opens");
        if starts == 1 {
            let of = |seq| stored(batch(&net, 2, seq, &[entry("", [1; 1000])]), Some(2));
            for seq in (1..=10).filter(|seq| *seq != 3 && *seq != 5) {
                assert!(bench.put_batch(&of(seq)));
            }
            bench.settle();
            assert_eq!(bench.told(2), Some(2));
        }
        let tip = 2 * starts + 2;
        let gone = [hole(3, 3, true), hole(5, 5, true)];
        let upto = usize::try_from(starts).expect("small");
        assert!(bench.put(holes(tip, &gone[..upto]), Durability::Lazy));
        bench.settle();
        assert_eq!(bench.told(2), Some(if starts == 1 { 4 } else { 8 }), "tip {tip}");
        bench.store.close();
    }
}

#[test]
fn a_lane_of_many_holes_is_written_as_it_changes() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    drop(Bench::open(dir.path(), &net));
    let db = Connection::open(schema::database(dir.path())).expect("opens");
    let shares = crate::protocol::Shares::new(1 << 30, 3, identity(1).public());
    let mut authors = author::Authors::load(&db, shares).expect("loads");
    let key = identity(2).public();
    let most = 2000;
    let mut all: Vec<Hole> =
        (1..=most).map(|number| hole(3 * number, 3 * number + 1, true)).collect();
    let mut write = |all: &[Hole]| {
        let before = db.total_changes();
        holes::put(&db, &mut authors, &key, 9 * most, all).expect("writes");
        db.total_changes() - before
    };
    assert!(write(&all) >= most);
    assert_eq!(write(&all), 0, "nothing has changed");
    let at = all.len() / 2;
    all[at].to -= 1;
    let changed = write(&all);
    assert!(changed <= 8, "{changed} rows for one hole that has changed");
    let wide = hole(3 * most, 3 * most + 9, true);
    *all.last_mut().expect("many") = wide;
    let changed = write(&all);
    assert!(changed <= 8, "{changed} rows for one hole that has grown");
    let number: i64 = db
        .query_row("SELECT number FROM authors WHERE key = ?1", [key.to_string()], |r| r.get(0))
        .expect("an author");
    let restored = holes::missing(&db, number, (0, 9 * most), false).expect("reads");
    assert!(restored == all, "what was changed is what is found");
}

#[test]
fn readers_are_told_once_of_what_is_gone_in_its_place() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    let reader = bench.store.reader();
    let mut commits = bench.store.commits();
    put(&bench, &net, [1, 2, 10]);
    assert!(bench.put(holes(10, &[hole(3, 9, false)]), Durability::Lazy));
    assert_eq!(told(&reader.messages(&query(None, 9)).expect("reads").gaps), []);
    commits.mark_unchanged();
    assert!(bench.put(holes(10, &[hole(3, 6, true), hole(7, 9, false)]), Durability::Lazy));
    assert!(commits.has_changed().expect("open"), "streams are woken");
    put(&bench, &net, [11]);
    // The same holes again, and more: only the new part is told. A slot that came since splits no
    // gap.
    assert!(bench.put(holes(11, &[hole(3, 9, true)]), Durability::Lazy));
    put(&bench, &net, [4]);
    let split = [hole(3, 3, true), hole(5, 9, true)];
    assert!(bench.put(holes(11, &split), Durability::Lazy));
    let all = reader.messages(&query(None, 9)).expect("reads");
    assert_eq!(told(&all.gaps), [(3, 6), (7, 9)]);
    assert!(all.gaps.iter().all(|gap| gap.author == identity(2).public()));
    // Page by page, limited by messages and by gaps, each is told once and in its place.
    for limit in 1..=5 {
        let (mut after, mut seen): (Option<Cursor>, Vec<(Cursor, u64)>) = (None, vec![]);
        loop {
            let page = reader.messages(&MessageQuery { after, ..query(None, limit) });
            let page = page.expect("reads");
            assert!(page.rows.len() <= limit && page.gaps.len() <= limit && page.gap.is_none());
            let rows = page.rows.iter().map(|row| (row.cursor, row.seq));
            let gaps = page.gaps.iter().map(|gap| (gap.cursor, 100 + gap.from));
            let mut both: Vec<_> = rows.chain(gaps).collect();
            both.sort_unstable();
            assert!(both.iter().all(|(cursor, _)| *cursor <= page.next));
            seen.extend(both);
            after = Some(page.next);
            if !page.more {
                break;
            }
        }
        let order: Vec<u64> = seen.iter().map(|(_, what)| *what).collect();
        assert_eq!(order, [1, 2, 10, 103, 11, 107, 4], "{limit}");
        // A reader that stopped after any of them goes on with the next one.
        for (place, (cursor, _)) in seen.iter().enumerate() {
            let rest = MessageQuery { after: Some(*cursor), ..query(None, 9) };
            let page = reader.messages(&rest).expect("reads");
            assert_eq!(page.rows.len() + page.gaps.len(), seen.len() - place - 1);
        }
    }
    let other = query(Some(identity(3).public()), 9);
    assert_eq!(told(&reader.messages(&other).expect("reads").gaps), [], "another author's");
    let one = MessageQuery { topic: Some("none".into()), ..query(None, 9) };
    assert_eq!(reader.messages(&one).expect("reads").gaps.len(), 2, "of any topic");
}

#[test]
fn gaps_of_an_author_are_bounded() {
    let (dir, net) = (tempfile::tempdir().expect("a folder"), network(3));
    let bench = Bench::open(dir.path(), &net);
    for round in 0..20u64 {
        let base = round * 1000;
        let gone: Vec<Hole> =
            (0..256).map(|n| hole(base + n * 2 + 1, base + n * 2 + 1, true)).collect();
        assert!(bench.put(holes(base + 1000, &gone), Durability::Lazy));
    }
    let db = Connection::open(schema::database(dir.path())).expect("opens");
    let count: i64 =
        db.query_row("SELECT count(*) FROM gaps", [], |row| row.get(0)).expect("counts");
    assert_eq!(count, 4096);
    let old = bench.store.reader().messages(&query(None, 1)).expect("reads").next;
    let early = Cursor { row: 1, index: 0, ..old };
    let page =
        bench.store.reader().messages(&MessageQuery { after: Some(early), ..query(None, 9) });
    assert!(page.expect("reads").gap.is_some(), "what was dropped is not dropped in silence");
}
