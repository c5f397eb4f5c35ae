//! What is offered under `softbus`: the one list that admission, the engines, the C header and the Rust SDK are held to.

/// The name of it in modules.
pub const MODULE: &str = "softbus";

/// A type of WebAssembly, as these functions use them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ty {
    /// 32 bits: a number, an address in the program's memory, a length in bytes.
    I32,
    /// 64 bits: a time in nanoseconds.
    I64,
}

/// A parameter: its name, and its type.
pub type Param = (&'static str, Ty);

/// A function. All of them return an error number of WASI preview 1, as an `i32`; 0 is success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub params: &'static [Param],
    /// Whether the program may have to wait in it, and be moved meanwhile.
    pub waits: bool,
}

const fn function(name: &'static str, params: &'static [Param], waits: bool) -> Function {
    Function { name, params, waits }
}

use Ty::{I32, I64};

/// All of them.
#[rustfmt::skip]
pub const FUNCTIONS: [Function; 11] = [
    function("log", &[("level", I32), ("text", I32), ("text_len", I32)], true),
    function("kv_get", &[("key", I32), ("key_len", I32), ("value", I32), ("value_cap", I32), ("value_len", I32)], false),
    function("kv_set", &[("key", I32), ("key_len", I32), ("value", I32), ("value_len", I32)], false),
    function("kv_delete", &[("key", I32), ("key_len", I32)], false),
    function("kv_next", &[("after", I32), ("after_len", I32), ("key", I32), ("key_cap", I32), ("key_len", I32)], false),
    function("sleep", &[("duration_ns", I64)], true),
    function("channel_open", &[("service", I32), ("service_len", I32), ("channel", I32)], false),
    function("channel_send", &[("channel", I32), ("message", I32), ("message_len", I32)], false),
    function("channel_recv", &[("channel", I32), ("answer", I32), ("answer_cap", I32), ("answer_len", I32), ("timeout_ns", I64)], true),
    function("channel_close", &[("channel", I32)], false),
    function("infer", &[("prompt", I32), ("prompt_len", I32), ("answer", I32), ("answer_cap", I32), ("answer_len", I32), ("timeout_ns", I64)], true),
];

/// The function of this name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Whether a program may be stopped in this imported function.
pub(crate) fn waits(module: &str, name: &str) -> bool {
    module == MODULE && find(name).is_some_and(|function| function.waits)
}
