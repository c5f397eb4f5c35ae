//! For harnesses: the parsers of foreign bytes of this room that have no public door of their own. Whatever the
//! bytes, they return, and say whether the bytes were understood.

use std::time::Duration;

use softbus_core::wire::link::{BootNonce, Hello, HelloAck, Sleep, link_id};
use softbus_core::{DeviceId, ErrorCode, Message, decode};

use crate::link::{Action, Control, LinkConfig, LinkMachine};

pub use crate::membership::{read_stored as membership_record, read_words as recovery_words_file};
pub use crate::seam::real::{read_segment as segment, write_segment};

/// Feeds a link machine with what a hostile peer and a hostile network may do to it. Each step of the script is one
/// byte for what happens, one for the connection it happens to, and, for a message, one for its length and the
/// message's envelope.
///
/// # Panics
/// If the machine breaks its word: a link that is up without a connection, or one carried by a connection that was
/// never said hello to.
pub fn link_machine(mut script: &[u8]) -> bool {
    let (me, peer) = (DeviceId([1; 32]), DeviceId([2; 32]));
    let ms = Duration::from_millis;
    let config = LinkConfig {
        me,
        boot: BootNonce([1; 16]),
        peer,
        versions: softbus_core::wire::link::VERSIONS,
        suspect_after: ms(1000),
        offline_after: ms(2000),
        seed: 7,
    };
    let mut machine = LinkMachine::new(config);
    let (mut now, mut attempt, mut up) = (ms(0), 0, false);
    machine.want(now, true, false);
    machine.addresses(now, true, true);
    while let Some((&[what, conn], rest)) = script.split_first_chunk::<2>() {
        script = rest;
        let key = u64::from(conn % 4);
        match what % 10 {
            0 => machine.connected(now, key, None),
            1 => machine.connected(now, key, Some(attempt)),
            2 => machine.dial_failed(now, attempt, "no answer".into()),
            3 => machine.lost(now, key, Some(ErrorCode::from_number(u64::from(conn))), "closed".into()),
            4 => machine.heard(now, key),
            5 => machine.rtt(ms(u64::from(conn) * 100)),
            6 => {
                now += ms(u64::from(conn) * u64::from(conn));
                machine.tick(now);
            }
            7 => machine.moved(now),
            _ => {
                let Some((&len, rest)) = script.split_first() else { break };
                let (bytes, rest) = rest.split_at(usize::from(len).min(rest.len()));
                script = rest;
                match control(bytes) {
                    Some(message) => machine.message(now, key, message),
                    None => continue,
                }
            }
        }
        for action in machine.actions() {
            match action {
                Action::Dial { attempt: nth } => attempt = nth,
                Action::Up { link, .. } => {
                    assert!(machine.current().is_some(), "up without a connection");
                    assert!(machine.link().is_some_and(|(known, _)| known == link), "up under another name");
                    up = true;
                }
                _ => {}
            }
        }
        let _ = machine.next_timeout();
    }
    up
}

/// A message of the control stream.
fn control(bytes: &[u8]) -> Option<Control> {
    let kind = softbus_core::peek(bytes).ok()?.0.kind;
    match kind {
        Hello::KIND => decode(bytes).map(Control::Hello),
        HelloAck::KIND => decode(bytes).map(Control::Ack),
        Sleep::KIND => decode(bytes).map(Control::Sleep),
        _ => return None,
    }
    .ok()
}

/// A script in which [`link_machine`] comes up: what a seed corpus begins with.
pub fn link_script() -> Vec<u8> {
    let (me, peer) = (DeviceId([1; 32]), DeviceId([2; 32]));
    let (ours, theirs) = (BootNonce([1; 16]), BootNonce([9; 16]));
    let hello = Hello {
        versions: softbus_core::wire::link::VERSIONS,
        boot: theirs,
        generation: 1,
        sleep_interval_ms: 0,
        features: 0,
    };
    let ack = HelloAck { version: 1, link: link_id((me, ours), (peer, theirs)) };
    let mut script = vec![0, 1];
    let messages = [
        softbus_core::encode(&hello),
        softbus_core::encode(&ack),
        softbus_core::encode(&Sleep { interval_ms: u32::MAX }),
    ];
    for bytes in messages.into_iter().flatten() {
        script.extend([8, 1, bytes.len() as u8]); // none is longer than 64 bytes
        script.extend(bytes);
    }
    script.extend([3, 18, 6, 255]);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_brings_the_link_up() {
        assert!(link_machine(&link_script()));
        assert!(!link_machine(&[]));
    }
}
