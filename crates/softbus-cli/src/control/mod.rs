//! How commands talk to a node: a Unix domain socket in the data folder, which only its owner may use.
//!
//! Each side writes lines of JSON. A client's line is a [`Call`]; the node answers with any number of
//! [`Reply::Event`] and then exactly one [`Reply::Done`] or [`Reply::Failed`]. A line may announce a body: that
//! many raw bytes follow it (a task's input or result). One call at a time per connection; closing the
//! connection withdraws a call that still runs.
//!
//! The reader of either side bounds a line before it parses it, and a body before it reads it.
#![allow(
    clippy::disallowed_types,
    reason = "the program is where the real world is (law 2): its control socket"
)]

mod client;
mod frame;
mod proto;
mod secret;
mod server;
#[cfg(test)]
mod tests;
mod view;

pub use client::{Client, Reply as ClientReply, Step, Stream};
pub use frame::{Body, FrameError, LINE_BYTES, SAVED_BYTES, parse_call, parse_reply};
pub use proto::{
    Call, Event, PROTOCOL, PairTerms, PlaceRequest, Reply, Request, Response, RestoreRequest, Share,
    TaskRequest, WorkRequest,
};
pub use secret::Secret;
pub use server::{Answer, CLIENTS, Events, Handle, Server};
pub use view::*;
