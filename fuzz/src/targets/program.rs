//! The program: its control socket, its configuration, what people type, and the demo's pictures.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use softbus_cli::config::{Config, parse_interfaces, parse_name, parse_peer};
use softbus_cli::control::{Call, PROTOCOL, PairTerms, Reply, Request, Response, parse_call, parse_reply};
use softbus_cli::failure::{Failure, Kind};
use softbus_cli::picture::{PictureInput, PictureJob};

use super::{with_nasty, with_nasty_text};
use crate::Target;

pub const CALL: Target = Target { name: "call", run: call, cost: 2, seeds: calls };

fn call(bytes: &[u8]) -> bool {
    let call = match parse_call(bytes) {
        Ok(call) => call,
        Err(error) => {
            assert!(error.to_string().len() < 2000, "a foreign line in a message");
            return false;
        }
    };
    let line = serde_json::to_vec(&call).unwrap_or_default();
    assert_eq!(parse_call(&line).ok(), Some(call), "a call changed on its way");
    true
}

fn calls() -> Vec<Vec<u8>> {
    let terms = PairTerms {
        role: Some(softbus_trust::Role::Guest),
        services: vec!["a/1".into()],
        ..PairTerms::default()
    };
    let calls = [
        Call::new(Request::Devices {}, 0),
        Call::new(Request::OpenPairing(terms), 0),
        Call::new(Request::Found { name: "Zuhause ☂".into() }, u64::MAX),
        Call::new(Request::Move { task: "a1".into(), device: None, reason: Some("closer".into()) }, 7),
    ];
    let mut seeds: Vec<Vec<u8>> = calls.iter().flat_map(serde_json::to_vec).collect();
    let run = r#"{"v":1,"body":3,"request":{"do":"run","task_type":"picture/1","params":{"width":"72"},"policy":{"quorum":{"k":2}},"replicas":null,"start_on":null,"privacy":"circle","name":null}}"#;
    seeds.push(run.into());
    seeds.push(br#"{"v":2,"request":{}}"#.to_vec());
    seeds.push(br#"{"v":1,"v":1,"request":{"do":"devices","do":"devices"}}"#.to_vec());
    seeds.push("[".repeat(3000).into_bytes());
    seeds
        .push(format!(r#"{{"v":1,"request":{}1{}}}"#, r#"{"do":"#.repeat(400), "}".repeat(400)).into_bytes());
    seeds.push(br#"{"v":1e999,"request":{"do":"found","name":"\ud800"}}"#.to_vec());
    seeds.push(Vec::new());
    seeds
}

pub const REPLY: Target = Target { name: "reply", run: reply, cost: 2, seeds: replies };

fn reply(bytes: &[u8]) -> bool {
    match parse_reply(bytes) {
        Ok(reply) => {
            let line = serde_json::to_vec(&reply).unwrap_or_default();
            assert!(parse_reply(&line).is_ok(), "a reply changed on its way");
            true
        }
        Err(error) => {
            assert!(error.to_string().len() < 2000, "a foreign line in a message");
            false
        }
    }
}

fn replies() -> Vec<Vec<u8>> {
    let replies = [
        Reply::Done { v: PROTOCOL, body: u64::MAX, response: Response::Done },
        Reply::Failed { v: PROTOCOL, failure: Failure::new(Kind::Conflict, "no").advise("yes") },
    ];
    let mut seeds: Vec<Vec<u8>> = replies.iter().flat_map(serde_json::to_vec).collect();
    seeds.push(br#"{"is":"event","v":1,"event":{"devices":{}}}"#.to_vec());
    seeds.push(br#"{"is":"done","v":1,"response":{"tasks":[]}}"#.to_vec());
    seeds.push(br#"{"is":"done","is":"failed","v":1}"#.to_vec());
    seeds.push("{\"is\":".repeat(1000).into_bytes());
    seeds
}

pub const CONFIG: Target = Target { name: "config", run: config, cost: 4, seeds: configs };

fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match Config::parse(text) {
        Ok(config) => {
            assert!(config.offline_after_ms > config.suspect_after_ms);
            true
        }
        Err(errors) => {
            assert!(!errors.is_empty() && errors.is_sorted_by_key(|e| e.line));
            let lines = text.lines().count().max(1) + 1;
            assert!(errors.iter().all(|e| (1..=lines).contains(&e.line) && e.message.len() < 4000));
            false
        }
    }
}

fn configs() -> Vec<Vec<u8>> {
    let good = r#"
[node]
name = "kitchen"
kind = "tv"
[network]
bind = ["eth0", "wlan0"]
port = 0x1151
peers = ["12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq@192.0.2.1:4433", "[fe80::1]:4433"]
suspect_after_ms = 1_000
offline_after_ms = 2_000
[profile]
cores = 4
battery_permille = 800
power = "battery"
capabilities = ["display", "lamp"]
[log]
level = "info,softbus_net=debug"
"#;
    let wrong = "[netwrok]\nport = 99999999999999999999\n[node]\nkind = 1979-05-27T07:32:00Z\nname.x = 1\n";
    let deep = format!("a = {}1{}", "[".repeat(2000), "]".repeat(2000));
    let dotted = format!("{}b = 1", "a.".repeat(2000));
    let tables = format!("a = {}b = 1{}", "{ a = ".repeat(500), "}".repeat(500));
    let many: String = (0..400).map(|n| format!("k{n} = 1\n")).collect();
    with_nasty_text(&[
        good,
        "",
        wrong,
        &deep,
        &dotted,
        &tables,
        &many,
        "log = \"x\"\n",
        "[network]\nport = -1\n",
    ])
}

/// What people type.
pub const WORDS: Target = Target { name: "typed", run: typed, cost: 1, seeds: words };

fn typed(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    parse_peer(text).is_ok() | parse_interfaces(text).is_ok() | parse_name(text).is_ok()
}

fn words() -> Vec<Vec<u8>> {
    let peer = format!("{}@[2001:db8::1]:4433", super::id(1));
    with_nasty_text(&[
        &peer,
        "192.168.1.20:4433",
        "eth0,wlan0",
        "all",
        "192.168.1.20:0",
        "@",
        "a,,b",
        "kitchen",
    ])
}

/// A picture's file, as a person gives it or a task's input brings it.
pub const PICTURE: Target = Target { name: "picture", run: picture, cost: 200, seeds: pictures };

fn picture(bytes: &[u8]) -> bool {
    let Ok(input) = PictureInput::prepare(bytes, 16, 1) else { return false };
    assert!(PictureInput::prepare(&input.bytes, 16, 1).is_ok(), "what was prepared is no picture");
    true
}

fn picture_file(format: ImageFormat) -> Vec<u8> {
    let pixels = RgbImage::from_fn(12, 9, |x, y| image::Rgb([(x * 20) as u8, (y * 25) as u8, (x * y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    let written = DynamicImage::from(pixels).write_to(&mut bytes, format);
    written.map(|()| bytes.into_inner()).unwrap_or_default()
}

fn pictures() -> Vec<Vec<u8>> {
    let (png, jpeg) = (picture_file(ImageFormat::Png), picture_file(ImageFormat::Jpeg));
    // A picture of 65535 × 65535 pixels, so it says.
    let mut vast = jpeg.clone();
    if let Some(at) = vast.windows(2).position(|mark| mark == [0xff, 0xc0]) {
        vast[at + 5..at + 9].fill(0xff);
    }
    vec![
        png.clone(),
        jpeg.clone(),
        vast,
        png[..png.len() / 2].to_vec(),
        jpeg[..jpeg.len() / 2].to_vec(),
        Vec::new(),
    ]
}

pub const PICTURE_INPUT: Target =
    Target { name: "picture-input", run: picture_input, cost: 200, seeds: picture_inputs };

fn picture_input(bytes: &[u8]) -> bool {
    let Ok(input) = postcard::from_bytes::<PictureInput>(bytes) else { return false };
    let _ = (input.height(), input.total_ops(), input.state_bytes(), input.memory_bytes());
    // Large results are no other code, only slower.
    if input.width > 64 {
        return true;
    }
    let Ok(mut job) = PictureJob::new(&input) else { return true };
    let _ = (job.step(1), job.preview());
    true
}

fn small_input() -> PictureInput {
    PictureInput { bytes: picture_file(ImageFormat::Png), width: 16, samples: 2 }
}

fn picture_inputs() -> Vec<Vec<u8>> {
    let good = small_input();
    let vast = PictureInput { width: u32::MAX, samples: u32::MAX, ..good.clone() };
    let none = PictureInput { width: 0, samples: 0, bytes: Vec::new() };
    with_nasty([good, vast, none].iter().flat_map(postcard::to_allocvec).collect())
}

/// A job that came from another device in the middle of its work.
pub const PICTURE_STATE: Target =
    Target { name: "picture-state", run: picture_state, cost: 200, seeds: picture_states };

fn picture_state(bytes: &[u8]) -> bool {
    let Ok(mut job) = postcard::from_bytes::<PictureJob>(bytes) else { return false };
    let (done, total) = (job.done_ops(), job.total_ops());
    assert!(done <= total, "more is done than there is");
    for _ in 0..3 {
        let step = job.step(1);
        assert!((0.0..=1.0).contains(&step.progress));
    }
    let _ = (job.preview(), job.finish());
    let saved = postcard::to_allocvec(&job).unwrap_or_default();
    assert!(postcard::from_bytes::<PictureJob>(&saved).is_ok(), "its own state is not sound");
    true
}

fn picture_states() -> Vec<Vec<u8>> {
    let Ok(mut job) = PictureJob::new(&small_input()) else { return Vec::new() };
    job.step(1);
    let good = postcard::to_allocvec(&job).unwrap_or_default();
    // The last bytes say how large the picture is, and how far the job.
    let mut odd = good.clone();
    let end = odd.len();
    odd[end - 3..].copy_from_slice(&[2, 1, 31]);
    vec![good, odd]
}
