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

/// Version of the framing and of every statement. Another one is another protocol.
pub const VERSION: u8 = 6;

// ---- constants of the protocol: crossing one is hard blame -------------------------------------

/// Longest payload of one message, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Longest topic, in bytes of UTF-8.
pub const MAX_TOPIC: usize = 64;
/// Bytes that an entry takes beside its topic and payload: a `u16` and a `u32` length.
pub const ENTRY_OVERHEAD: usize = 6;
/// Most messages in a batch.
pub const MAX_ENTRIES: usize = 256;
/// Longest body of a batch of several messages; a batch of one may be as long as its payload needs.
pub const MAX_SHARED_BODY: usize = 64 << 10;
/// Longest body of any batch, in bytes.
pub const MAX_BODY: usize = MAX_PAYLOAD + MAX_TOPIC + ENTRY_OVERHEAD;
/// Longest frame of any kind, in bytes, without its length prefix.
pub const MAX_FRAME: usize = MAX_BODY + 512;
/// Most keys (members and authors) in a network file.
pub const MAX_KEYS: usize = 1 << 20;
/// The last slot of a lane: the highest that a signed 64-bit number holds, as databases and
/// many languages have no others.
pub const MAX_SLOT: u64 = i64::MAX as u64;
/// Ids in one announcement.
pub const MAX_ANNOUNCED: usize = 128;
/// Wants in one request.
pub const MAX_WANTS: usize = 16;
/// Range hashes in one comparison or its answer.
pub const MAX_RANGES: usize = 64;
/// Ranges that a differing range is split into.
pub const RANGE_FANOUT: u32 = 16;
/// Tips in the answer to a comparison.
pub const MAX_TIPS: usize = 128;
/// Slots above those tips in the answer to a comparison.
pub const MAX_ABOVE: usize = 128;

/// Push frames under way on a link: the most statements that it can have unverified beside those
/// that it was asked for, which are [`MAX_OPEN_WANTS`] in replies and [`MAX_TIPS`] of a differ.
pub const PUSH_FRAMES: u64 = 32;
/// Bytes of push frames under way on a link.
pub const PUSH_BYTES: u64 = 2 * MAX_FRAME as u64 + (256 << 10);
/// Announcements under way on a link.
pub const ANNOUNCE_FRAMES: u64 = 16;
/// Requests under way on a link: as many as all its wants fill, and more, as one is consumed with
/// its last answer, and what is missing turns up a few slots at a time.
pub const REQUEST_FRAMES: u64 = 16;
/// Comparisons under way on a link.
pub const REPAIR_FRAMES: u64 = 4;
/// Pings under way on a link.
pub const CONTROL_FRAMES: u64 = 4;
/// Requested slots that a link may have unanswered.
pub const MAX_OPEN_WANTS: usize = 4 * MAX_WANTS;

// ---- bounds on memory and work: no blame --------------------------------------------------------

/// Slots above the tip that a lane keeps.
pub const WINDOW: u64 = 1024;
/// Slots at and below the tip whose ids a lane keeps.
pub const RECENT: u64 = 1024;
/// Ranges of slots below its tip that a lane may lack.
pub const MAX_HOLES: usize = 8192;
/// With so many of them its tip passes no missing slot, but where more than `f` members have: an
/// author takes a minute at its quota to leave so many. The rest of the room is for slots that come
/// late and divide a range: whoever moved its tip further than it can note what others hold below
/// would end with other slots than they.
pub const TIP_HOLES: usize = MAX_HOLES / 2;
/// With so many of them no slot that comes late divides a range any more: whoever gives what others
/// have pruned must leave room for what its author does next.
pub const FILLED_HOLES: usize = MAX_HOLES - MAX_HOLES / 8;
/// Visits at once: links that a node dialled and has not chosen, each to compare lanes with a
/// random member. So an honest node keeps at most this many links that it dialled beside those that
/// it chose (`Config::links`, and one more while that is exchanged for another), and `n` of them
/// have at most `n` times as many among them.
pub const VISITS_AT_ONCE: usize = 4;
/// Ids that a node may be looking for at once.
pub const MAX_WANTED: usize = 8192;
/// Ids that one link may have made a node look for at once.
pub const MAX_WANTED_PER_LINK: usize = 512;
/// Wants for one author's slots that are open at once, on all links whose peers answer in time.
pub const ASKED_OF_ALL: usize = 16;
/// Such wants that are open on any one link, whatever is open on others.
pub const ASKED_OF_A_LINK: usize = 4;
/// Messages that wait to be signed.
pub const MAX_WAITING: usize = 8192;
/// Bytes of messages that wait to be signed.
pub const MAX_WAITING_BYTES: usize = 8 << 20;
/// An author's own batches that no neighbour has acknowledged yet.
pub const MAX_UNACKNOWLEDGED: usize = 2;
/// Bytes that wait between a link's socket and the node.
pub const INBOX_BYTES: usize = MAX_FRAME + (512 << 10);
/// Frames that wait between a link's socket and the node.
pub const INBOX_FRAMES: usize = 128;
/// Bytes that wait to be written to a link.
pub const OUTBOX_BYTES: usize = 6 << 20;

// ---- quotas of authors: part of the network id, as all must grant the same; no blame ------------

/// Batches a second that an author may publish, in the long run.
pub const AUTHOR_BATCHES_PER_S: u64 = 100;
/// Batches that an author may publish at once after a pause.
pub const AUTHOR_BATCH_BURST: u64 = 400;
/// Batches that a restart header counts for: an author needs one in a lifetime, and each makes a
/// hole that everybody has to ask everybody about.
pub const RESTART_BATCHES: u64 = 100;
/// Bytes a second that an author may publish, in the long run.
pub const AUTHOR_BYTES_PER_S: u64 = 4 << 20;
/// Bytes that an author may publish at once after a pause.
pub const AUTHOR_BYTE_BURST: u64 = 16 << 20;
// ---- what a link may cause: no blame --------------------------------------------

/// Units of work a second that a link may cause without bringing anything new, by pushes and as
/// much by other frames: a copy costs one, and one more for every 4096 bytes.
pub const IDLE_WORK_PER_S: u64 = 1000;
/// Such units that it may cause at once after a pause.
pub const IDLE_WORK_BURST: u64 = 2000;
/// Pieces (TLS records, and reads from the socket) a second that a link may come in beyond those
/// that its frames and bytes are worth; a link that comes in more is read from more slowly.
pub const PIECES_PER_S: u32 = 1000;
/// Such pieces at once after a pause.
pub const PIECE_BURST: u64 = 4000;
/// Pieces that a whole frame is worth: its length and itself, each a record and a read.
pub const PIECES_PER_FRAME: u64 = 4;
/// Bytes on the wire that are worth a piece: the segments of the narrowest networks are longer.
pub const PIECE_BYTES: u32 = 256;
/// Comparisons a second that a node begins or goes on with on one link.
pub const COMPARES_PER_S: u64 = 50;
/// Such comparisons at once after a pause.
pub const COMPARE_BURST: u64 = 100;
/// Bytes a second that a node serves to the requests of one link.
pub const SERVE_BYTES_PER_S: u64 = 16 << 20;
/// Bytes that a node serves to one link at once after a pause.
pub const SERVE_BYTE_BURST: u64 = 2 << 20;
/// Slots below tips that a node asks for at once.
pub const RECOVERING: usize = 256;
/// Of these, slots for which few vouch, so that lying authors leave room for others.
pub const RECOVERING_UNVOUCHED: usize = RECOVERING / 2;
/// Of those, of one author, each in its turn: where an answer takes half a second, as many as its
/// quota lets pass.
pub const RECOVERING_OF_AUTHOR: usize = 64;
/// Slots of a lane, lowest first, that are looked at in one turn; and ranges that a member is known
/// to lack of one.
pub const MAX_LACKED: usize = 256;
/// Such slots that are asked for on one link at once: the other wants are for what is new.
pub const RECOVERING_PER_LINK: usize = MAX_OPEN_WANTS / 2;
/// Batches a second that a node recovers outside their author's quota: a tenth of a core to check.
pub const RECOVER_BATCHES_PER_S: u64 = 2000;
/// Such batches at once after a pause.
pub const RECOVER_BATCH_BURST: u64 = 512;
/// Slots a second, for which few vouch, that a node asks for below tips: they go to their author's
/// quota when they come, but most of a liar's never do.
pub const ASK_UNVOUCHED_PER_S: u64 = RECOVER_BATCHES_PER_S / 2;
/// Such slots at once after a pause.
pub const ASK_UNVOUCHED_BURST: u64 = RECOVER_BATCH_BURST / 2;
/// Slots a second, which were given up, that a node asks for again.
pub const PROBES_PER_S: u64 = ASK_UNVOUCHED_PER_S;
/// Such slots at once after a pause.
pub const PROBE_BURST: u64 = ASK_UNVOUCHED_BURST;
/// Comparisons that a question about such slots counts for, when a link comes up: linking anew is
/// no way to be asked more of them.
pub const PROBE_COMPARES: u64 = COMPARES_PER_S;
/// Bytes of recovered batches a second.
pub const RECOVER_BYTES_PER_S: u64 = 32 << 20;
/// Bytes of them at once after a pause.
pub const RECOVER_BYTE_BURST: u64 = 16 << 20;
/// Members a second that a node visits beyond its pace, to hear what they hold.
pub const VOICES_PER_S: u64 = 2;
/// Such visits at once after a pause.
pub const VOICE_BURST: u64 = 256;
/// Batches that a node reads from disk at once, to serve them.
pub const MAX_READS: usize = 16;
/// Such batches for one peer: so many bodies may be read and served beyond its rate.
pub const MAX_READS_PER_PEER: usize = 4;
