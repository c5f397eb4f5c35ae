//! What people see of a run: a summary for the terminal ([`text`]), everything for programs ([`json`]), and one page
//! for browsers ([`html`]) that needs no network.
//!
//! Names in a record are foreign text: a scenario's author, or a device, wrote them. So the page never holds them as
//! markup. They are in it as JSON with every `<`, `>` and `&` escaped, and its script puts them in place as text only
//! (its content policy makes the browser refuse anything else). The terminal gets them without control characters.

mod text;
mod thin;
mod units;

#[cfg(test)]
mod made_up;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::record::Record;

pub use text::text;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// In the order in which they build on each other: together they are one script.
const SCRIPT: [&str; 9] = [
    include_str!("page/base.js"),
    include_str!("page/model.js"),
    include_str!("page/time.js"),
    include_str!("page/topology.js"),
    include_str!("page/lanes.js"),
    include_str!("page/charts.js"),
    include_str!("page/spreads.js"),
    include_str!("page/tables.js"),
    include_str!("page.js"),
];

/// One self-contained HTML page that shows the run. Of long runs and large meshes it holds fewer samples, links and
/// events than the record, and says so.
pub fn html(record: &Record) -> String {
    let (shown, notes) = thin::thin(record);
    let record_json = embeddable(&*shown);
    let notes_json = embeddable(&notes);
    let summary = escape(&text(record));
    let script = SCRIPT.concat();
    fill(
        PAGE,
        &[
            ("style", STYLE),
            ("summary", &summary),
            ("record", &record_json),
            ("notes", &notes_json),
            ("script", &script),
        ],
    )
}

/// The whole record, for programs: equal records give equal text.
pub fn json(record: &Record) -> String {
    let mut json = serde_json::to_string_pretty(record).expect("a record is plain data");
    json.push('\n');
    json
}

/// JSON that can stand within a `<script>`: what could end it, or begin markup, is written as an escape.
fn embeddable(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("plain data");
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => safe.push_str("\\u003c"),
            '>' => safe.push_str("\\u003e"),
            '&' => safe.push_str("\\u0026"),
            '\u{2028}' => safe.push_str("\\u2028"),
            '\u{2029}' => safe.push_str("\\u2029"),
            c => safe.push(c),
        }
    }
    safe
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Puts each value in its place (`{{name}}`) in one pass, so that no value is searched for places.
fn fill(page: &str, values: &[(&str, &str)]) -> String {
    let mut filled =
        String::with_capacity(page.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        filled.push_str(before);
        filled.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = after;
    }
    filled.push_str(rest);
    filled
}
