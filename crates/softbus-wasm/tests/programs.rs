//! Programs as compilers make them: run still, and stopped, saved, and gone on with on the other engine again and again.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "proof/hand.rs"]
mod hand;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use softbus_task::{Program, Runtime, Step, StepContext};
use softbus_wasm::limits::Limits;
use softbus_wasm::{EngineKind, Finish, Printed, Start, Terms, Turns, WasmRuntime};

use hand::Hand;

const WORDS: &[u8] = include_bytes!("../../../examples/guests/built/words.wasm");
const RENDER: &[u8] = include_bytes!("../../../examples/guests/built/render.wasm");
/// Compiled by AssemblyScript: with a collector, function values and objects.
const RAYS: &[u8] = include_bytes!("../../../examples/guests/built/rays.wasm");
const CLOCK: &[u8] = include_bytes!("../../../examples/guests/built/clock.wasm");

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
    let (input, terms) = (postcard::to_allocvec(start).unwrap(), start.terms().to_bytes());
    let mut came = Came::default();
    let mut which = 0;
    let mut program: Box<dyn Program> = match world.engines[0].start(&input, &terms) {
        Ok(program) => program,
        Err(failure) => return Came { failure: Some(failure.to_string()), ..came },
    };
    for _ in 0..2_000_000 {
        let mut cx = StepContext::detached(budget());
        let step = program.step(&mut cx);
        for printed in cx.emitted() {
            let Printed { to_stderr, at, bytes } = postcard::from_bytes(printed).unwrap();
            let stream = if to_stderr { &mut came.stderr } else { &mut came.stdout };
            assert_eq!(at, stream.len() as u64);
            stream.push_str(&String::from_utf8(bytes).unwrap());
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
            program = world.engines[which].resume(1, &came.last, &terms).unwrap();
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

fn rays() -> Start {
    start(RAYS, &["rays", "24", "10", "4"])
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

    let came = still(&rays());
    // As another engine has it.
    assert!(came.stdout.ends_with("\n2674 rays, brightness 0.23124226048593347\n"), "{}", came.stdout);

    let came = still(&clock());
    assert_eq!(came.stdout, "tick 0\ntick 1\ntick 2\ntick 3\ntick 4\n");
    assert!(came.naps >= 5, "it waits: {}", came.naps);
}

#[test]
fn programs_do_not_notice_that_they_are_moved() {
    let world = World::new(Turns::Counted);
    for (name, start, most_polls) in [
        ("words", words(), 900),
        ("render", render(), 300),
        ("rays", start(RAYS, &["rays", "6", "3", "1"]), 200),
        ("clock", clock(), 4),
    ] {
        let still = run(&world, &start, &mut || 256 * 1000, &mut || false);
        assert_eq!(still.finish.as_ref().map(|finish| finish.status), Some(0), "{name}: {still:?}");
        let (mut budget, mut moves) = (drawn(11), drawn(17));
        let moved = run(&world, &start, &mut || 256 * (1 + budget() % most_polls), &mut || moves() % 4 != 0);
        println!("{name}: {} moves", moved.moves);
        assert!(moved.moves > 8, "{name}: {} moves", moved.moves);
        assert_eq!(ended(&moved), ended(&still), "{name}");
    }
}

#[test]
fn a_program_that_has_taken_all_its_memory_is_saved_all_the_same() {
    let world = World::new(Turns::Counted);
    let greedy = r#"(module (memory (export "memory") 1)
        (func $down (param i32) (result i32) (local $i i32)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 0))))
          (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
        (func (export "_start") (local $i i32)
          (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
          (loop $l
            (if (i32.ne (call $down (i32.const 300)) (i32.const 300)) (then unreachable))
            (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 40))))))"#;
    let mut start = start(&wat::parse_str(greedy).unwrap(), &["greedy"]);
    start.limits.memory_bytes = 4 << 20;
    let mut budget = drawn(3);
    let came = run(&world, &start, &mut || 256 * (1 + budget() % 500), &mut || true);
    assert_eq!(came.failure, None);
    assert_eq!(came.finish.map(|finish| finish.status), Some(0));
    assert!(came.moves > 20, "{} moves", came.moves);
    assert!(came.last.len() < (4 << 20) + (1 << 18), "it got more than it was granted: {}", came.last.len());
}

#[test]
fn what_a_program_may_not_do_ends_it_and_nothing_else() {
    let world = World::new(Turns::Timed);
    let ends = |body: &str| {
        let module = format!(
            r#"(module (memory (export "memory") 1) (func $f {body}) (func (export "_start") (call $f)))"#
        );
        run(&world, &start(&wat::parse_str(module).unwrap(), &["bad"]), &mut || 1000, &mut || false)
    };
    for (body, said) in [
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const -1)))", "out of bounds"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "divide by zero"),
        ("(call $f)", "stack"),
    ] {
        let failure = ends(body).failure.unwrap();
        assert!(failure.contains(said), "{body}: {failure}");
    }
    for (module, said) in [
        ("(module (import \"env\" \"open\" (func)) (func (export \"_start\")))", "imports `env.open`"),
        ("(module (func (export \"main\")))", "neither a function `_start`"),
        ("(module (memory 1 1 shared) (func (export \"_start\")))", "threads"),
    ] {
        let came = run(&world, &start(&wat::parse_str(module).unwrap(), &[]), &mut || 1, &mut || false);
        assert!(came.failure.as_ref().is_some_and(|failure| failure.contains(said)), "{:?}", came.failure);
    }
    let came = run(&world, &start(b"no module", &[]), &mut || 1, &mut || false);
    assert!(came.failure.is_some_and(|failure| failure.contains("no valid module")));
}

/// Loops that store nothing and call nothing, where an engine could think that a word which it has read stays as it is.
#[test]
fn loops_that_do_nothing_end_their_turns() {
    let world = World::new(Turns::Timed);
    let spin = r#"(module (func $spin (param i32)
          (loop $outer (loop $inner (br_if $inner (local.get 0))) (br_if $outer (local.get 0))))
        (func (export "_start") (call $spin (i32.const 1))))"#;
    let start = postcard::to_allocvec(&start(&wat::parse_str(spin).unwrap(), &["spin"])).unwrap();
    let mut saved = Vec::new();
    for runtime in &world.engines {
        let terms = runtime.terms(&start);
        let mut program = runtime.start(&start, &terms).unwrap();
        for _ in 0..2 {
            for _ in 0..3 {
                assert!(matches!(program.step(&mut StepContext::detached(1000)), Ok(Step::More)));
            }
            saved.clear();
            program.save(&mut saved).unwrap();
            program = runtime.resume(1, &saved, &terms).unwrap();
        }
    }
}

/// It has more loops than may go on at once in what goes on with frames.
#[test]
fn a_program_that_comes_to_ever_new_places_goes_on() {
    let count = 560;
    let functions: String = (0..count)
        .map(|n| {
            format!(
                "(func $f{n} (local $i i32) (loop $l (global.set $sum (i32.add (global.get $sum) (i32.const {n})))
                   (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3)))))"
            )
        })
        .collect();
    let calls: String = (0..count).map(|n| format!("(call $f{n})")).collect();
    let text = format!(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (memory (export "memory") 1) (global $sum (mut i32) (i32.const 0)) {functions}
          (func (export "_start") {calls} (i32.store (i32.const 0) (global.get $sum))
            (call $exit (i32.eq (i32.load (i32.const 0)) (i32.const {})))))"#,
        3 * count * (count - 1) / 2
    );
    let world = World::new(Turns::Counted);
    let came = run(&world, &start(&wat::parse_str(text).unwrap(), &["all"]), &mut || 256, &mut || false);
    assert_eq!((came.finish.map(|finish| finish.status), came.failure), (Some(1), None));
}

/// Six functions that call each other a thousand times each, without a loop: they work for years between two looks, if no
/// more is counted than what they call.
#[test]
fn calls_without_loops_can_be_stopped() {
    let calls = |callee: usize| format!("(call $f{callee})").repeat(1000);
    let functions: String = (0..6).map(|n| format!("(func $f{n} {})", calls(n + 1))).collect();
    let module = format!(r#"(module {functions} (func $f6) (func (export "_start") (call $f0)))"#);
    let admission = softbus_wasm::inspect(&wat::parse_str(module).unwrap()).unwrap();
    assert!(admission.stoppable >= 3, "{admission:?}");
}

#[test]
fn a_program_is_of_the_module_that_was_signed_with_which_its_images_begin() {
    let world = World::new(Turns::Counted);
    let runtime = &world.engines[0];
    let (start, other) = (words(), rays());
    let start_terms = start.terms();
    let (input, terms) = (postcard::to_allocvec(&start).unwrap(), start_terms.to_bytes());
    let content = runtime.content(&terms).unwrap();
    assert_eq!(
        (content.name.0, content.len),
        (*blake3::hash(&start.module).as_bytes(), start.module.len() as u64)
    );
    let mut program = runtime.start(&input, &terms).unwrap();
    let mut saved = Vec::new();
    program.save(&mut saved).unwrap();
    for (image, is_saved) in [(&input, false), (&saved, true)] {
        assert_eq!(runtime.content_in(image, is_saved), Some(&*start.module));
        let before = runtime.before_content(content.len, is_saved);
        assert!(!before.is_empty() && image.starts_with(&[&before[..], &start.module].concat()));
        for cut in [0, 1, 15, start.module.len()] {
            assert_eq!(runtime.content_in(&image[..cut], is_saved), None);
        }
    }
    // One that has another module in it than its submitter signed does not run, wherever that was put into it.
    let swapped = Start { module: other.module.clone(), ..start };
    let input = postcard::to_allocvec(&swapped).unwrap();
    let why = runtime.start(&input, &terms).err().unwrap().to_string();
    assert!(why.contains("not what its submitter signed"), "{why}");
    let other_terms = Terms::of(&other.module).to_bytes();
    for refused in [
        runtime.resume(1, &saved, &other_terms).err(),
        world.engines[1].resume(1, &saved, &other_terms).err(),
    ] {
        let why = refused.unwrap().to_string();
        assert!(why.contains("not the one that its submitter signed"), "{why}");
    }
    assert!(runtime.prepare(1, &saved, &other_terms).is_none());
    assert_eq!(runtime.content(b"no terms"), None);
    let huge = Terms { module_bytes: (64 << 20) + 1, ..start_terms };
    assert_eq!(runtime.content(&huge.to_bytes()), None, "larger than any module may be");
}

#[test]
fn a_saved_program_that_was_changed_is_refused_or_ends_itself() {
    let world = World::new(Turns::Counted);
    let terms = words().terms().to_bytes();
    let mut program = world.engines[0].start(&postcard::to_allocvec(&words()).unwrap(), &terms).unwrap();
    program.step(&mut StepContext::detached(256 * 3000)).unwrap();
    let mut saved = Vec::new();
    program.save(&mut saved).unwrap();
    let refuses =
        |state: &[u8]| world.engines[0].resume(1, state, &terms).err().map(|failure| failure.to_string());
    assert_eq!(refuses(&saved), None);
    assert!(refuses(&saved[..saved.len() - 1]).is_some());
    assert!(refuses(&saved[..20]).is_some());
    let mut number = drawn(9);
    let mut other = 0;
    for _ in 0..200 {
        let mut changed = saved.clone();
        // Behind the memories: what is in them is the program's own matter.
        let at = saved.len() - 1 - (number() % 400) as usize;
        changed[at] ^= 1 << (number() % 8);
        let Ok(mut program) = world.engines[0].resume(1, &changed, &terms) else { continue };
        other += 1;
        for _ in 0..20 {
            if !matches!(program.step(&mut StepContext::detached(256 * 500)), Ok(Step::More | Step::Wait(_)))
            {
                break;
            }
        }
    }
    assert!(other < 200, "all were taken");
}

/// Made beforehand of what a program was, it follows what the program becomes: its memory changes and grows, and where there
/// is a second one behind it that moves.
#[test]
fn what_is_made_beforehand_follows() {
    for more in ["", "(memory 1)"] {
        let text = format!(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (memory (export "memory") 1) {more} (global $i (mut i32) (i32.const 0))
              (func (export "_start") (local $sum i32)
                (loop $l
                  (i32.store (i32.mul (global.get $i) (i32.const 40000)) (i32.add (global.get $i) (i32.const 7)))
                  (drop (memory.grow (i32.const 1)))
                  (global.set $i (i32.add (global.get $i) (i32.const 1)))
                  (br_if $l (i32.lt_u (global.get $i) (i32.const 30))))
                (loop $m
                  (global.set $i (i32.sub (global.get $i) (i32.const 1)))
                  (local.set $sum (i32.add (local.get $sum) (i32.load (i32.mul (global.get $i) (i32.const 40000)))))
                  (br_if $m (global.get $i)))
                (call $exit (i32.and (local.get $sum) (i32.const 127)))))"#
        );
        let world = World::new(Turns::Counted);
        let input = postcard::to_allocvec(&start(&wat::parse_str(text).unwrap(), &["grow"])).unwrap();
        let terms = world.engines[0].terms(&input);
        let mut program = world.engines[0].start(&input, &terms).unwrap();
        let (before, mut after) = (&mut Vec::new(), Vec::new());
        program.step(&mut StepContext::detached(256 * 5)).unwrap();
        program.save(before).unwrap();
        for engine in &world.engines {
            let mut prepared = engine.prepare(1, before, &terms).unwrap();
            program.step(&mut StepContext::detached(256 * 4)).unwrap();
            after.clear();
            program.save(&mut after).unwrap();
            assert!(after.len() > before.len());
            // As transfers do: each chunk that changed, in an order of their own.
            let chunks: Vec<&[u8]> = after.chunks(1 << 16).collect();
            let old: Vec<&[u8]> = before.chunks(1 << 16).collect();
            for (index, chunk) in chunks.iter().enumerate().rev() {
                if old.get(index) != Some(chunk) {
                    prepared.follow(index << 16, chunk);
                }
            }
            let mut moved = engine.resume_prepared(1, &after, &terms, prepared).unwrap();
            let mut again = Vec::new();
            moved.save(&mut again).unwrap();
            assert!(again == after, "what was read is not what was saved");
            let status = loop {
                if let Step::Done(output) = moved.step(&mut StepContext::detached(256 * 5)).unwrap() {
                    break postcard::from_bytes::<Finish>(&output).unwrap().status;
                }
            };
            assert_eq!(status, (0..30).map(|i| i + 7).sum::<u32>() & 127);
        }
    }
}

/// Prints three MiB, each KiB of it the letter of its number. It is not to be known from this how fast it does so.
#[test]
fn what_a_program_prints_leaves_no_faster_than_it_may() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $i i32)
          (loop $l
            (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 1024))
            (memory.fill (i32.const 1024) (i32.add (i32.const 97) (i32.rem_u (local.get $i) (i32.const 26))) (i32.const 1024))
            (loop $rest
              (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
              (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 8))))
              (br_if $rest (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 8))
                (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 8)))))))
            (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3072))))))"#;
    let rate = 256 << 10;
    let limits = Limits { output_bytes_per_s: rate, ..Limits::default() };
    let start = Start { limits, ..start(&wat::parse_str(text).unwrap(), &["print"]) };
    let world = World::new(Turns::Counted);
    let expected: String = (0..3072u32).flat_map(|i| [char::from(b'a' + (i % 26) as u8); 1024]).collect();
    // Still, and moved while it waits to print.
    for every in [u64::MAX, 60] {
        let (began, mut steps) = (world.hand.0.load(Ordering::Relaxed), 0);
        let came = run(&world, &start, &mut || 1 << 20, &mut || {
            steps += 1;
            steps % every == 0
        });
        assert!(came.stdout == expected, "{} bytes, {:?}", came.stdout.len(), came.failure);
        let took = Duration::from_nanos(world.hand.0.load(Ordering::Relaxed) - began);
        // A burst at first, and what it has not waited for at its end; each device that it comes to has a burst of its own.
        let waited_for = (2u64 << 20).saturating_sub((came.moves as u64 + 1) * rate);
        assert!(waited_for > 0, "{} moves", came.moves);
        assert!(took < Duration::from_secs(12), "{took:?}");
        assert!(took.as_millis() as u64 + 200 >= waited_for * 1000 / rate, "{took:?}, {} moves", came.moves);
    }
}
