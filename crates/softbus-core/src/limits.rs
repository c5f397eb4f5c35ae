//! Every bound of the softbus, by name (law 3). A room may be stricter, never looser.

/// Longest human name of a device, in bytes of UTF-8.
pub const NAME_BYTES: usize = 64;
/// Longest service name (`task/1`), in bytes.
pub const SERVICE_NAME_BYTES: usize = 64;
/// Longest payload of one enveloped control message, in bytes. Bulk data travels in chunks beside them.
pub const MESSAGE_BYTES: usize = 1 << 20;
/// Longest payload of a Hello or HelloAck: the first bytes of a peer we know nothing of.
pub const HELLO_BYTES: usize = 1 << 10;
/// Longest request or response of a request/response service.
pub const REQUEST_BYTES: usize = 4 << 20;
/// Most devices in one circle.
pub const CIRCLE_DEVICES: usize = 1024;
/// Most statements a device keeps of one circle.
pub const CIRCLE_STATEMENTS: usize = 8192;
/// Most parents one circle statement may name.
pub const STATEMENT_PARENTS: usize = 32;
/// Most live links of a device (the link budget's default is [`LINK_BUDGET`]).
pub const LINKS: usize = 256;
/// Default link budget: past it, further links open on demand.
pub const LINK_BUDGET: usize = 32;
/// Most addresses kept for one peer.
pub const PEER_ADDRESSES: usize = 16;
/// Most connections of strangers that may be in handshake at once.
pub const HALF_OPEN: usize = 64;
/// Most connections of strangers that are let in (to speak `pair/1`) at once.
pub const STRANGERS: usize = 8;
/// Most streams that one peer may have open towards us.
pub const PEER_STREAMS: u32 = 128;
/// Most devices in a roster.
pub const ROSTER_DEVICES: usize = 4096;
/// Most services, capabilities, accelerators or task types that a profile may declare (of each).
pub const PROFILE_ENTRIES: usize = 64;
/// Most tasks a device knows at once, in all states.
pub const TASKS: usize = 4096;
/// Most acceptors of one epoch.
pub const ACCEPTORS: usize = 9;
/// Size of one checkpoint chunk, in bytes (the last may be shorter).
pub const CHUNK_BYTES: usize = 64 << 10;
/// Most chunks of one checkpoint (64 Ki chunks of 64 KiB: 4 GiB).
pub const CHUNKS: usize = 1 << 16;
/// Longest typed input of a task, in bytes.
pub const TASK_INPUT_BYTES: usize = 256 << 20;
/// Most requests of one peer that may be in work at once.
pub const PEER_REQUESTS: usize = 128;
/// Most bytes of requests of one peer that are being read or in work at once.
pub const PEER_REQUEST_BYTES: usize = 16 << 20;
/// Most bytes of answers kept for one peer until it says that it has them.
pub const PEER_ANSWER_BYTES: usize = 16 << 20;
/// Most connections with one peer at once (an old one that drains, a new one, a dial from either side).
pub const PEER_CONNECTIONS: usize = 6;
/// Most things seen by discovery that are remembered at once.
pub const SIGHTINGS: usize = 1024;
/// Most static peers.
pub const STATIC_PEERS: usize = 256;
