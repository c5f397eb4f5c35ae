//! A program's calls, and what comes of them.
#![allow(clippy::unwrap_used, reason = "a test")]

use super::paths::Opening;
use super::*;

const NOW: Moment = Moment { monotonic: 5_000, wall: 1_700_000_000_000_000_000 };

fn later(ns: u64) -> Moment {
    Moment { monotonic: NOW.monotonic + ns, wall: NOW.wall + ns }
}

struct World {
    wasi: Wasi,
    memory: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let start = Start {
            args: vec!["prog".into(), "one".into()],
            env: vec!["A=b".into()],
            seed: [7; 32],
            file_bytes: 1 << 16,
        };
        Self { wasi: Wasi::new(&start).unwrap(), memory: vec![0; 1 << 16] }
    }

    /// Its state told and read again, as when it moves.
    fn moved(mut self) -> Self {
        let bytes = postcard::to_allocvec(&self.wasi).unwrap();
        self.wasi = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(postcard::to_allocvec(&self.wasi).unwrap(), bytes);
        self
    }

    fn text(&mut self, text: &str) -> (u32, u32) {
        self.memory[60_000..60_000 + text.len()].copy_from_slice(text.as_bytes());
        (60_000, text.len() as u32)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.memory[at..at + 4].try_into().unwrap())
    }

    fn open(&mut self, path: &str, oflags: u32, rights: u64) -> Result<u32, Errno> {
        let path = self.text(path);
        let opening = Opening { fd: 3, path, oflags, rights: (rights, !0), fdflags: 0 };
        match self.wasi.path_open(&mut Guest::new(&mut self.memory), NOW, opening, 100) {
            Outcome::Done(Errno::Success) => Ok(self.u32(100)),
            Outcome::Done(errno) => Err(errno),
            other => panic!("{other:?}"),
        }
    }

    fn pieces(&mut self, pieces: &[(u32, u32)]) -> (u32, u32) {
        for (n, (at, len)) in pieces.iter().enumerate() {
            self.memory[200 + n * 8..204 + n * 8].copy_from_slice(&at.to_le_bytes());
            self.memory[204 + n * 8..208 + n * 8].copy_from_slice(&len.to_le_bytes());
        }
        (200, pieces.len() as u32)
    }

    fn write(&mut self, fd: u32, bytes: &[u8]) -> Outcome {
        self.memory[1000..1000 + bytes.len()].copy_from_slice(bytes);
        let (at, count) = self.pieces(&[(1000, bytes.len() as u32)]);
        self.wasi.fd_write(&mut Guest::new(&mut self.memory), NOW, fd, at, count, 100)
    }

    fn read(&mut self, fd: u32, len: u32) -> Result<Vec<u8>, Outcome> {
        let (at, count) = self.pieces(&[(2000, len / 2), (30_000, len - len / 2)]);
        match self.wasi.fd_read(&mut Guest::new(&mut self.memory), fd, at, count, 100) {
            Outcome::Done(Errno::Success) => {
                let total = self.u32(100) as usize;
                let first = total.min(len as usize / 2);
                let mut bytes = self.memory[2000..2000 + first].to_vec();
                bytes.extend_from_slice(&self.memory[30_000..30_000 + total - first]);
                Ok(bytes)
            }
            other => Err(other),
        }
    }
}

const DONE: Outcome = Outcome::Done(Errno::Success);

#[test]
fn arguments_are_those_that_were_given() {
    let World { wasi, mut memory } = World::new();
    let mut guest = Guest::new(&mut memory);
    assert_eq!(wasi.args_sizes_get(&mut guest, 0, 4), DONE);
    assert_eq!((guest.u32(0), guest.u32(4)), (Ok(2), Ok(9)));
    assert_eq!(wasi.args_get(&mut guest, 16, 64), DONE);
    assert_eq!(guest.get(64, 9), Ok(&b"prog\0one\0"[..]));
    assert_eq!((guest.u32(16), guest.u32(20)), (Ok(64), Ok(69)));
    assert_eq!(wasi.environ_get(&mut guest, 16, 65_533), Outcome::Done(Errno::Fault));
}

#[test]
fn files_are_written_and_read_and_move() {
    let mut world = World::new();
    assert_eq!(world.open("a/b", 1, !0), Err(Errno::NoEntry));
    let path = world.text("a");
    assert_eq!(world.wasi.path_create_directory(&Guest::new(&mut world.memory), NOW, 3, path), DONE);
    let fd = world.open("a/b", 1, !0).unwrap();
    assert_eq!(world.write(fd, b"hello world"), DONE);
    let seek = world.wasi.fd_seek(&mut Guest::new(&mut world.memory), fd, -5, 1, 100);
    assert_eq!((seek, world.u32(100)), (DONE, 6));
    let mut world = world.moved();
    assert_eq!(world.read(fd, 100).unwrap(), b"world");
    assert_eq!(world.read(fd, 100).unwrap(), b"");
    // Its name goes, the file stays as long as it is open; what it took is free again then.
    let path = world.text("a/b");
    assert_eq!(world.wasi.path_unlink_file(&Guest::new(&mut world.memory), NOW, 3, path), DONE);
    assert_eq!(world.open("a/b", 0, 2), Err(Errno::NoEntry));
    let full = world.wasi.fd_filestat_set_size(NOW, fd, 1 << 16);
    assert_eq!(
        (full, world.wasi.fd_filestat_set_size(NOW, fd, (1 << 16) + 1)),
        (DONE, Outcome::Done(Errno::NoSpace))
    );
    let other = world.open("c", 1, !0).unwrap();
    assert_eq!(world.write(other, b"x"), Outcome::Done(Errno::NoSpace));
    assert_eq!(world.wasi.fd_close(fd), DONE);
    assert_eq!(world.write(other, b"x"), DONE);
}

#[test]
fn nothing_leads_out_of_the_tree() {
    let mut world = World::new();
    for path in ["/etc/passwd", "..", "../x", "a/../../x", "./../.."] {
        assert!(matches!(world.open(path, 1, !0), Err(Errno::NotPermitted | Errno::NoEntry)), "{path}");
    }
    assert_eq!(world.open("a\0b", 1, !0), Err(Errno::Invalid));
    assert_eq!(world.open(&"n".repeat(256), 1, !0), Err(Errno::NameTooLong));
    assert!(world.open("x", 1, !0).is_ok());
    assert_eq!(world.open("x/", 0, 2), Err(Errno::NotDirectory));
    assert_eq!(world.open("x/../x", 0, 2), Err(Errno::NotDirectory));
}

#[test]
fn a_directory_is_listed_though_names_go_meanwhile() {
    let mut world = World::new();
    let names: Vec<String> = (0..40).map(|n| format!("name-{n}")).collect();
    for name in &names {
        let fd = world.open(name, 1, !0).unwrap();
        world.wasi.fd_close(fd);
    }
    let (mut seen, mut cookie) = (Vec::new(), 0u64);
    loop {
        let listed = world.wasi.fd_readdir(&mut Guest::new(&mut world.memory), 3, (4000, 100), cookie, 100);
        assert_eq!(listed, DONE);
        let used = world.u32(100) as usize;
        let mut at = 4000;
        let mut removed = Vec::new();
        while at + 24 <= 4000 + used {
            let len = world.u32(at + 16) as usize;
            if at + 24 + len > 4000 + used {
                break;
            }
            cookie = u64::from_le_bytes(world.memory[at..at + 8].try_into().unwrap());
            let name = String::from_utf8(world.memory[at + 24..at + 24 + len].to_vec()).unwrap();
            if name != "." && name != ".." {
                removed.push(name.clone());
            }
            seen.push(name);
            at += 24 + len;
        }
        for name in removed {
            let path = world.text(&name);
            assert_eq!(world.wasi.path_unlink_file(&Guest::new(&mut world.memory), NOW, 3, path), DONE);
        }
        world = world.moved();
        if used < 100 {
            break;
        }
    }
    assert_eq!(seen[..2], [".", ".."]);
    assert_eq!(seen[2..], names[..]);
}

#[test]
fn pipes_wait_and_end() {
    let mut world = World::new();
    assert_eq!(world.read(0, 10), Err(Outcome::Wait { until: None }));
    assert_eq!(world.wasi.feed(b"some input"), 10);
    let mut world = world.moved();
    assert_eq!(world.read(0, 4).unwrap(), b"some");
    world.wasi.feed_end();
    assert_eq!(world.read(0, 100).unwrap(), b" input");
    assert_eq!(world.read(0, 100).unwrap(), b"");
    assert_eq!(world.write(0, b"x"), Outcome::Done(Errno::BadFd));
    assert_eq!(world.write(1, b"out"), DONE);
    assert_eq!(world.write(2, b"err"), DONE);
    assert_eq!(world.wasi.drain(Stream::Stdout, usize::MAX).1, b"out");
    // It is full, and waits until somebody takes it away.
    let mut written = 0;
    let full = loop {
        match world.write(1, &[b'.'; 10_000]) {
            DONE => written += world.u32(100) as usize,
            other => break other,
        }
    };
    assert_eq!((full, written), (Outcome::Wait { until: None }, limits::PIPE_BYTES));
    assert_eq!(world.wasi.drain(Stream::Stdout, usize::MAX).1.len(), limits::PIPE_BYTES);
    assert_eq!(world.write(1, b"more"), DONE);
    assert_eq!(world.wasi.printed(Stream::Stdout), limits::PIPE_BYTES as u64 + 7);
    assert_eq!(world.wasi.drain(Stream::Stderr, usize::MAX).1, b"err");
}

/// A subscription for a time by the task's clock.
fn sleeps(world: &mut World, at: usize, ns: u64, user: u64) {
    world.memory[at..at + 48].fill(0);
    world.memory[at..at + 8].copy_from_slice(&user.to_le_bytes());
    world.memory[at + 16..at + 20].copy_from_slice(&1u32.to_le_bytes());
    world.memory[at + 24..at + 32].copy_from_slice(&ns.to_le_bytes());
}

#[test]
fn a_wait_that_moves_ends_when_it_would_have_ended() {
    let mut world = World::new();
    sleeps(&mut world, 4000, 1_000, 11);
    sleeps(&mut world, 4048, 5_000, 12);
    let poll = |world: &mut World, now| {
        world.wasi.poll_oneoff(&mut Guest::new(&mut world.memory), now, 4000, 8000, 2, 100)
    };
    assert_eq!(poll(&mut world, NOW), Outcome::Wait { until: Some(1_000) });
    assert_eq!(poll(&mut world, later(600)), Outcome::Wait { until: Some(1_000) });
    // On another device, whose clock counts from elsewhere, the 400 that are left pass.
    let mut world = world.moved();
    let there = |ns: u64| Moment { monotonic: 9_000_000 + ns, wall: NOW.wall - 50 };
    assert_eq!(poll(&mut world, there(0)), Outcome::Wait { until: Some(1_000) });
    assert_eq!(poll(&mut world, there(399)), Outcome::Wait { until: Some(1_000) });
    assert_eq!(poll(&mut world, there(400)), DONE);
    assert_eq!((world.u32(100), world.memory[8000]), (1, 11));
    // The next one is another wait.
    assert_eq!(poll(&mut world, there(500)), Outcome::Wait { until: Some(2_100) });
}

#[test]
fn clocks_go_on_and_random_numbers_are_the_tasks() {
    let mut world = World::new();
    let time = |world: &mut World, clock, now| {
        assert_eq!(world.wasi.clock_time_get(&mut Guest::new(&mut world.memory), now, clock, 104), DONE);
        u64::from_le_bytes(world.memory[104..112].try_into().unwrap())
    };
    assert_eq!(time(&mut world, 1, NOW), 0);
    assert_eq!(time(&mut world, 1, later(70)), 70);
    assert_eq!(time(&mut world, 0, later(80)), NOW.wall + 80);
    let back = Moment { monotonic: 3, wall: 5 };
    assert_eq!(time(&mut world, 0, back), NOW.wall + 80, "it does not go back");
    let mut twin = world.wasi.clone();
    world.wasi.random_get(&mut Guest::new(&mut world.memory), 0, 32);
    let whole = world.memory[..32].to_vec();
    twin.random_get(&mut Guest::new(&mut world.memory), 0, 10);
    twin.random_get(&mut Guest::new(&mut world.memory), 10, 22);
    assert_eq!(world.memory[..32], whole, "however it is drawn");
    assert_ne!(whole, [0; 32]);
    let fault = world.wasi.random_get(&mut Guest::new(&mut world.memory), 65_530, 10);
    assert_eq!(fault, Outcome::Done(Errno::Fault));
}
