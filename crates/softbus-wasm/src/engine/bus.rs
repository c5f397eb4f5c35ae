//! What is offered under `softbus`, as programs import it: see [`crate::bus::FUNCTIONS`].

use wasmtime::{Caller, Linker};

use super::bindings::{at_once, call, may_wait, number, waiting};
use super::host::Host;
use crate::WasmError;
use crate::bus::MODULE;
use crate::wasi::{Guest, Moment, Wasi};

/// Puts them all into a linker.
#[rustfmt::skip]
pub(super) fn link(linker: &mut Linker<Host>) -> Result<(), WasmError> {
    may_wait! { linker, MODULE,
        log(level: u32, text: u32, len: u32) => |w, g, _now| w.log(g, level, text, len);
        sleep(ns: u64) => |w, _g, now| w.bus_sleep(now, ns);
        channel_recv(channel: u32, answer: u32, cap: u32, len: u32, timeout: u64) => |w, g, now| { let time = w.time(now); w.bus.channel_recv(g, time, channel, ((answer, cap), len), timeout) };
        infer(prompt: u32, prompt_len: u32, answer: u32, cap: u32, len: u32, timeout: u64) => |w, g, now| { let time = w.time(now); w.bus.infer(g, time, (prompt, prompt_len), ((answer, cap), len), timeout) };
    }
    at_once! { linker, MODULE,
        kv_get(key: u32, key_len: u32, value: u32, cap: u32, len: u32) => |w, g, _now| w.bus.kv_get(g, (key, key_len), (value, cap), len);
        kv_set(key: u32, key_len: u32, value: u32, len: u32) => |w, g, _now| w.bus.kv_set(g, (key, key_len), (value, len));
        kv_delete(key: u32, key_len: u32) => |w, g, _now| w.bus.kv_delete(g, key, key_len);
        kv_next(after: u32, after_len: u32, key: u32, cap: u32, len: u32) => |w, g, _now| w.bus.kv_next(g, (after, after_len), (key, cap), len);
        channel_open(service: u32, len: u32, channel: u32) => |w, g, _now| w.bus.channel_open(g, (service, len), channel);
        channel_send(channel: u32, message: u32, len: u32) => |w, g, now| { let time = w.time(now); w.bus.channel_send(g, time, channel, (message, len)) };
        channel_close(channel: u32) => |w, _g, _now| w.bus.channel_close(channel);
    }
    Ok(())
}
