//! The trace of a run: all that devices sent each other and said in their logs, in order, as one hash. Two runs are equal
//! exactly if their hashes are. To find where two runs part, each can write its trace as text, to be compared line by
//! line.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use softbus_net::seam::memory::{Seen, Tap};

/// Bytes of a datagram's hash that its line shows.
const SHOWN_HASH_BYTES: usize = 8;
/// What an entry of the hash begins with.
const DATAGRAM: u8 = 1;
const LINE: u8 = 2;

/// Sees every datagram and is told every line; to be set as the network's tap.
pub struct Trace(Mutex<State>);

struct State {
    hash: blake3::Hasher,
    entries: u64,
    text: Option<Box<dyn Write + Send>>,
    /// The first error of the text; nothing more is written after it.
    failed: Option<io::Error>,
}

impl Trace {
    /// One that only hashes.
    #[allow(clippy::new_without_default)] // a trace is a thing, not a value
    pub fn new() -> Self {
        Self::with(None)
    }

    /// One that also writes a line for each entry. Give it a buffered writer.
    pub fn with_text(text: Box<dyn Write + Send>) -> Self {
        Self::with(Some(text))
    }

    fn with(text: Option<Box<dyn Write + Send>>) -> Self {
        let hash = blake3::Hasher::new_derive_key("softbus simulation trace v1");
        Self(Mutex::new(State { hash, entries: 0, text, failed: None }))
    }

    /// A device said something in its log, or somebody did something to it.
    pub fn line(&self, at_ns: u64, device: &str, text: &str) {
        let mut state = self.lock();
        let mut entry = Entry::new(LINE, at_ns);
        entry.text(device);
        entry.text(text);
        state.add(&entry.0);
        state.write(|to| writeln!(to, "{} {device}: {text}", Seconds(at_ns)));
    }

    /// The hash of all so far, in hexadecimal.
    pub fn hash(&self) -> String {
        self.lock().hash.finalize().to_hex().to_string()
    }

    /// Datagrams and lines so far; each datagram counts once where it is sent and once where it arrives.
    pub fn entries(&self) -> u64 {
        self.lock().entries
    }

    /// Writes the text out. Fails if any of it could not be written.
    pub fn flush(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.write(|to| to.flush());
        state.failed.take().map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap for Trace {
    fn datagram(&self, seen: &Seen<'_>) {
        let mut state = self.lock();
        let mut entry = Entry::new(DATAGRAM, seen.at_ns);
        entry.number(seen.from.index as u64);
        entry.number(seen.to.map_or(u64::MAX, |to| to.index as u64));
        entry.address(seen.source);
        entry.address(seen.destination);
        entry.0.extend([seen.ecn.map_or(0, |ecn| ecn as u8), seen.arriving.into()]);
        entry.text(seen.fate.as_str());
        entry.number(seen.bytes.len() as u64);
        state.add(&entry.0);
        // What arrives is what was sent.
        if !seen.arriving {
            state.hash.update(seen.bytes);
        }
        state.write(|to| describe(seen, to));
    }
}

fn describe(seen: &Seen<'_>, to: &mut dyn Write) -> io::Result<()> {
    let hash = blake3::hash(seen.bytes);
    let hash = data_encoding::HEXLOWER.encode(&hash.as_bytes()[..SHOWN_HASH_BYTES]);
    writeln!(
        to,
        "{} {} {} {} {} > {} {} {hash} {}",
        Seconds(seen.at_ns),
        seen.from.name,
        if seen.arriving { "->|" } else { "|->" },
        seen.to.map_or("?", |to| to.name),
        seen.source,
        seen.destination,
        seen.bytes.len(),
        seen.fate,
    )
}

impl State {
    fn add(&mut self, entry: &[u8]) {
        self.hash.update(entry);
        self.entries += 1;
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.failed.is_none()
            && let Some(text) = &mut self.text
        {
            self.failed = write(&mut **text).err();
        }
    }
}

/// An entry as it is hashed: each part has a fixed length or begins with its own.
struct Entry(Vec<u8>);

impl Entry {
    fn new(kind: u8, at_ns: u64) -> Self {
        let mut entry = Self(Vec::with_capacity(128));
        entry.0.push(kind);
        entry.number(at_ns);
        entry
    }

    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(v4) => {
                self.0.push(4);
                self.0.extend(v4.octets());
            }
            IpAddr::V6(v6) => {
                self.0.push(6);
                self.0.extend(v6.octets());
            }
        }
        self.0.extend(address.port().to_le_bytes());
    }
}

/// Nanoseconds, shown as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use softbus_net::seam::memory::{Fate, Party};

    use super::*;

    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn seen<'a>(bytes: &'a [u8], fate: Fate, arriving: bool) -> Seen<'a> {
        Seen {
            at_ns: 1_002_000_000,
            from: Party { index: 0, name: "phone" },
            to: Some(Party { index: 1, name: "tv" }),
            source: "10.0.0.1:7000".parse().unwrap(),
            destination: "10.0.0.2:7000".parse().unwrap(),
            ecn: None,
            bytes,
            fate,
            arriving,
        }
    }

    #[test]
    fn each_part_of_an_entry_counts() {
        let hash = |act: &dyn Fn(&Trace)| {
            let trace = Trace::new();
            act(&trace);
            trace.hash()
        };
        let one = hash(&|trace| trace.datagram(&seen(b"one", Fate::Sent, false)));
        assert_eq!(one, hash(&|trace| trace.datagram(&seen(b"one", Fate::Sent, false))));
        assert_ne!(one, hash(&|trace| trace.datagram(&seen(b"two", Fate::Sent, false))));
        assert_ne!(one, hash(&|trace| trace.datagram(&seen(b"one", Fate::Lost, false))));
        assert_ne!(one, hash(&|trace| trace.datagram(&Seen { at_ns: 1, ..seen(b"one", Fate::Sent, false) })));
        assert_ne!(hash(&|trace| trace.line(1, "a", "bc")), hash(&|trace| trace.line(1, "ab", "c")));
    }

    #[test]
    fn the_text_has_a_line_for_each_entry() {
        let text = Text::default();
        let trace = Trace::with_text(Box::new(text.clone()));
        trace.line(1_000_000_000, "phone", "starts");
        trace.datagram(&seen(b"one", Fate::Sent, false));
        trace.datagram(&seen(b"one", Fate::Delivered, true));
        trace.flush().unwrap();
        assert_eq!(trace.entries(), 3);
        let hash = &blake3::hash(b"one").to_hex()[..16];
        let expected = format!(
            "1.000000000 phone: starts\n\
             1.002000000 phone |-> tv 10.0.0.1:7000 > 10.0.0.2:7000 3 {hash} sent\n\
             1.002000000 phone ->| tv 10.0.0.1:7000 > 10.0.0.2:7000 3 {hash} delivered\n"
        );
        assert_eq!(String::from_utf8(text.0.lock().unwrap().clone()).unwrap(), expected);
    }
}
