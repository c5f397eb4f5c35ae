//! `task/1`: what other devices ask of this one.

use std::sync::Arc;

use softbus_core::wire::task::{Certificate, EpochBody, EpochMessage};
use softbus_core::wire::task_control::{
    EpochNote, Fetch, FetchContent, LIST_TASKS, Reply, Request, Right, StatusNote, Watch, WatchNote,
};
use softbus_core::{DeviceId, Header, Message, Signed, TaskId, decode, limits as core_limits};
use softbus_net::seam::BoxFuture;
use softbus_net::{Caller, Channel, Service};
use softbus_placement::{LeaseError, LeaseId, LeaseRequest};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, timeout};

use super::access::{OpenGrant, open_act};
use super::actor::{Input, Seed};
use super::inner::first_status;
use super::shared::{Released, TaskShared};
use super::tasks::act_here;
use super::{Inner, contents, proof, quota, transfer};
use crate::epoch::{Authority, EffectInbox, TaskMachine, authority, certificate};
use crate::status::cut;
use crate::{TaskError, limits};

/// Serves `task/1`.
pub(crate) struct TaskService(pub Arc<Inner>);

impl Service for TaskService {
    fn accept(&self, channel: Channel) -> BoxFuture<'static, ()> {
        let inner = self.0.clone();
        Box::pin(async move {
            let peer = channel.peer.device;
            if let Err(error) = accept(inner, channel).await {
                tracing::debug!(peer = %peer.short(), %error, "a task/1 channel ended");
            }
        })
    }
}

async fn accept(inner: Arc<Inner>, mut channel: Channel) -> Result<(), TaskError> {
    let first = timeout(limits::ANSWER, channel.recv_envelope(EpochNote::MAX_BYTES));
    let first = first.await.map_err(|_| TaskError::Protocol("said nothing".into()))?;
    let Some((header, payload)) = first.map_err(protocol)? else { return Ok(()) };
    let is = |kind| header.kind == kind;
    if is(Request::KIND) {
        let request = read::<Request>(header, &payload)?;
        let reply = match answer(&inner, channel.peer, request).await {
            Ok(reply) => reply,
            Err(error) => Reply::Refused { code: error.code().number(), why: cut(error.to_string()) },
        };
        channel.send_message(&reply).await.map_err(protocol)?;
        let _ = timeout(limits::ANSWER, channel.finish_and_wait()).await;
        Ok(())
    } else if is(EpochNote::KIND) {
        let mut note = read::<EpochNote>(header, &payload)?;
        loop {
            take_note(&inner, channel.peer, note);
            match channel.recv_message::<EpochNote>().await.map_err(protocol)? {
                Some(next) => note = next,
                None => return Ok(()),
            }
        }
    } else if is(Fetch::KIND) {
        let fetch = read::<Fetch>(header, &payload)?;
        let Some(_turn) = inner.serving(channel.peer.device) else {
            channel.abort(softbus_core::ErrorCode::Busy);
            return Ok(());
        };
        transfer::serve(&inner, channel, fetch).await;
        Ok(())
    } else if is(FetchContent::KIND) {
        let fetch = read::<FetchContent>(header, &payload)?;
        let Some(_turn) = inner.serving(channel.peer.device) else {
            channel.abort(softbus_core::ErrorCode::Busy);
            return Ok(());
        };
        contents::serve(&inner, channel, fetch).await;
        Ok(())
    } else if is(Watch::KIND) {
        let watch = read::<Watch>(header, &payload)?;
        let shared = visible(&inner, channel.peer, watch.task)?;
        let Ok(_turn) = inner.watchers.clone().try_acquire_owned() else {
            channel.abort(softbus_core::ErrorCode::Busy);
            return Ok(());
        };
        tell_watcher(&inner, channel, &shared, watch).await
    } else {
        channel.abort(softbus_core::ErrorCode::Malformed);
        Ok(())
    }
}

fn read<M: Message>(header: Header, payload: &[u8]) -> Result<M, TaskError> {
    header.payload(payload).map_err(|e| TaskError::Protocol(e.to_string()))
}

fn protocol(error: impl std::fmt::Display) -> TaskError {
    TaskError::Protocol(error.to_string())
}

/// A task that the caller may see: by its grant, or because it has a part in it.
fn visible(inner: &Inner, caller: Caller, task: TaskId) -> Result<Arc<TaskShared>, TaskError> {
    let shared = inner.shared(task).ok_or(TaskError::NoSuchTask(task))?;
    let may = {
        let parts = shared.parts();
        parts.grant.as_ref().is_some_and(|grant| {
            // Whoever is out of the task's circle has no part in it any more, whatever else it shares with us.
            let part = parts.members.contains(&caller.device) && inner.is_of_circle(grant, &caller.device);
            part || grant.may(&caller.device, inner.role(grant, &caller.device), Right::See)
        })
    };
    // Who may not see it does not learn that it exists.
    if may { Ok(shared) } else { Err(TaskError::NoSuchTask(task)) }
}

// ---------------------------------------------------------------- requests

async fn answer(inner: &Arc<Inner>, caller: Caller, request: Request) -> Result<Reply, TaskError> {
    match request {
        Request::List => {
            let mut bytes = 0;
            let seen = inner.tasks().into_iter().filter_map(|task| visible(inner, caller, task).ok());
            let mut notes: Vec<StatusNote> = Vec::new();
            for shared in seen.take(LIST_TASKS) {
                let note = shared.status.borrow().brief();
                bytes += postcard::to_allocvec(&note).map_or(0, |b| b.len());
                if bytes > core_limits::MESSAGE_BYTES / 2 {
                    break;
                }
                notes.push(note);
            }
            Ok(Reply::Tasks(notes))
        }
        Request::Status { task } => {
            Ok(Reply::Task(Box::new(visible(inner, caller, task)?.status.borrow().to_note())))
        }
        Request::Proof { task } => {
            let shared = visible(inner, caller, task)?;
            let actor = inner.actor(shared.task).ok_or(TaskError::NoSuchTask(task))?;
            proof::show(&actor).await
        }
        Request::Act(signed) => act(inner, &signed).await,
        Request::Cancel(order) => {
            let parsed = decode::<softbus_core::wire::task::CancelOrder>(&order.body).map_err(protocol)?;
            inner.cancel_by(parsed.task, order).await?;
            Ok(Reply::Done)
        }
        Request::Lease { task, ops, memory_bytes, kind, seen } => {
            if inner.registry.get(&kind).is_err() {
                return Err(TaskError::UnknownType(kind.chars().take(64).collect()));
            }
            let free = inner.memory_free();
            let wish_ms = u64::try_from(limits::LEASE.as_millis()).unwrap_or(u64::MAX);
            let request = LeaseRequest { task, ops, memory_bytes, wish_ms, seen: LeaseId(seen) };
            match inner.with_leases(|leases, now| leases.request(&request, caller.device, free, now)) {
                Ok(grant) => Ok(Reply::Leased { for_ms: grant.for_ms, lease: grant.id.0 }),
                Err(LeaseError::Outdated { .. }) => Ok(Reply::Outdated),
                Err(error) => Ok(Reply::Refused {
                    code: softbus_core::ErrorCode::Busy.number(),
                    why: error.to_string(),
                }),
            }
        }
        Request::Unlease { lease, .. } => {
            // If it has ended meanwhile, there is nothing to give back.
            let _ = inner.with_leases(|leases, now| leases.release(LeaseId(lease), caller.device, now));
            Ok(Reply::Done)
        }
    }
}

/// What a person wants, signed by the device they used; whoever relayed it.
async fn act(inner: &Arc<Inner>, signed: &Signed) -> Result<Reply, TaskError> {
    let act = open_act(signed)?;
    let actor = inner.actor(act.task).ok_or(TaskError::NoSuchTask(act.task))?;
    let grant = actor.shared.grant().ok_or(TaskError::NoSuchTask(act.task))?;
    let role = inner.role(&grant, &signed.signer);
    if !grant.may_order(&signed.signer, role, &act.verb) {
        return Err(TaskError::Forbidden(act.task));
    }
    let runner = actor.shared.status.borrow().runner;
    if let Some(runner) = runner.filter(|runner| *runner != inner.me) {
        return Ok(Reply::Elsewhere { runner });
    }
    let order = (signed.signer, act.issued);
    act_here(&actor, act, signed.signer, Some(order)).await
}

// ---------------------------------------------------------------- epochs

/// A message of the epoch machines. What cannot be taken is dropped: the machines repeat what matters.
fn take_note(inner: &Arc<Inner>, caller: Caller, note: EpochNote) {
    let from = caller.device;
    match try_note(inner, from, note) {
        Ok(()) => {}
        Err(error) => tracing::debug!(peer = %from.short(), %error, "an epoch message was dropped"),
    }
}

fn try_note(inner: &Arc<Inner>, from: DeviceId, note: EpochNote) -> Result<(), TaskError> {
    let message: EpochMessage = decode(&note.message).map_err(protocol)?;
    if !message.within_limits() {
        return Err(TaskError::Protocol("beyond its limits".into()));
    }
    let task = message.task;
    let Some(actor) = inner.actor(task) else {
        if let Some(gone) = inner.gone(task).filter(|gone| !gone.trace.is_news(message.branch, message.epoch))
        {
            // It was known here once. Somebody slept through its end, or is behind: neither can be helped by a vote.
            let body = match (&message.body, gone.trace.cancelled) {
                (EpochBody::Cancelled, _) => None,
                // Whoever gave the order need not say it again.
                (EpochBody::Cancel { .. }, _) => Some(EpochBody::Cancelled),
                (_, order) => order.map(|order| EpochBody::Cancel { order }),
            };
            if let Some(body) = body {
                inner.send_epoch(from, None, &EpochMessage { body, ..EpochMessage::ask(task) });
            }
            return Ok(());
        }
        return match &message.body {
            EpochBody::Chain { links } => {
                let grant = authorised(inner, from, &message, None, note.grant)?
                    .ok_or_else(|| TaskError::Protocol("a task without its grant".into()))?;
                join(inner, from, links.clone(), grant)
            }
            // Whoever asks us for what we do not know must not be asked back.
            EpochBody::AskChain => Ok(()),
            // An order that ends a task we do not know: nothing to end. Whoever gave it need not say it again.
            EpochBody::Cancel { .. } => {
                let body = EpochBody::Cancelled;
                inner.send_epoch(from, None, &EpochMessage { body, ..EpochMessage::ask(task) });
                Ok(())
            }
            EpochBody::Cancelled | EpochBody::Ack { .. } => Ok(()),
            _ => {
                inner.send_epoch(from, None, &EpochMessage::ask(task));
                Ok(())
            }
        };
    };
    authorised(inner, from, &message, Some(&actor.shared), note.grant)?;
    if matches!(message.body, EpochBody::AskChain) && !may_know(inner, &actor.shared, from) {
        return Err(TaskError::Forbidden(task));
    }
    actor
        .inbox
        .try_send(Input::Epoch { from, message })
        .map_err(|_| TaskError::Limit("messages that wait for a task"))
}

/// Whether a device may be told how far a task is: it has a part in it or may get one, or may see it.
fn may_know(inner: &Inner, shared: &TaskShared, device: DeviceId) -> bool {
    let parts = shared.parts();
    parts.grant.as_ref().is_some_and(|grant| {
        let part =
            parts.members.contains(&device) || parts.invited.contains(&device) || grant.submitter() == device;
        let role = inner.role(grant, &device);
        // Whoever is out of the task's circle has no part in it any more, whatever else it shares with us.
        part && inner.is_of_circle(grant, &device)
            || grant.may_run(&device, role)
            || grant.may(&device, role, Right::See)
    })
}

/// Checks that whoever began a branch, or ended the task, may. Gives the grant that came along if it is new here.
fn authorised(
    inner: &Inner,
    from: DeviceId,
    message: &EpochMessage,
    known: Option<&Arc<TaskShared>>,
    grant: Option<Signed>,
) -> Result<Option<OpenGrant>, TaskError> {
    let task = message.task;
    let Some(authority) = authority(message) else { return Ok(None) };
    let have = known.and_then(|shared| shared.grant());
    let fresh = match (&have, grant) {
        (None, Some(signed)) => Some(OpenGrant::open(signed)?)
            .filter(|grant| grant.task() == task && task.is_of(&grant.submitter())),
        _ => None,
    };
    let missing = || TaskError::Protocol("a task without its grant".into());
    let grant = have.as_deref().or(fresh.as_ref()).ok_or_else(missing)?;
    let allowed = match authority {
        Authority::Submit { signer, grant: hash } => {
            let role = inner.role(grant, &signer);
            hash == grant.hash && signer == grant.submitter() && (known.is_some() || role.is_some())
        }
        Authority::Adopt { signer, grant: hash } => {
            let may = |device: &DeviceId| grant.may(device, inner.role(grant, device), Right::Move);
            let known = known.is_some_and(|shared| shared.parts().branch == Some(message.branch));
            // Whoever adopted it may have been removed since: what came of it goes on, if one vouches for it who might
            // have done it, too.
            hash == grant.hash && (known || may(&signer) || may(&from))
        }
        Authority::Cancel { signer } => grant.may(&signer, inner.role(grant, &signer), Right::Cancel),
    };
    if allowed { Ok(fresh) } else { Err(TaskError::Forbidden(task)) }
}

/// Gets to know a task.
fn join(
    inner: &Arc<Inner>,
    from: DeviceId,
    links: Vec<Certificate>,
    grant: OpenGrant,
) -> Result<(), TaskError> {
    let task = grant.task();
    let link = certificate::verify_chain(&links).map_err(protocol)?;
    if link.decree.task != task || link.decree.grant != grant.hash {
        return Err(TaskError::Protocol("a chain of another task than its grant".into()));
    }
    if inner.tasks().len() >= core_limits::TASKS {
        return Err(TaskError::Limit("tasks that one device knows"));
    }
    quota::check(inner, grant.submitter(), from, &links)?;
    let place = inner.reserve(task).ok_or(TaskError::Limit("beginnings of one task at once"))?;
    let trace = inner.gone(task).map(|gone| gone.trace);
    let now = inner.seam.clock.boot();
    let joined = TaskMachine::join(inner.setup(), from, links, trace.as_ref(), now);
    let (machine, actions) = joined.map_err(protocol)?;
    let shared = TaskShared::new(first_status(&grant));
    {
        let mut parts = shared.parts();
        (parts.grant, parts.told_by) = (Some(Arc::new(grant)), Some(from));
    }
    inner.begin(place, shared, Seed { machine, actions, born: None, over_ms: None, filed: false });
    Ok(())
}

// ---------------------------------------------------------------- watchers

async fn tell_watcher(
    inner: &Arc<Inner>,
    mut channel: Channel,
    shared: &Arc<TaskShared>,
    asked: Watch,
) -> Result<(), TaskError> {
    let mut status = shared.status.subscribe();
    let mut preview = shared.preview.subscribe();
    let mut effects = shared.effects.subscribe();
    status.mark_changed();
    let mut inbox = EffectInbox::from(asked.effects_from);
    let earlier: Vec<Released> = shared.parts().released.iter().cloned().collect();
    for released in earlier {
        tell_effect(&mut channel, released, &mut inbox).await?;
    }
    let mut closing = inner.closing.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = closing.changed() => return Ok(()),
            changed = status.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                // Trust may have been withdrawn since.
                visible(inner, channel.peer, asked.task)?;
                let note = status.borrow_and_update().to_note();
                let last = note.state.is_final();
                if last {
                    // Nothing comes after the last status.
                    let kept: Vec<Released> = shared.parts().released.iter().cloned().collect();
                    for released in kept {
                        tell_effect(&mut channel, released, &mut inbox).await?;
                    }
                }
                say(&mut channel, &WatchNote::Status(Box::new(note))).await?;
                if last {
                    let _ = timeout(limits::ANSWER, channel.finish_and_wait()).await;
                    return Ok(());
                }
                let told = Instant::now();
                // Effects and previews do not wait for the next status, however often that changes.
                while told.elapsed() < limits::STATUS_GAP {
                    tokio::select! {
                        biased;
                        effect = effects.recv() => {
                            tell_received(&mut channel, effect, shared, &mut inbox).await?;
                        }
                        Ok(()) = preview.changed() => tell_preview(&mut channel, &mut preview).await?,
                        () = sleep(limits::STATUS_GAP.saturating_sub(told.elapsed())) => break,
                    }
                }
            }
            effect = effects.recv() => tell_received(&mut channel, effect, shared, &mut inbox).await?,
            Ok(()) = preview.changed() => tell_preview(&mut channel, &mut preview).await?,
        }
    }
}

async fn tell_preview(
    channel: &mut Channel,
    preview: &mut watch::Receiver<Option<Arc<Vec<u8>>>>,
) -> Result<(), TaskError> {
    let bytes = preview.borrow_and_update().clone();
    match bytes {
        Some(bytes) => say(channel, &WatchNote::Preview(bytes.to_vec())).await,
        None => Ok(()),
    }
}

async fn tell_received(
    channel: &mut Channel,
    received: Result<Released, broadcast::error::RecvError>,
    shared: &TaskShared,
    inbox: &mut EffectInbox,
) -> Result<(), TaskError> {
    match received {
        Ok(released) => tell_effect(channel, released, inbox).await,
        Err(broadcast::error::RecvError::Lagged(_)) => {
            let kept: Vec<Released> = shared.parts().released.iter().cloned().collect();
            for released in kept {
                tell_effect(channel, released, inbox).await?;
            }
            Ok(())
        }
        Err(broadcast::error::RecvError::Closed) => Err(TaskError::Closed),
    }
}

/// Tells an effect if the watcher, by the same rule as its own, takes it.
async fn tell_effect(
    channel: &mut Channel,
    released: Released,
    inbox: &mut EffectInbox,
) -> Result<(), TaskError> {
    let (fence, sequence) = (released.fence, released.effect.sequence);
    if !inbox.accept(fence, sequence) {
        return Ok(());
    }
    let bytes = released.effect.bytes.clone();
    say(channel, &WatchNote::Effect { fence, sequence, bytes }).await
}

/// A watcher that does not read loses its stream.
async fn say(channel: &mut Channel, note: &WatchNote) -> Result<(), TaskError> {
    match timeout(limits::TRANSFER_SILENCE, channel.send_message(note)).await {
        Ok(sent) => sent.map_err(protocol),
        Err(_) => Err(TaskError::Unreachable(channel.peer.device)),
    }
}

/// Parses the first envelope of a `task/1` channel, and what it carries, as a device does before it acts (a harness
/// for fuzzing).
///
/// # Errors
/// What is wrong with it.
pub fn parse_opening(bytes: &[u8]) -> Result<(), String> {
    let text = |e: softbus_core::DecodeError| e.to_string();
    let (header, payload) = softbus_core::peek(bytes).map_err(text)?;
    match header.kind {
        Request::KIND => match header.payload::<Request>(payload).map_err(text)? {
            Request::Act(signed) => open_act(&signed).map(|_| ()).map_err(|e| e.to_string()),
            Request::Cancel(signed) => decode::<softbus_core::wire::task::CancelOrder>(&signed.body)
                .map_err(text)
                .and_then(|order| certificate::open_cancel(order.task, &signed).map_err(|e| e.to_string()))
                .map(|_| ()),
            _ => Ok(()),
        },
        EpochNote::KIND => {
            let note = header.payload::<EpochNote>(payload).map_err(text)?;
            let message: EpochMessage = decode(&note.message).map_err(text)?;
            if let Some(grant) = note.grant {
                OpenGrant::open(grant).map_err(|e| e.to_string())?;
            }
            if message.within_limits() { Ok(()) } else { Err("beyond its limits".into()) }
        }
        Fetch::KIND => header.payload::<Fetch>(payload).map(|_| ()).map_err(text),
        FetchContent::KIND => header.payload::<FetchContent>(payload).map(|_| ()).map_err(text),
        Watch::KIND => header.payload::<Watch>(payload).map(|_| ()).map_err(text),
        kind => Err(format!("a message of kind {kind:#06x} opens nothing")),
    }
}
