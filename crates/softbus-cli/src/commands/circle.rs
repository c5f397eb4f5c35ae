//! `softbus circle` and `softbus unpair`.

use std::collections::BTreeSet;

use softbus_core::{DeviceId, Labels};
use softbus_trust::Role;

use super::{Context, prompt, unexpected, words};
use crate::args::{CircleCommand, RuleCommand};
use crate::clock::wall;
use crate::control::{CircleView, Request, Response, RuleChange, RuleView};
use crate::failure::Failure;
use crate::output::{Paint, Table, clean, until};

/// Circles and their members.
pub(super) async fn circle(cx: Context, command: Option<CircleCommand>) -> Result<(), Failure> {
    match command.unwrap_or(CircleCommand::Show { circle: None }) {
        CircleCommand::Show { circle } => show(cx, circle).await,
        CircleCommand::Found { name } => found(cx, name).await,
        CircleCommand::Words => words::waiting(&cx).await,
        CircleCommand::Leave { circle, force } => {
            cx.order(Request::Leave { circle, force }, "left the circle; its devices are no longer linked")
                .await
        }
        CircleCommand::SetRole { device, role, expires, services, circle } => {
            let done = format!("{} is {} now", clean(&device), with_article(role));
            cx.order(Request::SetRole { circle, device, role, expires, services }, &done).await
        }
        CircleCommand::Renew { device, expires, circle } => {
            let done = format!("the membership of {} has a new end", clean(&device));
            cx.order(Request::Renew { circle, device, expires }, &done).await
        }
        CircleCommand::Replace { old, new, expires, circle } => {
            let members: BTreeSet<DeviceId> = match cx.client().call(Request::Circles {}).await? {
                Response::Circles(view) => view
                    .circles
                    .iter()
                    .flat_map(|circle| &circle.members)
                    .map(|member| member.device)
                    .collect(),
                other => return Err(unexpected(&other)),
            };
            let mut done = format!("{} has the place of {} in the circle", clean(&new), clean(&old));
            // A name is that of a member; a whole id may be of a device that knows nothing of the circle yet.
            if new.parse::<DeviceId>().is_ok_and(|id| !members.contains(&id)) {
                done.push_str(
                    "\nIt is not with the others yet: on a device of the circle: softbus pair, and on the new one: softbus pair NAME",
                );
            }
            cx.order(Request::Replace { circle, old, new, expires }, &done).await
        }
        CircleCommand::Recover { circle, words_file, keep } => {
            let words = prompt::secret("recovery words", words_file.as_deref()).await?;
            let done = "the circle is yours again: this device is its owner";
            cx.order(Request::Recover { circle, words, keep }, done).await
        }
        CircleCommand::Rules { command } => rules(cx, command.unwrap_or(RuleCommand::Show)).await,
    }
}

/// Removes a device.
pub(super) async fn unpair(cx: Context, device: String, circle: Option<String>) -> Result<(), Failure> {
    let done = format!("{} is removed; its links end on every device that learns of it", clean(&device));
    cx.order(Request::Remove { circle, device }, &done).await
}

async fn show(cx: Context, which: Option<String>) -> Result<(), Failure> {
    let mut view = match cx.client().call(Request::Circles {}).await? {
        Response::Circles(view) => view,
        other => return Err(unexpected(&other)),
    };
    if let Some(which) = which {
        view.circles.retain(|c| c.name == which || c.id.to_string().starts_with(&which));
        if view.circles.is_empty() {
            return Err(Failure::not_found(format!(
                "this device is in no circle called `{}`",
                clean(&which)
            ))
            .advise("`softbus circle` lists them"));
        }
    }
    if cx.out.json {
        return cx.out.json(&view);
    }
    if view.circles.is_empty() {
        return cx.out.line(
            "This device is in no circle yet.\n\
             Pair it with another one (`softbus pair`), or found one: softbus circle found NAME",
        );
    }
    for (index, circle) in view.circles.iter().enumerate() {
        if index > 0 {
            cx.out.line("")?;
        }
        show_one(&cx, circle)?;
    }
    if !view.rules.is_empty() {
        cx.out.line("")?;
        cx.out.table(rule_table(&view.rules))?;
    }
    Ok(())
}

fn show_one(cx: &Context, circle: &CircleView) -> Result<(), Failure> {
    let role = circle
        .role
        .map_or("not counted at present".to_string(), |r| format!("this device is {}", with_article(r)));
    let id = circle.id.to_string();
    cx.out.line(format!(
        "{}  {}",
        cx.out.paint(Paint::Strong, &clean(&circle.name)),
        cx.out.paint(Paint::Dim, &format!("{}… · {role}", &id[..12]))
    ))?;
    if circle.orphaned {
        cx.out.line(cx.out.paint(
            Paint::Warn,
            "no owner is left: take it back with its recovery words, `softbus circle recover`",
        ))?;
    }
    if circle.words_wait {
        cx.out.line(cx.out.paint(Paint::Warn, &words::waits(&circle.name)))?;
    }
    let now = wall();
    let mut table =
        Table::new(["member", "role", "ends", "services", "id"]).spare(["services", "id", "ends"]);
    let labels: Labels = circle.members.iter().map(|member| (member.device, member.name.as_str())).collect();
    for member in &circle.members {
        let name =
            if member.name.is_empty() { "(not heard yet)".into() } else { clean(&labels.of(&member.device)) };
        table.row([
            if member.here { format!("{name} (this device)") } else { name },
            member.role.to_string(),
            until(now, member.expires_ms),
            match member.role {
                Role::Guest if member.services.is_empty() => "none".into(),
                Role::Guest => member.services.join(" "),
                Role::Member => "all but admin".into(),
                Role::Owner => "all".into(),
            },
            format!("…{}", member.device.short()),
        ]);
    }
    cx.out.table(table)
}

async fn found(cx: Context, name: String) -> Result<(), Failure> {
    let name =
        crate::config::parse_name(&name).map_err(|e| Failure::usage(format!("the circle's name: {e}")))?;
    match cx.client().call(Request::Found { name }).await? {
        Response::Founded(founded) if cx.out.json => {
            cx.out.seen_json(&founded)?;
            words::shown(&cx, &founded).await;
            Ok(())
        }
        Response::Founded(founded) => {
            cx.out.line(format!("founded {}", cx.out.paint(Paint::Strong, &clean(&founded.name))))?;
            words::show(&cx, &founded).await
        }
        other => Err(unexpected(&other)),
    }
}

async fn rules(cx: Context, command: RuleCommand) -> Result<(), Failure> {
    let (service, change, done) = match command {
        RuleCommand::Show => {
            let view = match cx.client().call(Request::Circles {}).await? {
                Response::Circles(view) => view,
                other => return Err(unexpected(&other)),
            };
            if cx.out.json {
                return cx.out.json(&view.rules);
            }
            if view.rules.is_empty() {
                return cx.out.line(
                    "No rules of its own. By default members may open everything but `admin`, owners everything, and\n\
                     guests what their membership names, beside roster/1 (name and kind of the device) and circle/1.",
                );
            }
            return cx.out.table(rule_table(&view.rules));
        }
        RuleCommand::Allow(args) => {
            let change = match (args.role, args.device) {
                (_, Some(device)) => RuleChange::Allow(device),
                (Some(role), None) => RuleChange::Least(role),
                (None, None) => return Err(Failure::usage("to whom? --role ROLE or --device DEVICE")),
            };
            (args.service, change, "allowed, on this device")
        }
        RuleCommand::Deny(args) => {
            let change = match (args.role, args.device) {
                (_, Some(device)) => RuleChange::Deny(device),
                // Denied to a role is allowed from the next one on.
                (Some(Role::Guest), None) => RuleChange::Least(Role::Member),
                (Some(Role::Member), None) => RuleChange::Least(Role::Owner),
                (Some(Role::Owner), None) => {
                    return Err(Failure::usage("a service cannot be denied to owners as such: name devices")
                        .advise("softbus circle rules deny SERVICE --device DEVICE"));
                }
                (None, None) => return Err(Failure::usage("to whom? --role ROLE or --device DEVICE")),
            };
            (args.service, change, "denied, on this device")
        }
        RuleCommand::Reset { service, device } => {
            let change = device.map_or(RuleChange::Reset, RuleChange::Forget);
            (service, change, "back to the default, on this device")
        }
    };
    cx.order(Request::SetRule { service, change }, done).await
}

fn rule_table(rules: &[RuleView]) -> Table {
    let mut table = Table::new(["service", "roles", "also", "never"]);
    let ids = |ids: &[DeviceId]| {
        let ids: Vec<String> = ids.iter().map(|id| format!("…{}", id.short())).collect();
        if ids.is_empty() { "-".to_string() } else { ids.join(" ") }
    };
    for rule in rules {
        table.row([
            clean(&rule.service),
            match rule.least {
                None => "the default".into(),
                Some(Role::Guest) => "every guest and above".into(),
                Some(Role::Member) => "members and owners".into(),
                Some(Role::Owner) => "owners only".into(),
            },
            ids(&rule.allow),
            ids(&rule.deny),
        ]);
    }
    table
}

pub(super) fn with_article(role: Role) -> String {
    match role {
        Role::Owner => "an owner".into(),
        role => format!("a {role}"),
    }
}
