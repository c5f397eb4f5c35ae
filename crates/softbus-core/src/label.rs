//! What devices are called before people.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use crate::DeviceId;

/// Whether a character in a name could play a trick on whoever reads it: it steers a terminal, turns the direction of
/// writing, or takes no room and so makes two names look alike. Joiners (U+200C, U+200D) may be there: several scripts and
/// most emoji of people need them.
pub fn is_tricky(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// The names of some devices, and how to tell those apart that share one. Whoever shows devices to people shows
/// them so, that a device is called the same everywhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Labels {
    names: BTreeMap<DeviceId, String>,
    /// How many devices have a name, without regard to upper and lower case.
    bearers: BTreeMap<String, usize>,
}

impl Labels {
    /// The label of a device: its name, such as `tv`; if another one has that name too, with the end of its id
    /// (`tv …x1y2z3`); the end of its id alone if it has no name, or is not one of these. Names are foreign text, and
    /// given as they are.
    pub fn of(&self, id: &DeviceId) -> String {
        match self.names.get(id) {
            None => format!("…{}", id.short()),
            Some(name) if name.is_empty() => format!("…{}", id.short()),
            Some(name) if self.bearers.get(&plain(name)).is_some_and(|bearers| *bearers > 1) => {
                format!("{name} …{}", id.short())
            }
            Some(name) => name.clone(),
        }
    }

    /// The name of a device as it is; empty if it is not known.
    pub fn name(&self, id: &DeviceId) -> &str {
        self.names.get(id).map_or("", String::as_str)
    }

    /// All of these devices and their names, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&DeviceId, &str)> {
        self.names.iter().map(|(id, name)| (id, name.as_str()))
    }
}

impl<N: Into<String>> FromIterator<(DeviceId, N)> for Labels {
    fn from_iter<I: IntoIterator<Item = (DeviceId, N)>>(devices: I) -> Self {
        let names: BTreeMap<DeviceId, String> =
            devices.into_iter().map(|(id, name)| (id, name.into())).collect();
        let mut bearers = BTreeMap::new();
        for name in names.values() {
            *bearers.entry(plain(name)).or_insert(0) += 1;
        }
        Self { names, bearers }
    }
}

fn plain(name: &str) -> String {
    // Names that look alike are alike: joiners and variation selectors are not seen by themselves.
    let seen = |c: &char| !matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}');
    name.trim().chars().filter(seen).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_share_a_name_show_their_ids() {
        let ids: [DeviceId; 5] = [1, 2, 3, 4, 5].map(|n| DeviceId([n; 32]));
        let labels: Labels = ids[..4].iter().copied().zip(["tv", "box", "Box", ""]).collect();
        assert_eq!(labels.of(&ids[0]), "tv");
        assert_eq!(labels.of(&ids[1]), format!("box …{}", ids[1].short()));
        assert_eq!(labels.of(&ids[2]), format!("Box …{}", ids[2].short()));
        assert_eq!(labels.of(&ids[3]), format!("…{}", ids[3].short()), "no name");
        assert_eq!(labels.of(&ids[4]), format!("…{}", ids[4].short()), "unknown");
        assert_eq!((labels.name(&ids[2]), labels.name(&ids[4])), ("Box", ""));
    }
}
