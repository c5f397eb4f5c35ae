//! `softbus devices`.

use std::io::Write;

use softbus_core::{PowerSource, WallMs};

use super::{Context, unexpected};
use crate::args::DevicesArgs;
use crate::clock::wall;
use crate::control::{DeviceView, DevicesView, Event, NowView, PresenceView, Request, Response, Step};
use crate::failure::Failure;
use crate::output::{Paint, Table, ago, bytes, clean, micros, ops, percent, rate};

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

async fn watch(cx: Context, long: bool) -> Result<(), Failure> {
    let mut stream = cx.client().stream(Request::WatchDevices {}).await?;
    let mut first = true;
    loop {
        match stream.next().await? {
            Step::Event(event) if cx.out.json => cx.out.json_line(&event)?,
            // A snapshot of everything at first; from then on what changed.
            Step::Event(Event::Devices(view)) if first => {
                first = false;
                show(&cx, &view, long)?;
                cx.out.note(cx.out.paint_err(Paint::Dim, "watching; Ctrl-C ends it"));
            }
            Step::Event(Event::Change(change)) => {
                let when = ago(wall(), WallMs(change.at_ms));
                cx.out.line(format!("{}  {}", cx.out.paint(Paint::Dim, &when), clean(&change.what)))?;
            }
            Step::Event(_) => {}
            Step::Done(_) => return Ok(()),
        }
        let _ = std::io::stdout().flush();
    }
}

fn show(cx: &Context, view: &DevicesView, long: bool) -> Result<(), Failure> {
    cx.out.table(if long { long_table(view) } else { short_table(view) })?;
    for device in &view.devices {
        // Such as another protocol version: what to do about it stands in the reason.
        let why = device.link.as_ref().and_then(|l| l.last_down.as_deref());
        if let (PresenceView::Offline, Some(why)) = (device.presence, why) {
            cx.out.note(format!("{} is offline: {}", name(device), clean(why)));
        }
    }
    if view.devices.len() <= 1 && view.nearby.is_empty() {
        cx.out.note(
            "\nNo other device yet. On the other device: `softbus up`, then `softbus pair` there and here.",
        );
    }
    if !view.nearby.is_empty() {
        cx.out.line("")?;
        let mut table = Table::new(["nearby, not paired", "kind", "id", "address"]);
        for near in &view.nearby {
            let hidden = || "-".to_string();
            table.row([
                near.name.as_deref().map_or_else(hidden, clean),
                near.kind.map_or_else(hidden, |k| k.to_string()),
                near.id.map_or_else(hidden, |id| format!("…{}", id.short())),
                near.addresses.first().cloned().unwrap_or_else(hidden),
            ]);
        }
        cx.out.table(table)?;
        cx.out.note("\nTo pair: `softbus pair` on one of the two, `softbus pair NAME` on the other.");
    }
    Ok(())
}

fn short_table(view: &DevicesView) -> Table {
    let mut table = Table::new(["name", "kind", "presence", "role", "link", "load", "power", "tasks", "id"]);
    for device in &view.devices {
        let now = device.profile.as_ref().and_then(|p| p.now.as_ref());
        table.row([
            name(device),
            device.kind.to_string(),
            presence(device, view),
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

fn long_table(view: &DevicesView) -> Table {
    let mut table = Table::new([
        "name", "presence", "address", "rate", "loss", "cores", "speed", "memory", "system", "declared", "id",
    ]);
    for device in &view.devices {
        let (profile, link) = (device.profile.as_ref(), device.link.as_ref());
        let now = profile.and_then(|p| p.now.as_ref());
        let none = || "-".to_string();
        table.row([
            name(device),
            presence(device, view),
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

fn name(device: &DeviceView) -> String {
    if device.name.is_empty() { "(not heard yet)".into() } else { clean(&device.name) }
}

fn presence(device: &DeviceView, view: &DevicesView) -> String {
    let word = match device.presence {
        PresenceView::Here => "● this device".into(),
        PresenceView::Online => "● online".to_string(),
        PresenceView::Suspect => "◐ suspect".into(),
        PresenceView::Asleep => "◐ asleep".into(),
        PresenceView::Offline => "○ offline".into(),
    };
    match device.via {
        Some(via) => {
            let name =
                view.devices.iter().find(|d| d.id == via).map(|d| clean(&d.name)).filter(|n| !n.is_empty());
            format!("{word} via {}", name.unwrap_or_else(|| format!("…{}", via.short())))
        }
        None => word,
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
