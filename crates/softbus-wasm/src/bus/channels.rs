//! Channels to services: messages that are asked, and their answers in the order in which they were asked.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use softbus_core::ServiceName;

use super::kv::give;
use super::services::{Failed, Server, Target};
use super::{Bus, limits};
use crate::wasi::{Errno, Guest, Outcome};

/// A channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Channel {
    pub service: ServiceName,
    /// Who was asked last: it is asked next, if it can be.
    pub server: Option<Server>,
    pub messages: VecDeque<Message>,
}

/// A message, until its answer is taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub number: u64,
    /// Nobody answers it any more after this, by the task's time.
    overdue: u64,
    state: State,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum State {
    Asked(Vec<u8>),
    Answered(Vec<u8>),
    Failed(Failed),
}

impl Message {
    fn new(number: u64, time: u64, bytes: &[u8]) -> Self {
        let overdue = time.saturating_add(limits::UNANSWERED_NS);
        Self { number, overdue, state: State::Asked(bytes.to_vec()) }
    }

    pub fn is_sound(&self) -> bool {
        match &self.state {
            State::Asked(bytes) | State::Answered(bytes) => bytes.len() <= limits::MESSAGE_BYTES,
            State::Failed(_) => true,
        }
    }

    fn asked(&self) -> Option<&[u8]> {
        if let State::Asked(bytes) = &self.state { Some(bytes) } else { None }
    }
}

/// Whether the wait for an answer is over: with nothing, or until when it lasts.
fn patience(message: &Message, until: u64, time: u64) -> Result<u64, Errno> {
    if time >= message.overdue {
        Err(Errno::HostUnreachable)
    } else if time >= until {
        Err(Errno::TimedOut)
    } else {
        Ok(until.min(message.overdue))
    }
}

fn text(guest: &Guest<'_>, (at, len): (u32, u32)) -> Result<Vec<u8>, Errno> {
    if len as usize > limits::MESSAGE_BYTES {
        return Err(Errno::MessageSize);
    }
    guest.get(at, len).map(<[u8]>::to_vec)
}

/// The calls.
impl Bus {
    /// `channel_open`
    pub fn channel_open(&mut self, guest: &mut Guest<'_>, service: (u32, u32), opened: u32) -> Outcome {
        let mut open = || {
            guest.get(opened, 4)?;
            let service = guest.text(service.0, service.1)?;
            let service: ServiceName = service.parse().map_err(|_| Errno::Invalid)?;
            if !self.grants.services.contains(&service) {
                return Err(Errno::NotCapable);
            }
            let free = (0..limits::CHANNELS as u32).find(|handle| !self.channels.contains_key(handle));
            let handle = free.ok_or(Errno::TooManyFiles)?;
            guest.put_u32(opened, handle)?;
            self.channels.insert(handle, Channel { service, server: None, messages: VecDeque::new() });
            Ok(())
        };
        open().into()
    }

    /// `channel_send`
    pub fn channel_send(
        &mut self,
        guest: &Guest<'_>,
        time: u64,
        channel: u32,
        message: (u32, u32),
    ) -> Outcome {
        let held: usize = self.channels.values().map(|channel| channel.messages.len()).sum();
        let mut send = || {
            let channel = self.channels.get_mut(&channel).ok_or(Errno::BadFd)?;
            let bytes = text(guest, message)?;
            if held >= limits::MESSAGES {
                return Err(Errno::Again);
            }
            self.last += 1;
            channel.messages.push_back(Message::new(self.last, time, &bytes));
            Ok(())
        };
        send().into()
    }

    /// `channel_recv`: the answer to the message sent first of those whose answer was not taken.
    pub fn channel_recv(
        &mut self,
        guest: &mut Guest<'_>,
        time: u64,
        channel: u32,
        (to, len): ((u32, u32), u32),
        timeout: u64,
    ) -> Outcome {
        let until = *self.until.get_or_insert(time.saturating_add(timeout));
        let mut recv = || {
            guest.get(to.0, to.1)?;
            guest.get(len, 4)?;
            let messages = &mut self.channels.get_mut(&channel).ok_or(Errno::BadFd)?.messages;
            let first = messages.front().ok_or(Errno::NoMessage)?;
            let came = match &first.state {
                State::Asked(_) => match patience(first, until, time) {
                    Ok(until) => return Ok(Some(until)),
                    // It may be taken later.
                    Err(Errno::TimedOut) => return Err(Errno::TimedOut),
                    Err(errno) => Err(errno),
                },
                State::Answered(bytes) => {
                    give(guest, to, len, bytes)?;
                    Ok(None)
                }
                State::Failed(failed) => Err(failed.errno()),
            };
            messages.pop_front();
            came
        };
        let came = recv();
        self.settle(came)
    }

    /// `channel_close`
    pub fn channel_close(&mut self, channel: u32) -> Outcome {
        self.channels.remove(&channel).map(drop).ok_or(Errno::BadFd).into()
    }

    /// `infer`: what a model says to a prompt. What there is no room for is cut off; its length is told.
    pub fn infer(
        &mut self,
        guest: &mut Guest<'_>,
        time: u64,
        prompt: (u32, u32),
        (to, len): ((u32, u32), u32),
        timeout: u64,
    ) -> Outcome {
        let until = *self.until.get_or_insert(time.saturating_add(timeout));
        let mut infer = || {
            guest.get(to.0, to.1)?;
            guest.get(len, 4)?;
            if !self.grants.inference {
                return Err(Errno::NotCapable);
            }
            let asked = match &mut self.prompt {
                Some(asked) => asked,
                none => {
                    let bytes = text(guest, prompt)?;
                    self.last += 1;
                    none.insert(Message::new(self.last, time, &bytes))
                }
            };
            match &asked.state {
                State::Asked(_) => patience(asked, until, time).map(Some),
                State::Answered(bytes) => {
                    guest.put_u32(len, bytes.len() as u32)?;
                    let cut = bytes.len().min(to.1 as usize);
                    guest.put(to.0, &bytes[..cut])?;
                    Ok(None)
                }
                State::Failed(failed) => Err(failed.errno()),
            }
        };
        let came = infer();
        if !matches!(came, Ok(Some(_))) {
            self.prompt = None;
        }
        self.settle(came)
    }
}

/// What whoever runs the program does with what it asks.
impl Bus {
    fn message(&mut self, number: u64) -> Option<(&mut Message, &mut Option<Server>)> {
        let in_channels = self.channels.values_mut().find_map(|channel| {
            let message = channel.messages.iter_mut().find(|message| message.number == number)?;
            Some((message, &mut channel.server))
        });
        let prompt = self.prompt.as_mut().filter(|prompt| prompt.number == number);
        in_channels.or_else(|| Some((prompt?, &mut self.prompted)))
    }

    /// What nobody answered in its time is given up, whether the program waits for it or not. Whether there was any.
    pub fn give_up(&mut self, time: u64) -> bool {
        let mut any = false;
        let messages = self.channels.values_mut().flat_map(|channel| &mut channel.messages);
        for message in messages.chain(&mut self.prompt).filter(|message| time >= message.overdue) {
            if message.asked().is_some() {
                message.state = State::Failed(Failed::Unanswered);
                any = true;
            }
        }
        any
    }

    /// Numbers of what is not answered.
    pub fn unanswered(&self) -> Vec<u64> {
        let messages = self.channels.values().flat_map(|channel| &channel.messages).chain(&self.prompt);
        messages.filter(|message| message.asked().is_some()).map(|message| message.number).collect()
    }

    /// Of something that is not answered: whom it asks, what, and who was asked before.
    pub fn question(&self, number: u64) -> Option<(Target, &[u8], Option<Server>)> {
        let of_channel = |channel: &'_ Channel| Target::Service(channel.service.clone());
        let in_channels = self.channels.values().find_map(|channel| {
            let message = channel.messages.iter().find(|message| message.number == number)?;
            Some((of_channel(channel), message.asked()?, channel.server))
        });
        let prompt = self.prompt.as_ref().filter(|prompt| prompt.number == number);
        in_channels.or_else(|| Some((Target::Inference, prompt?.asked()?, self.prompted)))
    }

    /// It is being asked of this one. Whether that is news.
    pub fn asked_of(&mut self, number: u64, server: Server) -> bool {
        let Some((_, asked)) = self.message(number) else { return false };
        asked.replace(server) != Some(server)
    }

    /// What came of it. One that is too long is no answer.
    pub fn answered(&mut self, number: u64, came: Result<Vec<u8>, Failed>) {
        let Some((message, _)) = self.message(number) else { return };
        if message.asked().is_none() {
            return;
        }
        message.state = match came {
            Ok(bytes) if bytes.len() > limits::MESSAGE_BYTES => State::Failed(Failed::TooLong),
            Ok(bytes) => State::Answered(bytes),
            Err(failed) => State::Failed(failed),
        };
    }
}
