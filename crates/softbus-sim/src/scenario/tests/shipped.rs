//! The scenarios that are shipped.

use super::*;

#[test]
fn hello_is_read() {
    let scenario = Scenario::load(&simulations().join("hello.toml"), 1).unwrap();
    assert_eq!((scenario.devices.len(), scenario.tasks.len(), scenario.events.len()), (2, 1, 1));
}
