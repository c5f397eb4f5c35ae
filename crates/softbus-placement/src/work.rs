use serde::{Deserialize, Serialize};
use softbus_core::{AcceleratorNeed, Capability, DeviceId, Latency, Privacy, ServiceName};

/// A piece of work that wants a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Work {
    /// What is left to compute, in operations of the reference kernel.
    pub ops: u64,
    /// Most cores it can use at once; at least 1 is assumed.
    pub parallelism: u16,
    /// The share of `ops` that runs on one core only, in thousandths (Amdahl's law); 0 if all of it divides.
    pub serial_permille: u16,
    /// Memory it needs on its device.
    pub memory_bytes: u64,
    /// Bytes that must reach the device before it starts (not counted for a running task).
    pub input_bytes: u64,
    /// Bytes of result that go back to `home`.
    pub output_bytes: u64,
    /// Bytes that travel when the running task moves: its state, with its input if it keeps that.
    pub state_bytes: u64,
    /// Where it and its data may go.
    pub privacy: Privacy,
    /// How soon it matters.
    pub latency: Latency,
    /// Least link rate that makes sense, in bytes per second; 0 asks for nothing.
    pub min_rate_bytes_per_s: u64,
    /// What its device must have.
    pub needs: Needs,
    /// The device whose person gave the work: its input is there and its result goes there. `None` for the
    /// device that decides. Only `home` is good enough for [`Privacy::Device`].
    pub home: Option<DeviceId>,
    /// Whether devices other than `home` may take it at all.
    pub may_be_foreign: bool,
    /// Devices that already hold its input or checkpoint: nothing has to travel to them.
    pub held_by: Vec<DeviceId>,
    /// Where it runs now, if it does. Then placement decides whether to move it.
    pub running: Option<Running>,
}

/// What the device of a piece of work must have.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Needs {
    /// Capabilities, all of them.
    pub capabilities: Vec<Capability>,
    /// Accelerators, one for each entry (one device's accelerator may serve two entries).
    pub accelerators: Vec<AcceleratorNeed>,
    /// Services it must offer.
    pub services: Vec<ServiceName>,
    /// Task type it must be able to run, `name/state-version`.
    pub task_type: Option<String>,
}

/// Where work runs at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Running {
    /// On this device.
    pub on: DeviceId,
    /// For so long, since it started or last moved.
    pub stayed_us: u64,
    /// How many operations of this very work the device counts in its own `queued_ops`.
    pub own_queued_ops: u64,
    /// Whether the device counts this very work in its `running_tasks`.
    pub own_counted: bool,
    /// The share of all its cores' load (thousandths) that this very work causes, if the device's
    /// `load_permille` contains it.
    pub own_load_permille: u16,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            ops: 0,
            parallelism: 1,
            serial_permille: 0,
            memory_bytes: 0,
            input_bytes: 0,
            output_bytes: 0,
            state_bytes: 0,
            privacy: Privacy::default(),
            latency: Latency::default(),
            min_rate_bytes_per_s: 0,
            needs: Needs::default(),
            home: None,
            may_be_foreign: true,
            held_by: Vec::new(),
            running: None,
        }
    }
}

impl Running {
    /// Runs on `on` since `stayed_us`; the device's profile counts it as a running task with `ops` queued, and
    /// its load does not contain it.
    pub fn counted(on: DeviceId, stayed_us: u64, ops: u64) -> Self {
        Self { on, stayed_us, own_queued_ops: ops, own_counted: true, own_load_permille: 0 }
    }
}

impl Work {
    pub(crate) fn runs_on(&self, id: &DeviceId) -> Option<&Running> {
        self.running.as_ref().filter(|running| running.on == *id)
    }
}
