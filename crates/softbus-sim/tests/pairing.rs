//! Devices that come into their circle by PIN, through the library's own pairing.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{assert_held, invariant, runs};
use softbus_sim::record::Record;

/// Who is in which circle; `start_on` is a device that takes others' work only when it is in.
const HOUSE: &str = r#"
name = "house"
duration = "60s"

[[segment]]
name = "home"

[[circle]]
name = "family"
entry = "pin"

[[circle]]
name = "work"
entry = "pin"

[[device]]
name = "lamp"
kind = "sensor"
circle = "family"
starts = "6s"

[[device]]
name = "phone"
kind = "phone"
circles = { family = "owner", work = "member" }

[[device]]
name = "tv"
kind = "tv"
circles = { family = "member" }
starts = "3s"

[[device]]
name = "laptop"
kind = "laptop"
circles = { family = "guest", work = "owner" }
"#;

fn said(record: &Record, what: &str) -> Vec<String> {
    record.events.iter().filter(|event| event.text.contains(what)).map(|event| event.text.clone()).collect()
}

/// Each pair that was in one circle was linked; nobody else was.
fn linked(record: &Record) -> Vec<(&str, &str)> {
    let name = |of: usize| record.devices[of].name.as_str();
    let mut pairs: Vec<_> = record.links.iter().map(|link| (name(link.a), name(link.b))).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

#[test]
fn devices_pair_one_after_the_other_in_order_of_their_start() {
    let record = runs(HOUSE, 1);
    assert_held(&record);
    let entered = said(&record, "enters it");
    let who: Vec<&str> = entered.iter().map(|text| text.split(" after").next().unwrap()).collect();
    let of = |who: &[&str], circle: &str| -> Vec<String> {
        let ends = format!("in {circle}");
        who.iter().filter(|text| text.ends_with(&ends)).map(|text| (*text).to_owned()).collect()
    };
    assert_eq!(
        of(&who, "family"),
        [
            "phone shows a PIN, laptop enters it: in family",
            "phone shows a PIN, tv enters it: in family",
            "phone shows a PIN, lamp enters it: in family",
        ]
    );
    assert_eq!(of(&who, "work"), ["laptop shows a PIN, phone enters it: in work"]);
    let spread = record.summary.pairing_us;
    assert_eq!(spread.count, 4, "{entered:#?}");
    assert!(spread.min > 0 && spread.max < 10_000_000, "{spread:?}");
    let pairs = linked(&record);
    for pair in [("lamp", "phone"), ("lamp", "tv"), ("phone", "tv"), ("phone", "laptop")] {
        assert!(pairs.contains(&pair), "{pair:?} of {pairs:?}");
    }
    assert_eq!(runs(HOUSE, 1).trace_hash, record.trace_hash, "equal seeds repeat");
}

#[test]
fn who_cannot_pair_is_no_member_and_comes_in_later() {
    let text = format!(
        "{HOUSE}\n[[event]]\nat = \"0s\"\ndo = \"cut\"\nfrom = \"phone\"\nto = \"tv\"\nfor = \"30s\"\n\n\
         [[event]]\nat = \"0s\"\ndo = \"cut\"\nfrom = \"laptop\"\nto = \"tv\"\nfor = \"30s\"\n\n\
         [[event]]\nat = \"0s\"\ndo = \"cut\"\nfrom = \"lamp\"\nto = \"tv\"\nfor = \"30s\"\n"
    );
    let record = runs(&text, 2);
    let tv = record.devices.iter().position(|device| device.name == "tv").unwrap();
    let entered: Vec<_> =
        record.events.iter().filter(|e| e.text.contains("enters it") && e.device == Some(tv)).collect();
    assert_eq!(entered.len(), 1);
    assert!(entered[0].at_us > 30_000_000, "{entered:?}");
    assert!(!said(&record, "tv is not in family yet").is_empty());
    let first = record.links.iter().filter(|l| l.a == tv || l.b == tv).map(|l| l.from_us).min().unwrap();
    assert!(first >= entered[0].at_us, "no link before it is in");
    assert_held(&record);
}

#[test]
fn a_wrong_pin_that_nobody_could_try_counts_as_not_looked_at() {
    let wrong = "\n[[event]]\nat = \"40s\"\ndo = \"wrong-pin\"\nshown = \"phone\"\nentered = \"lamp\"\n";
    let looked = |record: &Record| {
        let found = invariant(record, "wrong-pin");
        assert!(found.violations.is_empty(), "{found:?}");
        found.checked
    };
    assert_eq!(looked(&runs(&format!("{HOUSE}{wrong}"), 3)), 1);
    let cut = "\n[[event]]\nat = \"30s\"\ndo = \"cut\"\nfrom = \"phone\"\nto = \"lamp\"\nfor = \"29s\"\n";
    let record = runs(&format!("{HOUSE}{cut}{wrong}"), 3);
    assert_eq!(looked(&record), 0);
    assert!(!said(&record, "is not tried on lamp").is_empty());
}
