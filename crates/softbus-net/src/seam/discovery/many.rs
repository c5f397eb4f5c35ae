use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::SIGHTINGS;
use crate::seam::{Announcement, BoxFuture, Discovery, Sighting};

/// Pause before browsing again where one way's subscription closed; doubles up to the next.
const REBROWSE_FIRST: Duration = Duration::from_millis(250);
const REBROWSE_LAST: Duration = Duration::from_secs(60);

/// Several ways of discovery as one. Keys carry the number of the way (`0/…`), so that those of two ways are
/// never the same; who is seen by two ways is seen twice.
pub struct Many(Vec<Arc<dyn Discovery>>);

impl Many {
    /// Of these ways.
    pub fn new(ways: Vec<Arc<dyn Discovery>>) -> Self {
        Self(ways)
    }
}

impl Discovery for Many {
    /// Closes when every way said goodbye, or none could be browsed; a way that fails is browsed again.
    fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>> {
        let (send, receive) = mpsc::channel(SIGHTINGS);
        let mut failure = None;
        let mut any = self.0.is_empty();
        for (number, way) in self.0.iter().enumerate() {
            match way.browse() {
                Ok(sightings) => {
                    any = true;
                    tokio::spawn(forward(number, way.clone(), sightings, send.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, way = number, "one way of discovery cannot browse");
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if !any => Err(error),
            _ => Ok(receive),
        }
    }

    /// Fails only if every way does.
    fn announce(&self, announcement: &Announcement) -> io::Result<()> {
        let mut failure = None;
        let mut any = self.0.is_empty();
        for (number, way) in self.0.iter().enumerate() {
            match way.announce(announcement) {
                Ok(()) => any = true,
                Err(error) => {
                    tracing::warn!(%error, way = number, "one way of discovery cannot announce");
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if !any => Err(error),
            _ => Ok(()),
        }
    }

    fn confirm(&self, key: &str) {
        let Some((number, key)) = key.split_once('/') else { return };
        if let Some(way) = number.parse().ok().and_then(|number: usize| self.0.get(number)) {
            way.confirm(key);
        }
    }

    fn goodbye(&self) -> BoxFuture<'_, ()> {
        let all = futures_util::future::join_all(self.0.iter().map(|way| way.goodbye()));
        Box::pin(async move {
            all.await;
        })
    }
}

async fn forward(
    number: usize,
    way: Arc<dyn Discovery>,
    mut sightings: mpsc::Receiver<Sighting>,
    send: mpsc::Sender<Sighting>,
) {
    let mut in_sight = BTreeSet::new();
    let mut pause = REBROWSE_FIRST;
    loop {
        let next = tokio::select! {
            biased;
            () = send.closed() => return,
            next = sightings.recv() => next,
        };
        let sighting = match next {
            Some(Sighting::Seen { key, addresses, announcement }) => {
                pause = REBROWSE_FIRST;
                let key = format!("{number}/{key}");
                in_sight.insert(key.clone());
                Sighting::Seen { key, addresses, announcement }
            }
            Some(Sighting::Gone { key }) => {
                let key = format!("{number}/{key}");
                in_sight.remove(&key);
                Sighting::Gone { key }
            }
            None => {
                // Whoever is still there will be seen again.
                for key in std::mem::take(&mut in_sight) {
                    if send.send(Sighting::Gone { key }).await.is_err() {
                        return;
                    }
                }
                sightings = loop {
                    tokio::select! {
                        biased;
                        () = send.closed() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(REBROWSE_LAST);
                    match way.browse() {
                        Ok(sightings) => break sightings,
                        Err(error) => {
                            tracing::warn!(%error, way = number, "one way of discovery cannot browse")
                        }
                    }
                };
                continue;
            }
        };
        if send.send(sighting).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A way whose sightings the test sends, and which it can close.
    #[derive(Default)]
    struct Scripted {
        senders: Mutex<Vec<mpsc::Sender<Sighting>>>,
        fails: bool,
    }

    impl Discovery for Scripted {
        fn browse(&self) -> io::Result<mpsc::Receiver<Sighting>> {
            if self.fails {
                return Err(io::ErrorKind::Unsupported.into());
            }
            let (send, receive) = mpsc::channel(8);
            self.senders.lock().unwrap().push(send);
            Ok(receive)
        }

        fn announce(&self, _: &Announcement) -> io::Result<()> {
            if self.fails { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
        }

        fn goodbye(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    fn seen(key: &str) -> Sighting {
        Sighting::Seen { key: key.into(), addresses: vec![], announcement: Announcement::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn ways_are_joined_and_a_closed_one_is_browsed_again() {
        let (a, b) = (Arc::new(Scripted::default()), Arc::new(Scripted::default()));
        let broken = Arc::new(Scripted { fails: true, ..Scripted::default() });
        let many = Many::new(vec![a.clone(), b.clone(), broken.clone()]);
        many.announce(&Announcement::default()).unwrap();
        let mut sightings = many.browse().unwrap();
        let to = |way: &Scripted| way.senders.lock().unwrap().last().unwrap().clone();
        to(&a).send(seen("x")).await.unwrap();
        assert_eq!(sightings.recv().await, Some(seen("0/x")));
        to(&b).send(seen("x")).await.unwrap();
        assert_eq!(sightings.recv().await, Some(seen("1/x")));
        a.senders.lock().unwrap().clear();
        assert_eq!(sightings.recv().await, Some(Sighting::Gone { key: "0/x".into() }));
        tokio::time::sleep(Duration::from_secs(1)).await;
        to(&a).send(seen("y")).await.unwrap();
        assert_eq!(sightings.recv().await, Some(seen("0/y")));
        let none = Many::new(vec![broken]);
        assert!(none.browse().is_err());
        assert!(none.announce(&Announcement::default()).is_err());
    }
}
