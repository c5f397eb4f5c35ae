//! From what a person calls a thing to the thing.

use softbus::core::{CircleId, DeviceId, Labels, TaskId};

use super::named;
use crate::failure::Failure;
use crate::output::clean;

/// Most devices or tasks listed of those that a name may mean.
const CANDIDATES: usize = 8;
/// Shortest part of an id that names.
const PART: usize = 4;

/// A device by whole id, name, end of the id, or name and end of the id as they are shown. `what` says among which devices, for the message.
pub(super) fn device(text: &str, among: &[(DeviceId, String)], what: &str) -> Result<DeviceId, Failure> {
    let text = named(text)?;
    let missing = || {
        Failure::not_found(format!("no device {what} is called `{}`", clean(text)))
            .advise("`softbus devices` lists them; the end of an id works too")
    };
    if let Ok(id) = text.parse::<DeviceId>() {
        return if among.iter().any(|(known, _)| *known == id) { Ok(id) } else { Err(missing()) };
    }
    // As devices of one name are shown: `box …x1y2z3`.
    if let Some((name, end)) = text.split_once('…') {
        let (name, end) = (name.trim(), end.trim());
        let fits = |id: &DeviceId, known: &str| {
            id.to_string().ends_with(end) && (name.is_empty() || known.eq_ignore_ascii_case(name))
        };
        let found: Vec<DeviceId> = among
            .iter()
            .filter(|(id, known)| end.len() >= PART && fits(id, known))
            .map(|(id, _)| *id)
            .collect();
        return if let [id] = found[..] { Ok(id) } else { Err(missing()) };
    }
    let by = |fits: &dyn Fn(&DeviceId, &str) -> bool| -> Vec<&(DeviceId, String)> {
        among.iter().filter(|(id, name)| fits(id, name)).collect()
    };
    let exact = by(&|_, name| name == text);
    let loose = by(&|_, name| name.eq_ignore_ascii_case(text));
    let end = by(&|id, _| text.len() >= PART && id.to_string().ends_with(text));
    for found in [exact, loose, end] {
        match found.as_slice() {
            [] => {}
            [(id, _)] => return Ok(*id),
            many => {
                let labels: Labels = among.iter().cloned().collect();
                let all: Vec<String> =
                    many.iter().take(CANDIDATES).map(|(id, _)| clean(&labels.of(id))).collect();
                let more = if many.len() > CANDIDATES { ", …" } else { "" };
                return Err(Failure::usage(format!("several devices {what} are called `{}`", clean(text)))
                    .advise(format!("say which by the end of its id: {}{more}", all.join(", "))));
            }
        }
    }
    Err(missing())
}

/// A circle by name or beginning of its id; the only one if nothing is said.
pub(super) fn circle(text: Option<&str>, among: &[(CircleId, String)]) -> Result<Option<CircleId>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let text = named(text)?;
    let by_name: Vec<_> = among.iter().filter(|(_, name)| name == text).collect();
    let by_id: Vec<_> =
        among.iter().filter(|(id, _)| text.len() >= PART && id.to_string().starts_with(text)).collect();
    for found in [by_name, by_id] {
        match found.as_slice() {
            [] => {}
            [(id, _)] => return Ok(Some(*id)),
            _ => {
                return Err(Failure::usage(format!("several circles are called `{}`", clean(text)))
                    .advise("say which by the beginning of its id: `softbus circle` shows it"));
            }
        }
    }
    Err(Failure::not_found(format!("this device is in no circle called `{}`", clean(text)))
        .advise("`softbus circle` lists them"))
}

/// A task by id, beginning of the id, or name.
pub(super) fn task(text: &str, among: &[(TaskId, String)]) -> Result<TaskId, Failure> {
    let text = named(text)?;
    if let Ok(id) = text.parse::<TaskId>() {
        // It may be known on another device only.
        return Ok(id);
    }
    let by_id: Vec<_> =
        among.iter().filter(|(id, _)| text.len() >= PART && id.to_string().starts_with(text)).collect();
    let by_name: Vec<_> = among.iter().filter(|(_, name)| name == text).collect();
    for found in [by_id, by_name] {
        match found.as_slice() {
            [] => {}
            [(id, _)] => return Ok(*id),
            many => {
                let ids: Vec<String> =
                    many.iter().take(CANDIDATES).map(|(id, _)| id.to_string()[..8].to_string()).collect();
                return Err(Failure::usage(format!("several tasks are called `{}`", clean(text)))
                    .advise(format!("say which: {}", ids.join(", "))));
            }
        }
    }
    Err(Failure::not_found(format!("no task is called `{}`", clean(text)))
        .advise("`softbus tasks` lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn devices_by_id_name_and_end() {
        let ids: Vec<DeviceId> = (0..4).map(|n| DeviceId([n; 32])).collect();
        let names = ["tv", "Car", "box", "box"];
        let among: Vec<_> = ids.iter().copied().zip(names.map(String::from)).collect();
        let find = |text: &str| device(text, &among, "here");
        assert_eq!(find("tv"), Ok(ids[0]));
        assert_eq!(find(" car "), Ok(ids[1]));
        assert_eq!(find(&ids[2].to_string()), Ok(ids[2]));
        assert_eq!(find(&ids[3].short()), Ok(ids[3]));
        assert_eq!(find(&format!("…{}", ids[3].short())), Ok(ids[3]));
        assert_eq!(find(&format!("box …{}", ids[3].short())), Ok(ids[3]), "as it is shown");
        assert_eq!(find(&format!("tv …{}", ids[3].short())).unwrap_err().kind, Kind::NotFound);
        let twice = find("box").unwrap_err();
        assert_eq!(twice.kind, Kind::Usage);
        let advice = twice.advice.unwrap();
        for id in &ids[2..] {
            assert!(advice.contains(&format!("box …{}", id.short())), "{advice}");
        }
        let stranger = DeviceId([9; 32]).to_string();
        for missing in ["radio", "x", stranger.as_str()] {
            assert_eq!(find(missing).unwrap_err().kind, Kind::NotFound, "{missing}");
        }
        for wrong in ["", "  ", "x".repeat(10_000).as_str()] {
            assert_eq!(find(wrong).unwrap_err().kind, Kind::Usage);
        }
    }

    #[test]
    fn tasks_by_beginning_and_name() {
        let (a, b) = (TaskId([0xab; 16]), TaskId([0xac; 16]));
        let among = [(a, "one".to_string()), (b, "two".to_string())];
        assert_eq!(task("abab", &among), Ok(a));
        assert_eq!(task("two", &among), Ok(b));
        assert_eq!(task(&TaskId([1; 16]).to_string(), &among), Ok(TaskId([1; 16])));
        assert_eq!(task("a", &among).unwrap_err().kind, Kind::NotFound, "too short to mean one");
        assert_eq!(circle(Some("home"), &[]).unwrap_err().kind, Kind::NotFound);
        assert_eq!(circle(None, &[]), Ok(None));
    }
}
