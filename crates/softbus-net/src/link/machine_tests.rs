use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn config(me: u8, boot: u8) -> LinkConfig {
    LinkConfig {
        me: DeviceId([me; 32]),
        boot: BootNonce([boot; 16]),
        peer: DeviceId([3 - me; 32]),
        versions: (1, 1),
        suspect_after: ms(1000),
        offline_after: ms(2000),
        seed: u64::from(boot),
    }
}

/// One connection between machine 0 (the smaller id) and machine 1, as the network sees it.
struct Wire {
    dialler: usize,
    /// What is under way to each side; `None` stands for the end of the acceptor's handshake.
    queues: [VecDeque<Option<Control>>; 2],
    /// Why each side will learn that it ended.
    ending: [Option<Option<ErrorCode>>; 2],
    /// Each side still knows it.
    open: [bool; 2],
}

/// Two machines and everything under way between them.
struct Home {
    machines: [LinkMachine; 2],
    boots: u8,
    now: Duration,
    wires: Vec<Wire>,
    dials: Vec<(usize, u64)>,
    ups: [usize; 2],
}

impl Home {
    fn new() -> Self {
        let machines = [LinkMachine::new(config(1, 1)), LinkMachine::new(config(2, 2))];
        let mut home =
            Self { machines, boots: 2, now: ms(0), wires: Vec::new(), dials: Vec::new(), ups: [0; 2] };
        for side in 0..2 {
            home.machines[side].want(ms(0), true, false);
            home.machines[side].addresses(ms(0), true, true);
        }
        home
    }

    fn act(&mut self, side: usize) {
        for action in self.machines[side].actions() {
            match action {
                Action::Dial { attempt } => self.dials.push((side, attempt)),
                Action::StopDialling => self.dials.retain(|(who, _)| *who != side),
                Action::Send { conn, message } => {
                    let wire = &mut self.wires[conn as usize];
                    assert!(wire.open[side], "sent on a closed connection");
                    wire.queues[1 - side].push_back(Some(message));
                }
                Action::Close { conn, code } => self.close(conn, side, code),
                Action::Drain { conn } => self.close(conn, side, ErrorCode::Superseded),
                Action::Up { .. } => self.ups[side] += 1,
                Action::Presence(_) | Action::Down { .. } => {}
            }
        }
    }

    fn close(&mut self, conn: ConnKey, side: usize, code: ErrorCode) {
        let wire = &mut self.wires[conn as usize];
        wire.open[side] = false;
        wire.queues[side].clear();
        wire.ending[side] = None;
        if wire.open[1 - side] {
            wire.ending[1 - side] = Some(Some(code));
        }
    }

    fn connect(&mut self, which: usize) {
        if self.dials.is_empty() {
            return;
        }
        let (side, attempt) = self.dials.remove(which % self.dials.len());
        let conn = self.wires.len() as ConnKey;
        let mut queues = [VecDeque::new(), VecDeque::new()];
        queues[1 - side].push_back(None);
        self.wires.push(Wire { dialler: side, queues, ending: [None; 2], open: [true; 2] });
        self.machines[side].connected(self.now, conn, Some(attempt));
        self.act(side);
    }

    fn fail_dial(&mut self, which: usize) {
        if self.dials.is_empty() {
            return;
        }
        let (side, attempt) = self.dials.remove(which % self.dials.len());
        self.machines[side].dial_failed(self.now, attempt, "x".into());
        self.act(side);
    }

    fn deliver(&mut self, conn: usize, side: usize) {
        let Some(wire) = self.wires.get_mut(conn) else { return };
        if !wire.open[side] {
            return;
        }
        match wire.queues[side].pop_front() {
            Some(None) => {
                assert_ne!(wire.dialler, side);
                self.machines[side].connected(self.now, conn as ConnKey, None);
            }
            Some(Some(message)) => {
                self.machines[side].heard(self.now, conn as ConnKey);
                self.machines[side].message(self.now, conn as ConnKey, message);
            }
            None => {}
        }
        self.act(side);
    }

    /// A close overtakes whatever the streams still carry.
    fn deliver_ending(&mut self, conn: usize, side: usize) {
        let Some(wire) = self.wires.get_mut(conn) else { return };
        if let Some(code) = wire.ending[side].take() {
            wire.open[side] = false;
            wire.queues[side].clear();
            self.machines[side].lost(self.now, conn as ConnKey, code, "lost".into());
            self.act(side);
        }
    }

    fn cut(&mut self, conn: usize) {
        if let Some(wire) = self.wires.get_mut(conn) {
            for side in 0..2 {
                if wire.open[side] {
                    wire.queues[side].clear();
                    wire.ending[side].get_or_insert(None);
                }
            }
        }
    }

    fn reboot(&mut self, side: usize) {
        self.boots += 1;
        self.machines[side] = LinkMachine::new(config(side as u8 + 1, self.boots));
        self.dials.retain(|(who, _)| *who != side);
        for wire in &mut self.wires {
            if wire.open[side] {
                wire.open[side] = false;
                wire.queues[side].clear();
                wire.ending[side] = None;
                // What the old boot sent may still arrive before the other side notices.
                if wire.open[1 - side] {
                    wire.ending[1 - side].get_or_insert(None);
                }
            }
        }
        self.machines[side].want(self.now, true, false);
        self.machines[side].addresses(self.now, true, true);
        self.act(side);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        for side in 0..2 {
            self.machines[side].tick(self.now);
            self.act(side);
        }
    }

    /// Nothing goes wrong any more.
    fn settle(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            for conn in 0..self.wires.len() {
                for side in 0..2 {
                    self.deliver_ending(conn, side);
                    while self.wires[conn].open[side] && !self.wires[conn].queues[side].is_empty() {
                        self.deliver(conn, side);
                    }
                    let alive = self.wires[conn].open == [true; 2] && self.wires[conn].ending == [None; 2];
                    if alive {
                        self.machines[side].heard(self.now, conn as ConnKey);
                        self.act(side);
                    }
                }
            }
            while !self.dials.is_empty() {
                self.connect(0);
            }
            self.advance(ms(50));
        }
    }

    fn assert_one_link(&self) {
        let current = self.machines[0].current().expect("machine 0 has a link");
        assert_eq!(Some(current), self.machines[1].current(), "both use the same connection");
        assert_eq!(self.machines[0].link(), self.machines[1].link(), "same link and generation");
        assert_eq!(self.wires[current as usize].open, [true; 2], "it is alive");
        for side in 0..2 {
            assert_eq!(self.machines[side].presence(), Presence::Online);
            assert_eq!(self.machines[side].conns(), 1, "and no other is left");
        }
    }
}

#[test]
fn the_smaller_id_dials_first() {
    let mut home = Home::new();
    home.advance(ms(10));
    assert_eq!(home.dials, [(0, 1)]);
    home.connect(0);
    home.settle(ms(1000));
    home.assert_one_link();
    assert_eq!(home.wires.len(), 1, "one connection was enough");
    assert_eq!(home.ups, [1, 1]);
}

#[test]
fn of_two_dials_at_once_the_smaller_ids_stays() {
    let mut home = Home::new();
    home.advance(ms(300));
    assert_eq!(home.dials, [(0, 1), (1, 1)]);
    home.connect(1); // the larger's gets through first
    home.connect(0);
    home.settle(ms(1000));
    home.assert_one_link();
    assert_eq!(home.wires[home.machines[0].current().unwrap() as usize].dialler, 0);
}

#[test]
fn a_dial_that_the_other_side_outran_ends_quietly() {
    let mut home = Home::new();
    home.advance(ms(300));
    home.connect(0);
    for _ in 0..4 {
        for side in [1, 0] {
            home.deliver(0, side);
        }
    }
    home.assert_one_link();
    assert!(home.dials.is_empty(), "the larger's dial was called off");
}

#[test]
fn a_restarted_peer_wins_over_its_old_connection() {
    let mut home = Home::new();
    home.settle(ms(500));
    home.assert_one_link();
    let (old_link, _) = home.machines[1].link().unwrap();
    // The larger restarts; the smaller has not noticed and holds a connection that ranks higher by itself.
    home.reboot(1);
    home.wires[0].ending[0] = None;
    home.advance(ms(300));
    assert_eq!(home.dials, [(1, 1)]);
    home.connect(0);
    home.settle(ms(500));
    home.assert_one_link();
    assert_ne!(home.machines[1].link().unwrap().0, old_link, "what was on the old link is over");
}

#[test]
fn silence_leads_to_a_redial_that_replaces_the_connection() {
    let mut home = Home::new();
    home.settle(ms(500));
    let before = home.machines[0].link().unwrap();
    for _ in 0..25 {
        home.advance(ms(100));
    }
    assert_eq!(home.machines[0].presence(), Presence::Offline);
    assert_eq!(home.machines[0].current(), Some(0), "it may yet come back");
    assert!(home.dials.contains(&(0, 2)));
    home.connect(0);
    home.settle(ms(2000));
    home.assert_one_link();
    let after = home.machines[0].link().unwrap();
    assert_eq!(after.0, before.0, "the link resumes");
    assert!(after.1 > before.1);
}

#[test]
fn the_listener_redials_when_its_address_changed_and_the_dialler_probes() {
    let mut home = Home::new();
    home.settle(ms(500));
    home.machines[1].moved(home.now);
    home.act(1);
    assert_eq!(home.dials, [(1, 1)], "the listener dials at once");
    home.connect(0);
    home.settle(ms(500));
    home.assert_one_link();
    assert_eq!(home.wires[1].dialler, 1);

    home.machines[1].moved(home.now);
    home.act(1);
    assert!(home.dials.is_empty(), "now it is the dialler and trusts migration");
    home.settle(ms(2000));
    assert_eq!(home.wires.len(), 2, "which worked");
    home.machines[1].moved(home.now);
    home.advance(ms(600));
    assert_eq!(home.dials.len(), 1, "unless nothing is heard");
}

#[test]
fn versions_that_do_not_meet_are_told() {
    for (theirs, code) in [((2, 3), ErrorCode::PeerTooNew), ((0, 0), ErrorCode::PeerTooOld)] {
        let mut home = Home::new();
        home.machines[1].config.versions = theirs;
        home.advance(ms(10));
        home.connect(0);
        home.deliver(0, 1);
        home.deliver(0, 1);
        let seen = home.wires[0].ending[0].expect("the acceptor closed").unwrap();
        let told = if code == ErrorCode::PeerTooNew { ErrorCode::PeerTooOld } else { ErrorCode::PeerTooNew };
        assert_eq!(seen, told, "seen from the other side");
        home.deliver_ending(0, 0);
        assert!(home.machines[0].last_down().is_some());
        home.advance(ms(5000));
        assert!(home.dials.is_empty(), "no use in trying again soon");
    }
}

#[test]
fn goodbye_sleep_and_rest_show() {
    for (code, presence) in [
        (ErrorCode::None, Presence::Offline),
        (ErrorCode::Sleeping, Presence::Asleep),
        (ErrorCode::Resting, Presence::Asleep),
        (ErrorCode::Removed, Presence::Offline),
        (ErrorCode::Expired, Presence::Offline),
    ] {
        let mut home = Home::new();
        home.settle(ms(500));
        home.machines[0].lost(home.now, 0, Some(code), "x".into());
        assert_eq!(home.machines[0].presence(), presence, "{code:?}");
        assert_eq!(home.machines[0].is_resting(), code == ErrorCode::Resting, "{code:?}");
    }
}

#[test]
fn who_sleeps_does_not_dial_until_it_wakes() {
    let mut home = Home::new();
    home.settle(ms(500));
    home.machines[0].set_sleep(60_000);
    home.machines[0].rest(home.now, ErrorCode::Sleeping);
    home.act(0);
    home.deliver_ending(0, 1);
    home.machines[0].addresses(home.now, true, true);
    home.machines[0].moved(home.now);
    home.advance(ms(30_000));
    assert!(home.dials.is_empty());
    home.machines[0].awake(home.now);
    home.act(0);
    assert_eq!(home.dials.len(), 1);
    home.settle(ms(1000));
    home.assert_one_link();
}

#[test]
fn dials_back_off_with_jitter() {
    let mut machine = LinkMachine::new(config(1, 1));
    machine.want(ms(0), true, false);
    machine.addresses(ms(0), true, true);
    let (mut now, mut waits) = (ms(0), Vec::new());
    for _ in 0..12 {
        machine.tick(now);
        let attempt = machine
            .actions()
            .into_iter()
            .find_map(|a| if let Action::Dial { attempt } = a { Some(attempt) } else { None })
            .expect("dials");
        machine.dial_failed(now, attempt, "x".into());
        let next = machine.next_timeout().unwrap();
        waits.push(next - now);
        now = next;
    }
    assert!(waits[0] >= ms(125) && waits[0] <= ms(375), "{waits:?}");
    assert!(waits[10] >= ms(15_000) && waits[11] <= ms(45_000), "{waits:?}");
    assert_ne!(waits[10], waits[11], "jitter");
    machine.addresses(now, true, true);
    assert_eq!(machine.next_timeout(), Some(now), "a new address is tried at once");
}

#[test]
fn a_flapping_connection_does_not_spin() {
    let mut home = Home::new();
    let mut dials = 0;
    while home.now < ms(20_000) {
        home.advance(ms(10));
        while !home.dials.is_empty() {
            dials += 1;
            home.connect(0);
        }
        for conn in 0..home.wires.len() {
            for _ in 0..4 {
                home.deliver(conn, 1);
                home.deliver(conn, 0);
            }
            home.cut(conn);
            home.deliver_ending(conn, 0);
            home.deliver_ending(conn, 1);
        }
    }
    assert!(dials < 40, "{dials} dials in 20 s");
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Connect(usize),
    FailDial(usize),
    Deliver(usize, usize),
    Ending(usize, usize),
    Cut(usize),
    Reboot(usize),
    Moved(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1u64..1500).prop_map(Op::Advance),
        6 => (0usize..3).prop_map(Op::Connect),
        1 => (0usize..3).prop_map(Op::FailDial),
        12 => (0usize..12, 0usize..2).prop_map(|(c, s)| Op::Deliver(c, s)),
        4 => (0usize..12, 0usize..2).prop_map(|(c, s)| Op::Ending(c, s)),
        1 => (0usize..12).prop_map(Op::Cut),
        1 => (0usize..2).prop_map(Op::Reboot),
        1 => (0usize..2).prop_map(Op::Moved),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is lost, late, reordered between connections or restarted: once it is calm, both sides use
    /// the same one connection, and stay with it.
    #[test]
    fn two_machines_converge(ops in proptest::collection::vec(op(), 0..120)) {
        let mut home = Home::new();
        for op in ops {
            match op {
                Op::Advance(by) => home.advance(ms(by)),
                Op::Connect(which) => home.connect(which),
                Op::FailDial(which) => home.fail_dial(which),
                Op::Deliver(conn, side) => home.deliver(conn, side),
                Op::Ending(conn, side) => home.deliver_ending(conn, side),
                Op::Cut(conn) => home.cut(conn),
                Op::Reboot(side) => home.reboot(side),
                Op::Moved(side) => {
                    home.machines[side].moved(home.now);
                    home.act(side);
                }
            }
        }
        home.settle(ms(100_000));
        home.assert_one_link();
        let wires = home.wires.len();
        home.settle(ms(60_000));
        home.assert_one_link();
        prop_assert_eq!(home.wires.len(), wires, "and then it is calm");
    }

    /// A peer that sends anything at any time is closed or ignored; nothing panics, nothing grows.
    #[test]
    fn a_hostile_peer_gets_nowhere(
        ops in proptest::collection::vec((0u64..4, 0u8..4, any::<u64>(), any::<u16>()), 0..200),
    ) {
        let mut machine = LinkMachine::new(config(1, 1));
        machine.want(ms(0), true, false);
        let mut now = ms(0);
        for (conn, what, number, version) in ops {
            now += ms(number % 700);
            let hello = Hello {
                versions: (version % 3, version / 7 % 3),
                boot: BootNonce([(number % 3) as u8; 16]),
                generation: number,
                sleep_interval_ms: number as u32,
                features: number,
            };
            match what {
                0 => machine.connected(now, conn, None),
                1 => machine.message(now, conn, Control::Hello(hello)),
                2 => {
                    let link = machine.link_id(hello.boot);
                    machine.message(now, conn, Control::Ack(HelloAck { version, link }));
                }
                _ => machine.message(now, conn, Control::Sleep(Sleep { interval_ms: number as u32 })),
            }
            machine.tick(now);
            machine.actions();
            prop_assert!(machine.conns() <= 4);
        }
    }
}
