//! What discovery sees that is in no common circle: each row under a number that stays, and when it was heard last.
//! Records of discovery outlive a device that was killed by minutes; so whoever was not heard for a while is asked
//! when a person looks, and is gone if it does not answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use softbus::core::DeviceId;
use softbus::net::seam::{Announcement, Discovery, Sighting};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{named, resolve};
use crate::failure::{Failure, Kind};
use crate::output::clean;

/// Heard within this time, a device is not asked whether it is still there.
const FRESH: Duration = Duration::from_secs(10);
/// Who is still in sight so long after it was asked has answered (discovery takes it away earlier if not).
const ANSWERED: Duration = Duration::from_secs(8);
/// Most devices asked at once; the others are asked at the next look.
const ASK: usize = 32;

/// All that discovery sees.
#[derive(Clone, Default)]
pub(super) struct Neighbours(Arc<Mutex<Rows>>);

impl Neighbours {
    /// Follows what discovery sees from now on.
    pub fn follow(mut seen: watch::Receiver<Arc<Vec<Sighting>>>) -> Self {
        let neighbours = Self::default();
        let rows = neighbours.clone();
        tokio::spawn(async move {
            loop {
                rows.note(&seen.borrow_and_update().clone());
                if seen.changed().await.is_err() {
                    return;
                }
            }
        });
        neighbours
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, seen: &[Sighting]) {
        self.rows().note(seen, Instant::now());
    }

    /// What is in sight by `seen`, in order of their numbers.
    pub fn look(&self, seen: &[Sighting]) -> Vec<Near> {
        let mut rows = self.rows();
        rows.note(seen, Instant::now());
        let mut all: Vec<Near> = rows.seen.values().cloned().collect();
        all.sort_by_key(|near| near.number);
        all
    }

    /// Asks those that were not heard for a while whether they are still there.
    pub fn ask(&self, discovery: &dyn Discovery) {
        for key in self.rows().due(Instant::now()) {
            discovery.confirm(&key);
        }
    }
}

/// A device in sight.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Near {
    /// Its number, which no other device gets as long as the node runs.
    pub number: u32,
    /// Its name within discovery.
    pub key: Arc<str>,
    /// Where it can be reached.
    pub addresses: Arc<[SocketAddr]>,
    /// What it says of itself.
    pub announcement: Arc<Announcement>,
    /// When it was heard last, as far as is known.
    pub heard: Instant,
    /// When it was asked whether it is still there; `None` once it has answered.
    asked: Option<Instant>,
}

impl Near {
    pub fn name(&self) -> &str {
        self.announcement.name.as_deref().unwrap_or_default()
    }
}

/// Bounded by discovery, which keeps a bounded number in sight.
#[derive(Default)]
struct Rows {
    seen: BTreeMap<Arc<str>, Near>,
    numbers: u32,
}

impl Rows {
    fn note(&mut self, list: &[Sighting], now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        for sighting in list {
            let Sighting::Seen { key, addresses, announcement } = sighting else { continue };
            let mut near = before.remove(key).unwrap_or_else(|| {
                self.numbers = self.numbers.saturating_add(1);
                Near {
                    number: self.numbers,
                    key: key.clone(),
                    addresses: addresses.clone(),
                    announcement: announcement.clone(),
                    heard: now,
                    asked: None,
                }
            });
            if (&near.addresses, &near.announcement) != (addresses, announcement) {
                (near.addresses, near.announcement) = (addresses.clone(), announcement.clone());
                (near.heard, near.asked) = (now, None);
            }
            if let Some(asked) = near.asked.filter(|asked| now.saturating_duration_since(*asked) >= ANSWERED)
            {
                (near.heard, near.asked) = (asked.max(near.heard), None);
            }
            self.seen.insert(key.clone(), near);
        }
    }

    fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let due = self
            .seen
            .values_mut()
            .filter(|near| near.asked.is_none() && now.saturating_duration_since(near.heard) >= FRESH);
        due.take(ASK)
            .map(|near| {
                near.asked = Some(now);
                near.key.clone()
            })
            .collect()
    }
}

/// The device nearby that a person means: by id, name, end of the id, or number. `known` says whether an address is
/// one of a device in a common circle, whose announcement tells no id.
pub(super) fn find(text: &str, rows: &[Near], known: impl Fn(&SocketAddr) -> bool) -> Result<Near, Failure> {
    let text = named(text)?;
    let open: Vec<(DeviceId, String)> =
        rows.iter().filter_map(|near| Some((near.announcement.id?, near.name().to_string()))).collect();
    let missing = match resolve::device(text, &open, "nearby") {
        Ok(id) => {
            let found = rows.iter().find(|near| near.announcement.id == Some(id));
            return found.cloned().ok_or_else(|| Failure::not_found("it just went away"));
        }
        Err(failure) if failure.kind != Kind::NotFound => return Err(failure),
        Err(failure) => failure,
    };
    let hidden: Vec<&Near> = rows
        .iter()
        .filter(|near| near.announcement.id.is_none() && near.name().eq_ignore_ascii_case(text))
        .filter(|near| !near.addresses.iter().any(&known))
        .collect();
    match hidden.as_slice() {
        [] => {}
        [near] => return Ok((*near).clone()),
        many => {
            let numbers: Vec<String> = many
                .iter()
                .map(|near| {
                    let address = near.addresses.first().map_or_else(String::new, |a| format!(" at {a}"));
                    format!("{}{address}", near.number)
                })
                .collect();
            return Err(Failure::usage(format!("several devices nearby are called `{}`", clean(text)))
                .advise(format!("say which by its number or address: {}", numbers.join(", "))));
        }
    }
    let number = text.strip_prefix('#').unwrap_or(text).parse::<u32>().ok();
    rows.iter().find(|near| Some(near.number) == number).cloned().ok_or(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(key: &str, name: &str, id: Option<u8>, port: u16) -> Sighting {
        Sighting::Seen {
            key: key.into(),
            addresses: [SocketAddr::from(([10, 0, 0, 1], port))].into(),
            announcement: Arc::new(Announcement {
                name: (!name.is_empty()).then(|| name.into()),
                id: id.map(|n| DeviceId([n; 32])),
                ..Announcement::default()
            }),
        }
    }

    #[test]
    fn numbers_stay_and_the_silent_are_asked_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rows = Rows::default();
        let both = [sighting("a", "tv", None, 1), sighting("b", "car", None, 2)];
        rows.note(&both, at(0));
        assert!(rows.due(at(5)).is_empty(), "heard just now");
        assert_eq!(rows.due(at(11)), ["a".into(), "b".into()]);
        assert!(rows.due(at(12)).is_empty(), "asked already");
        // One did not answer: discovery took it away. The other has answered.
        rows.note(&both[1..], at(20));
        assert_eq!(rows.seen.values().map(|n| (n.number, n.heard)).collect::<Vec<_>>(), [(2, at(11))]);
        assert_eq!(rows.due(at(22)), ["b".into()]);
        // It changes what it says: that is a sign of life.
        rows.note(&[sighting("b", "car", Some(7), 2)], at(25));
        assert_eq!((rows.seen["b"].heard, rows.seen["b"].asked), (at(25), None));
        // A newcomer gets a number of its own.
        rows.note(&both, at(26));
        assert_eq!((rows.seen["a"].number, rows.seen["b"].number), (3, 2));
    }

    #[test]
    fn rows_are_found_by_name_number_and_id() {
        let mut rows = Rows::default();
        let list = [
            sighting("a", "tv", Some(1), 1),
            sighting("b", "tv", None, 2),
            sighting("c", "box", None, 3),
            sighting("d", "box", None, 4),
            sighting("e", "", None, 5),
            sighting("f", "mine", None, 6),
            sighting("g", "3", None, 7),
        ];
        rows.note(&list, Instant::now());
        let rows: Vec<Near> = rows.seen.into_values().collect();
        let ours = |address: &SocketAddr| address.port() == 6;
        let find = |text: &str| find(text, &rows, ours).map(|near| near.key.to_string());
        assert_eq!(find("TV").unwrap(), "a", "the one whose pairing is open");
        assert_eq!(find("2").unwrap(), "b");
        assert_eq!(find("#5").unwrap(), "e", "without a name");
        assert_eq!(find("3").unwrap(), "g", "a name goes before a number");
        assert_eq!(find("#3").unwrap(), "c");
        let twice = find("box").unwrap_err();
        assert_eq!(twice.kind, Kind::Usage);
        assert_eq!(
            twice.advice.unwrap(),
            "say which by its number or address: 3 at 10.0.0.1:3, 4 at 10.0.0.1:4"
        );
        for missing in ["mine", "radio", "99", "#x"] {
            assert_eq!(find(missing).unwrap_err().kind, Kind::NotFound, "{missing}");
        }
        assert_eq!(find("").unwrap_err().kind, Kind::Usage);
    }
}
