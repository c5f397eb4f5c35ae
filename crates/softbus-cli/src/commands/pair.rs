//! `softbus pair`.

use std::time::Duration;

use tokio::time::Instant;

use super::{Context, circle, prompt, unexpected};
use crate::args::PairArgs;
use crate::control::{Event, InvitationView, PairTerms, PairedView, PairingView, Request, Response, Step};
use crate::failure::Failure;
use crate::output::{Bar, Paint, clean, duration};

/// Pairs.
pub(super) async fn pair(cx: Context, args: PairArgs) -> Result<(), Failure> {
    let terms = PairTerms::from(args.terms);
    if args.cancel {
        return cx.order(Request::CancelPairing {}, "pairing is closed here").await;
    }
    match args.with {
        None if args.qr => invite(cx, args.lives, terms).await,
        None => open(cx, terms).await,
        Some(link) if link.to_ascii_lowercase().starts_with("softbus:") => {
            finish(&cx, Request::PairByLink { link, terms }).await
        }
        Some(with) => enter(cx, with, args.pin, terms).await,
    }
}

/// Shows a PIN and waits for the other device.
async fn open(cx: Context, terms: PairTerms) -> Result<(), Failure> {
    let name = match cx.client().call(Request::Status {}).await? {
        Response::Status(status) => clean(&status.name),
        other => return Err(unexpected(&other)),
    };
    let mut stream = cx.client().stream(Request::OpenPairing(terms)).await?;
    let bar = Bar::spinner(&cx.out, "waiting for the other device");
    let mut shown = String::new();
    let mut tries = None;
    let mut ends: Option<Instant> = None;
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        let next = stream.next();
        tokio::pin!(next);
        let step = loop {
            // The same read goes on over the ticks: one that is dropped could lose a part of a line.
            tokio::select! {
                biased;
                // Closing the connection closes pairing on the node.
                _ = tokio::signal::ctrl_c() => return Err(prompt::interrupted()),
                step = &mut next => break step?,
                _ = tick.tick() => {
                    if let Some(ends) = ends {
                        let left = ends.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000);
                        bar.note(&format!("({left} s left)"));
                    }
                }
            }
        };
        match step {
            Step::Event(event) if cx.out.json => cx.out.json_line(&event)?,
            Step::Event(Event::Pairing(PairingView::Open { pin, lives_ms, tries_left })) => {
                ends = Some(Instant::now() + Duration::from_millis(lives_ms));
                if shown != pin {
                    bar.above(&cx.out, &pin_text(&cx, &pin, lives_ms, &name));
                    shown = pin;
                } else if tries.is_some_and(|before| tries_left < before) {
                    let text = format!("A wrong PIN was entered; {tries_left} more tries.");
                    bar.above(&cx.out, &cx.out.paint_err(Paint::Warn, &text));
                }
                tries = Some(tries_left);
            }
            Step::Event(Event::Pairing(PairingView::Settling { device })) => {
                bar.above(&cx.out, &format!("The PIN was right: pairing with …{}", device.short()));
            }
            Step::Event(_) => {}
            Step::Done(reply) => {
                drop(bar);
                return paired(&cx, reply.response);
            }
        }
    }
}

fn pin_text(cx: &Context, pin: &str, lives_ms: u64, name: &str) -> String {
    let (first, last) = pin.split_at(pin.len() / 2);
    let spaced = format!("{first} {last}");
    format!(
        "\n    PIN   {}\n\nOn the other device, within {}:  softbus pair {}\n",
        cx.out.paint_err(Paint::Strong, &spaced),
        duration(Duration::from_millis(lives_ms)),
        shell_word(name),
    )
}

/// A name as one word of a command line.
fn shell_word(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    if plain { name.to_string() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

/// Enters the PIN that the other device shows.
async fn enter(cx: Context, with: String, pin: Option<String>, terms: PairTerms) -> Result<(), Failure> {
    let pin = match pin {
        Some(pin) => pin,
        None => {
            // Before the person types: is there a node at all?
            if !cx.client().is_running().await {
                cx.client().call(Request::Status {}).await?;
            }
            prompt::line(&format!("PIN that {} shows: ", clean(&with))).await?
        }
    };
    let digits: String = pin.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Failure::usage("a PIN has six digits")
            .advise("read it on the other device, where `softbus pair` shows it"));
    }
    finish(&cx, Request::Pair { with, pin: digits, terms }).await
}

/// Sends a request that pairs, and waits for what comes of it.
async fn finish(cx: &Context, request: Request) -> Result<(), Failure> {
    let bar = Bar::spinner(&cx.out, "pairing…");
    let mut stream = cx.client().stream(request).await?;
    loop {
        match stream.next().await? {
            Step::Event(event) if cx.out.json => cx.out.json_line(&event)?,
            Step::Event(Event::Founded(founded)) => circle::show_words(cx, &founded)?,
            Step::Event(_) => {}
            Step::Done(reply) => {
                drop(bar);
                return paired(cx, reply.response);
            }
        }
    }
}

/// Draws a QR code with a link.
async fn invite(cx: Context, lives: Duration, terms: PairTerms) -> Result<(), Failure> {
    let request = Request::Invite { seconds: lives.as_secs().max(1), terms };
    let invitation = match cx.client().call(request).await? {
        Response::Invitation(invitation) => invitation,
        other => return Err(unexpected(&other)),
    };
    if cx.out.json {
        return cx.out.json(&invitation);
    }
    cx.out.line(qr(&invitation)?)?;
    cx.out.line(&invitation.link)?;
    cx.out.note(format!(
        "\nOn the other device, within {}: read the code, or  softbus pair 'LINK'\n\
         It pairs one device, once. Whoever has it may join: show it to nobody else. `softbus pair --cancel` ends it.",
        duration(Duration::from_secs(invitation.seconds))
    ));
    Ok(())
}

/// The code in half blocks, dark on light whatever the terminal's colours are.
fn qr(invitation: &InvitationView) -> Result<String, Failure> {
    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::with_error_correction_level(invitation.link.as_bytes(), qrcode::EcLevel::L)
        .map_err(|e| Failure::failed(format!("the link does not fit into a QR code: {e}")))?;
    // Light modules are drawn as blocks: on the usual dark terminal that is dark on light, as readers expect.
    Ok(code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build())
}

fn paired(cx: &Context, answer: Response) -> Result<(), Failure> {
    let paired: PairedView = match answer {
        Response::Paired(paired) => paired,
        other => return Err(unexpected(&other)),
    };
    if cx.out.json {
        return cx.out.json_line(&paired);
    }
    let name =
        if paired.name.is_empty() { format!("…{}", paired.device.short()) } else { clean(&paired.name) };
    let circle_name = clean(&paired.circle_name);
    cx.out.line(format!(
        "{} paired with {}: both are in the circle {} now",
        cx.out.paint(Paint::Good, "✓"),
        cx.out.paint(Paint::Strong, &name),
        cx.out.paint(Paint::Strong, &circle_name),
    ))?;
    if let Some(founded) = &paired.founded {
        circle::show_words(cx, founded)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_shell() {
        assert_eq!(shell_word("tv"), "tv");
        assert_eq!(shell_word("kitchen tablet"), "'kitchen tablet'");
        assert_eq!(shell_word("a'b; rm -rf $HOME"), "'a'\\''b; rm -rf $HOME'");
    }

    #[test]
    fn a_link_becomes_a_code() {
        let invitation = InvitationView { link: format!("softbus:{}", "A".repeat(300)), seconds: 60 };
        let drawn = qr(&invitation).unwrap();
        let widths: std::collections::BTreeSet<usize> = drawn.lines().map(|l| l.chars().count()).collect();
        assert_eq!(widths.len(), 1, "a square code");
        assert!(drawn.lines().count() > 20);
    }
}
