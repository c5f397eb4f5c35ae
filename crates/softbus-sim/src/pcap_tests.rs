//! What was written is read back by a reader that shares nothing with the writer.

use rustls::KeyLog;
use softbus_net::seam::memory::{EcnCodepoint, Party};

use super::*;

#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Type and body of each block.
fn blocks(file: &File) -> Vec<(u32, Vec<u8>)> {
    let bytes = file.0.lock().unwrap().clone();
    let mut rest = &bytes[..];
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let length = u32_at(rest, 4) as usize;
        assert_eq!(length % 4, 0);
        assert_eq!(u32_at(rest, length - 4) as usize, length);
        blocks.push((u32_at(rest, 0), rest[8..length - 4].to_vec()));
        rest = &rest[length..];
    }
    blocks
}

/// Code and value of each option.
fn options(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    while !rest.is_empty() {
        let (code, length) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
        options.push((code, rest[4..4 + length].to_vec()));
        rest = &rest[4 + length.div_ceil(4) * 4..];
    }
    assert_eq!(options.pop(), Some((0, Vec::new())));
    options
}

/// Time, packet and comment.
fn packet(body: &[u8]) -> (u64, Vec<u8>, String) {
    assert_eq!(u32_at(body, 0), 0, "the one interface");
    let at = u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8));
    let length = u32_at(body, 12) as usize;
    assert_eq!(u32_at(body, 16) as usize, length);
    let options = options(&body[20 + length.div_ceil(4) * 4..]);
    let [(1, comment)] = &options[..] else { panic!("{options:?}") };
    (at, body[20..20 + length].to_vec(), String::from_utf8(comment.clone()).unwrap())
}

/// The sum of 16-bit words in one's complement: all ones if the checksum in them is right.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u16;
    for word in bytes.chunks(2) {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (low, carry) = sum.overflowing_add(word);
        sum = low + u16::from(carry);
    }
    sum
}

fn seen<'a>(source: &str, destination: &str, bytes: &'a [u8]) -> Seen<'a> {
    Seen {
        at_ns: 1_500_000_001,
        from: Party { index: 0, name: "phone" },
        to: Some(Party { index: 1, name: "tv" }),
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        ecn: Some(EcnCodepoint::Ect0),
        bytes,
        fate: Fate::Sent,
        arriving: false,
    }
}

#[test]
fn packets_are_read_back_with_right_checksums() {
    let file = File::default();
    let pcap = Pcap::new(Box::new(file.clone()), None);
    pcap.datagram(&seen("10.0.0.1:7000", "10.0.0.2:443", b"odd"));
    pcap.datagram(&Seen { arriving: true, ..seen("10.0.0.1:7000", "10.0.0.2:443", b"odd") });
    pcap.datagram(&Seen { fate: Fate::Lost, to: None, ..seen("[fd00::1]:7000", "[fd00::2]:443", b"even") });
    assert_eq!(pcap.flush().unwrap(), 0);

    let blocks = blocks(&file);
    assert_eq!(blocks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [0x0a0d0d0a, 1, 6, 6]);
    assert_eq!((u32_at(&blocks[0].1, 0), u16_at(&blocks[0].1, 4)), (0x1a2b3c4d, 1));
    assert_eq!(u16_at(&blocks[1].1, 0), 101);
    assert_eq!(options(&blocks[1].1[8..]), [(9, vec![9])]);

    let (at, v4, comment) = packet(&blocks[2].1);
    assert_eq!(at, 1_767_225_601_500_000_001, "2026-01-01T00:00:01.5Z, and a nanosecond");
    assert_eq!(comment, "phone > tv");
    assert_eq!(v4.len(), 20 + 8 + 3);
    assert_eq!(&v4[..4], [0x45, 2, 0, 31]);
    assert_eq!((&v4[12..16], &v4[16..20]), (&[10, 0, 0, 1][..], &[10, 0, 0, 2][..]));
    assert_eq!(sum(&v4[..20]), 0xffff);
    assert_eq!(&v4[20..26], [0x1b, 0x58, 1, 0xbb, 0, 11]);
    assert_eq!(&v4[28..], b"odd");
    assert_eq!(sum(&[&v4[12..20], &[0, 17, 0, 11], &v4[20..]].concat()), 0xffff);

    let (_, v6, comment) = packet(&blocks[3].1);
    assert_eq!(comment, "phone > ?: lost");
    assert_eq!(&v6[..8], [0x60, 0x20, 0, 0, 0, 12, 17, 64]);
    assert_eq!(sum(&[&v6[8..40], &[0, 0, 0, 12, 0, 0, 0, 17], &v6[40..]].concat()), 0xffff);
}

#[test]
fn a_checksum_is_never_zero() {
    // Two bytes that make up for whatever the rest sums up to.
    let plain = ip_packet("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), 0, &[0, 0]);
    let fill = [plain[26], plain[27]];
    let packet = ip_packet("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), 0, &fill);
    assert_eq!(packet[26..28], [0xff, 0xff]);
}

#[test]
fn secrets_come_before_what_they_open() {
    let file = File::default();
    let keys = Arc::new(KeyLines::new());
    let pcap = Pcap::new(Box::new(file.clone()), Some(keys.clone()));
    let send = || pcap.datagram(&seen("10.0.0.1:7000", "10.0.0.2:443", b"hello"));
    send();
    keys.log("CLIENT_HANDSHAKE_TRAFFIC_SECRET", &[1; 2], &[0xab; 3]);
    keys.log("SERVER_HANDSHAKE_TRAFFIC_SECRET", &[1; 2], &[0xcd; 3]);
    send();
    send();
    keys.log("EXPORTER_SECRET", &[1; 2], &[0xef; 3]);
    pcap.flush().unwrap();
    let blocks = blocks(&file);
    assert_eq!(blocks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [0x0a0d0d0a, 1, 6, 10, 6, 6, 10]);
    let body = &blocks[3].1;
    let text = "CLIENT_HANDSHAKE_TRAFFIC_SECRET 0101 ababab\nSERVER_HANDSHAKE_TRAFFIC_SECRET 0101 cdcdcd\n";
    assert_eq!((u32_at(body, 0), u32_at(body, 4) as usize), (0x544c534b, text.len()));
    assert_eq!(&body[8..8 + text.len()], text.as_bytes());
    assert_eq!(format!("{keys:?}"), "KeyLines(3)");
}

#[test]
fn a_full_file_ends_with_a_whole_block() {
    let file = File::default();
    let pcap = Pcap::with_room(Box::new(file.clone()), None, 300);
    for _ in 0..10 {
        pcap.datagram(&seen("10.0.0.1:7000", "10.0.0.2:443", &[0; 100]));
    }
    let blocks = blocks(&file);
    assert_eq!(blocks.len(), 3);
    assert_eq!(pcap.flush().unwrap(), 9);
}
