//! The keeper under virtual time: pairing over a pipe that a test may tap, then whole devices on a network in memory.

mod circles;
mod power;

use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::pair::{Pair, Refusal, Welcome};
use softbus_core::{DeviceId, Message, WallMs};
use softbus_trust::pairing::{Binding, PairPassword};
use softbus_trust::{DeviceKey, Grant, PairingState, Pin, Role};
use tokio::sync::mpsc;

use super::pairing::Talk;
use super::*;
use crate::seam::memory::{Host, World};
use crate::seam::store::Store;
use crate::{Judge, NetError, Standing};

fn key(n: u8) -> Arc<DeviceKey> {
    Arc::new(DeviceKey::from_seed(&[n; 32]))
}

fn id(n: u8) -> DeviceId {
    key(n).id()
}

async fn keeper(host: &Host, n: u8) -> Arc<Keeper> {
    let seam = host.seam();
    Keeper::open(Store::open(&seam).await.unwrap(), seam, key(n)).await.unwrap()
}

/// Power is cut, what was not synced is gone, and the device starts again.
async fn crash(host: &Host, n: u8) -> Arc<Keeper> {
    host.crash();
    host.restart();
    keeper(host, n).await
}

/// One end of a pipe of whole messages.
struct Pipe(mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>);

fn pipe() -> (Pipe, Pipe) {
    let (a, b) = (mpsc::channel(64), mpsc::channel(64));
    (Pipe(a.0, b.1), Pipe(b.0, a.1))
}

impl Talk for Pipe {
    async fn say<M: Message + Sync>(&mut self, message: &M) -> Result<(), NetError> {
        self.0.send(softbus_core::encode(message)?).await.map_err(|_| NetError::Closed)
    }
    async fn hear<M: Message>(&mut self) -> Result<M, NetError> {
        Ok(softbus_core::decode(&self.1.recv().await.ok_or(NetError::Closed)?)?)
    }
    async fn wind_up(&mut self) {}
}

/// A pipe whose speaker loses power right before it says whether a PIN was right.
struct Plug(Pipe, Host);

impl Talk for Plug {
    async fn say<M: Message + Sync>(&mut self, message: &M) -> Result<(), NetError> {
        let bytes = softbus_core::encode(message)?;
        if let Ok(Pair::Refusal(_) | Pair::Confirm(_)) = softbus_core::decode(&bytes) {
            self.1.crash();
        }
        self.0.say(message).await
    }
    async fn hear<M: Message>(&mut self) -> Result<M, NetError> {
        self.0.hear().await
    }
    async fn wind_up(&mut self) {}
}

/// A channel on which nothing more is said by the other side once a circle is offered, and on which it does not end.
struct Stalls(Pipe);

impl Talk for Stalls {
    async fn say<M: Message + Sync>(&mut self, message: &M) -> Result<(), NetError> {
        self.0.say(message).await
    }
    async fn hear<M: Message>(&mut self) -> Result<M, NetError> {
        let heard = self.0.1.recv().await.ok_or(NetError::Closed)?;
        match softbus_core::decode(&heard) {
            Ok(Pair::Share(_) | Pair::Confirm(_) | Pair::Offer(_)) => Ok(softbus_core::decode(&heard)?),
            _ => std::future::pending().await,
        }
    }
    async fn wind_up(&mut self) {}
}

fn binding(opener: &Keeper, enterer: &Keeper) -> Binding {
    Binding { opener: opener.id(), enterer: enterer.id(), exporter: [7; 32] }
}

fn shown(keeper: &Keeper) -> Pin {
    match &*keeper.pairing().borrow() {
        PairingState::Open { pin, .. } => pin.clone(),
        other => panic!("{other:?}"),
    }
}

fn wrong(pin: &Pin) -> Pin {
    let other = if pin.reveal() == "000000" { "000001" } else { "000000" };
    Pin::parse(other).unwrap()
}

/// Both sides over an honest channel; the enterer's outcome.
async fn pair(
    opener: &Arc<Keeper>,
    enterer: &Arc<Keeper>,
    pin: &Pin,
    options: PairOptions,
) -> Result<Paired, MembershipError> {
    let (mut a, mut b) = pipe();
    let binding = binding(opener, enterer);
    let answering = opener.answer_pairing(&mut a, binding);
    let entering = enterer.enter_pairing(&mut b, binding, PairPassword::pin(pin), options);
    tokio::join!(answering, entering).1
}

async fn two(world: &World) -> (Host, Arc<Keeper>, Host, Arc<Keeper>) {
    let (a, b) = (world.host("a"), world.host("b"));
    let (ka, kb) = (keeper(&a, 1).await, keeper(&b, 2).await);
    (a, ka, b, kb)
}

fn trusts(keeper: &Keeper, n: u8) -> Option<Role> {
    match keeper.standing(&id(n)) {
        Standing::Trusted(role) => Some(role),
        Standing::Stranger { .. } => None,
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_opens_and_admits_and_both_remember() {
    let world = World::new(1);
    let (ha, a, hb, b) = two(&world).await;
    let founded = a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    assert_eq!(a.standing(&id(9)), Standing::Stranger { pairing: true });
    let paired = pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    assert_eq!(paired, Paired { peer: id(1), circle: founded.circle, joined: true, founded: None });
    assert_eq!(*a.pairing().borrow(), PairingState::Paired { peer: id(2), circle: founded.circle });
    let before = (a.circles(), b.circles(), a.tag_secrets(), b.tag_secrets());
    assert_eq!((trusts(&a, 2), trusts(&b, 1)), (Some(Role::Member), Some(Role::Owner)));
    assert!(before.2 == before.3 && before.2.len() == 1, "one secret for the circle's tags");
    assert!(!a.announce_openly() && !b.announce_openly());
    let (a, b) = (crash(&ha, 1).await, crash(&hb, 2).await);
    assert_eq!((a.circles(), b.circles()), (before.0, before.1));
    assert!(a.tag_secrets() == before.2 && b.tag_secrets() == before.3);
    let end = a.circles().circles[&founded.circle].members[&id(2)].expires.unwrap();
    assert!(end > a.wall().after(DEFAULT_GRANT - Duration::from_secs(60)));
}

#[tokio::test(start_paused = true)]
async fn who_admits_whom() {
    let world = World::new(2);
    let (_ha, a, _hb, b) = two(&world).await;
    // Neither is in a circle: the enterer founds, and gets the words.
    a.open_pairing(PairOptions::default()).await.unwrap();
    let paired = pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    let words = paired.founded.clone().unwrap().recovery_words;
    assert_eq!(words.split(' ').count(), 24);
    assert!(!format!("{paired:?}").contains(words.split(' ').next().unwrap()));
    assert_eq!((trusts(&a, 2), trusts(&b, 1)), (Some(Role::Owner), Some(Role::Member)));
    // Again: both are in.
    a.open_pairing(PairOptions::default()).await.unwrap();
    let again = pair(&a, &b, &shown(&a), PairOptions::default()).await;
    assert!(matches!(again, Err(MembershipError::AlreadyMember)), "{again:?}");
    // A plain member cannot let a stranger in.
    let c = keeper(&world.host("c"), 3).await;
    a.open_pairing(PairOptions::default()).await.unwrap();
    let nobody = pair(&a, &c, &shown(&a), PairOptions::default()).await;
    assert!(matches!(nobody, Err(MembershipError::NobodyAdmits)), "{nobody:?}");
    assert!(matches!(&*a.pairing().borrow(), PairingState::Failed { .. }));
    // The opener is in no circle, the enterer is an owner: the enterer admits, as a guest if it says so.
    c.open_pairing(PairOptions::default()).await.unwrap();
    let print = "print/1".parse().unwrap();
    let guest = Grant {
        role: Role::Guest,
        expires: Some(b.wall().after(2 * SHORTEST_GRANT)),
        services: [print].into(),
    };
    let options = PairOptions { grant: Some(guest), ..PairOptions::default() };
    let paired = pair(&c, &b, &shown(&c), options).await.unwrap();
    assert!(!paired.joined);
    assert_eq!((trusts(&c, 2), trusts(&b, 3)), (Some(Role::Owner), Some(Role::Guest)));
    assert!(b.may_open(&id(3), &"print/1".parse().unwrap()).is_ok());
    assert!(b.may_open(&id(3), &"task/1".parse().unwrap()).is_err());
    assert!(b.may_open(&id(3), &"circle/1".parse().unwrap()).is_ok());
    // Two owners of two circles: the joiner's word is needed.
    let d = keeper(&world.host("d"), 4).await;
    d.found("work").await.unwrap();
    b.open_pairing(PairOptions::default()).await.unwrap();
    let two = pair(&b, &d, &shown(&b), PairOptions::default()).await;
    assert!(matches!(two, Err(MembershipError::AlreadyInCircle)), "{two:?}");
    b.open_pairing(PairOptions::default()).await.unwrap();
    pair(&b, &d, &shown(&b), PairOptions { join: true, ..PairOptions::default() }).await.unwrap();
    assert_eq!(d.circles().circles.len(), 2);
    assert_eq!(trusts(&d, 2), Some(Role::Owner));
    let roles: Vec<_> = d.groups().iter().map(|group| (group.own, group.roles.clone())).collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.iter().all(|(own, _)| *own != Role::Guest), "{roles:?}");
    assert!(roles.iter().any(|(_, roles)| roles.get(&id(2)) == Some(&Role::Owner)), "{roles:?}");
}

#[tokio::test(start_paused = true)]
async fn recovery_words_outlive_whoever_waited_for_them() {
    let world = World::new(27);
    let (_ha, a, hb, b) = two(&world).await;
    a.open_pairing(PairOptions::default()).await.unwrap();
    let (mut opener, enterer) = pipe();
    let mut enterer = Stalls(enterer);
    let password = PairPassword::pin(&shown(&a));
    let mut founded = b.watch();
    tokio::select! {
        biased;
        () = a.answer_pairing(&mut opener, binding(&a, &b)) => panic!("the opener has the circle"),
        paired = b.enter_pairing(&mut enterer, binding(&a, &b), password, PairOptions::default()) => panic!("{paired:?}"),
        // The person goes away while the other device does not answer.
        _ = founded.wait_for(|view| !view.circles.is_empty()) => {}
    }
    let waiting = b.words_waiting().await.unwrap();
    assert_eq!(waiting.len(), 1);
    let b = crash(&hb, 2).await;
    assert!(b.words_waiting().await.unwrap() == waiting, "on disk");
    b.recover(None, &waiting[0].recovery_words, vec![]).await.expect("they are those of the circle");
    b.words_shown(waiting[0].circle).await.unwrap();
    assert!(b.words_waiting().await.unwrap().is_empty());
    let b = crash(&hb, 2).await;
    assert!(b.words_waiting().await.unwrap().is_empty());
    // Words that cannot be kept: then there is no circle either.
    hb.disk().fail_after(Some(0));
    b.found("second").await.unwrap_err();
    assert_eq!(b.circles().circles.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_opening_closes_itself_and_no_later_one() {
    let world = World::new(28);
    let (_ha, a, _hb, b) = two(&world).await;
    a.found("home").await.unwrap();
    let first = a.open_pairing(PairOptions::default()).await.unwrap();
    let second = a.open_pairing(PairOptions::default()).await.unwrap();
    assert!(a.opening() == second.number && second.number > first.number);
    a.close_opening(first.number);
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    let third = a.open_pairing(PairOptions::default()).await.unwrap();
    a.close_opening(third.number);
    assert_eq!(*a.pairing().borrow(), PairingState::Cancelled);
    assert_eq!(a.standing(&id(9)), Standing::Stranger { pairing: false });
}

#[tokio::test(start_paused = true)]
async fn wrong_pins_freeze_pairing_across_restarts() {
    let world = World::new(3);
    let (ha, a, _hb, b) = two(&world).await;
    a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    let pin = shown(&a);
    for left in [2, 1] {
        let outcome = pair(&a, &b, &wrong(&pin), PairOptions::default()).await;
        assert!(
            matches!(outcome, Err(MembershipError::WrongPin { tries_left }) if tries_left == left),
            "{outcome:?}"
        );
    }
    let outcome = pair(&a, &b, &wrong(&pin), PairOptions::default()).await;
    assert!(
        matches!(outcome, Err(MembershipError::Frozen { lasts }) if lasts == Duration::from_secs(60)),
        "{outcome:?}"
    );
    assert_eq!(a.standing(&id(2)), Standing::Stranger { pairing: false });
    // Whoever knows the PIN by now: too late.
    let outcome = pair(&a, &b, &pin, PairOptions::default()).await;
    assert!(matches!(outcome, Err(MembershipError::Frozen { .. })), "{outcome:?}");
    let a = crash(&ha, 1).await;
    assert!(matches!(a.open_pairing(PairOptions::default()).await, Err(MembershipError::Frozen { .. })));
    tokio::time::sleep(Duration::from_secs(61)).await;
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_kill_gives_no_free_try() {
    let world = World::new(4);
    let (ha, mut a, _hb, b) = two(&world).await;
    a.found("home").await.unwrap();
    for n in 1..=3u8 {
        a.open_pairing(PairOptions::default()).await.unwrap();
        let pin = wrong(&shown(&a));
        let (there, mut here) = pipe();
        let bound = binding(&a, &b);
        let mut there = Plug(there, ha.clone());
        let answering = a.answer_pairing(&mut there, bound);
        let (mut proof, start) =
            softbus_trust::pairing::Enterer::start(&PairPassword::pin(&pin), bound, [n; 32]);
        let entering = async {
            here.say(&start).await.unwrap();
            let Pair::Share(share) = here.hear().await.unwrap() else { panic!() };
            here.say(&proof.on_share(share).unwrap()).await.unwrap();
            here.hear::<Pair>().await.unwrap()
        };
        let ((), told) = tokio::join!(answering, entering);
        assert!(!ha.is_up());
        assert!(
            matches!(told, Pair::Refusal(Refusal::WrongPassword { .. } | Refusal::Frozen { .. })),
            "{told:?}"
        );
        ha.restart();
        a = keeper(&ha, 1).await;
    }
    assert!(matches!(a.open_pairing(PairOptions::default()).await, Err(MembershipError::Frozen { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_try_that_cannot_be_counted_is_not_judged() {
    let world = World::new(5);
    let (ha, a, _hb, b) = two(&world).await;
    a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    ha.disk().fail_after(Some(0));
    let outcome = pair(&a, &b, &shown(&a), PairOptions::default()).await;
    assert!(
        matches!(outcome, Err(MembershipError::Refused(softbus_core::ErrorCode::Storage))),
        "{outcome:?}"
    );
    assert_eq!(trusts(&a, 2), None);
}

/// A link that `opener` has made, and its name there.
fn link(opener: &Keeper) -> (PairPassword, [u8; 8]) {
    let password = PairPassword::ticket(&[9; 16]);
    let softbus_core::wire::pair::Password::Ticket(name) = password.which else { panic!() };
    let expires = opener.wall().after(Duration::from_secs(600));
    let (circle, grant) = (None, None);
    let record = shelf::TicketRecord { secret: [9; 16], expires, wrong: 0, circle, grant, join: false };
    opener.write().tickets.insert(name, record);
    (password, name)
}

/// Both sides over a channel on which each message is what `tap` makes of it, if anything; the enterer's outcome. The
/// tap is told whether the opener says it. Each side has a channel of its own, so each its binding, the opener's first.
async fn pair_tapped(
    opener: &Keeper,
    enterer: &Arc<Keeper>,
    password: PairPassword,
    bindings: [Binding; 2],
    mut tap: impl AsyncFnMut(bool, Vec<u8>) -> Option<Vec<u8>>,
) -> Result<Paired, MembershipError> {
    let (mut there, mut tap_a) = pipe();
    let (mut here, mut tap_b) = pipe();
    let answering = opener.answer_pairing(&mut there, bindings[0]);
    let entering = enterer.enter_pairing(&mut here, bindings[1], password, PairOptions::default());
    let tapping = async {
        loop {
            let (says, bytes) = tokio::select! {
                biased;
                Some(bytes) = tap_a.1.recv() => (true, bytes),
                Some(bytes) = tap_b.1.recv() => (false, bytes),
                else => std::future::pending().await,
            };
            if let Some(bytes) = tap(says, bytes).await {
                drop(if says { &tap_b } else { &tap_a }.0.send(bytes).await);
            }
        }
    };
    let both = async { tokio::join!(answering, entering).1 };
    tokio::select! { biased; outcome = both => outcome, () = tapping => unreachable!() }
}

/// `enterer` pairs with `opener` through somebody in the middle, who hands every message through.
async fn pair_through_the_middle(
    opener: &Keeper,
    enterer: &Arc<Keeper>,
    password: PairPassword,
) -> Result<Paired, MembershipError> {
    let towards_a = Binding { opener: opener.id(), enterer: id(3), exporter: [1; 32] };
    let towards_b = Binding { opener: id(3), enterer: enterer.id(), exporter: [2; 32] };
    pair_tapped(opener, enterer, password, [towards_a, towards_b], async |_, bytes| Some(bytes)).await
}

#[tokio::test(start_paused = true)]
async fn a_third_device_in_the_middle_fails() {
    let world = World::new(6);
    let (_ha, a, _hb, b) = two(&world).await;
    a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    let pin = shown(&a);
    let outcome = pair_through_the_middle(&a, &b, PairPassword::pin(&pin)).await;
    assert!(matches!(outcome, Err(MembershipError::ThirdDevice)), "{outcome:?}");
    assert!(trusts(&a, 2).is_none() && trusts(&a, 3).is_none() && b.circles().circles.is_empty());
    assert!(matches!(&*a.pairing().borrow(), PairingState::Failed { .. }));
    // The PIN is burnt.
    let outcome = pair(&a, &b, &pin, PairOptions::default()).await;
    assert!(matches!(outcome, Err(MembershipError::NotOpen)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_third_device_in_the_middle_of_a_link_leaves_the_pin_alone() {
    let world = World::new(6);
    let (_ha, a, _hb, b) = two(&world).await;
    let c = keeper(&world.host("c"), 4).await;
    a.found("home").await.unwrap();
    let (password, name) = link(&a);
    // Nothing else is shown: its user is told.
    let outcome = pair_through_the_middle(&a, &b, password.clone()).await;
    assert!(matches!(outcome, Err(MembershipError::ThirdDevice)), "{outcome:?}");
    assert!(matches!(&*a.pairing().borrow(), PairingState::Failed { .. }));
    a.open_pairing(PairOptions::default()).await.unwrap();
    let pin = shown(&a);
    let outcome = pair_through_the_middle(&a, &b, password).await;
    assert!(matches!(outcome, Err(MembershipError::ThirdDevice)), "{outcome:?}");
    assert_eq!(a.read().tickets[&name].wrong, 2, "each try is counted");
    assert!(trusts(&a, 2).is_none() && trusts(&a, 3).is_none() && b.circles().circles.is_empty());
    assert_eq!(shown(&a), pin, "it is another device's");
    pair(&a, &c, &pin, PairOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pin_is_used_once_expires_and_can_be_cancelled() {
    let world = World::new(7);
    let (_ha, a, _hb, b) = two(&world).await;
    let c = keeper(&world.host("c"), 3).await;
    a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    let pin = shown(&a);
    pair(&a, &b, &pin, PairOptions::default()).await.unwrap();
    let reuse = pair(&a, &c, &pin, PairOptions::default()).await;
    assert!(matches!(reuse, Err(MembershipError::NotOpen)), "{reuse:?}");

    a.open_pairing(PairOptions::default()).await.unwrap();
    let pin = shown(&a);
    tokio::time::sleep(Duration::from_secs(61)).await;
    let late = pair(&a, &c, &pin, PairOptions::default()).await;
    assert!(matches!(late, Err(MembershipError::Expired)), "{late:?}");
    a.let_time_pass().await;
    assert_eq!(*a.pairing().borrow(), PairingState::Expired);

    a.open_pairing(PairOptions::default()).await.unwrap();
    let pin = shown(&a);
    a.close_pairing(false).await.unwrap();
    assert_eq!(*a.pairing().borrow(), PairingState::Cancelled);
    let closed = pair(&a, &c, &pin, PairOptions::default()).await;
    assert!(matches!(closed, Err(MembershipError::NotOpen)), "{closed:?}");

    // Cancelled in the middle of it: the enterer has begun, but not confirmed yet.
    a.open_pairing(PairOptions::default()).await.unwrap();
    let (mut there, mut here) = pipe();
    let bound = binding(&a, &c);
    let answering = a.answer_pairing(&mut there, bound);
    let (_, start) = softbus_trust::pairing::Enterer::start(&PairPassword::pin(&shown(&a)), bound, [1; 32]);
    let entering = async {
        here.say(&start).await.unwrap();
        let Pair::Share(_) = here.hear().await.unwrap() else { panic!() };
        a.close_pairing(false).await.unwrap();
        here.hear::<Pair>().await.unwrap()
    };
    let ((), told) = tokio::join!(answering, entering);
    assert_eq!(told, Pair::Refusal(Refusal::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn the_admission_is_on_disk_before_it_is_sent_and_a_lost_welcome_is_said_again() {
    let world = World::new(8);
    let (ha, a, _hb, b) = two(&world).await;
    let circle = a.found("home").await.unwrap().circle;
    a.open_pairing(PairOptions::default()).await.unwrap();
    let pin = shown(&a);
    let (mut there, mut tap_a) = pipe();
    let (mut tap_b, mut here) = pipe();
    let bound = binding(&a, &b);
    let answering = a.answer_pairing(&mut there, bound);
    let entering = b.enter_pairing(&mut here, bound, PairPassword::pin(&pin), PairOptions::default());
    // Hands everything on until the circle is sent; then the opener's power is cut and nothing arrives.
    let tap = async {
        loop {
            tokio::select! {
                biased;
                Some(bytes) = tap_a.1.recv() => {
                    if softbus_core::peek(&bytes).unwrap().0.kind == Welcome::KIND {
                        ha.crash();
                        return;
                    }
                    drop(tap_b.0.send(bytes).await);
                }
                Some(bytes) = tap_b.1.recv() => drop(tap_a.0.send(bytes).await),
            }
        }
    };
    tokio::select! {
        biased;
        () = tap => {}
        _ = async { tokio::join!(answering, entering) } => panic!("it went through"),
    }
    ha.restart();
    let a = keeper(&ha, 1).await;
    assert_eq!(trusts(&a, 2), Some(Role::Member));
    assert!(b.circles().circles.is_empty());
    a.open_pairing(PairOptions::default()).await.unwrap();
    let statements = a.circles().circles[&circle].statements;
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    assert_eq!(a.circles().circles[&circle].statements, statements, "nothing new had to be said");
    assert_eq!(trusts(&b, 1), Some(Role::Owner));
}

#[tokio::test(start_paused = true)]
async fn a_joiner_killed_before_it_stored_the_circle_is_paired_by_pairing_again() {
    let world = World::new(16);
    let (_ha, a, hb, b) = two(&world).await;
    let circle = a.found("home").await.unwrap().circle;
    a.open_pairing(PairOptions::default()).await.unwrap();
    let pin = shown(&a);
    let (mut there, mut tap_a) = pipe();
    let (mut tap_b, mut here) = pipe();
    let bound = binding(&a, &b);
    let answering = a.answer_pairing(&mut there, bound);
    let entering = b.enter_pairing(&mut here, bound, PairPassword::pin(&pin), PairOptions::default());
    // The joiner loses power when the circle comes.
    let power = hb.clone();
    let tap = async move {
        loop {
            tokio::select! {
                biased;
                Some(bytes) = tap_a.1.recv() => {
                    if softbus_core::peek(&bytes).unwrap().0.kind == Welcome::KIND {
                        power.crash();
                        // What it would have said never comes.
                        return drop((tap_a, tap_b));
                    }
                    drop(tap_b.0.send(bytes).await);
                }
                Some(bytes) = tap_b.1.recv() => drop(tap_a.0.send(bytes).await),
            }
        }
    };
    let killed = async {
        tokio::select! {
            biased;
            () = tap => {}
            _ = entering => panic!("it went through"),
        }
    };
    tokio::join!(answering, killed);
    let PairingState::Failed { reason } = a.pairing().borrow().clone() else { panic!() };
    assert!(reason.contains("was admitted") && reason.contains("pair with it again"), "{reason}");
    hb.restart();
    let b = keeper(&hb, 2).await;
    assert!(b.circles().circles.is_empty());
    assert_eq!(trusts(&a, 2), Some(Role::Member));
    let statements = a.circles().circles[&circle].statements;
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    assert_eq!(a.circles().circles[&circle].statements, statements, "nothing new had to be said");
    assert_eq!(a.circles(), Arc::new(softbus_trust::CirclesView { me: id(1), ..(*b.circles()).clone() }));
    assert!(matches!(&*a.pairing().borrow(), PairingState::Paired { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_words_of_a_circle_founded_on_the_way_are_never_lost() {
    let world = World::new(13);
    let (_ha, a, hb, b) = two(&world).await;
    a.open_pairing(PairOptions::default()).await.unwrap();
    // The circle that the enterer founds never arrives.
    let tap = async |opener: bool, bytes: Vec<u8>| {
        let welcome = softbus_core::peek(&bytes).unwrap().0.kind == Welcome::KIND;
        (opener || !welcome).then_some(bytes)
    };
    let bindings = [binding(&a, &b); 2];
    let outcome = pair_tapped(&a, &b, PairPassword::pin(&shown(&a)), bindings, tap).await;
    let Err(MembershipError::Alone { founded, .. }) = outcome else { panic!("{outcome:?}") };
    let b = crash(&hb, 2).await;
    b.recover(Some(founded.circle), &founded.recovery_words, vec![]).await.unwrap();
    // The other one may be paired after all.
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    assert_eq!(trusts(&a, 2), Some(Role::Owner));
}

#[tokio::test(start_paused = true)]
async fn a_link_tried_by_two_at_once_pairs_one() {
    let world = World::new(15);
    let (_ha, a, _hb, b) = two(&world).await;
    let c = keeper(&world.host("c"), 3).await;
    a.found("home").await.unwrap();
    let (password, _) = link(&a);

    let ((mut a1, mut b1), (mut a2, mut c1)) = (pipe(), pipe());
    let (first, second) = (binding(&a, &b), binding(&a, &c));
    let (_, _, one, other) = tokio::join!(
        a.answer_pairing(&mut a1, first),
        a.answer_pairing(&mut a2, second),
        b.enter_pairing(&mut b1, first, password.clone(), PairOptions::default()),
        c.enter_pairing(&mut c1, second, password.clone(), PairOptions::default()),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert!(trusts(&a, 2).is_some() != trusts(&a, 3).is_some());
    assert!(a.read().tickets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn cancelled_after_the_proof_admits_nobody() {
    let world = World::new(14);
    let (_ha, a, _hb, b) = two(&world).await;
    a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    // Right after the opener has proven itself, its user cancels.
    let tap = async |opener: bool, bytes: Vec<u8>| {
        if opener && let Ok(Pair::Confirm(_)) = softbus_core::decode(&bytes) {
            assert_eq!(*a.pairing().borrow(), PairingState::Settling { peer: id(2) });
            a.close_pairing(false).await.unwrap();
        }
        Some(bytes)
    };
    let bindings = [binding(&a, &b); 2];
    let outcome = pair_tapped(&a, &b, PairPassword::pin(&shown(&a)), bindings, tap).await;
    assert!(matches!(outcome, Err(MembershipError::Cancelled)), "{outcome:?}");
    assert_eq!(*a.pairing().borrow(), PairingState::Cancelled);
    assert!(trusts(&a, 2).is_none() && b.circles().circles.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_false_opener_cannot_give_a_circle_that_does_not_admit() {
    let world = World::new(9);
    let (_ha, a, _hb, b) = two(&world).await;
    a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    // The statements that admit are left out on the way.
    let tap = async |opener: bool, bytes: Vec<u8>| match softbus_core::decode::<Welcome>(&bytes) {
        Ok(Welcome::Part { circle, mut statements, more, secret }) if opener => {
            statements.truncate(1);
            Some(softbus_core::encode(&Welcome::Part { circle, statements, more, secret }).unwrap())
        }
        _ => Some(bytes),
    };
    let bindings = [binding(&a, &b); 2];
    let outcome = pair_tapped(&a, &b, PairPassword::pin(&shown(&a)), bindings, tap).await;
    assert!(matches!(outcome, Err(MembershipError::Protocol(_))), "{outcome:?}");
    assert!(b.circles().circles.is_empty());
}

#[tokio::test(start_paused = true)]
async fn hostile_messages_end_a_pairing_and_count_nothing() {
    let world = World::new(10);
    let (_ha, a, _hb, b) = two(&world).await;
    a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    let bound = binding(&a, &b);
    let no_point = (0..=u8::MAX)
        .map(|n| [n; 32])
        .find(|share| {
            let start = softbus_core::wire::pair::Start {
                password: softbus_core::wire::pair::Password::Pin,
                share: *share,
            };
            let password = PairPassword::pin(&shown(&a));
            softbus_trust::pairing::Opener::new(bound, [1; 32]).on_start(&start, &password).is_err()
        })
        .unwrap();
    for first in [
        Pair::Joined,
        Pair::Share([1; 32]),
        Pair::Start(softbus_core::wire::pair::Start {
            password: softbus_core::wire::pair::Password::Pin,
            share: no_point,
        }),
        Pair::Start(softbus_core::wire::pair::Start {
            password: softbus_core::wire::pair::Password::Ticket([1; 8]),
            share: [1; 32],
        }),
    ] {
        let (mut there, mut here) = pipe();
        here.say(&first).await.unwrap();
        a.answer_pairing(&mut there, bound).await;
        assert!(matches!(here.hear().await.unwrap(), Pair::Refusal(Refusal::Protocol | Refusal::Expired)));
    }
    for garbage in [vec![], vec![0; 7], vec![0xff; 4000]] {
        let (mut there, here) = pipe();
        here.0.send(garbage).await.unwrap();
        a.answer_pairing(&mut there, bound).await;
    }
    // One that says nothing at all holds its place for a bounded time.
    let (mut there, _here) = pipe();
    tokio::time::timeout(Duration::from_secs(15), a.answer_pairing(&mut there, bound)).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_persons_wishes_and_their_errors() {
    let world = World::new(11);
    let (ha, a, _hb, b) = two(&world).await;
    assert!(matches!(a.remove(None, id(2)).await, Err(MembershipError::NoCircleYet)));
    let founded = a.found("home").await.unwrap();
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    assert!(matches!(b.remove(None, id(1)).await, Err(MembershipError::NotOwner)));
    assert!(matches!(a.remove(None, id(7)).await, Err(MembershipError::NotMember(_))));
    assert!(matches!(a.leave(None, false).await, Err(MembershipError::LastOwner)));
    let member = Grant { role: Role::Member, expires: None, services: Default::default() };
    assert!(matches!(a.set_role(None, id(1), member.clone()).await, Err(MembershipError::LastOwner)));
    assert!(matches!(b.set_role(None, id(1), member).await, Err(MembershipError::NotOwner)));
    let short = Some(Duration::from_secs(3600));
    assert!(matches!(a.renew(None, id(2), short).await, Err(MembershipError::BadGrant(_))));
    a.renew(None, id(2), None).await.unwrap();
    let owner = Grant { role: Role::Owner, expires: None, services: Default::default() };
    let soon = a.wall().after(SHORTEST_GRANT);
    let ends = |role, expires| Grant { role, expires: Some(expires), services: Default::default() };
    a.set_role(None, id(2), ends(Role::Member, soon)).await.unwrap();
    ha.clock().jump_wall(12 * 3_600_000);
    let nearer = ends(Role::Owner, WallMs(soon.0 - 1));
    assert!(matches!(a.set_role(None, id(2), nearer).await, Err(MembershipError::BadGrant(_))));
    a.set_role(None, id(2), ends(Role::Guest, soon)).await.expect("an end that is there may stay");
    ha.clock().jump_wall(-12 * 3_600_000);
    a.set_role(None, id(2), owner.clone()).await.unwrap();
    assert_eq!(trusts(&a, 2), Some(Role::Owner));
    a.replace(None, id(2), id(5), owner).await.unwrap();
    assert_eq!((trusts(&a, 2), trusts(&a, 5)), (None, Some(Role::Owner)));
    let secret = a.tag_secrets();
    assert_eq!(
        (secret.len(), secret[0].current, secret[1].current),
        (2, true, false),
        "a removal makes a new secret"
    );
    a.remove(None, id(5)).await.unwrap();
    // Rules outlive a restart.
    let camera = "camera/1".parse().unwrap();
    let only_owners = softbus_trust::Rule { least: Some(Role::Owner), ..Default::default() };
    a.set_rule("camera", only_owners).await.unwrap();
    let a = crash(&ha, 1).await;
    assert_eq!(a.rules().iter().count(), 1);
    assert!(a.may_open(&id(2), &camera).is_err());
    assert!(matches!(a.set_rule("circle", Default::default()).await, Err(MembershipError::Access(_))));
    // b has not heard that it was replaced; it has the words, and takes the circle over.
    let words = founded.recovery_words;
    let bad = words.split(' ').rev().collect::<Vec<_>>().join(" ");
    assert!(matches!(b.recover(None, &bad, vec![]).await, Err(MembershipError::RecoveryWords(_))));
    b.recover(None, &words, vec![]).await.unwrap();
    assert_eq!(trusts(&b, 1), None, "other owners are removed");
    assert!(b.circles().circles[&founded.circle].is_owner(&id(2), b.wall()));
    for n in 1..CIRCLES {
        b.found(&format!("circle {n}")).await.unwrap();
    }
    assert!(matches!(b.found("one too many").await, Err(MembershipError::Limit(_))));
    assert!(matches!(b.leave(None, false).await, Err(MembershipError::WhichCircle(CIRCLES))));
    b.leave(Some(founded.circle), false).await.unwrap();
    b.found("in its place").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_there_may_be_kept_while_it_is_to_come() {
    let world = World::new(19);
    let (ha, a, _hb, b) = two(&world).await;
    let circle = a.found("home").await.unwrap().circle;
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    let end = a.wall().after(SHORTEST_GRANT);
    let ends = |role, end| Grant { role, expires: Some(end), services: Default::default() };
    a.set_role(None, id(2), ends(Role::Guest, end)).await.unwrap();
    ha.clock().jump_wall(12 * 3_600_000);
    // A lost device that has less than a day left: the new one gets what it had, and no other end as near.
    let nearer = a.replace(None, id(2), id(5), ends(Role::Guest, WallMs(end.0 - 1))).await;
    assert!(matches!(nearer, Err(MembershipError::BadGrant(_))), "{nearer:?}");
    a.replace(None, id(2), id(5), ends(Role::Guest, end)).await.unwrap();
    assert_eq!((trusts(&a, 2), trusts(&a, 5)), (None, Some(Role::Guest)));

    // Its time is over: it gains nothing by a word that would not count, but may lose what it has.
    let soon = a.wall().after(SHORTEST_GRANT);
    a.set_role(None, id(5), ends(Role::Member, soon)).await.unwrap();
    ha.clock().jump_wall(25 * 3_600_000);
    for role in [Role::Owner, Role::Member] {
        let over = a.set_role(None, id(5), ends(role, soon)).await;
        assert!(matches!(over, Err(MembershipError::BadGrant(_))), "{over:?}");
    }
    let over = a.replace(None, id(5), id(6), ends(Role::Member, soon)).await;
    assert!(matches!(over, Err(MembershipError::BadGrant(_))), "{over:?}");
    a.set_role(None, id(5), ends(Role::Guest, soon)).await.unwrap();
    assert_eq!(trusts(&a, 5), None);

    // To step down, one makes another device owner for as long as one would be it.
    let plain = Grant { role: Role::Member, expires: None, services: Default::default() };
    assert!(matches!(a.set_role(None, id(1), plain.clone()).await, Err(MembershipError::LastOwner)));
    assert!(matches!(a.renew(None, id(1), Some(SHORTEST_GRANT)).await, Err(MembershipError::LastOwner)));
    let heir = Grant { role: Role::Owner, ..plain.clone() };
    a.set_role(None, id(5), heir).await.unwrap();
    a.set_role(None, id(1), plain).await.unwrap();
    let view = a.circles();
    assert!(
        view.circles[&circle].is_owner(&id(5), a.wall()) && !view.circles[&circle].is_owner(&id(1), a.wall())
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_while_the_other_owner_is_removed_is_the_last_owner() {
    let world = World::new(20);
    let (_ha, a, _hb, b) = two(&world).await;
    let circle = a.found("home").await.unwrap().circle;
    a.open_pairing(PairOptions::default()).await.unwrap();
    pair(&a, &b, &shown(&a), PairOptions::default()).await.unwrap();
    let grant = |role| Grant { role, expires: None, services: Default::default() };
    a.set_role(None, id(2), grant(Role::Owner)).await.unwrap();
    let third =
        softbus_trust::circle::Act::Admit { device: id(3), grant: grant(Role::Member), replaces: None };
    let admitted = a.state_act(circle, third).await.unwrap();
    a.publish(admitted);
    let (removed, left) = tokio::join!(a.remove(None, id(2)), a.leave(None, false));
    removed.unwrap();
    assert!(matches!(left, Err(MembershipError::LastOwner)), "{left:?}");
    assert_eq!((trusts(&a, 2), trusts(&a, 3)), (None, Some(Role::Member)));
}

#[test]
fn waiting_words_that_end_oddly_are_read_the_same_again() {
    let id = softbus_core::CircleId([7; 32]);
    for end in ["", "\r", "\r\n", " \t\n", "\u{b}"] {
        assert!(words::read_words(format!("{id} legal winner{end}").as_bytes()), "{end:?}");
    }
}
