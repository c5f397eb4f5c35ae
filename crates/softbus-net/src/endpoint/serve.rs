//! Streams that others open towards us.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::link::{Open, Reply, Want};
use softbus_core::{DeviceId, ErrorCode, LinkId, ServiceName, limits};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Core;
use super::answers::{Answer, Begin};
use crate::channel::{Carried, Lease, StrangerPlace, read_bytes, read_message, write_message};
use crate::halves::{RecvHalf, Right, SendHalf, read_to_end};
use crate::link::ConnKey;
use crate::router::Handler;
use crate::{Caller, Channel, NetError, Respond, Standing};

/// The first message must be here within this time.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// A request's bytes must be here, and an answer's taken, within this time.
const BODY_WAIT: Duration = Duration::from_secs(60);

/// A request as it came in.
struct Asked {
    peer: DeviceId,
    link: LinkId,
    id: u64,
    choice: u8,
    /// There is no link, so nothing is kept of its requests: they change nothing.
    former: bool,
}

/// Whose connection a stream is on.
pub(super) enum Of {
    /// One that carries (or carried) a link; its lease.
    Link(Arc<Carried>),
    /// A stranger's, or one that was dialled to tell a former member; its place at the door, if it dialled.
    Stranger(Option<ConnKey>),
}

impl Core {
    /// Serves one stream of `peer`.
    pub(super) async fn serve_stream(
        self: Arc<Self>,
        peer: DeviceId,
        connection: quinn::Connection,
        of: Of,
        mut send: quinn::SendStream,
        mut recv: quinn::RecvStream,
    ) {
        let open = match timeout(OPEN_WAIT, read_message::<Open>(&mut recv)).await {
            Ok(Ok(Some(open))) if open.within_limits() => open,
            Ok(Ok(_)) | Ok(Err(NetError::Malformed(_))) => return abort(send, recv, ErrorCode::Malformed),
            Ok(Err(_)) => return,
            Err(_) => return abort(send, recv, ErrorCode::Timeout),
        };
        // A stranger's connection is for pairing alone, also once the pairing made it trusted: nothing would end
        // it when that trust is withdrawn, as links end. Who is out of our circle may ask why.
        let stranger = matches!(of, Of::Stranger(_));
        let former = stranger && self.judge.is_former(&peer);
        let open_to_it = |name: &str| name == "pair" || former && name == "circle";
        if stranger && open.services.iter().any(|service| !open_to_it(service.name())) {
            return refuse(send, recv, self.untrusted(&peer, ErrorCode::NotTrusted)).await;
        }
        let is_request = matches!(open.want, Want::Request { .. });
        let routed = self.router.route(&*self.judge, &peer, &open.services, is_request);
        let (choice, handler, caller) = match routed {
            Ok(routed) => routed,
            Err(code) => {
                let code = if code == ErrorCode::NotTrusted { self.untrusted(&peer, code) } else { code };
                tracing::debug!(?peer, services = ?open.services, %code, "refused");
                return refuse(send, recv, code).await;
            }
        };
        match (open.want, handler) {
            (Want::Stream, Handler::Stream(service)) => {
                let name = open.services.into_iter().nth(usize::from(choice));
                let Some(name) = name else { return };
                let reply = Reply::Opened { choice };
                let opened = write_message(&mut send, &reply);
                if matches!(timeout(OPEN_WAIT, opened).await, Ok(Ok(()))) {
                    let (lease, place) = match of {
                        Of::Link(lease) => (Lease::new(Some(lease)), None),
                        Of::Stranger(key) => {
                            (Lease::new(None), key.map(|key| StrangerPlace { core: self.clone(), key }))
                        }
                    };
                    let (taken, right) = watch::channel(None);
                    let send = SendHalf::new(send, Right::until(right.clone()));
                    let recv = RecvHalf::new(recv, Right::until(right));
                    let watching = self.watch_right(peer, &name, taken);
                    let channel =
                        Channel { peer: caller, service: name.clone(), send, recv, connection, lease, place };
                    tokio::join!(service.accept(channel), watching);
                }
            }
            (Want::Request { link, id, done_below, len }, Handler::Request(respond)) => {
                if !respond.is_use() {
                    // Its answer may be had again on the next connection: this one need not stay for it.
                    drop(of);
                }
                let asked = Asked { peer, link, id, choice, former };
                self.serve_request(asked, caller, respond, done_below, len, send, recv).await;
            }
            // `route` gives the handler of the wanted kind.
            _ => refuse(send, recv, ErrorCode::NoSuchService).await,
        }
    }

    /// Takes the right to a channel away once its peer may not open such a one any more; ends with the channel, wherever
    /// its handler took that.
    async fn watch_right(
        &self,
        peer: DeviceId,
        service: &ServiceName,
        taken: watch::Sender<Option<ErrorCode>>,
    ) {
        // Pairing has an end of its own: it goes on when the door is shut behind it.
        if service.name() == "pair" {
            return;
        }
        let mut changed = self.judge.changed();
        loop {
            if let Err(code) = self.judge.may_open(&peer, service) {
                tracing::info!(peer = %peer.short(), %service, %code, "a channel ends: it may not be open any more");
                taken.send_replace(Some(code));
                return;
            }
            tokio::select! {
                biased;
                () = taken.closed() => return,
                Ok(()) = changed.changed() => {}
            }
        }
    }

    /// Waits until a device is not trusted (any more).
    async fn parted_from(&self, peer: &DeviceId) {
        let mut changed = self.judge.changed();
        while matches!(self.judge.standing(peer), Standing::Trusted(_)) {
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    async fn serve_request(
        &self,
        asked: Asked,
        caller: Caller,
        respond: Arc<dyn Respond>,
        done_below: u64,
        len: u32,
        mut send: quinn::SendStream,
        mut recv: quinn::RecvStream,
    ) {
        let (peer, link, id) = (asked.peer, asked.link, asked.id);
        let len = len as usize;
        if len > limits::REQUEST_BYTES.min(respond.longest()) {
            return refuse(send, recv, ErrorCode::Malformed).await;
        }
        let Some(mut place) = self.loads.read(peer, len) else {
            return refuse(send, recv, ErrorCode::Busy).await;
        };
        // The request is read before it is begun: one that never comes whole never was.
        let request = match timeout(BODY_WAIT, read_bytes(&mut recv, len)).await {
            Ok(Ok(request)) => request,
            Ok(Err(_)) => return,
            Err(_) => return abort(send, recv, ErrorCode::Timeout),
        };
        let begin = {
            let mut hub = self.hub();
            match hub.peers.get_mut(&peer) {
                Some(p) if p.machine.link().is_some_and(|(present, _)| present == link) => {
                    match p.answers.begin(link, id, done_below) {
                        Begin::Run if !place.run() => {
                            p.answers.withdraw(id);
                            Begin::Refuse(ErrorCode::Busy)
                        }
                        begin => begin,
                    }
                }
                // Of another life of either side: whether it was carried out then is not known here.
                Some(_) => Begin::Refuse(ErrorCode::Conflict),
                None if asked.former && place.run() => Begin::Run,
                None if asked.former => Begin::Refuse(ErrorCode::Busy),
                None => Begin::Refuse(ErrorCode::NotTrusted),
            }
        };
        let answer = match begin {
            Begin::Refuse(code) => return refuse(send, recv, code).await,
            Begin::Answered(answer) => answer,
            Begin::Wait(mut waiting) => {
                drop((place, request));
                let answer = waiting.wait_for(Option::is_some).await;
                match answer.ok().and_then(|answer| answer.clone()) {
                    Some(answer) => answer,
                    None => return abort(send, recv, ErrorCode::Cancelled),
                }
            }
            Begin::Run => {
                let running = Running { core: self, asked: &asked, done: false };
                let work = running.run(respond.respond(caller, request), &mut send);
                let answer = tokio::select! {
                    biased;
                    answer = work => answer,
                    // Whoever is out has nothing carried out here any more.
                    () = self.parted_from(&peer), if !asked.former => None,
                };
                drop(place);
                match answer {
                    Some(answer) => answer,
                    None => return abort(send, recv, ErrorCode::Cancelled),
                }
            }
        };
        let written = async {
            match answer.as_ref() {
                Ok(bytes) => {
                    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    write_message(&mut send, &Reply::Answer { choice: asked.choice, len }).await?;
                    send.write_all(bytes).await.map_err(crate::channel::write_error)?;
                }
                Err(code) => write_message(&mut send, &Reply::Failed(code.number())).await?,
            }
            // Only an error that it was finished before.
            let _ = send.finish();
            // The requester ends its side when it has everything.
            read_to_end(&mut recv, 0).await.map_err(|_| NetError::Lost("not acknowledged".into()))
        };
        if matches!(timeout(BODY_WAIT, written).await, Ok(Ok(_)))
            && let Some(p) = self.hub().peers.get_mut(&peer)
        {
            p.answers.forget(link, id);
        }
    }
}

/// A handler at work for a request. However its task ends, the request's place is settled.
struct Running<'a> {
    core: &'a Core,
    asked: &'a Asked,
    done: bool,
}

impl Running<'_> {
    /// Runs the handler: on after the connection broke, not on after the requester gave up.
    async fn run(
        mut self,
        mut work: crate::seam::BoxFuture<'static, Result<Vec<u8>, ErrorCode>>,
        send: &mut quinn::SendStream,
    ) -> Option<Answer> {
        let answer = tokio::select! {
            biased;
            answer = &mut work => answer,
            stopped = send.stopped() => match stopped {
                Ok(Some(code)) if ErrorCode::from_number(code.into_inner()) == ErrorCode::Cancelled => {
                    return None;
                }
                _ => work.await,
            },
        };
        let answer = match answer {
            Ok(bytes) if bytes.len() > limits::REQUEST_BYTES => {
                tracing::error!(len = bytes.len(), "a handler's answer is too long");
                Err(ErrorCode::Internal)
            }
            answer => answer,
        };
        let answer = Answer::new(answer);
        self.settle(answer.clone());
        Some(answer)
    }

    fn settle(&mut self, answer: Answer) {
        self.done = true;
        if let Some(p) = self.core.hub().peers.get_mut(&self.asked.peer) {
            p.answers.finish(self.asked.link, self.asked.id, answer);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.done {
            // Cancelled, or the handler panicked: nobody shall wait for it.
            self.settle(Answer::new(Err(ErrorCode::Cancelled)));
        }
    }
}

/// Says no, and why.
async fn refuse(mut send: quinn::SendStream, mut recv: quinn::RecvStream, code: ErrorCode) {
    // Whatever more it sends is not read.
    let _ = recv.stop(quinn::VarInt::from_u32(code.number()));
    let reply = Reply::Refused(code.number());
    if matches!(timeout(OPEN_WAIT, write_message(&mut send, &reply)).await, Ok(Ok(()))) {
        let _ = send.finish();
    }
}

fn abort(mut send: quinn::SendStream, mut recv: quinn::RecvStream, code: ErrorCode) {
    let number = quinn::VarInt::from_u32(code.number());
    let _ = send.reset(number);
    let _ = recv.stop(number);
}
