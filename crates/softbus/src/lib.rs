//! Softbus turns the devices around a person into one computer. They find each other, prove who they are, form an
//! encrypted mesh, and share what they have: a running task moves to the device that serves it best.
//!
//! One object does it all: [`Bus`].
//!
//! ```no_run
//! # async fn example() -> Result<(), softbus::Error> {
//! let bus = softbus::Bus::builder().data_dir("/var/lib/my-device").name("kitchen radio").start().await?;
//! bus.answer("greeting/1", |from, _| async move {
//!     Ok(format!("hello, {}", from.device).into_bytes())
//! })?;
//! for device in bus.devices() {
//!     println!("{} is {:?}", device.name().unwrap_or("?"), device.presence);
//! }
//! bus.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! | --- | --- |
//! | start | [`Bus::builder`] |
//! | see who is here | [`Bus::devices`], [`Bus::watch`], [`Bus::events`] |
//! | make devices trust each other | [`Bus::found_circle`], [`Bus::open_pairing`], [`Bus::pair_with`]; all else: [`Bus::circles`] |
//! | offer and call services | [`Bus::answer`], [`Bus::serve`], [`Bus::request`], [`Bus::open`] |
//! | run work where it runs best | [`Bus::submit`], [`Bus::place`]; all else: [`Bus::tasks`] |
//! | end well | [`Bus::shutdown`]: tasks move away first |
//!
//! The rooms behind this face are crates of their own; [`net`], [`roster`], [`task`], [`trust`] and [`placement`]
//! name them for those who need more. Firmware with a world of its own gives the builder a [`Seam`].
//!
//! What may not enter here: logic of a protocol or a decision. The face wires rooms together, and says nothing that one
//! of them does not.

mod answering;
#[cfg(feature = "wasm")]
mod asking;
mod builder;
mod bus;
mod error;
mod serve;

pub use builder::{Builder, KEY_SECRET};
pub use bus::Bus;
pub use error::Error;

pub use softbus_core::{
    self as core, Capability, DeviceId, DeviceKind, ErrorCode, PowerSource, Privacy, QoS, ServiceName,
    TaskId, Thermal,
};
pub use softbus_net::membership::{Founded, Opening, PairOptions, Paired};
pub use softbus_net::seam::Seam;
pub use softbus_net::{self as net, Asker, Bind, Caller, Channel, Presence};
pub use softbus_placement::{self as placement, Decision, Work};
pub use softbus_roster::{self as roster, Declared, RosterEntry, RosterView};
pub use softbus_task::{self as task, Step, StepContext, SubmitOptions, Task, TaskFailure, TaskStatus};
pub use softbus_trust::{self as trust, PairingState, Role};
#[cfg(feature = "wasm")]
pub use softbus_wasm as wasm;

/// The program in the README is one that compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
