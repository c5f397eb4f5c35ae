//! Programs as compilers make them: run still, and stopped, saved, and gone on with on the other engine again and again.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use softbus_task::{Program, Runtime, Step, StepContext};
use softbus_wasm::wasi::{Moment, Now};
use softbus_wasm::{EngineKind, Finish, Printed, Start, Turns, WasmRuntime};

const WORDS: &[u8] = include_bytes!("../../../examples/guests/built/words.wasm");
const RENDER: &[u8] = include_bytes!("../../../examples/guests/built/render.wasm");
const CLOCK: &[u8] = include_bytes!("../../../examples/guests/built/clock.wasm");

/// A clock that the test moves.
#[derive(Default)]
struct Hand(AtomicU64);

impl Now for Hand {
    fn now(&self) -> Moment {
        let ns = self.0.load(Ordering::Relaxed);
        Moment { monotonic: ns, wall: 1_700_000_000_000_000_000 + ns }
    }
}

struct World {
    hand: Arc<Hand>,
    engines: Vec<WasmRuntime>,
}

impl World {
    fn new(turns: Turns) -> Self {
        let hand = Arc::<Hand>::default();
        let engines = [EngineKind::Cranelift, EngineKind::Pulley];
        let engines = engines.map(|kind| WasmRuntime::new(kind, hand.clone(), turns).unwrap());
        Self { hand, engines: engines.into() }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    stdout: String,
    stderr: String,
    finish: Option<Finish>,
    failure: Option<String>,
    moves: usize,
    naps: usize,
    /// The state it had last, which an undisturbed run has, too.
    last: Vec<u8>,
}

fn ended(came: &Came) -> (&str, &str, &Option<Finish>, &Option<String>) {
    (&came.stdout, &came.stderr, &came.finish, &came.failure)
}

/// Runs a program, in steps of so many operations; `moves` says at which steps it is saved and gone on with elsewhere.
fn run(
    world: &World,
    start: &Start,
    budget: &mut dyn FnMut() -> u64,
    moves: &mut dyn FnMut() -> bool,
) -> Came {
    let input = postcard::to_allocvec(start).unwrap();
    let mut came = Came::default();
    let mut which = 0;
    let mut program: Box<dyn Program> = match world.engines[0].start(&input) {
        Ok(program) => program,
        Err(failure) => return Came { failure: Some(failure.to_string()), ..came },
    };
    for _ in 0..2_000_000 {
        let mut cx = StepContext::detached(budget());
        let step = program.step(&mut cx);
        for printed in cx.emitted() {
            match postcard::from_bytes(printed).unwrap() {
                Printed::Stdout(bytes) => came.stdout.push_str(&String::from_utf8(bytes).unwrap()),
                Printed::Stderr(bytes) => came.stderr.push_str(&String::from_utf8(bytes).unwrap()),
            }
        }
        match step {
            Ok(Step::More) => {}
            Ok(Step::Wait(most)) => {
                came.naps += 1;
                world.hand.0.fetch_add(most.as_nanos() as u64, Ordering::Relaxed);
            }
            Ok(Step::Done(output)) => {
                came.finish = Some(postcard::from_bytes(&output).unwrap());
                return came;
            }
            Err(failure) => {
                came.failure = Some(failure.to_string());
                return came;
            }
        }
        if moves() {
            came.moves += 1;
            came.last.clear();
            program.save(&mut came.last).unwrap();
            which = (which + 1) % world.engines.len();
            program = world.engines[which].resume(1, &came.last).unwrap();
            let mut again = Vec::new();
            program.save(&mut again).unwrap();
            assert!(again == came.last, "what was read is not what was saved");
        }
    }
    panic!("it never ends");
}

/// Numbers that look drawn.
fn drawn(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

fn text() -> Vec<u8> {
    let mut number = drawn(5);
    let words = ["the", "bus", "moves", "while", "it", "runs", "and", "nobody", "notices"];
    let mut text = String::new();
    for n in 0..4000 {
        text.push_str(words[(number() % 9) as usize]);
        text.push_str(if n % 11 == 10 { ".\n" } else { " " });
    }
    text.into_bytes()
}

fn start(module: &[u8], args: &[&str]) -> Start {
    Start { module: module.into(), args: args.iter().map(|a| (*a).to_owned()).collect(), ..Start::default() }
}

fn words() -> Start {
    let mut start = start(WORDS, &["words", "in/text"]);
    start.files.push(("in/text".into(), text()));
    start
}

fn render() -> Start {
    start(RENDER, &["render", "64", "40", "60"])
}

fn clock() -> Start {
    start(CLOCK, &["clock", "5"])
}

#[test]
fn programs_run() {
    let world = World::new(Turns::Timed);
    let still = |start: &Start| run(&world, start, &mut || 1000, &mut || false);
    let came = still(&words());
    assert_eq!((came.failure, came.stderr.as_str()), (None, ""));
    assert!(came.stdout.ends_with("9 words\n"), "{}", came.stdout);
    let finish = came.finish.unwrap();
    assert_eq!(finish.status, 0);
    let [(path, counts)] = finish.files.as_slice() else { panic!("it made one file: {:?}", finish.files) };
    assert_eq!(path, "counts.txt");
    let total: u64 = std::str::from_utf8(counts)
        .unwrap()
        .lines()
        .map(|l| l.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(total, 4000);

    let from_stdin =
        Start { stdin: b"one two one".to_vec(), env: vec!["COUNTS=a/b".into()], ..start(WORDS, &["words"]) };
    let came = still(&from_stdin);
    assert_eq!(came.finish.unwrap().status, 2, "there is no directory a: {}", came.stderr);
    let came = still(&Start { env: vec![], ..from_stdin });
    assert_eq!(came.stdout, "one          2\ntwo          1\n2 words\n");

    let came = still(&start(WORDS, &["words", "/etc/passwd"]));
    assert_eq!(
        (came.finish.unwrap().status, came.stderr.as_str()),
        (2, "/etc/passwd: No such file or directory\n")
    );
    let came = still(&start(RENDER, &["render", "0"]));
    assert_eq!(came.finish.unwrap().status, 64);

    let came = still(&clock());
    assert_eq!(came.stdout, "tick 0\ntick 1\ntick 2\ntick 3\ntick 4\n");
    assert!(came.naps >= 5, "it waits: {}", came.naps);
}

#[test]
fn programs_do_not_notice_that_they_are_moved() {
    let world = World::new(Turns::Counted);
    for (name, start, most_polls) in
        [("words", words(), 900), ("render", render(), 300), ("clock", clock(), 4)]
    {
        let still = run(&world, &start, &mut || 256 * 1000, &mut || false);
        assert_eq!(still.finish.as_ref().map(|finish| finish.status), Some(0), "{name}: {still:?}");
        let (mut budget, mut moves) = (drawn(11), drawn(17));
        let moved = run(&world, &start, &mut || 256 * (1 + budget() % most_polls), &mut || moves() % 4 != 0);
        println!("{name}: {} moves", moved.moves);
        assert!(moved.moves > 8, "{name}: {} moves", moved.moves);
        assert_eq!(ended(&moved), ended(&still), "{name}");
    }
}
