//! Every key of the configuration, with its manual.

use std::fmt::Write as _;

/// One key.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    /// The default as TOML; for a key without one, an example.
    value: &'static str,
    /// Whether `value` is an example.
    example: bool,
    doc: &'static str,
}

const fn key(section: &'static str, name: &'static str, value: &'static str, doc: &'static str) -> Key {
    Key { section, name, value, example: false, doc }
}

const fn example(section: &'static str, name: &'static str, value: &'static str, doc: &'static str) -> Key {
    Key { section, name, value, example: true, doc }
}

const SECTIONS: [(&str, &str); 5] = [
    ("node", "What this device is called."),
    ("network", "How it is found and reached."),
    (
        "profile",
        "What it says it can do. All of this is read from the machine; set a key only to say otherwise.\n\
         Others see that such a value was declared and not measured.",
    ),
    ("tasks", "What runs here."),
    ("log", "What it writes to standard error."),
];

pub(super) const KEYS: [Key; 30] = [
    example("node", "name", "\"kitchen tablet\"", "Name that people see. Default: the machine's host name."),
    example(
        "node",
        "kind",
        "\"tablet\"",
        "What sort of thing it is: phone, tablet, laptop, desktop, tv, car, watch, speaker, sensor, router,\n\
         server or other. Default: what the machine itself tells.",
    ),
    key(
        "network",
        "bind",
        "\"all\"",
        "Interfaces used, for connections and discovery alike: \"all\", \"loopback\" (this machine only), or names\n\
         such as \"eth0,wlan0\", which may come and go while the node runs.",
    ),
    key(
        "network",
        "port",
        "0",
        "UDP port. 0 takes any free one; a firewall or a static peer needs a fixed one.",
    ),
    key("network", "discovery", "true", "Announce this device and look for others by mDNS."),
    key(
        "network",
        "announce_name",
        "true",
        "Show the name to everybody on the network, not only to the circle.",
    ),
    key(
        "network",
        "announce_kind",
        "true",
        "Show the kind to everybody on the network, not only to the circle.",
    ),
    key(
        "network",
        "peers",
        "[]",
        "Devices on other networks (a VPN, another subnet), where mDNS does not reach: \"IP:PORT\", or\n\
         \"DEVICE-ID@IP:PORT\" so that nobody else is talked to there.",
    ),
    key("network", "link_budget", "32", "Most connections kept open; further ones open on demand. 1 to 256."),
    key(
        "network",
        "suspect_after_ms",
        "1000",
        "Milliseconds without a sign of life until a device counts as suspect. 100 to 60000.",
    ),
    key(
        "network",
        "offline_after_ms",
        "2000",
        "Milliseconds until it counts as offline. More than suspect_after_ms, up to 600000.",
    ),
    example("profile", "cores", "4", "Processor cores that tasks may use. 1 to 1024."),
    example("profile", "memory_mib", "2048", "Memory that tasks may use, in MiB."),
    example(
        "profile",
        "rate_ops_per_s",
        "250000000",
        "Speed of one core, in operations of the reference kernel per second (`softbus devices --json` shows the\n\
         measured one).",
    ),
    example(
        "profile",
        "rate_permille",
        "250",
        "Speed as a part of the machine's real one, 1 to 1000: a desktop that plays a phone says 250. Its tasks\n\
         slow down accordingly.",
    ),
    example("profile", "load_permille", "100", "How busy the cores are, 0 to 1000."),
    example("profile", "battery_permille", "800", "Charge of the battery, 0 to 1000."),
    example("profile", "power", "\"mains\"", "Power source: mains, battery or unknown."),
    example("profile", "thermal", "\"nominal\"", "Heat: nominal, fair, serious or critical."),
    key(
        "profile",
        "accelerators",
        "[]",
        "Processors for graphics, neural networks or signals, each \"gpu\", \"npu\" or \"dsp\", with its own memory if it has\n\
         some, and a name: \"gpu:8GiB My Card\". Empty: those that the machine tells (Linux).",
    ),
    key(
        "profile",
        "capabilities",
        "[]",
        "What else it has: display, audio, microphone, camera, location, input, internet, or any name of its own.",
    ),
    key("profile", "battery_floor_permille", "0", "Below this charge it takes no work of others. 0 to 1000."),
    key(
        "tasks",
        "checkpoint_every_ms",
        "500",
        "Milliseconds between two checkpoints of a running task, at least. 50 to 600000.",
    ),
    key(
        "tasks",
        "replicas",
        "1",
        "How many other devices keep the checkpoints of a task of policy `owner`. 0 to 8.",
    ),
    key(
        "tasks",
        "quorum_lease_ms",
        "1500",
        "Under policy `quorum` a task goes on elsewhere after about this time without its device; a shorter one\n\
         pauses tasks at each hiccup of the network. 300 to 60000.",
    ),
    key("tasks", "rebalance", "true", "Let the bus move running tasks to better devices by itself."),
    key("tasks", "keep_results_days", "7", "How long results of ended tasks are kept. 1 to 365."),
    key(
        "tasks",
        "modules_mib",
        "256",
        "How much of the disk, in MiB, modules of programs may take that are kept here so that they need not travel\n\
         again; those used longest ago go first. 0 keeps none. 0 to 1048576.",
    ),
    key(
        "tasks",
        "shutdown_move_s",
        "20",
        "Longest wait at shutdown for tasks to move to other devices, in seconds. 0 to 600.",
    ),
    key(
        "log",
        "level",
        "\"info\"",
        "error, warn, info, debug or trace; or a filter by room such as \"info,softbus_net=debug\".",
    ),
];

/// The commented default configuration.
pub fn default_text() -> String {
    let mut text = String::from(
        "# Configuration of a softbus node: `softbus up --config FILE`.\n\
         #\n\
         # Every line that sets a key is commented out and shows its default (or an example, where the default\n\
         # depends on the machine). Remove the `#` in front of a line to change it. An unknown key is an error.\n",
    );
    for (section, about) in SECTIONS {
        text.push('\n');
        comment(&mut text, about);
        let _ = writeln!(text, "[{section}]");
        for key in KEYS.iter().filter(|k| k.section == section) {
            text.push('\n');
            comment(&mut text, key.doc);
            let _ = writeln!(
                text,
                "#{} = {}{}",
                key.name,
                key.value,
                if key.example { "  # an example" } else { "" }
            );
        }
    }
    text
}

fn comment(text: &mut String, lines: &str) {
    for line in lines.lines() {
        let _ = writeln!(text, "# {line}");
    }
}

/// What a misspelt section or key was probably meant to be.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let normal = word.to_lowercase().replace('-', "_");
    candidates.map(|c| (distance(&normal, c), c)).filter(|(d, c)| *d <= 1 + c.len() / 4).min().map(|(_, c)| c)
}

/// Levenshtein's distance, of words of bounded length.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(LONGEST).collect(), b.chars().take(LONGEST).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().map(|(name, _)| *name)
}
