use proptest::prelude::*;

use super::*;

/// The printed text with its key lines switched on; examples too if asked.
fn switched_on(examples: bool) -> String {
    let is_key = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    default_text()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if is_key(line) && (examples || !line.ends_with("# an example")) => rest.to_string(),
            _ => line.to_string(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_printed_default_is_the_default() {
    assert_eq!(Config::parse(&default_text()).unwrap(), Config::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
    let on = switched_on(false);
    assert_ne!(on, default_text(), "nothing was switched on");
    assert_eq!(Config::parse(&on).unwrap(), Config::default());
}

#[test]
fn every_key_is_read() {
    // Each printed example parses, and each changes something: so no key is only printed and never read.
    let all = switched_on(true);
    let config = Config::parse(&all).unwrap();
    assert_eq!(config.name.as_deref(), Some("kitchen tablet"));
    assert_eq!(config.kind, Some(DeviceKind::Tablet));
    let changes = [
        ("node", "name = \"x\""),
        ("node", "kind = \"tv\""),
        ("network", "bind = \"loopback\""),
        ("network", "port = 4433"),
        ("network", "discovery = false"),
        ("network", "announce_name = false"),
        ("network", "announce_kind = false"),
        ("network", "peers = [\"10.0.0.1:4433\"]"),
        ("network", "link_budget = 8"),
        ("network", "suspect_after_ms = 1500"),
        ("network", "offline_after_ms = 5000"),
        ("profile", "cores = 2"),
        ("profile", "memory_mib = 64"),
        ("profile", "rate_ops_per_s = 1000"),
        ("profile", "rate_permille = 250"),
        ("profile", "load_permille = 1000"),
        ("profile", "battery_permille = 0"),
        ("profile", "power = \"battery\""),
        ("profile", "thermal = \"critical\""),
        ("profile", "accelerators = [\"gpu:8GiB Some Card\", \"npu\"]"),
        ("profile", "capabilities = [\"display\", \"fridge\"]"),
        ("profile", "battery_floor_permille = 200"),
        ("tasks", "checkpoint_every_ms = 1000"),
        ("tasks", "replicas = 0"),
        ("tasks", "quorum_lease_ms = 3000"),
        ("tasks", "rebalance = false"),
        ("tasks", "keep_results_days = 30"),
        ("tasks", "modules_mib = 0"),
        ("tasks", "shutdown_move_s = 0"),
        ("log", "level = \"debug\""),
    ];
    assert_eq!(changes.len(), keys::KEYS.len(), "a key is missing here");
    for (section, line) in changes {
        let read = Config::parse(&format!("[{section}]\n{line}\n")).unwrap();
        assert_ne!(read, Config::default(), "{line} changed nothing");
    }
}

#[test]
fn errors_name_line_and_remedy() {
    let error = |text: &str| {
        let mut errors = Config::parse(text).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        let error = errors.remove(0);
        format!("{}: {}", error.line, error.message)
    };
    assert_eq!(error("[network]\n\nprot = 1"), "3: [network] has no key `prot`: did you mean `port`?");
    assert_eq!(error("port = 1"), "1: nothing is called `port`: it belongs under [network]");
    assert_eq!(error("[node]\nport = 1"), "2: [node] has no key `port`: it belongs under [network]");
    assert_eq!(error("\n[netwrok]\nport = 1"), "2: nothing is called `netwrok`: did you mean [network]?");
    assert_eq!(error("[network]\nport = 70000"), "2: port = 70000 is out of range: 0 to 65535");
    assert_eq!(error("[network]\nport = -1"), "2: port = -1 is out of range: 0 to 65535");
    assert_eq!(error("[network]\nport = \"x\""), "2: port is a whole number, not a string");
    assert_eq!(error("[network]\ndiscovery = 1"), "2: discovery is true or false, not an integer");
    assert!(error("[node]\nkind = \"toaster\"").contains("there are other, phone"));
    assert!(
        error("[network]\npeers = [\n  \"10.0.0.1:1\",\n  \"example\"\n]")
            .starts_with("4: peers: `example` is no address")
    );
    assert!(error("[network]\nsuspect_after_ms = 5000").contains("offline_after_ms (2000) must be more"));
    assert!(error("[network]\nport = = 1").starts_with("2: not TOML: "));
    assert!(error("[log]\nlevel = \"loud\"").starts_with("2: level: "));
    assert!(error("[network]\nbind = \"a/b\"").contains("not the name of an interface"));
    assert_eq!(error("network = 5"), "1: `network` is a section: write [network] on a line of its own");
}

#[test]
fn all_errors_are_told_at_once_in_order() {
    let errors =
        Config::parse("[node]\nkid = \"tv\"\n[network]\nport = 99999\n[profile]\ncores = 0").unwrap_err();
    assert_eq!(errors.iter().map(|e| e.line).collect::<Vec<_>>(), [2, 4, 6]);
}

#[test]
fn interfaces_and_peers() {
    let two = Interfaces::Named(vec!["eth0".into(), "wlan0".into()]);
    assert_eq!(parse_interfaces("eth0, wlan0").unwrap(), two);
    assert_eq!(Config::parse("[network]\nbind = [\"wlan0\", \"eth0\"]").unwrap().interfaces, two);
    assert!(parse_interfaces("").is_err() && parse_interfaces("eth0,,wlan0").is_err());
    let id = DeviceId([7; 32]);
    let peer = parse_peer(&format!("{id}@[fe80::1]:4433")).unwrap();
    assert_eq!((peer.id, peer.address.port()), (Some(id), 4433));
    assert!(
        parse_peer("10.0.0.1").is_err()
            && parse_peer("10.0.0.1:0").is_err()
            && parse_peer("x@10.0.0.1:1").is_err()
    );
}

#[test]
fn a_file_full_of_errors_is_refused_in_time() {
    // Each error costs a walk through the text and a look for what was meant: not thousands of times.
    let text: String = (0..20_000).map(|n| format!("k{n}=1\n")).collect();
    let errors = Config::parse(&text).unwrap_err();
    assert_eq!(errors.len(), 50);
    assert!(errors.is_sorted_by_key(|error| error.line));
}

#[test]
fn an_endless_file_is_refused() {
    let failure = Config::load(std::path::Path::new("/dev/zero")).unwrap_err();
    assert!(failure.message.contains("at most"), "{failure}");
}

proptest! {
    #[test]
    fn foreign_text_never_panics(text in "\\PC{0,200}") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn damaged_defaults_never_panic(at in 0usize..4000, c: char) {
        let mut text: Vec<char> = switched_on(true).chars().collect();
        let at = at % text.len();
        text[at] = c;
        let _ = Config::parse(&text.into_iter().collect::<String>());
    }
}
