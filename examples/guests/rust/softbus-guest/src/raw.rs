//! The imports as they are. All that is unsafe in this crate are calls of these: each takes addresses and lengths, reads what
//! is said to be read and writes no more than the room that it is given.

#[rustfmt::skip]
#[cfg_attr(target_arch = "wasm32", link(wasm_import_module = "softbus"))]
unsafe extern "C" {
    #[cfg_attr(target_arch = "wasm32", link_name = "log")]
    pub fn softbus_log(level: u32, text: *const u8, text_len: u32) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "kv_get")]
    pub fn softbus_kv_get(key: *const u8, key_len: u32, value: *mut u8, value_cap: u32, value_len: *mut u32) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "kv_set")]
    pub fn softbus_kv_set(key: *const u8, key_len: u32, value: *const u8, value_len: u32) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "kv_delete")]
    pub fn softbus_kv_delete(key: *const u8, key_len: u32) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "kv_next")]
    pub fn softbus_kv_next(after: *const u8, after_len: u32, key: *mut u8, key_cap: u32, key_len: *mut u32) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "sleep")]
    pub fn softbus_sleep(duration_ns: u64) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "channel_open")]
    pub fn softbus_channel_open(service: *const u8, service_len: u32, channel: *mut u32) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "channel_send")]
    pub fn softbus_channel_send(channel: u32, message: *const u8, message_len: u32) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "channel_recv")]
    pub fn softbus_channel_recv(channel: u32, answer: *mut u8, answer_cap: u32, answer_len: *mut u32, timeout_ns: u64) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "channel_close")]
    pub fn softbus_channel_close(channel: u32) -> u32;
    #[cfg_attr(target_arch = "wasm32", link_name = "infer")]
    pub fn softbus_infer(prompt: *const u8, prompt_len: u32, answer: *mut u8, answer_cap: u32, answer_len: *mut u32, timeout_ns: u64) -> u32;
}
