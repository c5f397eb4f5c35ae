//! The wrappers against imports that stand in for those of the bus.

use core::slice;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::*;

thread_local! {
    static MAP: RefCell<BTreeMap<Vec<u8>, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    static SENT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SAID: RefCell<Vec<(u32, usize)>> = const { RefCell::new(Vec::new()) };
}

/// What the wrappers give as an address and a length.
unsafe fn bytes<'a>(at: *const u8, len: u32) -> &'a [u8] {
    // SAFETY: the wrappers give those of slices.
    unsafe { slice::from_raw_parts(at, len as usize) }
}

unsafe fn give(found: &[u8], to: *mut u8, room: u32, len: *mut u32) -> u32 {
    // SAFETY: the wrappers give the address of a number, and those of a slice.
    unsafe {
        *len = found.len() as u32;
        if found.len() > room as usize {
            return 61;
        }
        to.copy_from(found.as_ptr(), found.len());
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn softbus_log(level: u32, _: *const u8, len: u32) -> u32 {
    SAID.with_borrow_mut(|said| said.push((level, len as usize)));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn softbus_kv_get(
    key: *const u8,
    key_len: u32,
    value: *mut u8,
    cap: u32,
    len: *mut u32,
) -> u32 {
    let key = unsafe { bytes(key, key_len) };
    MAP.with_borrow(|map| map.get(key).map_or(44, |found| unsafe { give(found, value, cap, len) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn softbus_kv_set(key: *const u8, key_len: u32, value: *const u8, value_len: u32) -> u32 {
    let (key, value) = unsafe { (bytes(key, key_len), bytes(value, value_len)) };
    MAP.with_borrow_mut(|map| map.insert(key.into(), value.into()));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn softbus_kv_delete(key: *const u8, key_len: u32) -> u32 {
    let key = unsafe { bytes(key, key_len) };
    MAP.with_borrow_mut(|map| if map.remove(key).is_some() { 0 } else { 44 })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn softbus_kv_next(
    after: *const u8,
    after_len: u32,
    key: *mut u8,
    cap: u32,
    len: *mut u32,
) -> u32 {
    let after = unsafe { bytes(after, after_len) };
    MAP.with_borrow(|map| {
        let next = map.keys().find(|key| key.as_slice() > after);
        next.map_or(44, |found| unsafe { give(found, key, cap, len) })
    })
}

#[unsafe(no_mangle)]
extern "C" fn softbus_sleep(duration_ns: u64) -> u32 {
    SAID.with_borrow_mut(|said| said.push((99, duration_ns as usize)));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn softbus_channel_open(service: *const u8, len: u32, channel: *mut u32) -> u32 {
    if unsafe { bytes(service, len) } != b"echo/1" {
        return 76;
    }
    unsafe { *channel = 5 };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn softbus_channel_send(channel: u32, message: *const u8, len: u32) -> u32 {
    assert_eq!(channel, 5);
    SENT.with_borrow_mut(|sent| sent.push(unsafe { bytes(message, len) }.into()));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn softbus_channel_recv(
    channel: u32,
    answer: *mut u8,
    cap: u32,
    len: *mut u32,
    timeout: u64,
) -> u32 {
    assert_eq!((channel, timeout), (5, u64::MAX));
    SENT.with_borrow(|sent| sent.first().map_or(49, |first| unsafe { give(first, answer, cap, len) }))
}

#[unsafe(no_mangle)]
extern "C" fn softbus_channel_close(channel: u32) -> u32 {
    SAID.with_borrow_mut(|said| said.push((98, channel as usize)));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn softbus_infer(
    prompt: *const u8,
    prompt_len: u32,
    answer: *mut u8,
    cap: u32,
    len: *mut u32,
    _timeout: u64,
) -> u32 {
    let prompt = unsafe { bytes(prompt, prompt_len) };
    let cut = prompt.len().min(cap as usize);
    unsafe {
        answer.copy_from(prompt.as_ptr(), cut);
        *len = prompt_len;
    }
    0
}

#[test]
fn the_map_gives_what_was_set() {
    let mut room = [0; 8];
    assert_eq!(kv::get(b"a", &mut room), Err(Error::NotFound));
    kv::set(b"a", b"one").unwrap();
    kv::set(b"b", b"something longer").unwrap();
    assert_eq!(kv::get(b"a", &mut room).unwrap(), b"one");
    assert_eq!(kv::get(b"b", &mut room), Err(Error::NoRoom(16)));
    assert_eq!(kv::next(b"", &mut room).unwrap(), b"a");
    assert_eq!(kv::next(b"a", &mut room).unwrap(), b"b");
    assert_eq!(kv::next(b"b", &mut room), Err(Error::NotFound));
    kv::delete(b"a").unwrap();
    assert_eq!(kv::delete(b"a"), Err(Error::NotFound));
}

#[test]
fn channels_close_when_they_are_dropped() {
    assert_eq!(Channel::open("other/1").unwrap_err(), Error::NotGranted);
    let channel = Channel::open("echo/1").unwrap();
    let mut room = [0; 16];
    assert_eq!(channel.recv(&mut room, FOREVER), Err(Error::NothingSent));
    channel.send(b"hello").unwrap();
    assert_eq!(channel.recv(&mut room, FOREVER).unwrap(), b"hello");
    drop(channel);
    assert_eq!(SAID.take(), [(98, 5)]);
    let (said, whole) = infer("a long prompt", &mut room[..6], FOREVER).unwrap();
    assert_eq!((&*said, whole), (&b"a long"[..], 13));
}

#[test]
fn what_is_said_is_cut_between_letters() {
    log(Level::Warn, &"é".repeat(3000));
    log(Level::Trace, &("x".to_owned() + &"é".repeat(3000)));
    sleep(Duration::from_millis(2));
    assert_eq!(SAID.take(), [(1, 4096), (4, 4095), (99, 2_000_000)]);
}

fn run() -> i32 {
    7
}

crate::main!(run);

#[test]
fn a_function_becomes_what_the_bus_calls() {
    assert_eq!(softbus_main(), 7);
    assert_eq!(Error::NoRoom(5).to_string(), "no room for 5 bytes");
}
