//! `softbus pair`.

use std::time::Duration;

use tokio::time::Instant;

use super::{Context, prompt, unexpected, words};
use crate::args::PairArgs;
use crate::control::{
    Event, InvitationView, PairTerms, PairedView, PairingView, Request, Response, Secret, Step,
};
use crate::failure::Failure;
use crate::output::{Bar, Paint, clean, duration};

/// How a link begins.
const LINK: &str = "softbus:";
/// Lines of text below a QR code.
const QR_TEXT: usize = 9;
/// Longest that entering a PIN or a link may take: whatever it waits for on the way has a shorter limit of its own.
const ENTERING: Duration = Duration::from_secs(300);

/// Pairs.
pub(super) async fn pair(cx: Context, args: PairArgs) -> Result<(), Failure> {
    let terms = PairTerms::from(args.terms);
    if args.cancel {
        return cx.order(Request::CancelPairing {}, "pairing is closed here").await;
    }
    match args.with {
        None if args.qr => invite(cx, args.lives, terms).await,
        None => open(cx, terms).await,
        Some(ask) if ask == "-" => {
            there(&cx).await?;
            let link = prompt::secret("link", None).await?;
            if !is_link(&link) {
                return Err(Failure::usage("this is no pairing link: they begin with softbus:")
                    .advise("`softbus pair --qr` on the other device makes one"));
            }
            finish(&cx, Request::PairByLink { link, terms }).await
        }
        Some(link) if is_link(&link) => finish(&cx, Request::PairByLink { link: link.into(), terms }).await,
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
    let mut shown = Secret::default();
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
                    let text = format!(
                        "A wrong PIN was entered; {tries_left} more {}.",
                        if tries_left == 1 { "try" } else { "tries" }
                    );
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
                return paired(&cx, reply.response).await;
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
        Some(pin) if pin != "-" => pin.into(),
        _ => {
            let bar = Bar::spinner(&cx.out, &format!("looking for {}", clean(&with)));
            let found = cx.client().call(Request::Look { with: with.clone() }).await;
            drop(bar);
            found?;
            prompt::line(&format!("PIN that {} shows: ", clean(&with))).await?
        }
    };
    let digits: Secret = pin.chars().filter(|c| !c.is_whitespace() && *c != '-').collect::<String>().into();
    if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Failure::usage("a PIN has six digits")
            .advise("read it on the other device, where `softbus pair` shows it"));
    }
    finish(&cx, Request::Pair { with, pin: digits, terms }).await
}

/// Before the person types: is there a node at all?
async fn there(cx: &Context) -> Result<(), Failure> {
    if !cx.client().is_running().await {
        cx.client().call(Request::Status {}).await?;
    }
    Ok(())
}

fn is_link(text: &str) -> bool {
    text.get(..LINK.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(LINK))
}

/// Sends a request that pairs, and waits for what comes of it.
async fn finish(cx: &Context, request: Request) -> Result<(), Failure> {
    let bar = Bar::spinner(&cx.out, "pairing…");
    let mut stream = cx.client().stream(request).await?;
    let limit = tokio::time::sleep(ENTERING);
    tokio::pin!(limit);
    loop {
        // Closing the connection ends the pairing, as far as it can still be ended.
        let step = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => return Err(cut_short(prompt::interrupted())),
            step = stream.next() => step?,
            () = &mut limit => return Err(cut_short(Failure::timeout("the pairing came to no end"))),
        };
        match step {
            Step::Event(Event::Founded(founded)) if cx.out.json => {
                cx.out.seen_json_line(&Event::Founded(founded.clone()))?;
                words::shown(cx, &founded).await;
            }
            Step::Event(Event::Founded(founded)) => {
                bar.clear();
                words::show(cx, &founded).await?;
            }
            Step::Event(event) if cx.out.json => cx.out.json_line(&event)?,
            Step::Event(_) => {}
            Step::Done(reply) => {
                drop(bar);
                return paired(cx, reply.response).await;
            }
        }
    }
}

/// A pairing that nobody waits for any more may have changed something before.
fn cut_short(failure: Failure) -> Failure {
    failure.advise("`softbus circle` shows whether anything came of it")
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
    let code = qr(&invitation, cx.out.colors())?;
    let (needs, has) = (code.lines().count() + QR_TEXT, cx.out.height());
    cx.out.line(code)?;
    cx.out.line(&*invitation.link)?;
    if cx.out.live && needs > has {
        cx.out.note(format!(
            "\nThe window has {has} lines and the code needs {needs}: make it higher, or use the link."
        ));
    }
    if !cx.out.colors() {
        cx.out.note("\nThe code is drawn without colours: it can be read where the background is dark.");
    }
    cx.out.note(format!(
        "\nOn the other device, within {}:  softbus pair -  (it asks for the link, which the code carries, too: a phone's \
         camera app shows it)\n\
         It pairs one device, once. Whoever has it may join: show it to nobody else. `softbus pair --cancel` ends it.",
        duration(Duration::from_secs(invitation.seconds))
    ));
    Ok(())
}

/// The code in half blocks: light modules are drawn, dark ones are the background. With colours that is white on black
/// whatever those of the terminal are; without, it needs a dark background.
fn qr(invitation: &InvitationView, colors: bool) -> Result<String, Failure> {
    use qrcode::render::unicode::Dense1x2;
    /// SGR: white and black of the palette of 256 colours, which no theme changes.
    const ON: &str = "\x1b[38;5;231;48;5;16m";
    const OFF: &str = "\x1b[0m";
    let code = qrcode::QrCode::with_error_correction_level(invitation.link.as_bytes(), qrcode::EcLevel::L)
        .map_err(|e| Failure::failed(format!("the link does not fit into a QR code: {e}")))?;
    let drawn = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .quiet_zone(true)
        .build();
    Ok(match colors {
        true => drawn.lines().map(|line| format!("{ON}{line}{OFF}")).collect::<Vec<_>>().join("\n"),
        false => drawn,
    })
}

async fn paired(cx: &Context, answer: Response) -> Result<(), Failure> {
    let paired: PairedView = match answer {
        Response::Paired(paired) => paired,
        other => return Err(unexpected(&other)),
    };
    if cx.out.json {
        cx.out.seen_json_line(&paired)?;
        if let Some(founded) = &paired.founded {
            words::shown(cx, founded).await;
        }
        return Ok(());
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
        words::show(cx, founded).await?;
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
        let invitation = InvitationView { link: format!("softbus:{}", "A".repeat(300)).into(), seconds: 60 };
        let drawn = qr(&invitation, false).unwrap();
        let widths: std::collections::BTreeSet<usize> = drawn.lines().map(|l| l.chars().count()).collect();
        assert_eq!(widths.len(), 1, "a square code");
        assert!(drawn.lines().count() > 20 && !drawn.contains('\x1b'));
        // Both colours are said on each line, and taken back at its end.
        let colored = qr(&invitation, true).unwrap();
        for (line, plain) in colored.lines().zip(drawn.lines()) {
            assert_eq!(line, format!("\x1b[38;5;231;48;5;16m{plain}\x1b[0m"));
        }
        assert_eq!(colored.lines().count(), drawn.lines().count());
    }

    #[test]
    fn links_are_known_by_their_beginning() {
        assert!(
            is_link("softbus:abc") && is_link("SOFTBUS:ABC") && !is_link("softbus") && !is_link("söftbus:")
        );
    }
}
