//! Every limit, in one file, with the memory that they add up to.
//!
//! Limits behind hard blame are constants of the protocol: two honest nodes cannot differ in them,
//! so crossing one convicts. The others bound memory or work and never blame anybody.
//!
//! | per node of `n` members, `k` keys | bound |
//! |---|---|
//! | lanes | `k` × ([`WINDOW`] + [`RECENT`]) × ~150 B, for authors that spoke |
//! | unverified statements | links × ([`PUSH_FRAMES`] + [`MAX_OPEN_WANTS`] + [`MAX_TIPS`]) |
//! | bytes of unverified pushes | links × [`PUSH_BYTES`] |
//! | open requests | links × [`MAX_OPEN_WANTS`] |
//! | wanted ids | [`MAX_WANTED`] × (~200 B + 8 B for each link that names one) |
//! | what members lack | lanes with gaps × members asked × [`MAX_LACKED`] × 64 to 128 B |
//! | gaps below tips | lanes with gaps × [`MAX_HOLES`] × 24 B |
//! | inbox and outbox of a link | [`INBOX_BYTES`] + [`OUTBOX_BYTES`] |

/// Version of the framing and of every signed statement; another version is another protocol.
pub const VERSION: u8 = 6;

// ---- constants of the protocol: crossing one is hard blame -------------------------------------

/// Longest payload of one message, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Longest topic, in bytes of UTF-8.
pub const MAX_TOPIC: usize = 64;
/// Bytes that an entry takes in addition to its topic and payload: a `u16` and a `u32` length.
pub const ENTRY_OVERHEAD: usize = 6;
/// Most entries (messages) in a batch.
pub const MAX_ENTRIES: usize = 256;
/// Longest body of a batch with several messages, in bytes. A batch of one message is limited only
/// by [`MAX_BODY`].
pub const MAX_SHARED_BODY: usize = 64 << 10;
/// Longest body of any batch, in bytes.
pub const MAX_BODY: usize = MAX_PAYLOAD + MAX_TOPIC + ENTRY_OVERHEAD;
/// Shortest frame, in bytes, without its length prefix: a version and a kind.
pub const MIN_FRAME: usize = 2;
/// Longest frame of any kind, in bytes, without its length prefix.
pub const MAX_FRAME: usize = MAX_BODY + 512;
/// Most keys (members and authors) in a network file.
pub const MAX_KEYS: usize = 1 << 20;
/// The last slot of a lane: the largest signed 64-bit integer, as databases and many languages have
/// no larger one.
pub const MAX_SLOT: u64 = i64::MAX as u64;
/// Most ids in one announcement.
pub const MAX_ANNOUNCED: usize = 128;
/// Most wants in one request.
pub const MAX_WANTS: usize = 16;
/// Most range hashes in one comparison or in its answer.
pub const MAX_RANGES: usize = 64;
/// Ranges that a differing range is split into.
pub const RANGE_FANOUT: u32 = 16;
/// Most tips in the answer to a comparison.
pub const MAX_TIPS: usize = 128;
/// Most slots above those tips in the answer to a comparison.
pub const MAX_ABOVE: usize = 128;

/// Push frames in flight on a link. This bounds the unverified statements that a peer can cause
/// unasked; requested ones are bounded by [`MAX_OPEN_WANTS`] (replies) and [`MAX_TIPS`] (a differ).
pub const PUSH_FRAMES: u64 = 32;
/// Bytes of push frames in flight on a link.
pub const PUSH_BYTES: u64 = 2 * MAX_FRAME as u64 + (256 << 10);
/// Announcements in flight on a link.
pub const ANNOUNCE_FRAMES: u64 = 16;
/// Requests in flight on a link. More than [`MAX_OPEN_WANTS`] would fill, because a request is
/// consumed only with its last answer, and missing slots turn up a few at a time.
pub const REQUEST_FRAMES: u64 = 16;
/// Comparisons in flight on a link.
pub const REPAIR_FRAMES: u64 = 4;
/// Pings in flight on a link.
pub const CONTROL_FRAMES: u64 = 4;
/// Wants that a link may have unanswered.
pub const MAX_OPEN_WANTS: usize = 4 * MAX_WANTS;

// ---- bounds on memory and work: no blame --------------------------------------------------------

/// Slots above the tip that a lane accepts.
pub const WINDOW: u64 = 1024;
/// Slots at and below the tip whose ids a lane keeps, for dedup and as evidence of equivocation.
pub const RECENT: u64 = 1024;
/// Most holes of a lane: ranges of missing slots below its tip.
pub const MAX_HOLES: usize = 8192;
/// With this many holes the tip no longer passes missing slots, except on the word of more than `f`
/// members. An author needs about 40 s at its quota to leave that many. The remaining room is for
/// slots that come late and split a hole: a node that moved its tip further than it can note
/// the slots below would end with other slots than its peers.
pub const TIP_HOLES: usize = MAX_HOLES / 2;
/// With this many holes a late slot may no longer split one: a member that supplies what others
/// have pruned must leave room for what the author publishes next.
pub const FILLED_HOLES: usize = MAX_HOLES - MAX_HOLES / 8;
/// Visits at once: links that a node dialled but has not chosen, each for comparing lanes with a
/// random member. An honest node thus keeps at most this many dialled links beyond its chosen ones
/// (`Config::links`, plus one while a link is rotated), and `n` nodes have at most `n` times as
/// many among them.
pub const VISITS_AT_ONCE: usize = 4;
/// Ids that a node may be searching for at once.
pub const MAX_WANTED: usize = 8192;
/// Ids that one link may have a node search for at once.
pub const MAX_WANTED_PER_LINK: usize = 512;
/// Open wants for one author's slots, over all links whose peers answer in time.
pub const ASKED_OF_ALL: usize = 16;
/// Open wants for one author's slots on a single link; always allowed, whatever is open on others.
pub const ASKED_OF_A_LINK: usize = 4;
/// Messages waiting to be signed.
pub const MAX_WAITING: usize = 8192;
/// Bytes of messages waiting to be signed.
pub const MAX_WAITING_BYTES: usize = 8 << 20;
/// An author's own batches that no neighbour has acknowledged yet; at this many, signing waits.
pub const MAX_UNACKNOWLEDGED: usize = 2;
/// Bytes queued between a link's socket and the node.
pub const INBOX_BYTES: usize = MAX_FRAME + (512 << 10);
/// Frames queued between a link's socket and the node.
pub const INBOX_FRAMES: usize = 128;
/// Bytes queued for writing to a link.
pub const OUTBOX_BYTES: usize = 6 << 20;
/// Bytes by which what waits to be written to a link counts for more than its content.
pub const OUTBOX_OVERHEAD: usize = 64;
/// Frames that a node takes in one turn of its loop.
pub const TURN_FRAMES: usize = 64;
/// Answers (checks, writes, reads) that a node takes in one turn of its loop.
pub const TURN_ANSWERS: usize = 256;
/// Signature checks that may wait before links are held back.
pub const WAITING_CHECKS: usize = 1024;
/// Reads that may wait before links are held back.
pub const WAITING_READS: usize = 4096;

// ---- quotas of authors: part of the network id, as all must grant the same; no blame ------------

/// Batches per second that an author may publish in the long run.
pub const AUTHOR_BATCHES_PER_S: u64 = 100;
/// Batches that an author may publish at once after a pause.
pub const AUTHOR_BATCH_BURST: u64 = 400;
/// Batches that a restart header counts for. An author needs one in a lifetime, and each makes a
/// hole that every node has to ask every member about.
pub const RESTART_BATCHES: u64 = 100;
/// Bytes per second that an author may publish in the long run.
pub const AUTHOR_BYTES_PER_S: u64 = 4 << 20;
/// Bytes that an author may publish at once after a pause.
pub const AUTHOR_BYTE_BURST: u64 = 16 << 20;
// ---- what a link may cause: no blame --------------------------------------------

/// Units of work per second that a link may cause without bringing anything new, counted separately
/// for pushes and for all other frames. A copy costs one unit, plus one for every 4096 bytes.
pub const IDLE_WORK_PER_S: u64 = 1000;
/// Burst of [`IDLE_WORK_PER_S`], in units.
pub const IDLE_WORK_BURST: u64 = 2000;
/// Pieces (TLS records and socket reads) per second that a link may use beyond those that its
/// frames and bytes account for. A link that uses more is read more slowly.
pub const PIECES_PER_S: u32 = 1000;
/// Burst of [`PIECES_PER_S`], in pieces.
pub const PIECE_BURST: u64 = 4000;
/// Pieces that a whole frame accounts for: its length prefix and itself, each one record and one
/// read.
pub const PIECES_PER_FRAME: u64 = 4;
/// Bytes on the wire that account for one piece; even the narrowest networks have longer segments.
pub const PIECE_BYTES: u32 = 256;
/// Comparisons per second that a node starts or continues on one link.
pub const COMPARES_PER_S: u64 = 50;
/// Burst of [`COMPARES_PER_S`], in comparisons.
pub const COMPARE_BURST: u64 = 100;
/// Bytes per second that a node serves to the requests of one link.
pub const SERVE_BYTES_PER_S: u64 = 16 << 20;
/// Burst of [`SERVE_BYTES_PER_S`], in bytes.
pub const SERVE_BYTE_BURST: u64 = 2 << 20;
/// Missing slots below tips that a node asks for at once.
pub const RECOVERING: usize = 256;
/// Share of [`RECOVERING`] for slots that at most `f` members vouch for, so that lying authors
/// leave room for others.
pub const RECOVERING_UNVOUCHED: usize = RECOVERING / 2;
/// Share of [`RECOVERING_UNVOUCHED`] for one author. Where an answer takes half a second, this is
/// about what the author's quota allows.
pub const RECOVERING_OF_AUTHOR: usize = 64;
/// Slots of a lane, lowest first, that are looked at in one turn; also the most answers kept of
/// what a member lacks in one lane.
pub const MAX_LACKED: usize = 256;
/// Missing slots below tips asked for on one link at once; the other wants are for new batches.
pub const RECOVERING_PER_LINK: usize = MAX_OPEN_WANTS / 2;
/// Batches per second that a node recovers outside their author's quota: a tenth of a core to
/// check.
pub const RECOVER_BATCHES_PER_S: u64 = 2000;
/// Burst of [`RECOVER_BATCHES_PER_S`], in batches.
pub const RECOVER_BATCH_BURST: u64 = 512;
/// Slots per second below tips that a node asks for although at most `f` members vouch for them.
/// They are charged to their author's quota when they come, but most of a liar's never come.
pub const ASK_UNVOUCHED_PER_S: u64 = RECOVER_BATCHES_PER_S / 2;
/// Burst of [`ASK_UNVOUCHED_PER_S`], in slots.
pub const ASK_UNVOUCHED_BURST: u64 = RECOVER_BATCH_BURST / 2;
/// Slots per second that were given up and that a node asks for again.
pub const PROBES_PER_S: u64 = ASK_UNVOUCHED_PER_S;
/// Burst of [`PROBES_PER_S`], in slots.
pub const PROBE_BURST: u64 = ASK_UNVOUCHED_BURST;
/// Comparisons that probing a newly linked member counts for, so that a peer that reconnects is not
/// asked more often.
pub const PROBE_COMPARES: u64 = COMPARES_PER_S;
/// Bytes per second of recovered batches.
pub const RECOVER_BYTES_PER_S: u64 = 32 << 20;
/// Burst of [`RECOVER_BYTES_PER_S`], in bytes.
pub const RECOVER_BYTE_BURST: u64 = 16 << 20;
/// Members per second that a node visits beyond its usual pace, to hear what they hold.
pub const VOICES_PER_S: u64 = 2;
/// Burst of [`VOICES_PER_S`], in visits.
pub const VOICE_BURST: u64 = 256;
/// Batches that a node reads from disk at once to serve them.
pub const MAX_READS: usize = 16;
/// Share of [`MAX_READS`] for one peer: this many bodies may be read and served beyond its rate.
pub const MAX_READS_PER_PEER: usize = 4;
