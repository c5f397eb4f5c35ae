//! Programs that were written for the bus: reactors, and what they ask; run still, and stopped, saved, and gone on with on
//! the other engine at every place at which they can be.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "proof/hand.rs"]
mod hand;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use softbus_task::{Program, Runtime, Step, StepContext};
use softbus_wasm::bus::{FUNCTIONS, Failed, Grants, MODULE, Question, Request, Server, Services, Target, Ty};
use softbus_wasm::{EngineKind, Finish, Printed, Start, Terms, Turns, WasmRuntime, inspect};

use hand::Hand;

/// In C, for all that the bus offers.
const COURIER: &[u8] = include_bytes!("../../../examples/guests/built/courier.wasm");

/// A mesh with one service, `echo/1`, that answers each question after some looks, and perhaps a model.
#[derive(Default)]
struct Mesh {
    /// What was asked, under each number, and how often it was begun.
    asked: Mutex<BTreeMap<u64, (Vec<u8>, u32)>>,
    looks: u32,
    model: bool,
}

struct Asked {
    looks: u32,
    answer: Result<Vec<u8>, Failed>,
}

impl Services for Mesh {
    fn begin(&self, question: Question) -> Option<Box<dyn Request>> {
        let mut asked = self.asked.lock().unwrap();
        let known = asked.entry(question.number).or_insert((question.bytes.clone(), 0));
        assert_eq!(known.0, question.bytes, "another question under the same number");
        known.1 += 1;
        if known.1 > 1 {
            assert_eq!(question.before, Some([7; 32]), "it is not told who was asked before");
        }
        let answer = match question.target {
            Target::Service(name) if name.as_str() == "echo/1" => Ok([b"echo: ", &*question.bytes].concat()),
            Target::Inference if self.model => Ok(b"hello yourself".to_vec()),
            Target::Service(_) | Target::Inference => Err(Failed::NotSupported),
        };
        Some(Box::new(Asked { looks: self.looks, answer }))
    }
}

impl Request for Asked {
    fn server(&self) -> Option<Server> {
        Some([7; 32])
    }

    fn poll(&mut self) -> Option<Result<Vec<u8>, Failed>> {
        if self.looks == 0 {
            return Some(self.answer.clone());
        }
        self.looks -= 1;
        None
    }
}

struct World {
    hand: Arc<Hand>,
    /// How long a step takes, in nanoseconds.
    step: u64,
    mesh: Arc<Mesh>,
    engines: Vec<WasmRuntime>,
}

impl World {
    fn new(turns: Turns, mesh: Mesh) -> Self {
        let (hand, mesh) = (Arc::<Hand>::default(), Arc::new(mesh));
        let engines = [EngineKind::Cranelift, EngineKind::Pulley]
            .map(|kind| WasmRuntime::new(kind, hand.clone(), turns).unwrap().with_services(mesh.clone()));
        Self { hand, step: 10_000_000, mesh, engines: engines.into() }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    stdout: String,
    stderr: String,
    status: Option<u32>,
    failure: Option<String>,
    moves: usize,
    waits: usize,
}

/// Runs a program; `moves` says, by whether it waits, when it is saved and gone on with elsewhere.
fn run(world: &World, start: &Start, budget: u64, moves: &mut dyn FnMut(bool) -> bool) -> Came {
    let input = postcard::to_allocvec(start).unwrap();
    let (mut came, mut which) = (Came::default(), 0);
    let mut program: Box<dyn Program> = match world.engines[0].start(&input, &start.terms().to_bytes()) {
        Ok(program) => program,
        Err(failure) => return Came { failure: Some(failure.to_string()), ..came },
    };
    for _ in 0..200_000 {
        let mut cx = StepContext::detached(budget);
        let step = program.step(&mut cx);
        world.hand.0.fetch_add(world.step, Ordering::Relaxed);
        for printed in cx.emitted() {
            let Printed { to_stderr, bytes, .. } = postcard::from_bytes(printed).unwrap();
            let stream = if to_stderr { &mut came.stderr } else { &mut came.stdout };
            stream.push_str(&String::from_utf8(bytes).unwrap());
        }
        let waits = match step {
            Ok(Step::More) => false,
            Ok(Step::Wait(most)) => {
                came.waits += 1;
                world.hand.0.fetch_add(most.as_nanos() as u64, Ordering::Relaxed);
                true
            }
            Ok(Step::Done(output)) => {
                came.status = Some(postcard::from_bytes::<Finish>(&output).unwrap().status);
                return came;
            }
            Err(failure) => {
                came.failure = Some(failure.to_string());
                return came;
            }
        };
        if moves(waits) {
            came.moves += 1;
            let (mut saved, mut again) = (Vec::new(), Vec::new());
            program.save(&mut saved).unwrap();
            which = (which + 1) % world.engines.len();
            program = world.engines[which].resume(1, &saved, &start.terms().to_bytes()).unwrap();
            program.save(&mut again).unwrap();
            assert!(again == saved, "what was read is not what was saved");
        }
    }
    panic!("it never ends: {came:?}");
}

fn start(module: &[u8], services: &[&str], inference: bool) -> Start {
    let services = services.iter().map(|name| name.parse().unwrap()).collect();
    Start { module: module.into(), grants: Grants { services, inference }, ..Start::default() }
}

/// What the courier says of three rounds, where there is a model.
const SAID: &str =
    "echo: message 0\necho: message 1\necho: message 2\n3 answers\na model says: hello yourself\n";

fn courier(rounds: u32) -> Start {
    let env = vec![format!("ROUNDS={rounds}")];
    Start { env, ..start(COURIER, &["echo/1"], true) }
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// A reactor of this body, with a page of memory. `$check` ends it with the number of the call that went wrong.
fn reactor(body: &str) -> Vec<u8> {
    let imports: String = FUNCTIONS.iter().map(import).collect();
    wat(&format!(
        r#"(module {imports} (memory (export "memory") 1)
          (data (i32.const 0) "echo/1lamp/1") (data (i32.const 64) "key") (data (i32.const 80) "message")
          (func (export "softbus_main") (result i32) {body} (i32.const 0)))"#
    ))
}

fn import(function: &softbus_wasm::bus::Function) -> String {
    let types: Vec<&str> =
        function.params.iter().map(|(_, ty)| if *ty == Ty::I32 { "i32" } else { "i64" }).collect();
    let (name, params) = (function.name, types.join(" "));
    format!(r#"(import "{MODULE}" "{name}" (func ${name} (param {params}) (result i32)))"#)
}

/// A call that must come to this, or the program ends with `exit`.
fn expect(exit: i32, call: &str, errno: i32) -> String {
    format!("(if (i32.ne {call} (i32.const {errno})) (then (return (i32.const {exit}))))")
}

#[test]
fn a_reactor_runs_what_sets_it_up_and_then_what_it_is_for() {
    let world = World::new(Turns::Counted, Mesh::default());
    let module = wat(r#"(module (memory (export "memory") 1) (global $g (mut i32) (i32.const 1))
        (func $count (param $n i32) (local $i i32)
          (loop $l (global.set $g (i32.add (global.get $g) (local.get $n)))
            (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20)))))
        (func $start (call $count (i32.const 1))) (start $start)
        (func (export "_initialize") (call $count (i32.const 2)) (global.set $g (i32.mul (global.get $g) (i32.const 2))))
        (func (export "softbus_main") (result i32) (call $count (i32.const 3)) (global.get $g)))"#);
    let still = run(&world, &start(&module, &[], false), 256 * 1000, &mut |_| false);
    assert_eq!(still.status, Some((1 + 20 + 40) * 2 + 60));
    // Stopped at each place: in its start function, in what sets it up, in what it is for.
    let moved = run(&world, &start(&module, &[], false), 256, &mut |_| true);
    assert!(moved.moves >= 25, "{} moves", moved.moves);
    assert_eq!((moved.status, moved.failure), (still.status, None));
    // Without one of these, and with a status that is no number of 31 bits.
    let small = wat(r#"(module (func (export "softbus_main") (result i32) (i32.const -1)))"#);
    assert_eq!(run(&world, &start(&small, &[], false), 256, &mut |_| false).status, Some(u32::MAX));
    let traps = wat(
        r#"(module (func (export "_initialize") unreachable) (func (export "softbus_main") (result i32) (i32.const 0)))"#,
    );
    let came = run(&world, &start(&traps, &[], false), 256, &mut |_| false);
    assert!(came.failure.is_some_and(|failure| failure.contains("unreachable")));
}

#[test]
fn what_is_neither_a_command_nor_a_reactor_is_refused_and_told_why() {
    for (text, said) in [
        (r#"(module (func (export "main")))"#, "neither a function `_start`"),
        (r#"(module (global (export "softbus_main") i32 (i32.const 0)))"#, "nor `softbus_main`"),
        (
            r#"(module (func (export "_start")) (func (export "softbus_main") (result i32) (i32.const 0)))"#,
            "both `_start` and `softbus_main`",
        ),
        (
            r#"(module (func (export "softbus_main")))"#,
            "exports `softbus_main` as a function () -> (), and not () -> (i32)",
        ),
        (
            r#"(module (func (export "softbus_main") (param i64) (result i32) (i32.const 0)))"#,
            "a function (i64) -> (i32), and not () -> (i32)",
        ),
        (r#"(module (func (export "_start") (param i32)))"#, "exports `_start` as a function (i32) -> ()"),
        (
            r#"(module (func (export "_initialize") (result i32) (i32.const 0))
                (func (export "softbus_main") (result i32) (i32.const 0)))"#,
            "exports `_initialize`",
        ),
        (
            r#"(module (import "softbus" "sleep" (func (param i32) (result i32))) (func (export "_start")))"#,
            "imports `softbus.sleep` as a function (i32) -> (i32), and not (i64) -> (i32)",
        ),
        (r#"(module (import "softbus" "fly" (func)) (func (export "_start")))"#, "imports `softbus.fly`"),
    ] {
        let error = inspect(&wat(text)).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

/// The engines offer each function of the list, with the signature that it has there.
#[test]
fn all_of_the_list_is_there() {
    let imports: String = FUNCTIONS.iter().map(import).collect();
    for kind in ["(func (export \"_start\"))", "(func (export \"softbus_main\") (result i32) (i32.const 0))"]
    {
        let module = wat(&format!("(module {imports} {kind})"));
        let world = World::new(Turns::Timed, Mesh::default());
        assert_eq!(run(&world, &start(&module, &[], false), 256, &mut |_| false).status, Some(0));
    }
}

#[test]
fn a_reactor_in_c_talks_to_a_service() {
    let world = World::new(Turns::Timed, Mesh { looks: 3, model: true, ..Mesh::default() });
    let came = run(&world, &courier(3), 1000, &mut |_| false);
    assert_eq!(came.stderr, "[info] the courier is on its way\n", "{came:?}");
    assert_eq!((came.stdout.as_str(), came.status), (SAID, Some(0)));
    assert!(came.waits > 3, "it waits: {}", came.waits);
    // Where nobody has a model it is told so, and so is one that was not granted it.
    for (inference, errno) in [(true, 58), (false, 76)] {
        let mut start = courier(1);
        start.grants.inference = inference;
        let world = World::new(Turns::Timed, Mesh::default());
        let came = run(&world, &start, 1000, &mut |_| false);
        assert_eq!(came.stdout, format!("echo: message 0\n1 answers\nno model: error {errno}\n"), "{came:?}");
    }
    // Nothing is granted, or it asks for something else.
    let came = run(&world, &Start { grants: Grants::default(), ..courier(1) }, 1000, &mut |_| false);
    assert_eq!((came.stderr.as_str(), came.status), ("[error] echo/1: error 76\n", Some(1)));
}

#[test]
fn a_conversation_does_not_notice_that_it_is_moved() {
    let mesh = || Mesh { looks: 5, model: true, ..Mesh::default() };
    let still = run(&World::new(Turns::Counted, mesh()), &courier(12), 256 * 1000, &mut |_| false);
    assert_eq!((still.status, &still.failure), (Some(0), &None));
    let ended = |came: &Came| (came.stdout.clone(), came.stderr.clone(), came.status, came.failure.clone());
    // In the midst of waits, for answers and in sleeps: what is asked is asked again under its number. There is an answer three
    // waits after a move.
    let world = World::new(Turns::Counted, mesh());
    let mut waited = 0;
    let moved = run(&world, &courier(12), 256 * 1000, &mut |waits| {
        waited += u32::from(waits);
        waits && waited % 6 == 2
    });
    assert_eq!(ended(&moved), ended(&still));
    let asked = world.mesh.asked.lock().unwrap().clone();
    let again = asked.values().filter(|(_, begun)| *begun > 1).count();
    assert!(moved.moves >= 5 && again >= 2, "{} moves: {asked:?}", moved.moves);
    assert!(asked.keys().copied().eq(1..=13), "each number is one question: {asked:?}");
    // At every poll, and in all waits too. One that is moved before it was answered begins again elsewhere, so it must be
    // answered within a look.
    let world = World::new(Turns::Counted, Mesh { model: true, ..Mesh::default() });
    let moved = run(&world, &courier(1), 256, &mut |_| true);
    let said = "echo: message 0\n1 answers\na model says: hello yourself\n";
    assert_eq!((moved.stdout.as_str(), moved.status, moved.failure), (said, Some(0), None));
    assert!(moved.moves > 50, "{} moves", moved.moves);
}

/// Time passes for it only where it runs, and a wait that was begun has what is left of it.
#[test]
fn sleeps_and_timeouts_go_on_elsewhere() {
    let mut world = World::new(Turns::Counted, Mesh { looks: u32::MAX, ..Mesh::default() });
    world.step = 200_000_000;
    let body = [
        expect(1, "(call $sleep (i64.const 1000000000))", 0),
        expect(2, "(call $channel_open (i32.const 0) (i32.const 6) (i32.const 200))", 0),
        expect(3, "(call $channel_send (i32.load (i32.const 200)) (i32.const 80) (i32.const 7))", 0),
        // It is not answered; after its time it can still come, and after a minute nobody is asked any more.
        expect(
            4,
            "(call $channel_recv (i32.const 0) (i32.const 300) (i32.const 9) (i32.const 204) (i64.const 2000000000))",
            73,
        ),
        expect(
            5,
            "(call $channel_recv (i32.const 0) (i32.const 300) (i32.const 9) (i32.const 204) (i64.const -1))",
            23,
        ),
    ];
    for moves in [false, true] {
        world.mesh.asked.lock().unwrap().clear();
        let before = world.hand.0.load(Ordering::Relaxed);
        let came = run(&world, &start(&reactor(&body.concat()), &["echo/1"], false), 256, &mut |_| moves);
        assert_eq!((came.status, came.failure), (Some(0), None));
        let passed = (world.hand.0.load(Ordering::Relaxed) - before) / 1_000_000;
        // A second asleep, a minute from when it was sent; each call comes a step or two later.
        assert!((61_000..64_000).contains(&passed), "{passed} ms");
        assert_eq!(moves, came.moves > 200, "{} moves", came.moves);
    }
}

#[test]
fn hostile_reactors_get_errors_and_nothing_else() {
    let world = World::new(Turns::Counted, Mesh::default());
    let mut number = 0;
    let mut expect = |call: &str, errno: i32| {
        number += 1;
        expect(number, call, errno)
    };
    let body = [
        // Addresses out of its memory, lengths beyond all there is.
        expect("(call $log (i32.const 0) (i32.const 65535) (i32.const 2))", 21),
        expect("(call $log (i32.const 0) (i32.const 0) (i32.const -1))", 35),
        expect("(call $log (i32.const 99) (i32.const 0) (i32.const 1))", 28),
        expect("(call $kv_set (i32.const -1) (i32.const 3) (i32.const 0) (i32.const 1))", 21),
        expect("(call $kv_set (i32.const 64) (i32.const -1) (i32.const 0) (i32.const 1))", 37),
        expect("(call $kv_set (i32.const 64) (i32.const 3) (i32.const 0) (i32.const -1))", 22),
        expect("(call $kv_set (i32.const 64) (i32.const 3) (i32.const 65000) (i32.const 1000))", 21),
        expect("(call $kv_get (i32.const 64) (i32.const 3) (i32.const 0) (i32.const 9) (i32.const 200))", 44),
        expect("(call $kv_set (i32.const 64) (i32.const 3) (i32.const 80) (i32.const 7))", 0),
        expect(
            "(call $kv_get (i32.const 64) (i32.const 3) (i32.const 300) (i32.const -1) (i32.const 200))",
            21,
        ),
        expect(
            "(call $kv_get (i32.const 64) (i32.const 3) (i32.const 300) (i32.const 9) (i32.const 65534))",
            21,
        ),
        expect(
            "(call $kv_get (i32.const 64) (i32.const 3) (i32.const 300) (i32.const 6) (i32.const 200))",
            61,
        ),
        expect(
            "(call $kv_next (i32.const 0) (i32.const 0) (i32.const 300) (i32.const 2) (i32.const 200))",
            61,
        ),
        expect("(call $kv_delete (i32.const 64) (i32.const 0))", 28),
        // Services that were not granted, that are none; channels that are none.
        expect("(call $channel_open (i32.const 6) (i32.const 6) (i32.const 200))", 76),
        expect("(call $channel_open (i32.const 0) (i32.const 5) (i32.const 200))", 28),
        expect("(call $channel_open (i32.const 0) (i32.const -1) (i32.const 200))", 37),
        expect("(call $channel_send (i32.const 0) (i32.const 80) (i32.const 7))", 8),
        expect(
            "(call $channel_recv (i32.const 7) (i32.const 300) (i32.const 9) (i32.const 204) (i64.const -1))",
            8,
        ),
        expect("(call $channel_close (i32.const -1))", 8),
        expect(
            "(call $infer (i32.const 80) (i32.const 7) (i32.const 300) (i32.const 9) (i32.const 204) (i64.const -1))",
            76,
        ),
    ];
    // As many channels as there are, and messages.
    let many = format!(
        "(loop $l {} (br_if $l (i32.ne (i32.load (i32.const 200)) (i32.const 63)))) {}
         (loop $m {} (i32.store (i32.const 208) (i32.add (i32.load (i32.const 208)) (i32.const 1)))
           (br_if $m (i32.lt_u (i32.load (i32.const 208)) (i32.const 64)))) {} {} {}",
        expect("(call $channel_open (i32.const 0) (i32.const 6) (i32.const 200))", 0),
        expect("(call $channel_open (i32.const 0) (i32.const 6) (i32.const 200))", 33),
        expect("(call $channel_send (i32.const 63) (i32.const 80) (i32.const 7))", 0),
        expect("(call $channel_send (i32.const 63) (i32.const 80) (i32.const 7))", 6),
        expect("(call $channel_send (i32.const 63) (i32.const 80) (i32.const -1))", 35),
        expect(
            "(call $channel_recv (i32.const 63) (i32.const 300) (i32.const 13) (i32.const 204) (i64.const -1))",
            0
        ),
    );
    let start = start(&reactor(&(body.concat() + &many)), &["echo/1"], false);
    for moves in [false, true] {
        let came = run(&world, &start, 256 * 20, &mut |_| moves);
        assert_eq!((came.status, came.failure), (Some(0), None), "the call of this number went wrong");
        world.mesh.asked.lock().unwrap().clear();
    }
}

/// What a program may ask is what was signed, whatever its state says.
#[test]
fn a_program_goes_on_with_what_was_signed_and_no_more() {
    let world = World::new(Turns::Counted, Mesh { looks: 3, ..Mesh::default() });
    let start = courier(1);
    let (input, terms) = (postcard::to_allocvec(&start).unwrap(), start.terms().to_bytes());
    let failure = |terms: &[u8]| world.engines[0].start(&input, terms).err().map(|why| why.to_string());
    assert_eq!(failure(&terms), None);
    let less = Terms { grants: Grants::default(), ..start.terms() }.to_bytes();
    let other = "what it asks for is not what its submitter signed";
    assert!(failure(&less).unwrap().contains(other), "{:?}", failure(&less));
    assert!(failure(b"").unwrap().contains("does not say what it may have"), "{:?}", failure(b""));
    // In the midst of it, with a channel open.
    let mut program = world.engines[0].start(&input, &terms).unwrap();
    let mut saved = Vec::new();
    let asks = loop {
        let asked = !world.mesh.asked.lock().unwrap().is_empty();
        saved.clear();
        program.save(&mut saved).unwrap();
        if asked {
            break saved;
        }
        program.step(&mut StepContext::detached(1000)).unwrap();
    };
    let failure = |terms: &[u8]| world.engines[1].resume(1, &asks, terms).err().map(|why| why.to_string());
    assert_eq!(failure(&terms), None);
    assert!(failure(&less).unwrap().contains("asks for what it was not granted"), "{:?}", failure(&less));
    assert!(failure(b"").is_some());
    // A state from which an end of what it has of the bus is cut off is none.
    for cut in 1..=16u64 {
        let (body, len) = asks.split_last_chunk::<8>().unwrap();
        let len = u64::from_le_bytes(*len) - cut;
        let short = [&body[..body.len() - cut as usize], &len.to_le_bytes()].concat();
        assert!(world.engines[0].resume(1, &short, &terms).is_err(), "cut by {cut}");
    }
    // What it was granted is in no state.
    let idle = Start { module: wat(r#"(module (func (export "_start")))"#), ..start.clone() };
    let bytes = |start: &Start| {
        let input = postcard::to_allocvec(start).unwrap();
        let mut saved = Vec::new();
        world.engines[0].start(&input, &start.terms().to_bytes()).unwrap().save(&mut saved).unwrap();
        saved
    };
    assert!(bytes(&idle) == bytes(&Start { grants: Grants::default(), ..idle.clone() }));
}
