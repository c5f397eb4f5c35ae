//! Calls, and what comes of them.
#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;

const DONE: Outcome = Outcome::Done(Errno::Success);
const MEMORY: usize = 1 << 20;

struct World {
    bus: Bus,
    memory: Vec<u8>,
    time: u64,
}

impl World {
    fn new(services: &[&str], inference: bool) -> Self {
        let services = services.iter().map(|name| name.parse().unwrap()).collect();
        let bus = Bus::new(Grants { services, inference }).unwrap();
        Self { bus, memory: vec![0; MEMORY], time: 1000 }
    }

    /// Its state told and read again, as when it moves.
    fn moved(mut self) -> Self {
        let bytes = postcard::to_allocvec(&self.bus).unwrap();
        let read = postcard::from_bytes::<Bus>(&bytes).unwrap().sound().unwrap();
        let read = read.granted(self.bus.grants.clone()).unwrap();
        assert!(read == self.bus, "what was read is not what was saved");
        self.bus = read;
        self
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> (u32, u32) {
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        (at as u32, bytes.len() as u32)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.memory[at..at + 4].try_into().unwrap())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Outcome {
        let (key, value) = (self.put(0, key), self.put(1000, value));
        self.bus.kv_set(&Guest::new(&mut self.memory), key, value)
    }

    fn get(&mut self, key: &[u8], room: u32) -> (Outcome, Vec<u8>) {
        let key = self.put(0, key);
        let came = self.bus.kv_get(&mut Guest::new(&mut self.memory), key, (200_000, room), 999_000);
        let len = self.u32(999_000) as usize;
        (came, if came == DONE { self.memory[200_000..200_000 + len].to_vec() } else { vec![0; len] })
    }

    fn next(&mut self, after: &[u8]) -> Result<Vec<u8>, Outcome> {
        let after = self.put(0, after);
        match self.bus.kv_next(&mut Guest::new(&mut self.memory), after, (500, 300), 900) {
            DONE => Ok(self.memory[500..500 + self.u32(900) as usize].to_vec()),
            other => Err(other),
        }
    }

    fn open(&mut self, service: &str) -> Result<u32, Outcome> {
        let service = self.put(0, service.as_bytes());
        match self.bus.channel_open(&mut Guest::new(&mut self.memory), service, 900) {
            DONE => Ok(self.u32(900)),
            other => Err(other),
        }
    }

    fn send(&mut self, channel: u32, message: &[u8]) -> Outcome {
        let message = self.put(0, message);
        self.bus.channel_send(&Guest::new(&mut self.memory), self.time, channel, message)
    }

    fn recv(&mut self, channel: u32, room: u32, timeout: u64) -> Result<Vec<u8>, Outcome> {
        let guest = &mut Guest::new(&mut self.memory);
        match self.bus.channel_recv(guest, self.time, channel, ((300_000, room), 900), timeout) {
            DONE => Ok(self.memory[300_000..300_000 + self.u32(900) as usize].to_vec()),
            other => Err(other),
        }
    }

    fn infer(&mut self, prompt: &str, room: u32, timeout: u64) -> Result<(Vec<u8>, u32), Outcome> {
        let prompt = self.put(0, prompt.as_bytes());
        let guest = &mut Guest::new(&mut self.memory);
        match self.bus.infer(guest, self.time, prompt, ((300_000, room), 900), timeout) {
            DONE => {
                let len = self.u32(900);
                Ok((self.memory[300_000..300_000 + len.min(room) as usize].to_vec(), len))
            }
            other => Err(other),
        }
    }
}

fn is(errno: Errno) -> Outcome {
    Outcome::Done(errno)
}

#[test]
fn a_map_keeps_what_is_set_in_order_and_moves() {
    let mut world = World::new(&[], false);
    for key in ["b", "a", "c", "ab"] {
        assert_eq!(world.set(key.as_bytes(), key.repeat(3).as_bytes()), DONE);
    }
    assert_eq!(world.set(b"c", b""), DONE);
    let mut world = world.moved();
    assert_eq!(world.get(b"ab", 6), (DONE, b"ababab".to_vec()));
    assert_eq!(world.get(b"ab", 5), (is(Errno::Overflow), vec![0; 6]));
    assert_eq!(world.get(b"c", 0), (DONE, vec![]));
    assert_eq!(world.get(b"d", 10).0, is(Errno::NoEntry));
    let (mut at, mut seen) = (Vec::new(), Vec::new());
    while let Ok(key) = world.next(&at) {
        seen.push(String::from_utf8(key.clone()).unwrap());
        let (key_at, len) = world.put(0, &key);
        assert_eq!(world.bus.kv_delete(&Guest::new(&mut world.memory), key_at, len), DONE);
        at = key;
    }
    assert_eq!(seen, ["a", "ab", "b", "c"]);
    assert_eq!((world.bus.map_bytes, world.next(b"")), (0, Err(is(Errno::NoEntry))));
}

#[test]
fn a_map_has_bounds() {
    let mut world = World::new(&[], false);
    assert_eq!(world.set(b"", b"x"), is(Errno::Invalid));
    assert_eq!(world.set(&[1; limits::KEY_BYTES + 1], b"x"), is(Errno::NameTooLong));
    assert_eq!(world.set(b"x", &vec![0; limits::VALUE_BYTES + 1]), is(Errno::FileTooBig));
    let longest = vec![7; limits::VALUE_BYTES];
    let mut number = 0u32;
    while world.set(&number.to_be_bytes(), &longest) == DONE {
        number += 1;
    }
    assert!(world.bus.map_bytes <= limits::MAP_BYTES);
    assert_eq!(world.set(&number.to_be_bytes(), &longest), is(Errno::NoSpace));
    // One that is there is replaced, and what it took is free again.
    assert_eq!(world.set(&0u32.to_be_bytes(), b"short"), DONE);
    assert_eq!(world.set(&number.to_be_bytes(), &longest), DONE);
    let most = limits::MAP_BYTES - world.bus.map_bytes - 4;
    assert_eq!(world.set(&u32::MAX.to_be_bytes(), &longest[..most]), DONE);
    assert_eq!(world.set(&0u32.to_be_bytes(), b"shorte"), is(Errno::NoSpace));
    let mut world = World::new(&[], false);
    for number in 0..limits::KEYS as u32 {
        assert_eq!(world.set(&number.to_be_bytes(), b""), DONE);
    }
    assert_eq!(world.set(b"one more", b""), is(Errno::NoSpace));
    assert_eq!(world.set(&9u32.to_be_bytes(), b"y"), DONE);
}

#[test]
fn answers_come_in_the_order_of_their_messages_and_move() {
    let mut world = World::new(&["echo/1", "lamp/2"], false);
    let (one, two) = (world.open("echo/1").unwrap(), world.open("lamp/2").unwrap());
    assert_eq!((one, two), (0, 1));
    assert_eq!(world.recv(one, 10, 0), Err(is(Errno::NoMessage)));
    for (channel, message) in [(one, "a"), (two, "b"), (one, "c")] {
        assert_eq!(world.send(channel, message.as_bytes()), DONE);
    }
    assert_eq!(world.bus.unanswered(), [1, 3, 2]);
    assert_eq!(world.recv(one, 10, 0), Err(is(Errno::TimedOut)));
    assert_eq!(world.recv(one, 10, 500), Err(Outcome::Wait { until: Some(1500) }));
    let mut world = world.moved();
    // What is left of its time.
    world.time = 1499;
    assert_eq!(world.recv(one, 10, 500), Err(Outcome::Wait { until: Some(1500) }));
    world.bus.answered(3, Ok(b"third".to_vec()));
    assert_eq!(world.recv(one, 10, 500), Err(Outcome::Wait { until: Some(1500) }), "its turn has not come");
    assert!(world.bus.asked_of(1, [5; 32]) && !world.bus.asked_of(1, [5; 32]));
    world.bus.answered(1, Ok(b"first".to_vec()));
    let mut world = world.moved();
    assert_eq!(world.recv(one, 4, 500), Err(is(Errno::Overflow)));
    assert_eq!(world.u32(900), 5);
    assert_eq!(world.recv(one, 5, 500), Ok(b"first".to_vec()));
    assert_eq!(world.recv(one, 5, 500), Ok(b"third".to_vec()));
    assert_eq!(world.recv(one, 5, 500), Err(is(Errno::NoMessage)));
    // The channel asks whoever it asked before; another one does not.
    assert_eq!(world.send(one, b"d"), DONE);
    let (target, bytes, before) = world.bus.question(4).unwrap();
    assert_eq!((target, bytes), (Target::Service("echo/1".parse().unwrap()), &b"d"[..]));
    assert_eq!((before, world.bus.question(2).unwrap().2), (Some([5; 32]), None));
    world.bus.answered(2, Err(Failed::Refused));
    // What comes again changes nothing.
    world.bus.answered(2, Ok(b"late".to_vec()));
    assert_eq!(world.recv(two, 5, 500), Err(is(Errno::Access)));
    // What is closed is asked no more, and its number is not given again.
    assert_eq!(world.bus.channel_close(one), DONE);
    assert_eq!(world.bus.unanswered(), []);
    assert_eq!(world.send(two, b"e"), DONE);
    assert_eq!(world.bus.unanswered(), [5]);
    assert_eq!(world.send(one, b"e"), is(Errno::BadFd));
    assert_eq!(world.recv(one, 5, 0), Err(is(Errno::BadFd)));
    assert_eq!(world.bus.channel_close(one), is(Errno::BadFd));
}

#[test]
fn what_nobody_answers_is_given_up() {
    let mut world = World::new(&["echo/1"], true);
    let channel = world.open("echo/1").unwrap();
    world.send(channel, b"a");
    let overdue = 1000 + limits::UNANSWERED_NS;
    assert_eq!(world.recv(channel, 10, u64::MAX), Err(Outcome::Wait { until: Some(overdue) }));
    world.time = overdue;
    assert_eq!(world.recv(channel, 10, u64::MAX), Err(is(Errno::HostUnreachable)));
    assert_eq!(world.recv(channel, 10, u64::MAX), Err(is(Errno::NoMessage)));
    // An answer that is too long is none.
    world.send(channel, b"b");
    world.bus.answered(2, Ok(vec![0; limits::MESSAGE_BYTES + 1]));
    assert_eq!(world.recv(channel, 10, 0), Err(is(Errno::MessageSize)));
    assert_eq!(world.recv(channel, 10, 0), Err(is(Errno::NoMessage)));
}

#[test]
fn nothing_is_asked_that_was_not_granted_nor_more_than_there_is_room_for() {
    let mut world = World::new(&["echo/1"], false);
    for service in ["task/1", "echo/2", "lamp/1"] {
        assert_eq!(world.open(service), Err(is(Errno::NotCapable)), "{service}");
    }
    for service in ["", "echo", "Echo/1", &"x".repeat(100)] {
        assert_eq!(world.open(service), Err(is(Errno::Invalid)), "{service}");
    }
    assert_eq!(world.open(&"x".repeat(5000)), Err(is(Errno::NameTooLong)));
    assert_eq!(world.infer("hello", 10, 0), Err(is(Errno::NotCapable)));
    let handles: Vec<u32> = (0..limits::CHANNELS).map(|_| world.open("echo/1").unwrap()).collect();
    assert_eq!(world.open("echo/1"), Err(is(Errno::TooManyFiles)));
    assert_eq!(world.bus.channel_close(handles[7]), DONE);
    assert_eq!(world.open("echo/1"), Ok(7));
    assert_eq!(world.send(0, &vec![0; limits::MESSAGE_BYTES + 1]), is(Errno::MessageSize));
    for number in 0..limits::MESSAGES {
        assert_eq!(world.send(number as u32 % 9, b"x"), DONE);
    }
    assert_eq!(world.send(0, b"x"), is(Errno::Again));
    let mut world = world.moved();
    world.bus.answered(1, Ok(Vec::new()));
    assert_eq!(world.send(0, b"x"), is(Errno::Again), "until it is taken");
    assert_eq!(world.recv(0, 0, 0), Ok(Vec::new()));
    assert_eq!(world.send(0, b"x"), DONE);
    let many = (0..=limits::GRANTS).map(|n| format!("s{n}/1").parse().unwrap()).collect();
    assert!(Bus::new(Grants { services: many, inference: false }).is_err());
}

#[test]
fn addresses_that_are_none_change_nothing() {
    let mut world = World::new(&["echo/1"], true);
    assert_eq!(world.set(b"key", b"value"), DONE);
    let channel = world.open("echo/1").unwrap();
    world.send(channel, b"a");
    world.bus.answered(1, Ok(b"answer".to_vec()));
    let before = world.bus.clone();
    world.memory[..3].copy_from_slice(b"key");
    let fault = is(Errno::Fault);
    let end = MEMORY as u32;
    for (at, len) in [(end, 1), (end - 1, 2), (u32::MAX, 1), (1, u32::MAX - 1)] {
        let (bus, memory) = (&mut world.bus, &mut world.memory);
        let guest = &mut Guest::new(memory);
        let far = (at, len.min(limits::KEY_BYTES as u32));
        let room = (at, len);
        if len <= 2 {
            assert_eq!(bus.kv_set(guest, far, (0, 1)), fault);
            assert_eq!(bus.kv_set(guest, (0, 3), far), fault);
            assert_eq!(bus.kv_delete(guest, far.0, far.1), fault);
            assert_eq!(bus.channel_open(guest, far, 900), fault);
            assert_eq!(bus.channel_send(guest, 0, channel, far), fault);
            assert_eq!(bus.kv_next(guest, far, (500, 10), 900), fault);
            assert_eq!(bus.infer(guest, 0, far, ((500, 10), 900), 0), fault);
        }
        assert_eq!(bus.kv_get(guest, (0, 3), room, 900), fault);
        assert_eq!(bus.kv_next(guest, (0, 0), room, 900), fault);
        assert_eq!(bus.channel_recv(guest, 0, channel, (room, 900), 0), fault);
        assert_eq!(bus.infer(guest, 0, (0, 3), (room, 900), 0), fault);
    }
    // Where lengths and handles are written.
    for at in [end - 3, u32::MAX - 2] {
        let guest = &mut Guest::new(&mut world.memory);
        assert_eq!(world.bus.kv_get(guest, (0, 3), (500, 10), at), fault);
        assert_eq!(world.bus.kv_next(guest, (0, 0), (500, 10), at), fault);
        assert_eq!(world.bus.channel_recv(guest, 0, channel, ((500, 10), at), 0), fault);
        assert_eq!(world.bus.infer(guest, 0, (0, 3), ((500, 10), at), 0), fault);
        let name = b"echo/1";
        world.memory[600..606].copy_from_slice(name);
        assert_eq!(world.bus.channel_open(&mut Guest::new(&mut world.memory), (600, 6), at), fault);
    }
    assert!(world.bus == before, "something changed");
    assert_eq!(world.recv(channel, 10, 0), Ok(b"answer".to_vec()));
}

#[test]
fn a_prompt_is_answered_once_and_moves() {
    let mut world = World::new(&[], true);
    assert_eq!(world.infer("hello", 3, 5000), Err(Outcome::Wait { until: Some(6000) }));
    assert_eq!(
        world.bus.question(1).map(|(target, bytes, _)| (target, bytes)),
        Some((Target::Inference, &b"hello"[..]))
    );
    let mut world = world.moved();
    assert_eq!(world.infer("hello", 3, 5000), Err(Outcome::Wait { until: Some(6000) }));
    assert_eq!(world.bus.unanswered(), [1], "it is one question");
    world.bus.answered(1, Ok(b"you, too".to_vec()));
    assert_eq!(world.infer("hello", 3, 5000), Ok((b"you".to_vec(), 8)));
    // The next is another one.
    assert_eq!(world.infer("again", 3, 5000), Err(Outcome::Wait { until: Some(6000) }));
    assert_eq!(world.bus.unanswered(), [2]);
    world.bus.answered(2, Err(Failed::NotSupported));
    assert_eq!(world.infer("again", 3, 5000), Err(is(Errno::NotSupported)));
    assert_eq!(world.infer("late", 3, 5000), Err(Outcome::Wait { until: Some(6000) }));
    world.time = 6000;
    assert_eq!(world.infer("late", 3, 5000), Err(is(Errno::TimedOut)));
    assert_eq!(world.bus.unanswered(), []);
}

#[test]
fn a_sleep_that_moves_ends_when_it_would_have_ended() {
    let mut world = World::new(&[], false);
    assert_eq!(world.bus.sleep(world.time, 700), Outcome::Wait { until: Some(1700) });
    let mut world = world.moved();
    assert_eq!(world.bus.sleep(1699, 700), Outcome::Wait { until: Some(1700) });
    assert_eq!(world.bus.sleep(1700, 700), DONE);
    assert_eq!(world.bus.sleep(1700, 0), DONE);
    assert_eq!(world.bus.sleep(1700, u64::MAX), Outcome::Wait { until: Some(u64::MAX) });
}

#[test]
fn a_line_of_the_log_stays_one_line() {
    let mut wasi = Wasi::new(&crate::wasi::Start { file_bytes: 0, ..Default::default() }).unwrap();
    let mut memory = b"two\r\nlines \xff".to_vec();
    memory.resize(8000, b'x');
    let guest = &Guest::new(&mut memory);
    assert_eq!(wasi.log(guest, 1, 0, 12), DONE);
    assert_eq!(wasi.log(guest, 5, 0, 5), is(Errno::Invalid));
    assert_eq!(wasi.log(guest, 0, 0, limits::LOG_BYTES + 1), is(Errno::MessageSize));
    assert_eq!(wasi.log(guest, 0, 7999, 2), is(Errno::Fault));
    let said = wasi.drain(crate::wasi::Stream::Stderr, usize::MAX).1;
    assert_eq!(String::from_utf8(said).unwrap(), "[warn] two  lines \u{fffd}\n");
    // It is full, and waits until somebody takes it away; no half of a line is said.
    let mut lines = 0;
    while wasi.log(guest, 2, 0, limits::LOG_BYTES) == DONE {
        lines += 1;
    }
    assert_eq!(wasi.log(guest, 2, 0, limits::LOG_BYTES), Outcome::Wait { until: None });
    let said = wasi.drain(crate::wasi::Stream::Stderr, usize::MAX).1;
    assert_eq!(said.iter().filter(|byte| **byte == b'\n').count(), lines);
    assert_eq!(wasi.log(guest, 2, 0, limits::LOG_BYTES), DONE);
}

#[test]
fn a_state_that_calls_cannot_make_is_refused() {
    let mut world = World::new(&["echo/1"], true);
    let channel = world.open("echo/1").unwrap();
    world.send(channel, b"a");
    world.send(channel, b"b");
    let good = world.moved().bus;
    let refused = |change: &dyn Fn(&mut Bus)| {
        let mut bus = good.clone();
        change(&mut bus);
        bus.sound().is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|bus| bus.last = 1), "a number that was not given");
    let none = Grants { services: BTreeSet::new(), inference: true };
    assert!(good.clone().granted(none).is_err(), "a channel that was not granted");
    assert!(refused(&|bus| drop(bus.map.insert(Vec::new(), Vec::new()))));
    assert!(refused(&|bus| drop(bus.map.insert(vec![0; 300], Vec::new()))));
    assert!(refused(&|bus| {
        let first = bus.channels[&0].messages[0].clone();
        bus.channels.get_mut(&0).unwrap().messages.push_back(first);
    }));
    assert!(refused(&|bus| {
        let twin = bus.channels[&0].clone();
        bus.channels.insert(9999, Channel { messages: Default::default(), ..twin });
    }));
}
