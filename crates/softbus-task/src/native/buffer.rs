//! Bytes that are written and read in one go, and how a device that is about to get a task has room for them ready.
//!
//! To read a large state is mostly to get memory for it: each page is cleared and mapped at its first touch. So while the
//! task still runs elsewhere, the device it is about to come to looks where the buffers lie in the serialised state
//! ([`layout`]) and holds a copy of each ([`Double`]), which follows the changes that still arrive. When the state
//! is read at last ([`with_doubles`]), a buffer takes its copy over and nothing is copied.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes in a task's state, input or output. Use it instead of `Vec<u8>` for anything large: it is written
/// and read in one go, not byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Buffer(pub Vec<u8>);

/// Smaller buffers are not worth a double, in bytes.
const LEAST: usize = 64 * 1024;
/// Most doubles of one state.
const MOST: usize = 256;

/// A copy of a buffer at this place of a serialised state.
pub(crate) struct Double {
    at: usize,
    bytes: Vec<u8>,
}

impl Double {
    /// Of what lies at `range` of `state` now.
    pub fn of(state: &[u8], range: Range<usize>) -> Option<Self> {
        let bytes = state.get(range.clone())?.to_vec();
        Some(Self { at: range.start, bytes })
    }

    /// Where it lies.
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes.len()
    }

    /// Follows a change of the state: `piece` lies at `at` now.
    pub fn follow(&mut self, at: usize, piece: &[u8]) {
        let range = self.range();
        let (start, end) = (range.start.max(at), range.end.min(at + piece.len()));
        if start < end {
            self.bytes[start - range.start..end - range.start].copy_from_slice(&piece[start - at..end - at]);
        }
    }
}

/// What the buffers read on this thread are read for.
enum Reading {
    /// To learn where they lie.
    Layout { state: Range<usize>, found: Vec<Range<usize>> },
    /// In earnest.
    Doubles { state: Range<usize>, doubles: Vec<Double> },
}

thread_local! {
    static READING: RefCell<Option<Reading>> = const { RefCell::new(None) };
}

/// The places of the large buffers that `read` finds in `state`. They are empty for it; what it returns is worth
/// nothing, and it may fail.
pub(crate) fn layout(state: &[u8], read: impl FnOnce()) -> Vec<Range<usize>> {
    let reading = Reading::Layout { state: addresses(state), found: Vec::new() };
    match during(reading, read).1 {
        Some(Reading::Layout { found, .. }) => found,
        _ => Vec::new(),
    }
}

/// Reads a state; buffers take over the doubles that lie where they do. Each double must hold what the state holds.
pub(crate) fn with_doubles<T>(state: &[u8], doubles: Vec<Double>, read: impl FnOnce() -> T) -> T {
    during(Reading::Doubles { state: addresses(state), doubles }, read).0
}

fn addresses(state: &[u8]) -> Range<usize> {
    let start = state.as_ptr() as usize;
    start..start + state.len()
}

fn during<T>(reading: Reading, read: impl FnOnce() -> T) -> (T, Option<Reading>) {
    /// So that nothing of it is left on this thread, also after a panic.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            READING.take();
        }
    }
    READING.replace(Some(reading));
    let _reset = Reset;
    let done = read();
    (done, READING.take())
}

/// The bytes of a buffer that was found as `bytes`.
fn own(bytes: &[u8]) -> Vec<u8> {
    let found = addresses(bytes);
    let inside = |state: &Range<usize>| {
        (bytes.len() >= LEAST && state.start <= found.start && found.end <= state.end)
            .then(|| found.start - state.start..found.end - state.start)
    };
    READING.with_borrow_mut(|reading| match reading {
        Some(Reading::Layout { state, found }) => match inside(state).filter(|_| found.len() < MOST) {
            Some(place) => {
                found.push(place);
                Vec::new()
            }
            None => bytes.to_vec(),
        },
        Some(Reading::Doubles { state, doubles }) => {
            let place = inside(state);
            match doubles.iter().position(|double| Some(double.range()) == place) {
                Some(index) => doubles.swap_remove(index).bytes,
                None => bytes.to_vec(),
            }
        }
        None => bytes.to_vec(),
    })
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.0.len())
    }
}

impl Serialize for Buffer {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Buffer {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Buffer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Buffer, E> {
                Ok(Buffer(own(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Buffer, E> {
                Ok(Buffer(bytes))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Buffer, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Buffer(bytes))
            }
        }
        d.deserialize_byte_buf(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type State = (u32, Buffer, String, Buffer, Buffer);

    fn state() -> State {
        let bytes = |len: usize, step: usize| Buffer((0..len).map(|i| (i * step) as u8).collect());
        (7, bytes(LEAST, 3), "between".into(), bytes(10, 1), bytes(3 * LEAST + 1, 7))
    }

    fn doubles(saved: &[u8]) -> Vec<Double> {
        let found = layout(saved, || drop(postcard::from_bytes::<State>(saved)));
        found.into_iter().map(|place| Double::of(saved, place).unwrap()).collect()
    }

    #[test]
    fn large_buffers_take_their_doubles_over() {
        let mut state = state();
        let mut saved = postcard::to_allocvec(&state).unwrap();
        let mut doubles = doubles(&saved);
        assert_eq!(doubles.iter().map(|d| d.bytes.len()).collect::<Vec<_>>(), [LEAST, 3 * LEAST + 1]);
        // A change that spans the end of one buffer, what lies between, and the begin of the other.
        state.1.0[LEAST - 1] ^= 1;
        state.2 = "BETWEEN".into();
        state.4.0[0] ^= 1;
        let now = postcard::to_allocvec(&state).unwrap();
        let (start, end) = (doubles[0].range().end - 1, doubles[1].range().start + 1);
        saved[start..end].copy_from_slice(&now[start..end]);
        assert_eq!(saved, now);
        doubles.iter_mut().for_each(|double| double.follow(start, &now[start..end]));
        let there: Vec<*const u8> = doubles.iter().map(|d| d.bytes.as_ptr()).collect();
        let read = with_doubles(&saved, doubles, || postcard::from_bytes::<State>(&saved)).unwrap();
        assert_eq!(read, state);
        assert_eq!([read.1.0.as_ptr(), read.4.0.as_ptr()], there[..], "nothing was copied");
    }

    #[test]
    fn doubles_of_another_layout_are_not_taken() {
        let mut state = state();
        let saved = postcard::to_allocvec(&state).unwrap();
        let doubles = doubles(&saved);
        state.0 = 1_000_000; // a longer varint: all lies elsewhere
        let saved = postcard::to_allocvec(&state).unwrap();
        let read = with_doubles(&saved, doubles, || postcard::from_bytes::<State>(&saved)).unwrap();
        assert_eq!(read, state);
    }

    #[test]
    fn nothing_is_left_after_a_panic_or_another_reading() {
        let saved = postcard::to_allocvec(&state()).unwrap();
        let panicked = std::panic::catch_unwind(|| layout(&saved, || panic!("a state of its own mind")));
        assert!(panicked.is_err());
        assert_eq!(postcard::from_bytes::<State>(&saved).unwrap(), state());
        // What was read from elsewhere while the layout is looked for is read as ever.
        let other = postcard::to_allocvec(&Buffer(vec![1; LEAST])).unwrap();
        let found = layout(&saved, || {
            assert_eq!(postcard::from_bytes::<Buffer>(&other).unwrap().0, vec![1; LEAST]);
        });
        assert!(found.is_empty());
    }
}
