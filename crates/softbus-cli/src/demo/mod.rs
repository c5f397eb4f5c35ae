//! The demo: four devices on one machine, told as a timeline. It uses what a person uses: processes of this very
//! program, and their control sockets. Nothing is preset between the devices, and every figure was measured.

mod args;
mod home;
mod program;
mod report;
mod run;
mod shown;
mod story;
mod timeline;

use std::path::{Path, PathBuf};

pub use args::DemoArgs;

use crate::failure::{Failure, Kind};
use crate::node::Signals;
use crate::output::{Out, writable};
use home::Home;
use timeline::Timeline;

/// The picture that comes with the program.
const SAMPLE: &[u8] = include_bytes!("../../assets/sample.png");

/// What the finished picture is called, in the folder for it.
const PICTURE: &str = "softbus-demo.png";

/// Tells the whole story. However it ends, no process and no file of it is left behind but what was asked for.
pub async fn run(args: DemoArgs, out: &Out) -> Result<(), Failure> {
    let picture = match &args.input {
        Some(path) => {
            std::fs::read(path).map_err(|e| Failure::io(format!("picture {}", path.display()), &e))?
        }
        None => SAMPLE.to_vec(),
    };
    // Told now and not after a minute: an unreadable picture, or a folder that cannot be made for what comes out.
    let input = program::start(&picture)?;
    drop(picture);
    let input = postcard::to_stdvec(&input)
        .map_err(|e| Failure::failed(format!("the program has no wire form: {e}")))?;
    let mut made = Made::default();
    made.folder(&args.out)?;
    if let Some(parent) = args.report.as_deref().and_then(Path::parent).filter(|p| !p.as_os_str().is_empty())
    {
        made.folder(parent)?;
    }
    for (option, path) in [("--out", Some(args.out.join(PICTURE))), ("--report", args.report.clone())] {
        path.map_or(Ok(()), |path| writable(option, &path))?;
    }

    // Before anything is started, so that nothing is left behind whenever it is stopped.
    let mut signals = Signals::new()?;
    let mut home = Home::new(args.verbose)?;
    let timeline = Timeline::new(*out);
    let told = tokio::select! {
        biased;
        () = signals.next() => Err(Failure::new(Kind::Interrupted, "the demo was stopped")),
        told = story::tell(&mut home, &timeline, &input, &args) => told,
    };
    timeline.clear();
    if told.as_ref().is_err_and(|failure| failure.kind != Kind::Interrupted) {
        home.print_last_words(out);
    }
    home.close(out).await;
    let report = told?;
    report.print(out)?;
    if let Some(path) = &args.report {
        report.write(path)?;
    }
    Ok(())
}

/// The folders that were made for what comes out. Those that nothing came into are removed again.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn folder(&mut self, dir: &Path) -> Result<(), Failure> {
        let missing: Vec<&Path> =
            dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
        self.0.splice(0..0, missing.into_iter().map(Path::to_owned));
        std::fs::create_dir_all(dir).map_err(|e| Failure::io(format!("folder {}", dir.display()), &e))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for dir in &self.0 {
            // Fails if something is in it, which is as it should be.
            let _ = std::fs::remove_dir(dir);
        }
    }
}
