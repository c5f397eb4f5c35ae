//! The demo: four devices on one machine, told as a timeline. It uses what a person uses: processes of this very
//! program, and their control sockets. Nothing is preset between the devices, and every figure was measured.

mod args;
mod home;
mod report;
mod story;
mod timeline;

use std::path::Path;

pub use args::DemoArgs;

use crate::failure::{Failure, Kind};
use crate::output::Out;
use home::Home;
use timeline::Timeline;

/// The picture that comes with the program.
const SAMPLE: &[u8] = include_bytes!("../../assets/sample.png");

/// Tells the whole story. However it ends, no process and no file of it is left behind but what was asked for.
pub async fn run(args: DemoArgs, out: &Out) -> Result<(), Failure> {
    let picture = match &args.input {
        Some(path) => {
            std::fs::read(path).map_err(|e| Failure::io(format!("picture {}", path.display()), &e))?
        }
        None => SAMPLE.to_vec(),
    };
    // Told now and not after a minute: an unreadable picture or an unwritable place for what comes out.
    crate::tasks::picture::check(&picture)?;
    prepare_folder(&args.out)?;
    if let Some(parent) = args.report.as_deref().and_then(Path::parent).filter(|p| !p.as_os_str().is_empty())
    {
        prepare_folder(parent)?;
    }

    let mut home = Home::new(args.verbose)?;
    let timeline = Timeline::new(*out);
    let told = tokio::select! {
        biased;
        told = story::tell(&mut home, &timeline, picture, &args) => told,
        () = stopped() => Err(Failure::new(Kind::Interrupted, "the demo was stopped")),
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

fn prepare_folder(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::io(format!("folder {}", dir.display()), &e))
}

/// Ctrl-C, or a polite end from outside.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
