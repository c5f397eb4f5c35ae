//! Client and server over a real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::*;
use crate::failure::{Failure, Kind};

/// Longest wait; nothing here takes long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Echo {
    running: AtomicUsize,
    dropped: Arc<AtomicUsize>,
    changed: Arc<Notify>,
}

struct CountDrop(Arc<AtomicUsize>, Arc<Notify>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.notify_waiters();
    }
}

impl Handle for Echo {
    async fn handle(&self, request: Request, body: Body, events: Events) -> Result<Answer, Failure> {
        match request {
            // Events in order, more than the queue holds.
            Request::WatchTasks { .. } => {
                for n in 0..500u64 {
                    let what =
                        ChangeView { at_ms: n, device: softbus_core::DeviceId([1; 32]), what: "x".into() };
                    events.send(Event::Change(what)).await;
                }
                Ok(Response::Done.into())
            }
            // Never ends by itself.
            Request::WatchDevices {} => {
                self.running.fetch_add(1, Ordering::SeqCst);
                let _count = CountDrop(self.dropped.clone(), self.changed.clone());
                events.send(Event::Devices(DevicesView::default())).await;
                std::future::pending().await
            }
            Request::Place(_) => {
                Ok(Answer { response: Response::Done, body: body.into_iter().rev().collect() })
            }
            Request::Devices {} => Err(Failure::not_found("nothing").advise("look elsewhere")),
            _ => Ok(Response::Done.into()),
        }
    }
}

async fn start(dir: &std::path::Path) -> (Arc<Echo>, tokio::task::JoinHandle<()>) {
    let server = Server::bind(dir).await.unwrap();
    let echo = Arc::new(Echo::default());
    let handler = echo.clone();
    (echo, tokio::spawn(async move { server.run(handler).await }))
}

fn place() -> Request {
    Request::Place(PlaceRequest {
        work: WorkRequest { task_type: "primes/1".into(), cores: 1, ..Default::default() },
    })
}

#[tokio::test]
async fn answers_failures_bodies_and_events_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let (_echo, _server) = start(dir.path()).await;
    let client = Client::new(dir.path());
    assert_eq!(client.call(Request::Circles {}).await.unwrap(), Response::Done);
    let failure = client.call(Request::Devices {}).await.unwrap_err();
    assert_eq!((failure.kind, failure.advice.as_deref()), (Kind::NotFound, Some("look elsewhere")));

    let body: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let mut reply = client.call_with(place(), &body).await.unwrap();
    reply.body.reverse();
    assert!(reply.body == body, "newlines and all");

    let mut stream = client.stream(Request::WatchTasks { task: None }).await.unwrap();
    for n in 0..500u64 {
        let Step::Event(Event::Change(change)) = stream.next().await.unwrap() else {
            panic!("an event is missing")
        };
        assert_eq!(change.at_ms, n);
    }
    assert!(matches!(stream.next().await.unwrap(), Step::Done(_)));
}

#[tokio::test]
async fn a_call_ends_with_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let (echo, _server) = start(dir.path()).await;
    let client = Client::new(dir.path());
    let mut stream = client.stream(Request::WatchDevices {}).await.unwrap();
    stream.next().await.unwrap();
    assert_eq!((echo.running.load(Ordering::SeqCst), echo.dropped.load(Ordering::SeqCst)), (1, 0));
    let gone = echo.changed.notified();
    drop(stream);
    tokio::time::timeout(PATIENCE, gone).await.expect("the handler goes on for nobody");
    assert_eq!(echo.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_served_socket_is_not_replaced_and_an_old_one_is() {
    let dir = tempfile::tempdir().unwrap();
    let (_echo, server) = start(dir.path()).await;
    assert_eq!(Server::bind(dir.path()).await.err().map(|f| f.kind), Some(Kind::Conflict));
    server.abort();
    let _ = server.await;
    assert!(!dir.path().join("control.sock").exists(), "taken away at the end");
    assert_eq!(Client::new(dir.path()).call(Request::Status {}).await.unwrap_err().kind, Kind::NotRunning);

    drop(std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap());
    let (_echo, _server) = start(dir.path()).await;
    assert_eq!(Client::new(dir.path()).call(Request::Circles {}).await.unwrap(), Response::Done);
}

#[tokio::test]
async fn several_calls_on_one_connection_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (_echo, _server) = start(dir.path()).await;
    let mut stream = UnixStream::connect(dir.path().join("control.sock")).await.unwrap();
    let line = b"{\"v\":1,\"request\":{\"do\":\"circles\"}}\n";
    stream.write_all(&[&line[..], &line[..], &line[..]].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "{\"is\":\"done\",\"v\":1,\"response\":\"done\"}\n".repeat(3));
}

#[tokio::test]
async fn more_clients_than_allowed_wait_for_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (echo, _server) = start(dir.path()).await;
    let client = Client::new(dir.path());
    let mut watching = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = client.stream(Request::WatchDevices {}).await.unwrap();
        stream.next().await.unwrap();
        watching.push(stream);
    }
    assert_eq!(echo.running.load(Ordering::SeqCst), CLIENTS);
    let late = tokio::spawn({
        let client = client.clone();
        async move { client.call(Request::Circles {}).await }
    });
    tokio::task::yield_now().await;
    assert!(!late.is_finished());
    watching.pop();
    let answer = tokio::time::timeout(PATIENCE, late).await.expect("its turn comes").unwrap();
    assert_eq!(answer.unwrap(), Response::Done);
}

#[tokio::test]
async fn a_node_of_another_version_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut line = [0; 256];
        let _ = stream.read(&mut line).await;
        let _ = stream.write_all(b"{\"v\":7,\"is\":\"news\"}\n").await;
    });
    let failure = Client::new(dir.path()).call(Request::Circles {}).await.unwrap_err();
    assert_eq!(failure.kind, Kind::Conflict);
    assert!(failure.message.contains("version 7") && failure.message.contains("restart"), "{failure}");
}
