//! What stands in the TXT record (RFC 6763, section 6) of a softbus device.
//!
//! | key | value |
//! | --- | --- |
//! | `v` | lowest and highest protocol version, `1-3` |
//! | `k` | kind, such as `phone` |
//! | `n` | name |
//! | `id` | device id in the open |
//! | `t` | id tags, eight bytes each |
//!
//! All but `v` may be missing. Keys that are not known are ignored, so that later versions can add some.

use softbus_core::{DeviceKind, limits};

use crate::seam::Announcement;

/// Most tags announced or believed: two hours' tags of eight circles and seven links. They fill one string of a record.
pub const TAGS: usize = 30;
/// Most entries looked at in a foreign record.
const ENTRIES: usize = 32;
/// Longest record looked at, in bytes.
const RECORD_BYTES: usize = 2048;
/// Longest text of an id, in bytes.
const ID_BYTES: usize = 64;

/// The entries of an announcement's record, the most important first.
pub(super) fn entries(announcement: &Announcement) -> Vec<(&'static str, Vec<u8>)> {
    let (lowest, highest) = announcement.versions;
    let mut entries = vec![("v", format!("{lowest}-{highest}").into_bytes())];
    if let Some(kind) = announcement.kind {
        entries.push(("k", kind.to_string().into_bytes()));
    }
    if let Some(name) = announcement.name.as_deref().and_then(|name| shown(name.as_bytes())) {
        entries.push(("n", name.into_bytes()));
    }
    if let Some(id) = announcement.id {
        entries.push(("id", id.to_string().into_bytes()));
    }
    if !announcement.tags.is_empty() {
        entries.push(("t", announcement.tags.iter().take(TAGS).flatten().copied().collect()));
    }
    entries
}

/// Reads a record as it came from the wire: strings, each behind its length (RFC 1035, section 3.3.14).
/// `None` if it is none of a softbus device. The port and the addresses stand elsewhere and stay empty.
pub fn parse(record: &[u8]) -> Option<Announcement> {
    if record.len() > RECORD_BYTES {
        return None;
    }
    let mut entries = Vec::new();
    let mut rest = record;
    while let Some((&len, behind)) = rest.split_first() {
        let (string, behind) = behind.split_at_checked(usize::from(len))?;
        rest = behind;
        let mut parts = string.splitn(2, |byte| *byte == b'=');
        if let Some(key) = parts.next()
            && entries.len() < ENTRIES
        {
            entries.push((key, parts.next().unwrap_or_default()));
        }
    }
    from_entries(entries.into_iter())
}

/// Reads the entries of a record. Foreign: believes nothing that is not exactly in form.
pub(super) fn from_entries<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Announcement> {
    let mut versions = None;
    let mut announcement = Announcement::default();
    let mut known: Vec<Vec<u8>> = Vec::new();
    for (key, value) in entries.take(ENTRIES) {
        let key = key.to_ascii_lowercase();
        // "If a client receives a TXT record containing the same key more than once, then the client MUST
        // silently ignore all but the first occurrence" (RFC 6763, section 6.4).
        if known.contains(&key) {
            continue;
        }
        match key.as_slice() {
            b"v" => versions = parse_versions(value),
            b"k" => announcement.kind = text(value, limits::NAME_BYTES).and_then(|kind| kind.parse().ok()),
            b"n" => announcement.name = shown(value),
            b"id" => announcement.id = text(value, ID_BYTES).and_then(|id| id.parse().ok()),
            b"t" if value.len() <= 8 * TAGS => announcement.tags = value.as_chunks().0.to_vec(),
            _ => continue,
        }
        known.push(key);
    }
    announcement.versions = versions?;
    Some(announcement)
}

fn text(value: &[u8], max: usize) -> Option<&str> {
    if value.len() > max { None } else { std::str::from_utf8(value).ok() }
}

fn parse_versions(value: &[u8]) -> Option<(u16, u16)> {
    let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    let (lowest, highest) = text(value, 11)?.split_once('-')?;
    let (lowest, highest) = (number(lowest)?, number(highest)?);
    (lowest <= highest).then_some((lowest, highest))
}

/// A name that may be shown to people.
fn shown(value: &[u8]) -> Option<String> {
    let name = text(value, limits::NAME_BYTES)?;
    (!name.trim().is_empty() && !name.contains(softbus_core::is_tricky)).then(|| name.to_owned())
}

/// Wire form of the kind, for tests of other versions.
#[cfg(test)]
fn encode(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut record = Vec::new();
    for (key, value) in entries {
        record.push((key.len() + 1 + value.len()) as u8);
        record.extend_from_slice(key.as_bytes());
        record.push(b'=');
        record.extend_from_slice(value);
    }
    record
}

/// All kinds have a form that reads back; see the tests.
const _: () = assert!(DeviceKind::ALL.len() < 256);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softbus_core::DeviceId;

    use super::*;

    fn full() -> Announcement {
        Announcement {
            versions: (1, 3),
            kind: Some(DeviceKind::Phone),
            name: Some("Ada's Phön".into()),
            id: Some(DeviceId([7; 32])),
            tags: vec![[1; 8], *b"\0=\xff4567a"],
            ..Announcement::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parse(&encode(&entries(&full()))), Some(full()));
        let hidden = Announcement { versions: (1, 1), ..Announcement::default() };
        assert_eq!(parse(&encode(&entries(&hidden))), Some(hidden));
        for (kind, _) in DeviceKind::ALL {
            let announcement = Announcement { kind: Some(kind), ..full() };
            assert_eq!(parse(&encode(&entries(&announcement))).unwrap().kind, Some(kind));
        }
        let many = Announcement { tags: vec![[3; 8]; 40], ..full() };
        assert_eq!(parse(&encode(&entries(&many))).unwrap().tags.len(), TAGS);
    }

    #[test]
    fn the_form_on_the_wire() {
        let announcement = Announcement { id: None, name: Some("x".into()), tags: vec![[1; 8]], ..full() };
        let record = encode(&entries(&announcement));
        assert_eq!(record, b"\x05v=1-3\x07k=phone\x03n=x\x0at=\x01\x01\x01\x01\x01\x01\x01\x01");
    }

    #[test]
    fn foreign_records_are_read_strictly() {
        let v = ("v", b"1-2".to_vec());
        let read = |more: &[(&str, &[u8])]| {
            let mut entries = vec![v.clone()];
            entries.extend(more.iter().map(|(key, value)| (*key, value.to_vec())));
            parse(&encode(&entries))
        };
        assert_eq!(read(&[("zz", b"later")]).unwrap().versions, (1, 2));
        for versions in [&b"1"[..], b"2-1", b"-", b"1-65536", b"+1-2", b"a-b", b"1-2-3", b"000000000001-2"] {
            assert_eq!(parse(&encode(&[("v", versions.to_vec())])), None, "{versions:?}");
        }
        assert_eq!(read(&[("v", b"5-5")]).unwrap().versions, (1, 2), "the first counts");
        assert_eq!(read(&[("V", b"5-5")]).unwrap().versions, (1, 2), "keys have no case");
        assert_eq!(read(&[("n", b"\x1b[2Jgone")]).unwrap().name, None);
        assert_eq!(read(&[("n", "\u{202e}evil".as_bytes())]).unwrap().name, None);
        assert_eq!(read(&[("n", b"\xff\xfe")]).unwrap().name, None);
        assert_eq!(read(&[("n", &[b'x'; 65])]).unwrap().name, None);
        assert_eq!(read(&[("k", b"toaster")]).unwrap().kind, None);
        assert_eq!(read(&[("id", b"12D3Koo")]).unwrap().id, None);
        assert_eq!(read(&[("t", &[0; 12])]).unwrap().tags, [[0; 8]], "a torn tag is none");
        assert_eq!(read(&[("t", &[0; 8 * 31])]).unwrap().tags, [[0u8; 8]; 0]);
        assert_eq!(parse(b"\x05v=1"), None, "cut off");
        assert_eq!(parse(&vec![0; RECORD_BYTES + 1]), None);
        assert_eq!(parse(b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(record in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(announcement) = parse(&record) {
                // What is believed can be said again and means the same.
                prop_assert_eq!(parse(&encode(&entries(&announcement))), Some(announcement));
            }
        }

        #[test]
        fn no_entries_make_it_panic(
            values in proptest::collection::vec((0usize..6, proptest::collection::vec(any::<u8>(), 0..140)), 0..8)
        ) {
            let keys = ["v", "k", "n", "id", "t", "x"];
            let entries: Vec<(&str, Vec<u8>)> = values.into_iter().map(|(k, v)| (keys[k], v)).collect();
            let _ = parse(&encode(&entries));
        }
    }
}
