//! A packet capture of a run, for Wireshark: pcapng (draft-ietf-opsawg-pcapng) of raw IP packets, each as it was sent,
//! with a comment that says who sent it to whom and what became of it. With the key log of the run ([`KeyLines`]) the
//! file also holds the secrets that Wireshark decrypts QUIC with.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use softbus_net::seam::memory::{BEGINNING_MS, Fate, Seen, Tap};

use crate::key_lines::KeyLines;

/// Longest file unless told otherwise; what follows is left out.
const FILE_BYTES: u64 = 4 << 30;

/// Types of blocks, and what is in them.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const SECRETS: u32 = 0x0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const TLS_KEY_LOG: u32 = 0x544c_534b;
/// `LINKTYPE_RAW`: packets begin with their IPv4 or IPv6 header.
const RAW_IP: u16 = 101;
/// Options.
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const TIME_RESOLUTION: u16 = 9;
/// Timestamps are nanoseconds.
const NANOSECONDS: u8 = 9;

const UDP: u8 = 17;
const HOPS: u8 = 64;
const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
const UDP_HEADER_BYTES: usize = 8;

/// Writes every datagram that is sent; to be set as the network's tap.
pub struct Pcap(Mutex<State>);

struct State {
    out: Box<dyn Write + Send>,
    keys: Option<Arc<KeyLines>>,
    /// Key lines that are in the file.
    keys_written: usize,
    room_bytes: u64,
    left_out: u64,
    /// The first error; nothing more is written after it.
    failed: Option<io::Error>,
}

impl Pcap {
    /// Begins a file. Give it a buffered writer. `keys` are those that the devices of the run log to.
    pub fn new(out: Box<dyn Write + Send>, keys: Option<Arc<KeyLines>>) -> Self {
        Self::with_room(out, keys, FILE_BYTES)
    }

    /// The same, with a longest length of the file in bytes.
    pub fn with_room(out: Box<dyn Write + Send>, keys: Option<Arc<KeyLines>>, room_bytes: u64) -> Self {
        let mut state = State { out, keys, keys_written: 0, room_bytes, left_out: 0, failed: None };
        state.begin();
        Self(Mutex::new(state))
    }

    /// Writes out what is left. Gives back how many packets were left out because the file was full; fails if any could
    /// not be written.
    pub fn flush(&self) -> io::Result<u64> {
        let mut state = self.lock();
        state.secrets();
        if state.failed.is_none() {
            state.failed = state.out.flush().err();
        }
        state.failed.take().map_or(Ok(state.left_out), Err)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Pcap {
    fn datagram(&self, seen: &Seen<'_>) {
        if seen.arriving {
            return;
        }
        let mut state = self.lock();
        // Secrets come before the first packet that they open.
        state.secrets();
        state.packet(seen);
    }
}

impl State {
    fn begin(&mut self) {
        let mut section = Block::new(SECTION_HEADER);
        section.u32(BYTE_ORDER);
        section.u16(1);
        section.u16(0);
        // Its length is not known beforehand.
        section.bytes(&u64::MAX.to_le_bytes());
        self.block(section);

        let mut interface = Block::new(INTERFACE);
        interface.u16(RAW_IP);
        interface.u16(0);
        // Packets are never cut short.
        interface.u32(0);
        interface.option(TIME_RESOLUTION, &[NANOSECONDS]);
        interface.option(END_OF_OPTIONS, &[]);
        self.block(interface);
    }

    fn secrets(&mut self) {
        let Some(keys) = &self.keys else { return };
        let lines = keys.since(self.keys_written);
        if lines.is_empty() {
            return;
        }
        self.keys_written += lines.len();
        let text = lines.concat();
        let mut secrets = Block::new(SECRETS);
        secrets.u32(TLS_KEY_LOG);
        secrets.u32(text.len() as u32);
        secrets.padded(text.as_bytes());
        self.block(secrets);
    }

    fn packet(&mut self, seen: &Seen<'_>) {
        let packet =
            ip_packet(seen.source, seen.destination, seen.ecn.map_or(0, |ecn| ecn as u8), seen.bytes);
        let at_ns = BEGINNING_MS.saturating_mul(1_000_000).saturating_add(seen.at_ns);
        let mut block = Block::new(PACKET);
        block.u32(0);
        block.u32((at_ns >> 32) as u32);
        block.u32(at_ns as u32);
        block.u32(packet.len() as u32);
        block.u32(packet.len() as u32);
        block.padded(&packet);
        let mut comment = format!("{} > {}", seen.from.name, seen.to.map_or("?", |to| to.name));
        if seen.fate != Fate::Sent {
            comment = format!("{comment}: {}", seen.fate);
        }
        block.option(COMMENT, comment.as_bytes());
        block.option(END_OF_OPTIONS, &[]);
        if !self.block(block) {
            self.left_out += 1;
        }
    }

    /// Whether it was written, or would have been but for an error.
    fn block(&mut self, block: Block) -> bool {
        let bytes = block.finish();
        if bytes.len() as u64 > self.room_bytes {
            // Nothing after a gap: a reader would not know of it.
            self.room_bytes = 0;
            return false;
        }
        self.room_bytes -= bytes.len() as u64;
        if self.failed.is_none() {
            self.failed = self.out.write_all(&bytes).err();
        }
        true
    }
}

/// A block, in little-endian order: its type, its length, what is in it, its length again.
struct Block(Vec<u8>);

impl Block {
    fn new(kind: u32) -> Self {
        let mut block = Self(Vec::with_capacity(2048));
        block.u32(kind);
        block.u32(0);
        block
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.u16(code);
        self.u16(value.len() as u16);
        self.padded(value);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32 + 4;
        self.0[4..8].copy_from_slice(&length.to_le_bytes());
        self.u32(length);
        self.0
    }
}

/// The datagram with the headers that it has on a real network.
fn ip_packet(source: SocketAddr, destination: SocketAddr, ecn: u8, payload: &[u8]) -> Vec<u8> {
    let mut udp = Vec::with_capacity(UDP_HEADER_BYTES + payload.len());
    udp.extend(source.port().to_be_bytes());
    udp.extend(destination.port().to_be_bytes());
    udp.extend(((UDP_HEADER_BYTES + payload.len()) as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend_from_slice(payload);

    let mut packet = Vec::with_capacity(IPV6_HEADER_BYTES + udp.len());
    let addresses: Vec<u8> = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (from, to) => [v6(from).octets(), v6(to).octets()].concat(),
    };
    if addresses.len() == 8 {
        packet.extend([0x45, ecn]);
        packet.extend(((IPV4_HEADER_BYTES + udp.len()) as u16).to_be_bytes());
        // No identification; not to be fragmented.
        packet.extend([0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
        packet.extend_from_slice(&addresses);
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet.extend([0x60 | ecn >> 4, ecn << 4, 0, 0]);
        packet.extend((udp.len() as u16).to_be_bytes());
        packet.extend([UDP, HOPS]);
        packet.extend_from_slice(&addresses);
    }
    // The pseudo header (RFC 768; RFC 8200, section 8.1). Its sum is the same whether the length has two bytes or four.
    let length = (udp.len() as u16).to_be_bytes();
    let sum = match checksum(&[&addresses, &[0, UDP], &length, &udp]) {
        // Zero would say that there is none.
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    packet.extend(udp);
    packet
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// The checksum of the internet (RFC 1071) over parts that all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u64 =
        words.map(|word| u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
#[path = "pcap_tests.rs"]
mod tests;
