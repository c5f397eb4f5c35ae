//! `softbus devices`.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use softbus_core::{Labels, PowerSource, WallMs};

use super::{Context, unexpected};
use crate::args::DevicesArgs;
use crate::clock::wall;
use crate::control::{
    ChangeView, DeviceView, DevicesView, Event, NowView, PresenceView, Request, Response, Step,
};
use crate::failure::Failure;
use crate::output::{Paint, Screen, Table, ago, bytes, clean, micros, ops, percent, rate};

/// All devices, once or as they change.
pub(super) async fn devices(cx: Context, args: DevicesArgs) -> Result<(), Failure> {
    if args.watch {
        return watch(cx, args.long).await;
    }
    match cx.client().call(Request::Devices {}).await? {
        Response::Devices(view) if cx.out.json => cx.out.json(&view),
        Response::Devices(view) => show(&cx, &view, args.long),
        other => Err(unexpected(&other)),
    }
}

/// Lines of what happened that are shown below the tables while watching.
const CHANGES: usize = 6;
/// How often what is watched is drawn anew though nothing happens: ages grow.
const REDRAW: Duration = Duration::from_secs(5);

/// On a terminal the tables are drawn anew in place; else what changes is told line by line.
async fn watch(cx: Context, long: bool) -> Result<(), Failure> {
    let mut stream = cx.client().stream(Request::WatchDevices {}).await?;
    let mut screen = Screen::default();
    let mut last: Option<DevicesView> = None;
    let mut changes: VecDeque<ChangeView> = VecDeque::new();
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        let next = stream.next();
        tokio::pin!(next);
        let step = loop {
            // The same read goes on: one that is dropped could lose a part of a line.
            tokio::select! {
                biased;
                step = &mut next => break step?,
                _ = redraw.tick(), if cx.out.live => draw(&cx, &mut screen, last.as_ref(), &changes, long)?,
            }
        };
        match step {
            Step::Event(event) if cx.out.json => cx.out.json_line(&event)?,
            Step::Event(Event::Devices(view)) if cx.out.live => {
                last = Some(view);
                draw(&cx, &mut screen, last.as_ref(), &changes, long)?;
            }
            Step::Event(Event::Change(change)) if cx.out.live => {
                changes.truncate(CHANGES - 1);
                changes.push_front(change);
            }
            // A snapshot of everything at first; from then on what changed.
            Step::Event(Event::Devices(view)) if last.is_none() => {
                show(&cx, &view, long)?;
                cx.out.note(cx.out.paint_err(Paint::Dim, "watching; Ctrl-C ends it"));
                last = Some(view);
            }
            Step::Event(Event::Change(change)) => cx.out.line(change_line(&cx, &change))?,
            Step::Event(_) => {}
            Step::Done(_) => return Ok(()),
        }
        let _ = std::io::stdout().flush();
    }
}

fn draw(
    cx: &Context,
    screen: &mut Screen,
    view: Option<&DevicesView>,
    changes: &VecDeque<ChangeView>,
    long: bool,
) -> Result<(), Failure> {
    let Some(view) = view else { return Ok(()) };
    let mut text: Vec<String> = pieces(cx, view, long).into_iter().map(|(_, text)| text).collect();
    if !changes.is_empty() {
        text.push(String::new());
        text.extend(changes.iter().map(|change| change_line(cx, change)));
    }
    text.extend([String::new(), cx.out.paint(Paint::Dim, "watching; Ctrl-C ends it")]);
    screen.draw(&cx.out, &text.join("\n"))
}

fn change_line(cx: &Context, change: &ChangeView) -> String {
    let when = ago(wall(), WallMs(change.at_ms));
    format!("{}  {}", cx.out.paint(Paint::Dim, &when), clean(&change.what))
}

fn show(cx: &Context, view: &DevicesView, long: bool) -> Result<(), Failure> {
    for (proper, text) in pieces(cx, view, long) {
        if proper { cx.out.line(text)? } else { cx.out.note(text) }
    }
    Ok(())
}

/// All that is shown, piece by piece, and whether each is output proper (or else a word beside it).
fn pieces(cx: &Context, view: &DevicesView, long: bool) -> Vec<(bool, String)> {
    let labels = labels(view);
    let table = if long { long_table(view, &labels) } else { short_table(view, &labels) };
    let mut pieces = vec![(true, cx.out.table_text(table))];
    for device in &view.devices {
        // Such as another protocol version: what to do about it stands in the reason.
        let why = device.link.as_ref().and_then(|l| l.last_down.as_deref());
        if let (PresenceView::Offline, Some(why)) = (device.presence, why) {
            pieces.push((false, format!("{} is offline: {}", clean(&labels.of(&device.id)), clean(why))));
        }
    }
    if view.devices.len() <= 1 && view.nearby.is_empty() {
        let next =
            "\nNo other device yet. On the other device: `softbus up`, then `softbus pair` there and here.";
        pieces.push((false, next.into()));
    }
    if !view.nearby.is_empty() {
        pieces.push((true, String::new()));
        let mut table = Table::new(["no.", "nearby, not paired", "kind", "heard", "address", "id"])
            .spare(["kind", "id", "heard", "address"]);
        let now = wall();
        for near in &view.nearby {
            let hidden = || "-".to_string();
            table.row([
                near.number.to_string(),
                near.name.as_deref().map_or_else(hidden, clean),
                near.kind.map_or_else(hidden, |k| k.to_string()),
                ago(now, WallMs(near.heard_ms)),
                near.addresses.first().cloned().unwrap_or_else(hidden),
                near.id.map_or_else(hidden, |id| format!("…{}", id.short())),
            ]);
        }
        pieces.push((true, cx.out.table_text(table)));
        let next = "\nTo pair: `softbus pair` on one of the two, `softbus pair NAME` (or its number here) on the other.";
        pieces.push((false, next.into()));
    }
    pieces
}

/// What the devices are called: those that share a name are told apart by their ids.
pub(crate) fn labels(view: &DevicesView) -> Labels {
    view.devices.iter().map(|device| (device.id, device.name.as_str())).collect()
}

fn short_table(view: &DevicesView, labels: &Labels) -> Table {
    let mut table = Table::new(["name", "kind", "presence", "role", "link", "load", "power", "tasks", "id"])
        .spare(["power", "tasks", "kind", "load", "link", "role", "id"]);
    for device in &view.devices {
        let now = device.profile.as_ref().and_then(|p| p.now.as_ref());
        table.row([
            name(device, labels),
            device.kind.to_string(),
            presence(device, labels),
            device.role.map_or_else(|| "-".into(), |r| r.to_string()),
            link(device),
            now.map_or_else(|| "-".into(), |n| percent(n.load_permille)),
            now.map_or_else(|| "-".into(), power),
            now.map_or_else(|| "-".into(), |n| n.running_tasks.to_string()),
            format!("…{}", device.id.short()),
        ]);
    }
    table
}

fn long_table(view: &DevicesView, labels: &Labels) -> Table {
    let mut table = Table::new([
        "name", "presence", "address", "rate", "loss", "cores", "speed", "memory", "system", "declared", "id",
    ])
    .spare(["id", "declared", "loss", "rate", "system", "cores", "speed", "address", "memory"]);
    for device in &view.devices {
        let (profile, link) = (device.profile.as_ref(), device.link.as_ref());
        let now = profile.and_then(|p| p.now.as_ref());
        let none = || "-".to_string();
        table.row([
            name(device, labels),
            presence(device, labels),
            link.and_then(|l| l.address.clone()).unwrap_or_else(none),
            link.filter(|l| l.rate_bytes_per_s > 0).map_or_else(none, |l| rate(l.rate_bytes_per_s)),
            link.map_or_else(none, |l| format!("{} ‰", l.loss_permille)),
            profile.map_or_else(none, |p| p.cores.to_string()),
            now.map_or_else(none, |n| format!("{}/s", ops(n.rate_ops_per_s))),
            profile.map_or_else(none, |p| {
                let all = bytes(p.memory_bytes);
                now.map_or(all.clone(), |n| format!("{} of {all} free", bytes(n.memory_free_bytes)))
            }),
            profile.map_or_else(none, |p| format!("{} {}", clean(&p.os), clean(&p.arch))),
            profile.map_or_else(none, |p| {
                let names: Vec<String> = p.declared.iter().map(|d| clean(d)).collect();
                names.join(" ")
            }),
            device.id.to_string(),
        ]);
    }
    table
}

fn name(device: &DeviceView, labels: &Labels) -> String {
    if device.name.is_empty() { "(not heard yet)".into() } else { clean(&labels.of(&device.id)) }
}

fn presence(device: &DeviceView, labels: &Labels) -> String {
    let word = match device.presence {
        PresenceView::Here => "● this device",
        PresenceView::Online => "● online",
        PresenceView::Suspect => "◐ suspect",
        PresenceView::Asleep => "◐ asleep",
        PresenceView::Offline => "○ offline",
    };
    match device.via {
        Some(via) => format!("{word} via {}", clean(&labels.of(&via))),
        None => word.into(),
    }
}

fn link(device: &DeviceView) -> String {
    match &device.link {
        Some(link)
            if link.rtt_us > 0 && matches!(device.presence, PresenceView::Online | PresenceView::Suspect) =>
        {
            micros(link.rtt_us)
        }
        _ => "-".into(),
    }
}

fn power(now: &NowView) -> String {
    let source = match now.power {
        PowerSource::Mains => "mains",
        PowerSource::Battery => "battery",
        PowerSource::Unknown => "",
    };
    match now.battery_permille {
        Some(charge) => format!("{} {source}", percent(charge)).trim_end().to_string(),
        None if source.is_empty() => "-".into(),
        None => source.into(),
    }
}
