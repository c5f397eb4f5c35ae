//! The guide to scenarios says what is so.

use softbus_core::DeviceKind;

use super::*;
use crate::scenario::values::{POWER, SIZE, SPEED};
use crate::scenario::{chaos, events, kinds};

fn readme() -> String {
    std::fs::read_to_string(simulations().join("README.md")).unwrap()
}

#[test]
fn what_it_writes_step_by_step_is_read_after_each_step() {
    let readme = readme();
    let steps = readme.split("```toml\n").skip(1).map(|step| step.split("```").next().unwrap());
    let mut file = String::new();
    let mut read = 0;
    for step in steps.take_while(|step| !step.starts_with("include")) {
        file += step;
        let scenario = parse(&file, 1).unwrap_or_else(|e| panic!("{e}"));
        assert!(scenario.devices.len() >= 4);
        read += 1;
    }
    assert_eq!(read, 5);
    assert_eq!(parse(&file, 1).unwrap().events.iter().filter(|e| !e.drawn).count(), 6);
}

#[test]
fn it_has_the_usual_values_of_each_kind() {
    for (kind, name) in DeviceKind::ALL {
        let usual = kinds::usual(kind);
        let battery = usual.battery.map_or("mains".to_owned(), |b| {
            format!("{} Wh, {}", b.capacity_j / 3600.0, POWER.show(b.charger_w))
        });
        let [idle, sleep, core] =
            [usual.power.idle_w, usual.power.sleep_w, usual.power.core_w].map(|w| POWER.show(w));
        let (rate, memory) = (SPEED.show(usual.rate_ops_per_s.into()), SIZE.show(usual.memory_bytes.into()));
        let row = format!(
            "| `{name}` | {} | {rate} | {memory} | {battery} | {idle}, {sleep}, {core} |",
            usual.cores
        );
        assert!(readme().contains(&row), "{row}");
    }
}

#[test]
fn it_has_every_event_fault_and_shipped_file() {
    let readme = readme();
    let files = shipped::names().into_iter().map(|name| format!("[`{name}.toml`]({name}.toml)"));
    let words = events::WORDS.iter().chain(&chaos::RATES).map(|word| format!("`{word}`"));
    for word in files.chain(words) {
        assert!(readme.contains(&word), "{word}");
    }
}
