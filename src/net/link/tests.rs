//! One link on two ends of a pipe, with and without impairments.

use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::net::impairment::{Impairment, Impairments};
use crate::protocol::testing::identity;
use crate::wire::limits::{INBOX_BYTES, OUTBOX_BYTES};
use crate::wire::{Class, Kind};

const SHORT: Deadlines = Deadlines {
    step: Duration::from_millis(100),
    write: Duration::from_millis(100),
    close: Duration::from_millis(100),
};

struct Bench {
    link: Arc<Link>,
    far: DuplexStream,
    task: JoinHandle<()>,
    mail: Arc<Queue>,
    meter: Arc<Meter>,
}

fn bench(pipe: usize, deadlines: Deadlines) -> Bench {
    impaired(pipe, deadlines, None)
}

fn impaired(pipe: usize, deadlines: Deadlines, lab: Option<&Impairments>) -> Bench {
    let (mail, meter) = (Arc::new(Queue::default()), Arc::new(Meter::default()));
    let conditions = Conditions::new(lab, identity(1).public());
    let shared = (mail.clone(), meter.clone(), FrameCount::default());
    let link = Link::new(LinkId(7), conditions, true, shared);
    let (near, far) = duplex(pipe);
    let task = tokio::spawn(link.clone().run(near, deadlines));
    Bench { link, far, task, mail, meter }
}

impl Bench {
    /// The next item, as the driver would get it.
    async fn next(&self) -> Incoming {
        timeout(Duration::from_secs(10), async {
            loop {
                if let Some(item) = self.link.inbox.pop() {
                    return item;
                }
                self.mail.woken().await;
            }
        })
        .await
        .expect("an item in time")
    }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).expect("short").to_be_bytes(), frame].concat()
}

fn push(length: usize) -> Vec<u8> {
    let mut frame = vec![9; length];
    frame[1] = Kind::Push as u8;
    frame
}

#[tokio::test]
async fn frames_cross_both_ways_and_are_counted() {
    let mut bench = bench(1 << 10, SHORT);
    for length in [2, 3, STEP, STEP + 1, MAX_FRAME] {
        let frame = push(length);
        bench.far.write_all(&framed(&frame)).await.expect("read");
        assert_eq!(bench.next().await, Incoming::Frame(frame.clone().into()));
        bench.link.send(Chunk::Frame(Class::Push, frame.clone().into()));
        let mut got = vec![0; length + 4];
        bench.far.read_exact(&mut got).await.expect("written");
        assert!(got == framed(&frame));
    }
    bench.link.send(Chunk::Raw([1, 2, 3].into()));
    bench.far.read_exact(&mut [0; 3]).await.expect("written");
    tokio::task::yield_now().await;
    let traffic = bench.meter.read();
    assert_eq!(traffic.frames[&("push", Direction::Received)], 5);
    assert_eq!(traffic.frames[&("push", Direction::Sent)], 5);
    assert_eq!(traffic.bytes_sent, traffic.bytes_received + 3);
    assert!(bench.mail.take().drained.contains(&LinkId(7)));
    drop(bench.far);
    bench.task.await.expect("ends");
    assert_eq!(bench.link.inbox.pop(), Some(Incoming::End(Down::Lost)));
    assert_eq!(bench.link.inbox.pop(), None);
}

#[tokio::test]
async fn a_prefix_that_no_frame_has_is_reported_and_nothing_after_it_read() {
    for length in [0, 1, MAX_FRAME as u32 + 1, u32::MAX] {
        let mut bench = bench(1 << 10, SHORT);
        bench.far.write_all(&length.to_be_bytes()).await.expect("read");
        bench.far.write_all(&framed(&push(2))).await.expect("taken");
        assert_eq!(bench.next().await, Incoming::Oversize(length));
        bench.link.close();
        assert_eq!(bench.next().await, Incoming::End(Down::Closed));
        bench.task.await.expect("ends");
    }
}

#[tokio::test]
async fn a_frame_once_begun_must_come_but_silence_before_it_is_fine() {
    let mut bench = bench(1 << 10, SHORT);
    sleep(SHORT.step * 3).await;
    bench.far.write_all(&framed(&push(100))[..50]).await.expect("read");
    assert_eq!(bench.next().await, Incoming::End(Down::Lost));
    bench.task.await.expect("ends");
}

#[tokio::test]
async fn a_full_inbox_holds_the_peer_back() {
    let bench = bench(1 << 10, SHORT);
    let (mut reader, mut writer) = split(bench.far);
    let flood = tokio::spawn(async move {
        for _ in 0..1000 {
            writer.write_all(&framed(&push(STEP))).await?;
        }
        io::Result::Ok(())
    });
    sleep(SHORT.step * 3).await;
    assert!(!flood.is_finished());
    let held = bench.meter.read().bytes_received as usize;
    assert!(held <= INBOX_BYTES + STEP + 8, "{held}");
    bench.link.inbox.pop();
    sleep(SHORT.step).await;
    assert!(bench.meter.read().bytes_received as usize > held);
    flood.abort();
    bench.link.close();
    bench.task.await.expect("ends");
    let _ = reader.read(&mut [0]).await;
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_a_deaf_peer_does_not_delay_it_for_long() {
    let mut bench = bench(1 << 10, Deadlines { close: Duration::from_secs(20), ..SHORT });
    let frame = push(MAX_FRAME);
    for _ in 0..3 {
        bench.link.send(Chunk::Frame(Class::Push, frame.clone().into()));
    }
    bench.link.close();
    bench.link.send(Chunk::Frame(Class::Push, frame.clone().into()));
    let mut got = vec![];
    bench.far.read_to_end(&mut got).await.expect("ends");
    assert!(got == framed(&frame).repeat(3));
    drop(bench.far);
    bench.task.await.expect("ends");
    assert_eq!(bench.link.inbox.pop(), Some(Incoming::End(Down::Closed)));

    let deaf = self::bench(1 << 10, Deadlines { write: Duration::from_secs(20), ..SHORT });
    deaf.link.send(Chunk::Frame(Class::Push, frame.clone().into()));
    deaf.link.close();
    assert_eq!(deaf.next().await, Incoming::End(Down::Closed));
    let lost = self::bench(1 << 10, SHORT);
    for _ in 0..10 {
        lost.link.send(Chunk::Frame(Class::Reply, frame.clone().into()));
    }
    assert_eq!(lost.next().await, Incoming::End(Down::Lost));
    let dropped = lost.meter.read().dropped["reply"] as usize;
    assert!(dropped >= 10 - OUTBOX_BYTES / MAX_FRAME - 1, "{dropped}");
}

#[tokio::test]
async fn a_pace_holds_writing_back_and_a_pause_reading() {
    let mut bench = bench(1 << 20, SHORT);
    bench.link.outbox.set_pace(Some(1000));
    bench.link.send(Chunk::Raw(vec![1; 5000].into()));
    sleep(Duration::from_millis(500)).await;
    let mut got = vec![0; 5000];
    let read = bench.far.read(&mut got).await.expect("some");
    assert!((50..=1500).contains(&read), "{read}");
    bench.link.inbox.pause(false);
    bench.far.write_all(&framed(&push(2)).repeat(3)).await.expect("piped");
    sleep(SHORT.step * 2).await;
    // The one whose prefix was awaited already may still come.
    let early = bench.meter.read().frames[&("push", Direction::Received)];
    assert!(early <= 1, "{early}");
    bench.link.inbox.pause(true);
    for _ in 0..3 {
        assert!(matches!(bench.next().await, Incoming::Frame(_)));
    }
}

fn lab(impairment: Impairment) -> Impairments {
    let lab = Impairments::new();
    lab.set([(identity(1).public(), impairment)].into());
    lab
}

#[tokio::test]
async fn a_delay_is_added_and_nothing_is_lost_or_overtaken() {
    let delay = Duration::from_millis(150);
    let (jitter, far) = (Duration::from_millis(30), Impairment::default());
    let lab = lab(Impairment { delay, jitter, ..far });
    let mut bench = impaired(1 << 20, SHORT, Some(&lab));
    let begun = Instant::now();
    let mut sent = vec![];
    for number in 0..50 {
        let frame = push(number * 100 + 2);
        sent.extend(framed(&frame));
        bench.link.send(Chunk::Frame(Class::Push, frame.into()));
        tokio::task::yield_now().await;
    }
    let mut got = vec![0; sent.len()];
    bench.far.read_exact(&mut got[..1]).await.expect("written");
    assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
    bench.far.read_exact(&mut got[1..]).await.expect("written");
    assert!(begun.elapsed() < delay * 4, "many are under way: {:?}", begun.elapsed());
    assert!(got == sent);
    // What is under way keeps its delay; what comes after it has none any more.
    bench.link.send(Chunk::Raw([1].into()));
    sleep(delay / 5).await;
    lab.set([].into());
    bench.link.send(Chunk::Raw([2].into()));
    let mut got = [0; 2];
    bench.far.read_exact(&mut got).await.expect("written");
    assert_eq!(got, [1, 2]);
    let begun = Instant::now();
    bench.link.send(Chunk::Raw([3].into()));
    bench.far.read_exact(&mut got[..1]).await.expect("written");
    assert!(begun.elapsed() < delay, "mended: {:?}", begun.elapsed());
    bench.link.close();
    assert_eq!(bench.next().await, Incoming::End(Down::Closed));
}

#[tokio::test]
async fn what_was_delayed_is_still_written_when_the_link_is_closed() {
    let delay = Duration::from_millis(300);
    let lab = lab(Impairment { delay, ..Impairment::default() });
    let mut bench = impaired(1 << 20, SHORT, Some(&lab));
    bench.link.send(Chunk::Raw(vec![5; 1000].into()));
    bench.link.close();
    let mut got = vec![];
    bench.far.read_to_end(&mut got).await.expect("ends");
    assert_eq!(got, [5; 1000]);
    drop(bench.far);
    bench.task.await.expect("ends");
}

#[tokio::test]
async fn a_rate_bounds_what_is_written() {
    let lab = lab(Impairment { bytes_per_s: Some(20_000), ..Impairment::default() });
    let mut bench = impaired(1 << 20, SHORT, Some(&lab));
    let begun = Instant::now();
    bench.link.send(Chunk::Raw(vec![1; 12_000].into()));
    let mut got = vec![0; 12_000];
    bench.far.read_exact(&mut got).await.expect("written");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(590), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_cut_is_a_black_hole_and_mending_it_loses_nothing() {
    let lab = lab(Impairment::default());
    let mut bench = impaired(1 << 20, SHORT, Some(&lab));
    let frame = push(20);
    // So that reading waits in the middle of things when the cut comes.
    bench.far.write_all(&framed(&frame)).await.expect("piped");
    assert!(matches!(bench.next().await, Incoming::Frame(_)));
    lab.set([(identity(1).public(), Impairment { cut: true, ..Impairment::default() })].into());
    for _ in 0..3 {
        bench.far.write_all(&framed(&frame)).await.expect("piped");
        bench.link.send(Chunk::Frame(Class::Push, frame.clone().into()));
    }
    // Longer than every deadline: none of them runs in a cut.
    sleep(SHORT.step * 4).await;
    assert_eq!(bench.link.inbox.pop(), None);
    let nothing = timeout(SHORT.step, bench.far.read(&mut [0])).await;
    assert!(nothing.is_err(), "something passed: {nothing:?}");
    assert!(!bench.task.is_finished());
    lab.set([].into());
    let mut got = vec![0; framed(&frame).len() * 3];
    bench.far.read_exact(&mut got).await.expect("written");
    assert!(got == framed(&frame).repeat(3));
    for _ in 0..3 {
        assert_eq!(bench.next().await, Incoming::Frame(frame.clone().into()));
    }
}

#[tokio::test]
async fn in_a_cut_an_end_is_not_seen_and_a_close_is_not_held_up() {
    let lab = lab(Impairment { cut: true, ..Impairment::default() });
    let gone = impaired(1 << 10, SHORT, Some(&lab));
    drop(gone.far);
    sleep(SHORT.step * 2).await;
    assert_eq!(gone.link.inbox.pop(), None);
    lab.set([].into());
    let seen = timeout(Duration::from_secs(5), async {
        loop {
            if let Some(item) = gone.link.inbox.pop() {
                return item;
            }
            gone.mail.woken().await;
        }
    });
    assert_eq!(seen.await, Ok(Incoming::End(Down::Lost)));
    lab.set([(identity(1).public(), Impairment { cut: true, ..Impairment::default() })].into());
    let closed = impaired(1 << 10, SHORT, Some(&lab));
    closed.link.send(Chunk::Raw([1].into()));
    closed.link.close();
    assert_eq!(closed.next().await, Incoming::End(Down::Closed));
    closed.task.await.expect("ends");
}
