//! `softbus status`, `down` and `inject-load`.

use std::time::Duration;

use softbus::task::ContentsStatus;
use softbus_core::WallMs;

use super::{Context, unexpected, words};
use crate::args::{DownArgs, InjectArgs};
use crate::clock::wall;
use crate::control::{Load, Request, Response};
use crate::failure::Failure;
use crate::output::{Bar, Paint, ago, bytes, clean, duration};

/// Who this node is and how it does.
pub(super) async fn status(cx: Context) -> Result<(), Failure> {
    let status = match cx.client().call(Request::Status {}).await? {
        Response::Status(status) => status,
        other => return Err(unexpected(&other)),
    };
    if cx.out.json {
        return cx.out.json(&status);
    }
    let list = |items: &[String]| if items.is_empty() { "none".to_string() } else { items.join(", ") };
    let circles: Vec<String> = status.circles.iter().map(|c| clean(c)).collect();
    let rows = [
        ("name", format!("{} ({})", clean(&status.name), status.kind)),
        ("id", status.id.to_string()),
        ("addresses", list(&status.addresses)),
        ("circles", list(&circles)),
        ("devices online", status.devices_online.to_string()),
        ("tasks running", status.tasks_running.to_string()),
        ("task types", list(&status.task_types)),
        ("services", list(&status.services)),
        ("modules", modules(&status.modules)),
        ("data folder", status.data_dir.clone()),
        (
            "started",
            format!(
                "{} (process {}, softbus {})",
                ago(wall(), WallMs(status.started_ms)),
                status.pid,
                status.version
            ),
        ),
    ];
    for (name, value) in rows {
        cx.out.line(format!("{} {value}", cx.out.paint(Paint::Dim, &format!("{name:>14}"))))?;
    }
    for circle in &status.words_wait {
        cx.out.line(cx.out.paint(Paint::Warn, &words::waits(circle)))?;
    }
    Ok(())
}

/// Modules of programs that are kept, and what came of that.
fn modules(modules: &ContentsStatus) -> String {
    let mut said =
        format!("{} kept ({} of {})", modules.kept, bytes(modules.bytes), bytes(modules.budget_bytes));
    let here = modules.spared_bytes.saturating_sub(modules.fetched_bytes);
    let came = [
        (here, "need not come again"),
        (modules.fetched_bytes, "came from near by"),
        (modules.given_bytes, "given to others"),
    ];
    for (count, what) in came.into_iter().filter(|(count, _)| *count > 0) {
        said.push_str(&format!(", {} {what}", bytes(count)));
    }
    said
}

/// What a node that stops is given beyond the time that it asks for.
const SPARE: Duration = Duration::from_secs(5);

/// Shuts the node down and waits until it is.
pub(super) async fn down(cx: Context, args: DownArgs) -> Result<(), Failure> {
    const POLL: Duration = Duration::from_millis(50);
    let client = cx.client();
    let within = match client.call(Request::Down { now: args.now }).await? {
        Response::Stopping { within_s } => Duration::from_secs(within_s),
        other => return Err(unexpected(&other)),
    };
    let bar = Bar::spinner(&cx.out, "the node stops…");
    if !args.now {
        bar.note(&format!("its tasks move away first, which may take {}", duration(within)));
    }
    let gone = async {
        while client.is_running().await {
            tokio::time::sleep(POLL).await;
        }
    };
    let ended = tokio::time::timeout(within + SPARE, gone).await;
    drop(bar);
    ended.map_err(|_| {
        Failure::timeout(format!(
            "the node said it would stop within {}, but it still answers",
            duration(within)
        ))
        .advise("see its log; `softbus down --now` moves no tasks away first")
    })?;
    cx.say(&serde_json::json!({ "done": true }), "the node is down")
}

/// Claims sensor values for a while.
pub(super) async fn inject(cx: Context, args: InjectArgs) -> Result<(), Failure> {
    let load = Load {
        seconds: args.lasts.as_secs().max(1),
        load_permille: args.load,
        memory_free_bytes: args.memory_free,
        battery_permille: args.battery,
        power: args.power,
        thermal: args.thermal,
    };
    cx.order(Request::InjectLoad(load), "the node claims these values now, marked as declared").await
}
