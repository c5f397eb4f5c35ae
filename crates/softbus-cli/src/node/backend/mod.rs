//! Maps what commands ask onto the bus.

mod devices;
mod errors;
mod nearby;
mod people;
mod program;
mod resolve;
mod saved;
mod status;
mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use softbus::Bus;
use softbus::core::WallMs;
use tokio::sync::watch;

use crate::clock::wall;
use crate::config::{Config, parse_peer};
use crate::control::{Answer, Body, Events, Handle, Load, Request, Response};
use crate::failure::Failure;
use crate::output::clean;

use nearby::Neighbours;

pub(super) use errors::bus_failure;

/// Longest text of a request that names something: a device, a circle, a PIN.
const NAME_BYTES: usize = 256;
/// Longest link that pairs.
const LINK_BYTES: usize = 8 << 10;

/// Longest sleep that is announced, in seconds: a month.
const SLEEP_S: u64 = 30 * 86_400;

/// How the node shall end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Tasks move away first.
    Graceful,
    /// At once.
    Now,
}

/// A running node.
pub(super) struct Backend {
    bus: Bus,
    config: Config,
    config_file: Option<PathBuf>,
    data_dir: String,
    started: WallMs,
    ending: watch::Sender<Option<Ending>>,
    neighbours: Neighbours,
}

impl Backend {
    /// `config_file` is where `config` was read from, if it was.
    pub(super) fn new(bus: Bus, config: Config, config_file: Option<PathBuf>, data_dir: &Path) -> Self {
        let neighbours = Neighbours::follow(bus.nearby());
        Self {
            bus,
            config,
            config_file,
            data_dir: data_dir.display().to_string(),
            started: wall(),
            ending: watch::Sender::new(None),
            neighbours,
        }
    }

    /// Tells when somebody asked for the end.
    pub(super) fn ending(&self) -> watch::Receiver<Option<Ending>> {
        self.ending.subscribe()
    }
}

impl Handle for Backend {
    async fn handle(&self, request: Request, body: Body, events: Events) -> Result<Answer, Failure> {
        self.answer(request, body, events).await.map_err(|failure| self.with_names(failure))
    }
}

impl Backend {
    async fn answer(&self, request: Request, body: Body, events: Events) -> Result<Answer, Failure> {
        let response = match request {
            Request::Status {} => Response::Status(Box::new(self.status().await)),
            Request::Diagnose {} => Response::Diagnosis(Box::new(self.diagnose().await?)),
            Request::Devices {} => Response::Devices(self.devices()),
            Request::WatchDevices {} => self.watch_devices(&events).await?,
            Request::Circles {} => Response::Circles(self.circles().await),
            Request::Found { name } => self.found(&name).await?,
            Request::Words {} => self.unseen_words().await?,
            Request::WordsShown { circle } => self.words_shown(circle).await?,
            Request::Leave { circle, force } => self.leave(circle, force).await?,
            Request::SetRole { circle, device, role, expires, services } => {
                self.set_role(circle, &device, role, expires, &services).await?
            }
            Request::Remove { circle, device } => self.remove(circle, &device).await?,
            Request::Renew { circle, device, expires } => self.renew(circle, &device, expires).await?,
            Request::Replace { circle, old, new, expires } => {
                self.replace(circle, &old, &new, expires).await?
            }
            Request::Recover { circle, words, keep } => self.recover(circle, &words, &keep).await?,
            Request::SetRule { service, change } => self.set_rule(&service, change).await?,
            Request::OpenPairing(terms) => self.open_pairing(terms, &events).await?,
            Request::Invite { seconds, terms } => self.invite(seconds, terms).await?,
            Request::CancelPairing {} => self.cancel_pairing().await?,
            Request::Look { with } => self.look(&with).await?,
            Request::Pair { with, pin, terms } => self.pair(&with, &pin, terms, &events).await?,
            Request::PairByLink { link, terms } => self.pair_by_link(&link, terms, &events).await?,
            Request::Run(task) => self.run(task, body).await?,
            Request::RunProgram(task) => return self.run_program(task, body, &events).await,
            Request::Tasks { task } => Response::Tasks(self.tasks(task).await?),
            Request::WatchTasks { task } => self.watch_tasks(task, &events).await?,
            Request::Move { task, device, reason } => self.move_task(&task, device, reason).await?,
            Request::Adopt { task, force } => self.adopt(&task, force).await?,
            Request::Release { task } => self.release(&task).await?,
            Request::Pause { task } => self.rest(&task, true).await?,
            Request::Resume { task } => self.rest(&task, false).await?,
            Request::Save { task } => return self.save(&task).await,
            Request::Restore(request) => return self.restore(request, body, &events).await,
            Request::Cancel { task } => self.cancel(&task).await?,
            Request::Result { task } => return self.result(&task).await,
            Request::Preview { task, seen } => return self.preview(&task, seen).await,
            Request::Place(work) => Response::Placement(self.place(work, body).await?),
            Request::AddPeer { peer } => self.add_peer(&peer)?,
            Request::InjectLoad(load) => self.inject(load).await?,
            Request::Sleep { seconds } => {
                let interval = Duration::from_secs(seconds.clamp(1, SLEEP_S));
                tracing::info!(?interval, "the machine goes to sleep");
                self.bus.net().announce_sleep(interval).await;
                Response::Done
            }
            Request::Wake {} => {
                tracing::info!("the machine woke");
                self.bus.net().wake();
                Response::Done
            }
            Request::Down { now } => {
                let how = if now { Ending::Now } else { Ending::Graceful };
                self.ending.send_replace(Some(how));
                Response::Stopping { within_s: super::ends_within(&self.config, how).as_secs() }
            }
        };
        Ok(response.into())
    }

    /// Names in the place of ids: those below tell of a device by its id alone.
    fn with_names(&self, mut failure: Failure) -> Failure {
        let labels = self.names();
        let ids = labels.iter().map(|(device, _)| (device, device.to_string()));
        let told: Vec<(String, String)> = ids
            .filter(|(_, id)| failure.message.contains(id))
            .map(|(device, id)| (id, clean(&labels.of(device))))
            .collect();
        failure.message = replaced(&failure.message, &told);
        failure
    }

    fn add_peer(&self, peer: &str) -> Result<Response, Failure> {
        let peer = parse_peer(named(peer)?).map_err(Failure::usage)?;
        self.bus.net().add_static(peer.id, peer.address);
        Ok(Response::Done)
    }

    async fn inject(&self, load: Load) -> Result<Response, Failure> {
        let values = softbus::roster::SampleOverride {
            load_permille: load.load_permille,
            memory_free_bytes: load.memory_free_bytes,
            battery_permille: load.battery_permille,
            power: load.power,
            thermal: load.thermal,
        };
        let lasts = Duration::from_secs(load.seconds);
        self.bus.roster().inject(values, lasts).await.map_err(|e| bus_failure(e.into()))?;
        tracing::warn!(?values, seconds = load.seconds, "claiming sensor values that were injected");
        Ok(Response::Done)
    }
}

/// A text with each first of these pairs replaced by its second. What was put in is not looked at again: a device may have
/// another's id for a name.
fn replaced(mut text: &str, pairs: &[(String, String)]) -> String {
    let mut whole = String::with_capacity(text.len());
    let next = |text: &str| {
        let found = pairs.iter().filter_map(|(from, to)| Some((text.find(from)?, from.len(), to)));
        found.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, length, to)) = next(text) {
        whole.push_str(&text[..at]);
        whole.push_str(to);
        text = &text[at + length..];
    }
    whole + text
}

/// A text that names something, bounded.
fn named(text: &str) -> Result<&str, Failure> {
    let text = text.trim();
    if text.is_empty() {
        Err(Failure::usage("the name is empty"))
    } else if text.len() > NAME_BYTES {
        Err(Failure::usage(format!("a name of {} bytes, at most {NAME_BYTES} are allowed", text.len())))
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_anothers_id_stays_a_name() {
        let pairs =
            [("aaa", "bbb"), ("bbb", "tv"), ("ccc", "aaa")].map(|(a, b)| (a.to_string(), b.to_string()));
        assert_eq!(replaced("aaa and bbb and ccc, aaa", &pairs), "bbb and tv and aaa, bbb");
        assert_eq!(replaced("nobody", &pairs), "nobody");
        assert_eq!(replaced("bbb", &[]), "bbb");
    }
}
