//! The programs: all guests that are committed as modules, and the programs by which the capture is measured, with little to do.

use softbus_wasm::Start;
use softbus_wasm::bus::Grants;

use super::Case;

macro_rules! guest {
    ($name:literal) => {
        include_bytes!(concat!("../../../../examples/guests/built/", $name, ".wasm"))
    };
}

macro_rules! small {
    ($($name:literal),*) => {
        [$(($name, include_bytes!(concat!("../../../../benches/wasm/small/", $name, ".wasm")).as_slice())),*]
    };
}

/// Modules that need nothing to begin with.
const SMALL: [(&str, &[u8]); 12] = small!(
    "float_mandelbrot",
    "float_matrix",
    "float_nbody",
    "indirect_machine",
    "indirect_shapes",
    "indirect_sort",
    "memory_chase",
    "memory_sieve",
    "memory_stream",
    "recursive_fib",
    "recursive_queens",
    "recursive_trees"
);

fn start(module: &[u8], args: &[&str]) -> Start {
    Start { module: module.into(), args: args.iter().map(|a| (*a).to_owned()).collect(), ..Start::default() }
}

fn with_file(start: Start, path: &str, bytes: Vec<u8>) -> Start {
    Start { files: vec![(path.into(), bytes)], ..start }
}

fn text() -> Vec<u8> {
    let words = ["the", "bus", "moves", "while", "it", "runs", "and", "nobody", "notices"];
    let word = |n: usize| format!("{}{}", words[n * n * 7 % 9], if n % 11 == 10 { ".\n" } else { " " });
    (0..900).map(word).collect::<String>().into_bytes()
}

/// A picture of 16 × 12 pixels.
fn picture() -> Vec<u8> {
    let pixels = (0..16 * 12 * 3).map(|n: u32| (n * n / 7 % 251) as u8);
    b"P6\n16 12\n255\n".iter().copied().chain(pixels).collect()
}

/// C with wasi-libc, and AssemblyScript with its collector; commands of WASI and a reactor of the bus.
pub fn guests() -> Vec<Case> {
    let case = |name, start| Case { name, start, waits: false, long: false };
    let courier = Start {
        env: vec!["ROUNDS=12".into()],
        grants: Grants { services: "echo/1".parse().into_iter().collect(), inference: true },
        ..start(guest!("courier"), &[])
    };
    let room = with_file(start(guest!("room"), &["room", "in.ppm", "16", "1"]), "in.ppm", picture());
    vec![
        Case { waits: true, ..case("clock", start(guest!("clock"), &["clock", "20"])) },
        Case { waits: true, ..case("courier", courier) },
        case("rays", start(guest!("rays"), &["rays", "6", "3", "1"])),
        case("render", start(guest!("render"), &["render", "24", "16", "60"])),
        Case { long: true, ..case("room", room) },
        case("tally", start(guest!("tally"), &["tally", "1", "16", "1500"])),
        case("words", with_file(start(guest!("words"), &["words", "in/text"]), "in/text", text())),
    ]
}

/// The twelve that are measured.
pub fn measured() -> Vec<Case> {
    SMALL
        .iter()
        .map(|(name, module)| Case { name, start: start(module, &[]), waits: false, long: false })
        .collect()
}
