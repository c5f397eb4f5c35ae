//! For harnesses: what comes from outside, and what could be done with it. Whatever the bytes, these return, and say whether
//! the bytes were understood.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use softbus_task::{Runtime, Step, StepContext};
use wasmparser::{Validator, WasmFeatures};

use crate::bus::{Bus, Failed, Grants};
use crate::pass::{AskMemory, rewrite};
use crate::wasi::{Guest, Moment, Now, Opening, Stream, Wasi};
use crate::{EngineKind, Start, Terms, Turns, WasmRuntime, state};

pub use crate::runtime::subject::{Subject, frames};

/// Sites of a module for which the module that goes on with them is looked at.
const SITES: usize = 64;

/// Takes a module as admission does. What comes out of the pass is a valid module, and so is what goes on with frames.
pub fn module(bytes: &[u8]) -> bool {
    let _ = crate::inspect(bytes);
    let Ok(rewritten) = rewrite(bytes.into(), &|_, _| true, AskMemory::Shared) else { return false };
    let features = WasmFeatures::WASM3 | WasmFeatures::THREADS;
    let valid = |module: &[u8]| Validator::new_with_features(features).validate_all(module).map(drop);
    assert_eq!(
        valid(&rewritten.module).err().map(|e| e.to_string()),
        None,
        "the pass makes what is no module"
    );
    let step = rewritten.sites.len().div_ceil(SITES).max(1);
    for site in (0..rewritten.sites.len() as u32).step_by(step) {
        let rest =
            rewritten.rest(&BTreeSet::from([site])).map(|rest| valid(&rest).err().map(|e| e.to_string()));
        assert_eq!(rest, Ok(None), "what goes on at site {site} is no module");
    }
    true
}

/// A clock that stands still.
struct Still;

impl Now for Still {
    fn now(&self) -> Moment {
        Moment { monotonic: 1_000, wall: 1_700_000_000_000_000_000 }
    }
}

/// Reads a world, and makes calls of all kinds in it.
pub fn world(bytes: &[u8]) -> bool {
    let Ok(Ok(mut world)) = postcard::from_bytes::<Wasi>(bytes).map(Wasi::sound) else { return false };
    let mut memory = vec![0u8; 1 << 16];
    memory[..16].copy_from_slice(b"a\0../b/c in/text");
    // Pieces of a reading or writing: 64 bytes at 1024, and none.
    memory[256..260].copy_from_slice(&1024u32.to_le_bytes());
    memory[260..264].copy_from_slice(&64u32.to_le_bytes());
    let now = Still.now();
    let guest = &mut Guest::new(&mut memory);
    for fd in (0..8).chain([u32::MAX]) {
        let _ = world.fd_fdstat_get(guest, fd, 512);
        let _ = world.fd_filestat_get(guest, fd, 512);
        let _ = world.fd_readdir(guest, fd, (2048, 512), 0, 512);
        let _ = world.fd_seek(guest, fd, -3, 2, 512);
        let _ = world.fd_tell(guest, fd, 512);
        let _ = world.fd_write(guest, now, fd, 256, 2, 512);
        let _ = world.fd_pwrite(guest, now, fd, (256, 2), u64::MAX - 8, 512);
        let _ = world.fd_read(guest, fd, 256, 2, 512);
        let _ = world.fd_pread(guest, fd, 256, 2, u64::MAX - 8, 512);
        let _ = world.fd_allocate(now, fd, 7, 100);
        let _ = world.fd_filestat_set_size(now, fd, 3);
        for path in [(0, 1), (2, 6), (9, 7)] {
            let opening = Opening { fd, path, oflags: 9, rights: (u64::MAX, u64::MAX), fdflags: 0 };
            let _ = world.path_open(guest, now, opening, 512);
            let _ = world.path_filestat_get(guest, fd, path, 512);
            let _ = world.path_create_directory(guest, now, fd, path);
            let _ = world.path_rename(guest, now, (fd, path), (fd, (0, 1)));
            let _ = world.path_link(guest, now, (fd, path), (fd, (9, 2)));
            let _ = world.path_unlink_file(guest, now, fd, path);
            let _ = world.path_remove_directory(guest, now, fd, path);
        }
        let _ = world.fd_renumber(fd, 5);
    }
    let _ = world.poll_oneoff(guest, now, 4096, 8192, 3, 512);
    let _ = world.clock_time_get(guest, now, 1, 512);
    let _ = world.random_get(guest, 1024, 32);
    for fd in 3..70 {
        let _ = world.fd_close(fd);
    }
    let _ = world.feed(&[1; 100]);
    let printed = [Stream::Stdout, Stream::Stderr].map(|stream| world.drain(stream, usize::MAX).1.len());
    let files: usize = world.files().iter().map(|(_, bytes)| bytes.len()).sum();
    let _ = (printed, files, world.left_until(now, 5));
    assert!(world.sound().is_ok(), "calls made a world that is not sound");
    true
}

fn runtime() -> Option<&'static WasmRuntime> {
    static RUNTIME: OnceLock<Option<WasmRuntime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| WasmRuntime::new(EngineKind::Pulley, Arc::new(Still), Turns::Counted).ok())
        .as_ref()
}

/// Whatever the programs here ask.
fn all_grants() -> Grants {
    Grants { services: "echo/1".parse().into_iter().collect(), inference: true }
}

/// Goes on with a saved program for a while, saves it, and goes on with that. `tail` is what its saved form has behind its
/// memories, of which there is one, of so many bytes, all zero.
pub fn state(module: &[u8], memory: usize, tail: &[u8]) -> bool {
    let Some(runtime) = runtime() else { return false };
    let mut saved = Vec::new();
    if state::write_head(&mut saved, module).is_err() {
        return false;
    }
    saved.resize(saved.len() + memory, 0);
    saved.extend(tail);
    saved.extend((tail.len() as u64).to_le_bytes());
    let terms = Terms { grants: all_grants(), ..Terms::of(module) }.to_bytes();
    let Ok(mut program) = runtime.resume(1, &saved, &terms) else { return false };
    for _ in 0..3 {
        match program.step(&mut StepContext::detached(4096)) {
            Ok(Step::More | Step::Wait(_)) => {}
            Ok(Step::Done(_)) | Err(_) => return true,
        }
        saved.clear();
        if program.save(&mut saved).is_err() {
            return true;
        }
        assert!(runtime.resume(1, &saved, &terms).is_ok(), "what was saved cannot be gone on with");
    }
    true
}

/// Tails that [`state`] understands: of a program at its begin, and after some steps.
pub fn tails(start: &Start) -> Vec<Vec<u8>> {
    let begin = |runtime: &WasmRuntime| {
        let terms = start.terms().to_bytes();
        runtime.start(&postcard::to_allocvec(start).ok()?, &terms).ok()
    };
    let program = runtime().and_then(begin);
    let Some(mut program) = program else { return Vec::new() };
    let mut tails = Vec::new();
    for _ in 0..3 {
        let mut saved = Vec::new();
        let _ = program.save(&mut saved);
        if let Some((saved, len)) = saved.split_last_chunk::<8>() {
            let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or_default();
            tails.extend(saved.len().checked_sub(len).and_then(|at| saved.get(at..)).map(<[u8]>::to_vec));
        }
        let _ = program.step(&mut StepContext::detached(20_000));
    }
    tails
}

/// Worlds that [`world`] understands: of a program that starts, before and after it made some calls.
pub fn worlds(start: &Start) -> Vec<Vec<u8>> {
    let Ok(mut world) = crate::runtime::world(start) else { return Vec::new() };
    let before = postcard::to_allocvec(&world).ok();
    let mut memory = vec![0u8; 4096];
    memory[..8].copy_from_slice(b"in/text\0");
    let guest = &mut Guest::new(&mut memory);
    let opening = Opening { fd: 3, path: (0, 7), oflags: 0, rights: (u64::MAX, u64::MAX), fdflags: 0 };
    let _ = world.path_open(guest, Still.now(), opening, 512);
    let _ = world.path_create_directory(guest, Still.now(), 3, (0, 2));
    let _ = world.fd_write(guest, Still.now(), 1, 256, 1, 512);
    before.into_iter().chain(postcard::to_allocvec(&world).ok()).collect()
}

/// Of times, lengths and addresses: at the ends of the memory, of limits and of all there is.
const NASTY: [u32; 8] = [0, 1, 16, 4096, 65_534, 65_536, 1 << 20, u32::MAX];

/// Reads what a program has of the bus, and makes calls of all kinds with it.
pub fn bus(bytes: &[u8]) -> bool {
    let granted = |bus: Bus| bus.sound()?.granted(all_grants());
    let Ok(Ok(mut bus)) = postcard::from_bytes::<Bus>(bytes).map(granted) else { return false };
    let mut memory = vec![0u8; 1 << 16];
    memory[..6].copy_from_slice(b"echo/1");
    let guest = &mut Guest::new(&mut memory);
    for (n, at) in NASTY.into_iter().enumerate() {
        let (len, time) = (NASTY[(n + 3) % NASTY.len()], u64::from(at) << 20);
        for key in [(at, len), (at, 4), (0, 6)] {
            let _ = bus.kv_get(guest, key, (at, len), 1024);
            let _ = bus.kv_set(guest, key, (at, len));
            let _ = bus.kv_set(guest, key, (at, 8));
            let _ = bus.kv_next(guest, key, (at, len), len);
            let _ = bus.channel_open(guest, key, at);
            let _ = bus.infer(guest, time, key, ((at, len), 1024), u64::from(len));
        }
        for channel in [0, 1, 7, at] {
            let _ = bus.channel_send(guest, time, channel, (at, len));
            let _ = bus.channel_send(guest, time, channel, (0, 6));
            let _ = bus.channel_recv(guest, time, channel, ((at, len), 1024), time);
            let _ = bus.channel_recv(guest, u64::MAX, channel, ((2048, 64), 1024), u64::MAX);
        }
        let _ = bus.sleep(time, time);
        for (number, came) in bus.unanswered().into_iter().zip([Ok(vec![1; 9]), Err(Failed::Error)]) {
            let _ = bus.question(number).map(|(target, bytes, before)| (target, bytes.len(), before));
            let _ = bus.asked_of(number, [3; 32]);
            bus.answered(number, came);
        }
        let _ = bus.kv_delete(guest, at, 4);
    }
    let _ = bus.kv_delete(guest, 0, 6);
    let _ = bus.channel_close(1);
    assert!(bus.clone().sound() == Ok(bus), "calls made what is not sound");
    true
}

/// What [`bus`] understands: of programs at their begin, in the midst of it, and in a prompt.
pub fn buses() -> Vec<Vec<u8>> {
    let Ok(mut bus) = Bus::new(all_grants()) else { return Vec::new() };
    let mut told: Vec<Vec<u8>> = postcard::to_allocvec(&bus).into_iter().collect();
    let mut memory = vec![0u8; 4096];
    memory[..6].copy_from_slice(b"echo/1");
    let guest = &mut Guest::new(&mut memory);
    for _ in 0..2 {
        let _ = bus.channel_open(guest, (0, 6), 1024);
    }
    let _ = (bus.kv_set(guest, (0, 4), (0, 6)), bus.kv_set(guest, (1, 3), (100, 200)));
    for (number, channel) in [0, 1, 0].into_iter().enumerate() {
        let _ = bus.channel_send(guest, 50, channel, (0, number as u32 + 2));
    }
    let _ = bus.asked_of(1, [3; 32]);
    bus.answered(1, Ok(vec![1, 2, 3]));
    bus.answered(2, Err(Failed::Refused));
    told.extend(postcard::to_allocvec(&bus));
    let _ = bus.infer(guest, 50, (0, 6), ((200, 20), 1024), 1000);
    told.extend(postcard::to_allocvec(&bus));
    told
}
