//! Simulations of softbus.
#![warn(missing_docs)]

mod device;
mod error;
pub mod record;
pub mod scenario;
mod sim;
mod tls;
pub mod watch;
pub mod work;

pub use device::{Device, PORT};
pub use error::SimError;
pub use sim::{ReadyCircle, Sim};
