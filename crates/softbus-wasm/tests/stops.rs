//! Every program that is here as a module, stopped at random points and taken to the other engine each time: it does not matter
//! where it was saved, nor whether. This is the short form, with some stops for each program (`SOFTBUS_STOPS` says how many) and
//! without the one that takes long. The long form, with a thousand, is `stops` of the measurements (`benches/README.md`).
#![allow(clippy::unwrap_used, reason = "a test")]

mod proof;

use proof::house::House;
use proof::{Case, prove};

fn check(cases: &[Case]) {
    let stops = std::env::var("SOFTBUS_STOPS").map_or(20, |stops| stops.parse().unwrap());
    let house = House::new().unwrap();
    for case in cases.iter().filter(|case| !case.long) {
        let report = prove(&house, case, stops, 1).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert!(report.moved >= stops && report.compared > 3 * stops, "{}", case.name);
    }
}

#[test]
fn guests_do_not_notice() {
    check(&proof::subjects::guests());
}

#[test]
fn measured_programs_do_not_notice() {
    check(&proof::subjects::measured());
}
