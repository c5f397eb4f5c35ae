//! WASI preview 1, as programs import it: each call goes to the program's world.

use wasmtime::{Caller, Linker};

use super::fiber::{Left, Word};
use super::host::{Host, tell};
use super::machine::provide;
use crate::WasmError;
use crate::bus;
use crate::pass;
use crate::wasi::{Errno, Guest, Moment, Opening, Outcome, Wasi};

/// The name of preview 1 in modules.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

/// Calls in which a program may have to wait: in these it can be captured.
const WAITING: [&str; 4] = ["fd_read", "fd_write", "poll_oneoff", "sched_yield"];

/// All of preview 1.
#[rustfmt::skip]
const NAMES: [&str; 46] = [
    "args_get", "args_sizes_get", "clock_res_get", "clock_time_get", "environ_get", "environ_sizes_get", "fd_advise", "fd_allocate", "fd_close", "fd_datasync", "fd_fdstat_get", "fd_fdstat_set_flags", "fd_fdstat_set_rights", "fd_filestat_get", "fd_filestat_set_size", "fd_filestat_set_times", "fd_pread", "fd_prestat_dir_name", "fd_prestat_get", "fd_pwrite", "fd_read", "fd_readdir", "fd_renumber", "fd_seek", "fd_sync", "fd_tell", "fd_write", "path_create_directory", "path_filestat_get", "path_filestat_set_times", "path_link", "path_open", "path_readlink", "path_remove_directory", "path_rename", "path_symlink", "path_unlink_file", "poll_oneoff", "proc_exit", "proc_raise", "random_get", "sched_yield", "sock_accept", "sock_recv", "sock_send", "sock_shutdown",
];

/// Whether a program may be stopped in this imported function.
pub(crate) fn waits(module: &str, name: &str) -> bool {
    (module == MODULE && WAITING.contains(&name)) || bus::waits(module, name)
}

/// Whether there is such a function.
pub(crate) fn offers(module: &str, name: &str) -> bool {
    (module == MODULE && NAMES.contains(&name)) || (module == bus::MODULE && bus::find(name).is_some())
}

/// The program ended itself.
#[derive(Debug)]
pub(super) struct Exit(pub u32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it ended with status {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// One call.
pub(super) fn call<R>(
    caller: &mut Caller<'_, Host>,
    work: impl FnOnce(&mut Wasi, &mut Guest<'_>, Moment) -> R,
) -> R {
    let shared = caller.data().shared.clone();
    let memory = caller.data().memory;
    let mut talk = shared.lock();
    let now = talk.now();
    match memory {
        Some(memory) => work(&mut talk.world, &mut Guest::new(memory.data_mut(caller)), now),
        None => work(&mut talk.world, &mut Guest::new(&mut []), now),
    }
}

/// The number of what came of a call that does not wait.
pub(super) fn number(outcome: Outcome) -> wasmtime::Result<u32> {
    match outcome {
        Outcome::Done(errno) => Ok(errno as u32),
        Outcome::Exit(status) => Err(wasmtime::Error::new(Exit(status))),
        // It has no room, and is to try again.
        Outcome::Wait { .. } => Ok(Errno::Again as u32),
    }
}

/// A call that may wait: made again each time that the program is come back to, until it is done.
pub(super) async fn waiting(
    mut caller: Caller<'_, Host>,
    work: impl Fn(&mut Wasi, &mut Guest<'_>, Moment) -> Outcome,
) -> wasmtime::Result<u32> {
    let shared = caller.data().shared.clone();
    let mut still = false;
    loop {
        let until = match call(&mut caller, &work) {
            Outcome::Wait { until } => until,
            outcome => return number(outcome),
        };
        let word = shared.leave(Left::Waits { until, still }).await;
        still = true;
        tell(&mut caller)?;
        if word == Word::Unwind {
            // It has not happened: the program saves its frames, and calls anew.
            if let Some(side) = caller.data().side {
                side.write(&mut caller, pass::AGAIN as usize, &1u32.to_le_bytes())?;
            }
            return Ok(0);
        }
    }
}

/// It asks at a site; 1 if it is to stop. Else there is now what goes on with its frame.
async fn poll(mut caller: Caller<'_, Host>, site: u32) -> wasmtime::Result<u32> {
    let shared = caller.data().shared.clone();
    let (goes_on, is_to_stop) = {
        let mut talk = shared.lock();
        (talk.looks(), talk.is_to_stop())
    };
    // At the end of its turn, and not at the begin of the next, of which it would take a part. Whoever has it stop does not wait
    // for that: perhaps it goes on elsewhere.
    if !is_to_stop {
        provide(&mut caller, site).await.map_err(wasmtime::Error::new)?;
    }
    if !goes_on {
        let word = shared.leave(Left::Turn).await;
        tell(&mut caller)?;
        if word == Word::Unwind {
            return Ok(1);
        }
    }
    provide(&mut caller, site).await.map_err(wasmtime::Error::new)?;
    Ok(0)
}

macro_rules! at_once {
    ($linker:expr, $module:expr, $($name:ident($($arg:ident: $ty:ty),*) => |$world:ident, $guest:ident, $now:ident| $work:expr;)*) => {
        $($linker.func_wrap($module, stringify!($name), |mut caller: Caller<'_, Host>, $($arg: $ty),*| {
            number(call(&mut caller, |$world: &mut Wasi, $guest: &mut Guest<'_>, $now: Moment| $work))
        }).map_err(WasmError::engine)?;)*
    };
}

macro_rules! may_wait {
    ($linker:expr, $module:expr, $($name:ident($($arg:ident: $ty:ty),*) => |$world:ident, $guest:ident, $now:ident| $work:expr;)*) => {
        $($linker.func_wrap_async($module, stringify!($name), |caller: Caller<'_, Host>, ($($arg,)*): ($($ty,)*)| {
            Box::new(waiting(caller, move |$world: &mut Wasi, $guest: &mut Guest<'_>, $now: Moment| $work))
        }).map_err(WasmError::engine)?;)*
    };
}

pub(super) use {at_once, may_wait};

/// Puts them all into a linker.
#[rustfmt::skip]
pub(super) fn link(linker: &mut Linker<Host>) -> Result<(), WasmError> {
    may_wait! { linker, MODULE,
        fd_read(fd: u32, at: u32, count: u32, read: u32) => |w, g, _now| w.fd_read(g, fd, at, count, read);
        fd_write(fd: u32, at: u32, count: u32, written: u32) => |w, g, now| w.fd_write(g, now, fd, at, count, written);
        poll_oneoff(from: u32, to: u32, count: u32, happened: u32) => |w, g, now| w.poll_oneoff(g, now, from, to, count, happened);
        sched_yield() => |w, _g, _now| w.sched_yield();
    }
    at_once! { linker, MODULE,
        args_get(pointers: u32, bytes: u32) => |w, g, _now| w.args_get(g, pointers, bytes);
        args_sizes_get(count: u32, bytes: u32) => |w, g, _now| w.args_sizes_get(g, count, bytes);
        environ_get(pointers: u32, bytes: u32) => |w, g, _now| w.environ_get(g, pointers, bytes);
        environ_sizes_get(count: u32, bytes: u32) => |w, g, _now| w.environ_sizes_get(g, count, bytes);
        clock_res_get(clock: u32, resolution: u32) => |w, g, _now| w.clock_res_get(g, clock, resolution);
        clock_time_get(clock: u32, _precision: u64, time: u32) => |w, g, now| w.clock_time_get(g, now, clock, time);
        fd_advise(fd: u32, offset: u64, len: u64, advice: u32) => |w, _g, _now| w.fd_advise(fd, offset, len, advice);
        fd_allocate(fd: u32, offset: u64, len: u64) => |w, _g, now| w.fd_allocate(now, fd, offset, len);
        fd_close(fd: u32) => |w, _g, _now| w.fd_close(fd);
        fd_datasync(fd: u32) => |w, _g, _now| w.fd_sync(fd);
        fd_sync(fd: u32) => |w, _g, _now| w.fd_sync(fd);
        fd_fdstat_get(fd: u32, stat: u32) => |w, g, _now| w.fd_fdstat_get(g, fd, stat);
        fd_fdstat_set_flags(fd: u32, flags: u32) => |w, _g, _now| w.fd_fdstat_set_flags(fd, flags);
        fd_fdstat_set_rights(fd: u32, own: u64, inheriting: u64) => |w, _g, _now| w.fd_fdstat_set_rights(fd, own, inheriting);
        fd_filestat_get(fd: u32, stat: u32) => |w, g, _now| w.fd_filestat_get(g, fd, stat);
        fd_filestat_set_size(fd: u32, size: u64) => |w, _g, now| w.fd_filestat_set_size(now, fd, size);
        fd_filestat_set_times(fd: u32, read: u64, changed: u64, which: u32) => |w, _g, now| w.fd_filestat_set_times(now, fd, read, changed, which);
        fd_pread(fd: u32, at: u32, count: u32, offset: u64, read: u32) => |w, g, _now| w.fd_pread(g, fd, at, count, offset, read);
        fd_pwrite(fd: u32, at: u32, count: u32, offset: u64, written: u32) => |w, g, now| w.fd_pwrite(g, now, fd, (at, count), offset, written);
        fd_prestat_get(fd: u32, stat: u32) => |w, g, _now| w.fd_prestat_get(g, fd, stat);
        fd_prestat_dir_name(fd: u32, at: u32, len: u32) => |w, g, _now| w.fd_prestat_dir_name(g, fd, at, len);
        fd_readdir(fd: u32, at: u32, len: u32, cookie: u64, used: u32) => |w, g, _now| w.fd_readdir(g, fd, (at, len), cookie, used);
        fd_renumber(from: u32, to: u32) => |w, _g, _now| w.fd_renumber(from, to);
        fd_seek(fd: u32, by: i64, whence: u32, to: u32) => |w, g, _now| w.fd_seek(g, fd, by, whence, to);
        fd_tell(fd: u32, to: u32) => |w, g, _now| w.fd_tell(g, fd, to);
        path_create_directory(fd: u32, at: u32, len: u32) => |w, g, now| w.path_create_directory(g, now, fd, (at, len));
        path_filestat_get(fd: u32, _flags: u32, at: u32, len: u32, stat: u32) => |w, g, _now| w.path_filestat_get(g, fd, (at, len), stat);
        path_filestat_set_times(fd: u32, _flags: u32, at: u32, len: u32, read: u64, changed: u64, which: u32) => |w, g, now| w.path_filestat_set_times(g, now, fd, (at, len), (read, changed), which);
        path_link(fd: u32, _flags: u32, at: u32, len: u32, to_fd: u32, to: u32, to_len: u32) => |w, g, now| w.path_link(g, now, (fd, (at, len)), (to_fd, (to, to_len)));
        path_open(fd: u32, _flags: u32, at: u32, len: u32, oflags: u32, own: u64, inheriting: u64, fdflags: u32, opened: u32) => |w, g, now| w.path_open(g, now, Opening { fd, path: (at, len), oflags, rights: (own, inheriting), fdflags }, opened);
        path_readlink(fd: u32, at: u32, len: u32, _to: u32, _room: u32, _used: u32) => |w, g, _now| w.path_readlink(g, fd, (at, len));
        path_remove_directory(fd: u32, at: u32, len: u32) => |w, g, now| w.path_remove_directory(g, now, fd, (at, len));
        path_rename(fd: u32, at: u32, len: u32, to_fd: u32, to: u32, to_len: u32) => |w, g, now| w.path_rename(g, now, (fd, (at, len)), (to_fd, (to, to_len)));
        path_symlink(_at: u32, _len: u32, _fd: u32, _to: u32, _to_len: u32) => |w, _g, _now| w.unsupported();
        path_unlink_file(fd: u32, at: u32, len: u32) => |w, g, now| w.path_unlink_file(g, now, fd, (at, len));
        random_get(at: u32, len: u32) => |w, g, _now| w.random_get(g, at, len);
        proc_raise(_signal: u32) => |w, _g, _now| w.unsupported();
        sock_accept(_fd: u32, _flags: u32, _to: u32) => |w, _g, _now| w.unsupported();
        sock_recv(_fd: u32, _at: u32, _count: u32, _flags: u32, _read: u32, _out: u32) => |w, _g, _now| w.unsupported();
        sock_send(_fd: u32, _at: u32, _count: u32, _flags: u32, _written: u32) => |w, _g, _now| w.unsupported();
        sock_shutdown(_fd: u32, _how: u32) => |w, _g, _now| w.unsupported();
    }
    linker
        .func_wrap(MODULE, "proc_exit", |caller: Caller<'_, Host>, status: u32| -> wasmtime::Result<()> {
            number(caller.data().shared.lock().world.proc_exit(status)).map(drop)
        })
        .map_err(WasmError::engine)?;
    super::bus::link(linker)?;
    // Not of preview 1: what a program that was rewritten asks.
    linker
        .func_wrap_async(pass::PREFIX, "poll", |caller: Caller<'_, Host>, (site,): (u32,)| {
            Box::new(poll(caller, site))
        })
        .map_err(WasmError::engine)?;
    Ok(())
}
