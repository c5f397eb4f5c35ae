//! The story, step by step. Each step waits until the devices themselves say that it happened.

use std::time::Duration;

use softbus::DeviceId;
use tokio::time::Instant;

use super::DemoArgs;
use super::home::{Home, unexpected};
use super::program;
use super::report::{Program, Report};
use super::run::{How, Run};
use super::timeline::Timeline;
use crate::control::{
    Client, DevicesView, Event, PairTerms, PairingView, PresenceView, Request, Response, Step,
};
use crate::failure::Failure;

/// Longest any one step may take. Generous: a busy machine is no reason to fail.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a device is asked again.
const POLL: Duration = Duration::from_millis(20);
/// How far the program says that it is, in permille, when the person walks elsewhere …
const WALK_AT: u16 = 150;
/// … when the device there gets busy …
const BUSY_AT: u16 = 350;
/// … when the person goes back …
const BACK_AT: u16 = 500;
/// … and when the runner is killed.
const KILL_AT: u16 = 650;

/// Tells the story. `input` is what the program starts with, as its task has it.
pub async fn tell(
    home: &mut Home,
    timeline: &Timeline,
    input: &[u8],
    args: &DemoArgs,
) -> Result<Report, Failure> {
    timeline.chapter("Four devices wake up and find each other");
    let start = Instant::now();
    home.start().await?;
    for device in home.devices() {
        timeline.line(device.name, format!("is up: {}", device.id));
    }
    discover(home, timeline).await?;
    let discovery_ms = millis(start.elapsed());

    timeline.chapter("Strangers become a circle");
    let pairing_ms = pair(home, timeline).await?;
    let link_ms = mesh(home, timeline).await?;

    timeline.chapter("A program runs where it runs best, and moves");
    let submitted = Instant::now();
    let mut run = Run::submit(home, timeline, input, How::Travels).await?;
    run.until_at(home, timeline, WALK_AT).await?;
    let walk = [("car", "the person walks to the car"), ("tv", "the person walks to the living room")];
    let first = run.taken_along(home, timeline, walk).await?;
    run.until_at(home, timeline, BUSY_AT).await?;
    let second = run.runner_gets_busy(home, timeline).await?;
    run.until_at(home, timeline, BACK_AT).await?;
    let back = [("car", "the person drives off"), ("tv", "the person comes home")];
    let third = run.taken_along(home, timeline, back).await?;
    run.until_at(home, timeline, KILL_AT).await?;
    let failover = run.kill_the_runner(home, timeline).await?;
    let picture = run.end(home, timeline).await?;
    let task_ms = millis(submitted.elapsed());
    timeline.clear();
    timeline.line("phone", format!("fetches the result: {}", crate::output::bytes(picture.len() as u64)));

    timeline.chapter("Is it the same picture?");
    // On a device that was not killed, and is not the phone.
    let there = ["tv", "car"].into_iter().find(|name| *name != failover.killed).unwrap_or("tv");
    timeline.line("phone", format!("submits the same program again, to stay on the {there}"));
    timeline.show_spinner("computing…");
    let start = Instant::now();
    let stays = home.device(there)?.id;
    let mut unmoved = Run::submit(home, timeline, input, How::Stays(stays)).await?;
    let same = unmoved.end(home, timeline).await?;
    let unmoved_ms = millis(start.elapsed());
    timeline.clear();
    if unmoved.moves() > 0 || unmoved.runner()? != stays {
        return Err(Failure::failed("the program that was to stay has moved"));
    }
    if same != picture {
        return Err(Failure::failed("the picture differs from that of the program which did not move"));
    }
    if unmoved.said().text() != run.said().text() {
        return Err(Failure::failed("the program printed something else than the one which did not move"));
    }
    // Only now: nothing is left behind by a story that does not come to its end.
    let output = args.out.join(super::PICTURE);
    crate::output::write_file(&output, &picture)?;
    let printed = run.said().text().len() as u64;
    timeline.line(
        "demo",
        format!(
            "all {} bytes are equal, and all {printed} that it printed: {}",
            picture.len(),
            output.display()
        ),
    );
    Ok(Report {
        discovery_ms,
        pairing_ms,
        link_ms,
        program: Program { name: program::NAME.into(), module: run.module(), printed },
        handovers: vec![first, second, third],
        failover,
        result_matches_unmoved: true,
        printed_matches_unmoved: true,
        output,
        task_ms,
        unmoved_ms,
    })
}

/// Until each device sees every other one nearby, unknown as they are.
async fn discover(home: &Home, timeline: &Timeline) -> Result<(), Failure> {
    for device in home.devices() {
        let others: Vec<DeviceId> =
            home.devices().iter().map(|d| d.id).filter(|id| *id != device.id).collect();
        wait_devices(&device.client, &format!("the {} finds the others by mDNS", device.name), |view| {
            others.iter().all(|id| view.nearby.iter().any(|n| n.id == Some(*id)))
        })
        .await?;
        timeline.line(device.name, "sees the three others nearby, all strangers");
    }
    Ok(())
}

/// The phone founds a circle; each of the others shows a PIN, which is entered on the phone.
async fn pair(home: &Home, timeline: &Timeline) -> Result<f64, Failure> {
    let phone = home.device("phone")?;
    match phone.client.call(Request::Found { name: "home".into() }).await? {
        Response::Founded(founded) => {
            let words = founded.recovery_words.split_whitespace().count();
            timeline.line("phone", format!("founds the circle “{}” ({words} recovery words)", founded.name));
        }
        other => return Err(unexpected("found a circle", &other)),
    }
    let mut slowest = 0.0_f64;
    for device in home.devices().iter().filter(|d| d.id != phone.id) {
        let opening = Request::OpenPairing(PairTerms::default());
        let mut shown = device.client.stream(opening).await?;
        let pin = loop {
            match bounded("the PIN", shown.next()).await? {
                Step::Event(Event::Pairing(PairingView::Open { pin, .. })) => break pin,
                Step::Event(_) => {}
                Step::Done(reply) => return Err(unexpected("open pairing", &reply.response)),
            }
        };
        timeline.line(device.name, format!("shows the PIN {}", &*pin));
        let start = Instant::now();
        let entering = Request::Pair { with: device.id.to_string(), pin, terms: PairTerms::default() };
        match phone.client.call(entering).await? {
            Response::Paired(paired) if paired.device == device.id => {}
            other => return Err(unexpected("pair", &other)),
        }
        // Both sides must agree that it happened.
        loop {
            match bounded("the other side of the pairing", shown.next()).await? {
                Step::Event(_) => {}
                Step::Done(reply) => match reply.response {
                    Response::Paired(paired) if paired.device == phone.id => break,
                    other => return Err(unexpected("pair", &other)),
                },
            }
        }
        let took = millis(start.elapsed());
        slowest = slowest.max(took);
        timeline
            .line("phone", format!("enters it: the {} belongs to the circle ({took:.0} ms)", device.name));
    }
    Ok(slowest)
}

/// Until every device has a live link with every other one and knows its profile.
async fn mesh(home: &Home, timeline: &Timeline) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut linked = 0.0;
    for profiles in [false, true] {
        for device in home.devices() {
            let what =
                format!("the {} {}", device.name, if profiles { "hears the profiles" } else { "links up" });
            wait_devices(&device.client, &what, |view| {
                home.devices().iter().filter(|other| other.id != device.id).all(|other| {
                    view.devices.iter().any(|seen| {
                        seen.id == other.id
                            && seen.presence == PresenceView::Online
                            && seen.link.is_some()
                            && (!profiles || seen.profile.as_ref().is_some_and(|p| p.now.is_some()))
                    })
                })
            })
            .await?;
        }
        if !profiles {
            linked = millis(start.elapsed());
            timeline
                .line("all", format!("six links stand ({linked:.0} ms): who was paired with one knows all"));
        }
    }
    timeline.line("all", "every device knows what every other one is and can do");
    Ok(linked)
}

/// Asks a device until its view of the others is as wanted.
pub(super) async fn wait_devices(
    client: &Client,
    what: &str,
    so: impl Fn(&DevicesView) -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.call(Request::Devices {}).await? {
            Response::Devices(view) if so(&view) => return Ok(()),
            Response::Devices(view) if Instant::now() > deadline => {
                let seen: Vec<String> =
                    view.devices.iter().map(|d| format!("{} {:?}", d.name, d.presence)).collect();
                return Err(Failure::timeout(format!("{what}: not within {} s", PATIENCE.as_secs()))
                    .advise(format!("it saw {}, and {} nearby", seen.join(", "), view.nearby.len())));
            }
            Response::Devices(_) => {}
            other => return Err(unexpected(what, &other)),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn bounded<T>(what: &str, wait: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .map_err(|_| Failure::timeout(format!("{what} did not come within {} s", PATIENCE.as_secs())))?
}

pub(super) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
