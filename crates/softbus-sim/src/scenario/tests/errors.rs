//! Every error says what is wrong, where, and what to do. The place is marked in the text by « and ».

use std::collections::BTreeMap;
use std::io;

use super::*;
use crate::scenario::Problem;

/// A scenario that is right, to which what is wrong is added.
const HOME: &str = r#"
duration = "60s"
[[segment]]
name = "home"
[[segment]]
name = "street"
[[circle]]
name = "family"
[[device]]
name = "phone"
segment = "home"
circles = { family = "owner" }
[[device]]
name = "lamp"
count = 3
segment = "home"
[[task]]
name = "photo"
at = "1s"
from = "phone"
work = "1 Gops"
"#;

/// Reads a marked text: the error stands at the mark, and says this.
#[track_caller]
fn wrong(marked: &str, says: &str) -> Problem {
    let text = marked.replace(['«', '»'], "");
    let error = parse(&text, 7).unwrap_err();
    assert!(error.problem.to_string().contains(says), "{error}");
    let spot = error.spot.clone().unwrap();
    let before = marked.split('«').next().unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    assert_eq!((spot.line, spot.column), (line, column), "{error}");
    let first = marked.split(['«', '»']).nth(1).unwrap().lines().next().unwrap_or_default();
    let wide = first.chars().count().max(1);
    assert_eq!(spot.wide, wide, "{error}");
    let shown = error.to_string();
    assert!(shown.starts_with(&format!("x.toml:{line}:{column}: ")), "{shown}");
    // The caret stands under the place.
    let lines: Vec<&str> = shown.lines().collect();
    let at = lines[3].find('^').unwrap();
    assert!(lines[2].chars().skip(at).collect::<String>().starts_with(first), "{shown}");
    error.problem
}

/// The same, added to the scenario that is right.
#[track_caller]
fn added(marked: &str, says: &str) -> Problem {
    wrong(&format!("{HOME}{marked}\n"), says)
}

#[test]
fn the_scenario_without_errors_is_right() {
    assert_eq!(parse(HOME, 7).unwrap().devices.len(), 4);
}

#[test]
fn an_error_reads_like_this() {
    let error = parse(&format!("{HOME}[[segment]]\nname = \"car\"\nlatncy = \"2ms\"\n"), 1).unwrap_err();
    let wanted = "\
x.toml:24:1: [[segment]] has no key `latncy`; did you mean `latency`?
   |
24 | latncy = \"2ms\"
   | ^^^^^^";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn what_is_no_toml() {
    assert!(matches!(wrong("duration = «60s»", "not TOML"), Problem::Toml { .. }));
}

#[test]
fn unknown_keys() {
    for (text, near) in [
        ("[[«devcie»]]\nname = \"x\"", "`device`"),
        ("[[device]]\nname = \"x\"\nsegment = \"home\"\n«cors» = 4", "`cores`"),
        ("[[event]]\nat = \"1s\"\ndo = \"crash\"\ndevice = \"phone\"\n«dwon» = \"2s\"", "`down`"),
        ("[chaos]\n«carsh» = \"1 per hour\"", "`crash`"),
        ("[network]\nburst = { enter = \"1%\", leave = \"1%\", «los» = \"1%\", loss = \"1%\" }", "`loss`"),
    ] {
        let problem = added(text, near);
        assert!(matches!(problem, Problem::UnknownKey { near: Some(_), .. }), "{problem}");
    }
    // What belongs to another event is unknown to this one.
    let other = "[[event]]\nat = \"1s\"\ndo = \"lose\"\ndevice = \"phone\"\n«groups» = []";
    assert!(matches!(added(other, "[[event]] has no key `groups`"), Problem::UnknownKey { .. }));
}

#[test]
fn missing_keys() {
    let problem = wrong("«»name = \"x\"", "needs `duration`");
    assert!(matches!(problem, Problem::Missing { key: "duration", .. }));
    added("«[[device]]»\nsegment = \"home\"", "add a line `name = \"phone\"`");
    added("«[[device]]»\nname = \"x\"", "needs `segment`");
    added("«[[event]]»\nat = \"1s\"\ndo = \"sleep\"\ndevice = \"phone\"", "needs `for`");
    added("«[[event]]»\ndo = \"plug\"\ndevice = \"phone\"", "needs `at`");
}

#[test]
fn wrong_types() {
    let problem = added("[[segment]]\nname = «5»", "must be a text, and here is a whole number");
    assert!(matches!(problem, Problem::Type { .. }));
    added("[[segment]]\nname = \"x\"\nshared = «\"yes\"»", "must be true or false");
    added(
        "[[event]]\nat = \"1s\"\ndo = \"partition\"\nfor = \"1s\"\ngroups = [«\"phone\"»]",
        "a list of groups",
    );
    added("[[join]]\nbetween = «\"home\"»", "must be a list of names");
    added("[chaos]\ndevices = «5»", "a list of names");
    wrong("«[device]»\nname = \"x\"\n", "written as [[device]]");
}

#[test]
fn impossible_values() {
    let value = |marked: &str, says: &str| {
        let problem = added(&format!("[[segment]]\nname = \"x\"\n{marked}"), says);
        assert!(matches!(problem, Problem::Value { .. }), "{problem}");
    };
    value("latency = «\"-2ms\"»", "-2ms cannot be: it must be from 0s to 1h");
    value("latency = «2»", "needs a unit, as \"1.5s\"; there are s, ns,");
    value("latency = «\"2\"»", "needs a unit");
    value("latency = «\"2 parsec\"»", "`parsec` is no unit of a duration");
    value("latency = «\"soon\"»", "`soon` is not a duration");
    value("latency = «\"10ms..2ms\"»", "write 2ms..10ms");
    value("latency = «true»", "here is true or false");
    value("latency = «1.5»", "here is a number");
    value("latency = «{ from = \"1ms\" }»", "both and nothing else");
    value("loss = «\"101%\"»", "101% cannot be: it must be from 0% to 100%");
    value("loss = «\"0..150%\"»", "150% cannot be");
    value("loss = «0.05»", "as \"5%\"");
    value("rate = «\"10 MB\"»", "`MB` is no unit of a rate");
    value("mtu = «100»", "from 576 to 65527");

    added("[[device]]\nname = \"x\"\nsegment = \"home\"\nkind = «\"fridge\"»", "no kind of device");
    added("[[device]]\nname = \"x\"\nsegment = \"home\"\ncount = «0»", "from 1 to 100000");
    added(
        "[[device]]\nname = \"x\"\nsegment = \"home\"\nbattery = { charge = «\"120%\"» }",
        "120% cannot be",
    );
    added("[[device]]\nname = \"x\"\nsegment = \"home\"\npower = { idle = «\"-1 W\"» }", "-1 W cannot be");
    added("[[device]]\nname = \"x\"\nsegment = \"home\"\nrole = «\"owner\"»", "belongs to a `circle`");
    added(
        "[[device]]\nname = \"x\"\nsegment = \"home\"\ncircles = { family = «\"boss\"» }",
        "owner, member or guest",
    );
    added(
        "[[device]]\nname = \"x\"\nsegment = \"home\"\nheat = { serious = «\"70 °C\"» }",
        "serious before it is critical",
    );
    added("[[device]]\nname = «\"any\"»\nsegment = \"home\"", "choose another name");
    added("[[device]]\nname = «\" x\"»\nsegment = \"home\"", "no blanks");
    added(&format!("[[device]]\nname = «\"{}\"»\nsegment = \"home\"", "x".repeat(65)), "at most 64 bytes");

    let task = "[[task]]\nname = \"x\"\nat = \"1s\"\nfrom = \"phone\"\n";
    added(&format!("{task}work = «\"0 Gops\"»"), "0 ops cannot be");
    added(&format!("{task}work = \"1 Gops\"\nholders = «3»"), "add `policy = \"quorum\"`");
    added(&format!("{task}work = \"1 Gops\"\npolicy = \"quorum\"\nholders = «9»"), "from 2 to 8");
    added(&format!("{task}work = \"1 Gops\"\npolicy = «\"qorum\"»"), "did you mean `quorum`?");
    added(&format!("{task}work = \"1 Gops\"\nstate = \"1 kB\"\nhot = «\"2 kB\"»"), "make `state` larger");
    wrong("duration = «\"0s\"»", "0s cannot be");
    wrong(&HOME.replace("\"60s\"", "«\"50s..60s\"»"), "it is one value");
    added("[[join]]\nbetween = «[\"home\"]»", "name two segments");
    added("[[join]]\nbetween = «[\"home\", \"home\"]»", "name two of them");
    added("[[link]]\nbetween = «[\"phone\"]»", "name two devices");
    added("[[link]]\nbetween = «[\"phone\", \"phone\"]»", "name two of them");
    added("[chaos]\ncrash = «\"often\"»", "as \"2 per hour\"");
    added("[chaos]\nfrom = «\"50s\"»\nheal_before_end = \"20s\"", "must end by 40s");
}

#[test]
fn impossible_events() {
    let event = |rest: &str, says: &str| added(&format!("[[event]]\nat = \"1s\"\n{rest}"), says);
    event("do = «\"crush\"»", "did you mean `crash`?");
    event("do = «\"explode\"»", "there are crash, kill, ");
    event("do = \"plug\"\ndevice = [\"lamp\", «\"lamp-1\"»]", "`lamp-1` is named twice");
    event("do = \"crash\"\ndevice = \"phone\"\ndown = «\"x\"»", "or \"never\"");
    event("do = \"cut\"\nfor = \"1s\"\nfrom = \"phone\"\nto = «\"phone\"»", "the same device as `from`");
    event(
        "do = \"partition\"\nfor = \"1s\"\ngroups = [[\"lamp\"], [«\"lamp-2\"»]]",
        "`lamp-2` is named twice",
    );
    event("do = \"remove\"\ncircle = \"family\"\nby = «\"lamp-1\"»\ndevice = \"phone\"", "is no owner");
}

#[test]
fn unknown_names() {
    for (text, says) in [
        ("[[device]]\nname = \"x\"\nsegment = «\"hom\"»", "no segment `hom`; did you mean `home`?"),
        ("[[device]]\nname = \"x\"\nsegment = «\"moon\"»", "no segment `moon`; there are home, street"),
        (
            "[[device]]\nname = \"x\"\nsegment = \"home\"\ncircles = { «work» = \"owner\" }",
            "no circle `work`",
        ),
        ("[[device]]\nname = \"x\"\nsegment = \"home\"\ncircle = «\"work\"»", "no circle `work`"),
        ("[[join]]\nbetween = [\"home\", «\"sea\"»]", "no segment `sea`"),
        ("[[task]]\nname = \"x\"\nat = \"1s\"\nfrom = «\"fone\"»\nwork = \"1 ops\"", "mean `phone`?"),
        ("[[event]]\nat = \"1s\"\ndo = \"crash\"\ndevice = «\"lamp-4\"»", "no device `lamp-4`"),
        ("[[event]]\nat = \"1s\"\ndo = \"move\"\ndevice = \"phone\"\nsegment = «\"x\"»", "no segment `x`"),
        ("[[event]]\nat = \"1s\"\ndo = \"move-task\"\ntask = «\"foto\"»", "no task `foto`"),
        ("[[event]]\nat = \"1s\"\ndo = \"move-task\"\ntask = \"photo\"\nto = «\"tv\"»", "no device `tv`"),
        (
            "[[event]]\nat = \"1s\"\ndo = \"remove\"\ncircle = «\"x\"»\nby = \"phone\"\ndevice = \"lamp-1\"",
            "no circle `x`",
        ),
        ("[[event]]\nat = \"1s\"\ndo = \"partition\"\nfor = \"1s\"\ngroups = [[«\"tv\"»]]", "no device `tv`"),
        ("[chaos]\ndevices = [«\"tv\"»]", "no device `tv`"),
    ] {
        let problem = added(text, says);
        assert!(matches!(problem, Problem::Unknown { .. }), "{problem}");
    }
}

#[test]
fn duplicate_names() {
    for text in [
        "[[segment]]\nname = «\"home\"»",
        "[[circle]]\nname = «\"family\"»",
        "[[device]]\nname = «\"phone\"»\nsegment = \"home\"",
        "[[device]]\nname = «\"lamp-2\"»\nsegment = \"home\"",
        "[[task]]\nname = «\"photo\"»\nat = \"1s\"\nfrom = \"phone\"\nwork = \"1 ops\"",
        "[[join]]\nbetween = [\"home\", \"street\"]\n[[join]]\nbetween = «[\"street\", \"home\"]»",
    ] {
        let problem = added(text, "give one of them another name");
        assert!(matches!(problem, Problem::Duplicate { .. }), "{problem}");
    }
    added("[[segment]]\nname = «\"home\"»", "the other one: x.toml:4");
}

#[test]
fn what_is_past_the_end() {
    for (text, says) in [
        ("[[event]]\nat = «\"61s\"»\ndo = \"lose\"\ndevice = \"phone\"", "`at` reaches 61s"),
        ("[[event]]\nat = «\"1s..61s\"»\ndo = \"lose\"\ndevice = \"phone\"", "ends at 1m;"),
        (
            "[[event]]\nat = \"1s\"\nevery = «\"6s..7s\"»\ncount = 10\ndo = \"lose\"\ndevice = \"phone\"",
            "`every` reaches 64s",
        ),
        ("[[task]]\nname = \"x\"\nat = «\"2m\"»\nfrom = \"phone\"\nwork = \"1 ops\"", "reaches 2m,"),
    ] {
        let problem = added(text, says);
        assert!(matches!(problem, Problem::PastEnd { .. }), "{problem}");
    }
    added("[[device]]\nname = \"x\"\nsegment = \"home\"\nstarts = «\"61s\"»", "from 0s to 1m");
}

#[test]
fn circles_without_owner_and_scenarios_without_devices() {
    assert!(matches!(added("[[circle]]\nname = «\"x\"»", "has no owner"), Problem::NoOwner { .. }));
    assert!(matches!(wrong("«»duration = \"1s\"", "no device"), Problem::NoDevices));
}

#[test]
fn limits_are_kept() {
    let too_many = |problem| assert!(matches!(problem, Problem::TooMany { .. }), "{problem}");
    too_many(added("[[device]]\nname = «\"x\"»\nsegment = \"home\"\ncount = 100000", "at most 100000"));
    let tasks = "[[task]]\nname = «\"x\"»\nat = \"1s\"\nfrom = \"phone\"\nwork = \"1 ops\"\ncount = 1000000";
    too_many(added(tasks, "at most 1000000"));
    let events = "[[event]]\nat = \"1s\"\ndo = «\"plug\"»\ndevice = \"lamp\"\ncount = 400000";
    too_many(added(events, "at most 1000000"));
    let lamps = HOME.replace("count = 3", "count = 1000");
    too_many(wrong(&format!("{lamps}«[chaos]»\ncrash = \"1000 per second\"\nspan = \"1ms\""), "events"));
    let groups = "[[device]]\nname = \"x\"\nsegment = \"home\"\ncount = 50000\n[[event]]\nat = \"1s\"\n\
                  do = «\"partition\"»\nfor = \"1s\"\ncount = 1000\ngroups = [[\"x\"]]";
    too_many(added(groups, "groups of all partitions"));
    let circle = "[[circle]]\nname = «\"x\"»\n[[device]]\nname = \"x\"\nsegment = \"home\"\ncount = 1025\n\
                  circles = { x = \"owner\" }";
    too_many(added(circle, "devices in a circle"));
    let error = parse(&" ".repeat(limits::FILE_BYTES + 1), 1).unwrap_err();
    too_many(error.problem);
    let every = "[[event]]\nat = \"1s\"\ndo = \"plug\"\ndevice = \"phone\"\nevery = «\"1ms\"»";
    let long = HOME.replace("60s", "2h");
    wrong(&format!("{long}{every}"), "more than 1000000 times");
}

/// Reads `main.toml` out of a few files.
fn files(files: &[(&str, &str)]) -> Result<Scenario, ScenarioError> {
    let files: BTreeMap<_, _> = files.iter().copied().collect();
    Scenario::parse(files["main.toml"], "main.toml", 1, &mut |path| {
        files.get(path).map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    })
}

#[test]
fn files_include_files() {
    let home = HOME.replace("duration", "about = \"of home\"\nduration");
    let main =
        "include = [\"a/more.toml\"]\nduration = \"90s\"\n[[device]]\nname = \"tv\"\nsegment = \"car\"";
    let more = "include = [\"../home.toml\"]\n[[segment]]\nname = \"car\"\n[network]\nlatency = \"9ms\"";
    let scenario = files(&[("main.toml", main), ("a/more.toml", more), ("home.toml", &home)]).unwrap();
    assert_eq!((scenario.duration.as_secs(), scenario.about.as_str()), (90, "of home"));
    let names: Vec<&str> = scenario.devices.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["phone", "lamp-1", "lamp-2", "lamp-3", "tv"]);
    assert!(scenario.segments.iter().all(|s| s.way.latency.as_millis() == 9));
    assert_eq!(scenario.name, "main");
}

#[test]
fn errors_in_included_files_name_them() {
    let error = files(&[("main.toml", "include = [\"b.toml\"]"), ("b.toml", "\n\nduratoin = \"1s\"")]);
    let error = error.unwrap_err();
    assert!(error.to_string().starts_with("b.toml:3:1: the scenario has no key `duratoin`"), "{error}");

    let error = files(&[("main.toml", "include = [\"b.toml\"]"), ("b.toml", "x = ")]).unwrap_err();
    assert!(error.to_string().starts_with("b.toml:1:"), "{error}");

    let error = files(&[("main.toml", "\ninclude = [\"no.toml\"]")]).unwrap_err();
    assert!(error.to_string().starts_with("main.toml:2:12: cannot read no.toml"), "{error}");
    assert!(matches!(error.problem, Problem::Read { .. }));
}

#[test]
fn files_do_not_include_each_other() {
    let a = ("main.toml", "include = [\"b.toml\"]");
    let error = files(&[a, ("b.toml", "include = [\"./x/../main.toml\"]")]).unwrap_err();
    let says = "b.toml:1:12: main.toml → b.toml → main.toml include each other in a circle";
    assert!(error.to_string().starts_with(says), "{error}");
    assert!(matches!(error.problem, Problem::Cycle { .. }));
}

#[test]
fn includes_are_bounded() {
    let mut n = 0;
    let error = Scenario::parse("include = [\"0\"]", "x", 1, &mut |_| {
        n += 1;
        Ok(format!("include = [\"{n}\"]"))
    });
    assert!(error.unwrap_err().problem.to_string().contains("includes within includes"));
    assert_eq!(n, limits::INCLUDE_DEPTH);

    let list: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let error = Scenario::parse(&format!("include = {list:?}"), "x", 1, &mut |_| Ok(String::new()));
    assert!(error.unwrap_err().problem.to_string().contains("too many files"));

    let error = Scenario::parse(&format!("include = {list:?}"), "x", 1, &mut |_| Ok(" ".repeat(1 << 20)));
    assert!(error.unwrap_err().problem.to_string().contains("all files together"));
}

#[test]
fn a_missing_file_is_told() {
    let error = Scenario::load(Path::new("no/such.toml"), 1).unwrap_err();
    assert!(error.to_string().starts_with("cannot read no/such.toml"), "{error}");
}
