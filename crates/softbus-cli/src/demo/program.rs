//! The program that travels: the path tracer of `examples/guests/c/room.c`, as its compiler left it. It knows nothing of
//! softbus. How far it is, and what its picture looks like so far, the demo reads in what it prints, as a person would.

use softbus::wasm::Start;

use super::shown::Shown;
use crate::control::PrintedView;
use crate::failure::Failure;
use crate::picture;

/// The module (`examples/guests/build.sh` builds it anew, bit for bit).
const MODULE: &[u8] = include_bytes!("../../../../examples/guests/built/room.wasm");
/// Its name, for people.
pub(super) const NAME: &str = "room.wasm";
/// What it leaves.
pub(super) const LEAVES: &str = "room.png";
/// Width and samples of its picture.
const SIZE: (u32, u32) = (960, 16);
/// Memory that it may have: it takes 16 MiB, and as much again is left for what it reads.
const MEMORY: u64 = 32 << 20;
/// What it may print, in bytes; it prints a tenth of this.
const PRINTS: usize = 4 << 20;
/// Longest line that is looked at.
const LINE: usize = 4096;

/// What it starts with: a picture that lights the room, and how fine its own is to become.
pub(super) fn start(file: &[u8]) -> Result<Start, Failure> {
    let lit_by = picture::ppm(file).map_err(|e| Failure::usage(e.to_string()))?;
    let mut start = Start {
        module: MODULE.to_vec(),
        args: vec![NAME.into(), "picture.ppm".into(), SIZE.0.to_string(), SIZE.1.to_string()],
        files: vec![("picture.ppm".into(), lit_by)],
        ..Start::default()
    };
    start.limits.memory_bytes = MEMORY;
    Ok(start)
}

/// How much work it is, in operations of the reference kernel.
pub(super) fn ops() -> u64 {
    picture::PictureInput { bytes: Vec::new(), width: SIZE.0, samples: SIZE.1 }.total_ops()
}

/// What it has said so far.
#[derive(Default)]
pub(super) struct Said {
    text: Vec<u8>,
    /// Up to here it was looked at.
    read: usize,
    /// How far it said that it is.
    pub permille: u16,
    /// Its picture as it said it last.
    pub picture: Option<Shown>,
    /// The lines of a picture that are still to come.
    begun: Option<Shown>,
}

impl Said {
    /// Takes in a piece of what it printed. After a fail-over a device may tell again what is known: then it must be the same.
    pub fn hear(&mut self, piece: &PrintedView) -> Result<(), Failure> {
        let wrong = |what: String| Err(Failure::failed(format!("what the program printed: {what}")));
        if piece.to_stderr {
            return wrong(format!("an error: {}", String::from_utf8_lossy(&piece.bytes).trim_end()));
        }
        let known = self.text.len();
        let Ok(at) = usize::try_from(piece.at) else { return wrong("it has no such place".into()) };
        if at > known {
            return wrong(format!("{} bytes did not arrive", at - known));
        }
        if known + piece.bytes.len() > PRINTS {
            return wrong(format!("more than {PRINTS} bytes"));
        }
        let again = (known - at).min(piece.bytes.len());
        if self.text[at..at + again] != piece.bytes[..again] {
            return wrong("it said something else the second time".into());
        }
        self.text.extend(&piece.bytes[again..]);
        self.look();
        Ok(())
    }

    /// All of it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Reads the lines that are whole.
    fn look(&mut self) {
        while let Some(end) = self.text[self.read..].iter().position(|byte| *byte == b'\n') {
            let line = self.text[self.read..self.read + end.min(LINE)].to_vec();
            self.read += end + 1;
            if let Ok(line) = std::str::from_utf8(&line) {
                self.line(line);
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(mut picture) = self.begun.take() {
            match picture.row(line) {
                Some(true) => self.picture = Some(picture),
                Some(false) => self.begun = Some(picture),
                None => {}
            }
        } else if let Some(size) = line.strip_prefix("picture ") {
            self.begun = Shown::of(size);
        } else if let Some(permille) = progress(line) {
            self.permille = permille;
        }
    }
}

/// What a line says of how far the program is: a number before a percent sign.
fn progress(line: &str) -> Option<u16> {
    let before = line.split_once('%')?.0.trim_end();
    let number = before.rsplit(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let percent: f64 = number.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some((percent * 10.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(at: u64, text: &str) -> PrintedView {
        PrintedView { to_stderr: false, at, bytes: text.into() }
    }

    #[test]
    fn progress_and_pictures_are_read_in_what_it_prints() {
        let mut said = Said::default();
        said.hear(&piece(0, "picture 2 1\n0000ffff0000\n12.5 % li")).unwrap();
        assert_eq!((said.permille, said.picture.is_some()), (0, true));
        said.hear(&piece(34, "ght\nnothing\n 101 %\n")).unwrap();
        assert_eq!(said.permille, 125);
        said.hear(&piece(53, "picture 2 1\nzz\n30.0 % of it\n")).unwrap();
        assert_eq!(said.permille, 300);
    }

    #[test]
    fn what_is_told_again_is_the_same_and_nothing_is_missing() {
        let mut said = Said::default();
        said.hear(&piece(0, "10 %\n20 %\n")).unwrap();
        said.hear(&piece(5, "20 %\n30 %\n")).unwrap();
        assert_eq!((said.permille, said.text().len()), (300, 15));
        assert!(said.hear(&piece(10, "40 %\n")).unwrap_err().to_string().contains("second time"));
        assert!(said.hear(&piece(16, "50 %\n")).unwrap_err().to_string().contains("did not arrive"));
        assert!(said.hear(&PrintedView { to_stderr: true, ..piece(15, "oh") }).is_err());
    }

    struct Still;

    impl softbus::wasm::wasi::Now for Still {
        fn now(&self) -> softbus::wasm::wasi::Moment {
            softbus::wasm::wasi::Moment { monotonic: 0, wall: 0 }
        }
    }

    #[test]
    fn stopped_now_and_then_it_paints_what_the_native_task_paints() {
        use softbus::task::{Runtime as _, Step, StepContext};
        use softbus::wasm::{EngineKind, Finish, Printed, Turns, WasmRuntime};

        let input = picture::PictureInput { width: 24, samples: 2, ..picture::PictureInput::sample() };
        let mut start = start(picture::SAMPLE_PNG).unwrap();
        start.args[2..].clone_from_slice(&["24".into(), "2".into()]);
        let runtime = WasmRuntime::new(EngineKind::Cranelift, std::sync::Arc::new(Still), Turns::Counted);
        let runtime = runtime.unwrap();
        let terms = start.terms().to_bytes();
        let mut program = runtime.start(&postcard::to_allocvec(&start).unwrap(), &terms).unwrap();
        let (mut said, mut stops) = (Said::default(), 0);
        let finish = loop {
            // So few operations that it is far from done.
            let mut cx = StepContext::detached(40_000_000);
            let step = program.step(&mut cx).unwrap();
            for effect in cx.emitted() {
                let Printed { to_stderr, at, bytes } = postcard::from_bytes(effect).unwrap();
                said.hear(&PrintedView { to_stderr, at, bytes }).unwrap();
            }
            if let Step::Done(finish) = step {
                break postcard::from_bytes::<Finish>(&finish).unwrap();
            }
            let mut saved = Vec::new();
            program.save(&mut saved).unwrap();
            program = runtime.resume(runtime.version(), &saved, &terms).unwrap();
            stops += 1;
        };
        assert!(stops > 3, "{stops}");
        let mut native = picture::PictureJob::new(&input).unwrap();
        while !native.step(u64::MAX).is_done {}
        let pixels = |png: &[u8]| image::load_from_memory(png).unwrap().to_rgb8();
        assert_eq!((finish.status, finish.files[0].0.as_str()), (0, LEAVES));
        assert_eq!(pixels(&finish.files[0].1), pixels(&native.finish().unwrap()));
        assert_eq!((said.permille, said.text().len() as u64), (1000, finish.printed[0]));
        assert!(said.picture.is_some());
    }

    #[test]
    fn what_it_starts_with_can_start() {
        let start = start(picture::SAMPLE_PNG).unwrap();
        start.check().unwrap();
        assert!(softbus::wasm::inspect(&start.module).unwrap().stoppable > 0);
    }
}
