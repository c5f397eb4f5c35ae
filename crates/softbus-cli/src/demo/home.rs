//! The devices of the demo: processes of this program, each with its own data folder, key and profile.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use softbus::DeviceId;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::control::{Client, Request, Response};
use crate::failure::{Failure, Kind};
use crate::output::Out;

/// What a device of the demo claims to be. All four run on the same machine, so what differs between real devices
/// is declared in their configuration (and marked as declared in their profiles); a declared slower device really
/// works slower. Their load is declared too: that of the one machine they share is not any one device's own, and says
/// nothing until the story itself injects a sample.
struct Cast {
    /// Its name.
    name: &'static str,
    /// Its configuration, but for what all share.
    config: &'static str,
}

/// The cast, in order of appearance.
const CAST: [Cast; 4] = [
    Cast {
        name: "phone",
        config: "load_permille = 150\ncores = 4\nmemory_mib = 6144\nrate_permille = 450\nbattery_permille = 720\npower = \"battery\"\n",
    },
    Cast {
        name: "tv",
        config: "load_permille = 80\ncores = 8\nmemory_mib = 16384\nrate_permille = 1000\npower = \"mains\"\ncapabilities = [\"display\", \"audio\"]\n",
    },
    Cast {
        name: "car",
        config: "load_permille = 100\ncores = 6\nmemory_mib = 8192\nrate_permille = 900\npower = \"mains\"\ncapabilities = [\"display\", \"location\"]\n",
    },
    Cast {
        name: "sensor",
        config: "load_permille = 50\ncores = 1\nmemory_mib = 8\nrate_permille = 50\nbattery_permille = 910\npower = \"battery\"\n",
    },
];

/// Before a device has told its id.
const NOBODY: DeviceId = DeviceId([0; 32]);
/// Longest a device may take from its start until it takes commands.
const START: Duration = Duration::from_secs(20);
/// Longest a device may take to end when asked politely.
const END: Duration = Duration::from_secs(5);

/// One running device.
pub struct Device {
    /// Its name.
    pub name: &'static str,
    /// Its id, as it told itself.
    pub id: DeviceId,
    /// Its control socket, the same a person's commands use.
    pub client: Client,
    child: Child,
    log: PathBuf,
}

/// All devices, and the folder that holds theirs. Dropping it kills every process and removes every file.
pub struct Home {
    // Before the folder, so that no process writes into it while it is removed.
    devices: Vec<Device>,
    folder: TempDir,
    verbose: bool,
}

impl Home {
    /// An empty home.
    pub fn new(verbose: bool) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("softbus-demo-")
            .tempdir()
            .map_err(|e| Failure::io("folder for the demo's devices", &e))?;
        Ok(Self { devices: Vec::new(), folder, verbose })
    }

    /// Starts the whole cast at once and waits until each device takes commands.
    pub async fn start(&mut self) -> Result<(), Failure> {
        for cast in &CAST {
            self.spawn(cast)?;
        }
        let started = tokio::time::Instant::now();
        for device in &mut self.devices {
            device.id = loop {
                match device.client.call(Request::Status {}).await {
                    Ok(Response::Status(status)) => break status.id,
                    Ok(other) => return Err(unexpected("status", &other)),
                    Err(failure) if failure.kind != Kind::NotRunning => return Err(failure),
                    Err(_) if started.elapsed() > START => {
                        return Err(Failure::timeout(format!("the {} did not start", device.name)));
                    }
                    Err(_) => {}
                }
                if let Ok(Some(status)) = device.child.try_wait() {
                    return Err(Failure::failed(format!("the {} ended at once ({status})", device.name)));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
        }
        Ok(())
    }

    /// Starts the process of one device.
    fn spawn(&mut self, cast: &Cast) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(|e| Failure::io("path of this program", &e))?;
        let folder = self.folder.path().join(cast.name);
        let config = self.folder.path().join(format!("{}.toml", cast.name));
        let text =
            format!("[node]\nname = \"{}\"\nkind = \"{}\"\n[profile]\n{}", cast.name, cast.name, cast.config);
        std::fs::write(&config, text).map_err(|e| Failure::io(format!("file {}", config.display()), &e))?;
        let log = self.folder.path().join(format!("{}.log", cast.name));
        let output = |to: &Path| -> Result<Stdio, Failure> {
            if self.verbose {
                return Ok(Stdio::inherit());
            }
            let file = File::options().create(true).append(true).open(to);
            file.map(Stdio::from).map_err(|e| Failure::io(format!("file {}", to.display()), &e))
        };
        let child = Command::new(program)
            .arg("--data-dir")
            .arg(&folder)
            .arg("up")
            .arg("--config")
            .arg(&config)
            // Should this process die without a word, the kernel ends the devices too.
            .args(["--bind", "loopback", "--die-with-parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(output(&log)?)
            .stderr(output(&log)?)
            // Ctrl-C is for the demo; it ends its devices itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Failure::io(format!("start the {}", cast.name), &e))?;
        // Known from here on, so that it is ended whatever comes.
        self.devices.push(Device { name: cast.name, id: NOBODY, client: Client::new(&folder), child, log });
        Ok(())
    }

    /// All devices, in order of appearance.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// One device, by the name the cast gives it.
    pub fn device(&self, name: &str) -> Result<&Device, Failure> {
        let found = self.devices.iter().find(|d| d.name == name);
        found.ok_or_else(|| Failure::failed(format!("there is no {name} in the demo")))
    }

    /// The name of a device.
    pub fn name_of(&self, id: DeviceId) -> &'static str {
        self.devices.iter().find(|d| d.id == id).map_or("somebody else", |d| d.name)
    }

    /// Kills a device as a power cut would: SIGKILL, no last words. Returns when the process is gone.
    pub async fn kill(&mut self, name: &str) -> Result<(), Failure> {
        let device = self.devices.iter_mut().find(|d| d.name == name);
        let device = device.ok_or_else(|| Failure::failed(format!("there is no {name} in the demo")))?;
        device.child.kill().await.map_err(|e| Failure::io(format!("kill the {name}"), &e))
    }

    /// After a failure: the end of each device's log, so that the reason is not lost with the folder.
    pub fn print_last_words(&self, out: &Out) {
        const LINES: usize = 12;
        for device in &self.devices {
            let log = std::fs::read_to_string(&device.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            if lines.is_empty() {
                continue;
            }
            out.note(format!("last words of the {}:", device.name));
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                out.note(format!("    {line}"));
            }
        }
    }

    /// Ends all devices, politely at first, and removes the folder.
    pub async fn close(mut self, out: &Out) {
        let asked = self.devices.iter_mut().map(|device| async {
            let down = tokio::time::timeout(END, device.client.call(Request::Down { now: true })).await;
            if !matches!(down, Ok(Ok(_))) {
                // It does not listen yet. If it has ended, there is nothing to kill.
                let _ = device.child.start_kill();
            }
        });
        futures_util::future::join_all(asked).await;
        for device in &mut self.devices {
            if tokio::time::timeout(END, device.child.wait()).await.is_err() {
                let _ = device.child.kill().await;
            }
        }
        self.devices.clear();
        if let Err(error) = self.folder.close() {
            out.note(format!("could not remove the demo's folder: {error}"));
        }
    }
}

/// A node answered something that the request does not call for.
pub fn unexpected(what: &str, response: &Response) -> Failure {
    Failure::failed(format!("{what}: unexpected answer {response:?}"))
}
